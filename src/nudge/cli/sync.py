"""`nudge sync`: what runs have to tell a store that did not answer, told now."""

import sys
from pathlib import Path

from filelock import FileLock, Timeout

from nudge import project
from nudge.errors import RunError, UserError
from nudge.training.tracking import record, sender, store
from nudge.training.tracking.dead_runs import LOCK


def sync(folders: list[Path]) -> None:
    """Send all entries that are not sent yet, run by run.

    Args:
        folders: run folders, or folders that hold some; none for the project's own `outputs/`.

    Raises:
        UserError: a folder isn't there, or holds no run.
        RunError: a store doesn't answer; what was sent before stays sent.
    """
    found: list[Path] = []
    for folder in folders or sorted({project.home() / "outputs", project.root() / "outputs"}):
        runs = sorted(path.parent for path in folder.rglob(record.FILE))
        if folders and not runs:
            raise UserError(f"{folder}: no run there; a run's folder holds {record.FILE}")
        found += runs
    failed = 0
    for folder in filter(sender.unsent, found):
        try:
            with FileLock(folder / LOCK, timeout=0):
                failed += not _send(folder)
        except Timeout:
            print(f"{folder}: still training; it sends by itself", file=sys.stderr)
        except OSError as error:
            print(f"{folder}: {error}", file=sys.stderr)
            failed += 1
    if failed:
        raise RunError(f"{failed} runs could not be sent; mend what is said above, then call `nudge sync` again")


def _send(folder: Path) -> bool:
    where = "its store"
    try:
        work = sender.Sender(folder)
        where = store.shown(work.record.store)
        count = work.deliver()
    except Exception as error:  # noqa: BLE001 - whatever is wrong with one run, the others go out
        print(f"{folder}: {where} does not take it ({sender.first_line(error)})", file=sys.stderr)
        return False
    print(f"{folder}: {count} entries sent to {where}, run {work.record.run_id}", file=sys.stderr)
    return True
