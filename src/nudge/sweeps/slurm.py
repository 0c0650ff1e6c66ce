"""The jobs that submitit has given to Slurm, which go on whatever becomes of the process that asked for them."""

import re
import subprocess
import time
from pathlib import Path

from nudge.errors import RunError

POLL_SECONDS = 5


def _ids(sweep: Path) -> list[str]:
    # submitit keeps a folder for each job (an element of an array), named by its id.
    return sorted(path.name for path in (sweep / ".submitit").glob("*") if re.fullmatch(r"\d+(_\d+)?", path.name))


def cancel(sweep: Path) -> None:
    """Take the jobs of a sweep off the queue; those that run get a SIGTERM first."""
    if ids := _ids(sweep):
        subprocess.run(["scancel", *ids], check=False)


def wait(sweep: Path) -> None:
    """Wait until no job of a sweep is queued or runs.

    Raises:
        RunError: Slurm does not answer.
    """
    if not (ids := _ids(sweep)):
        return
    command = ["squeue", "--noheader", "--format=%i", "--array", "--me"]
    while True:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RunError(f"Slurm does not answer: {done.stderr.strip()}")
        if not set(ids) & set(done.stdout.split()):
            return
        time.sleep(POLL_SECONDS)
