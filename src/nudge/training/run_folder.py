"""A run's own folder: one process at a time works in it, and what another run left there is not lost."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from nudge.config.schema import Config
from nudge.data.files import check_writable, replacing
from nudge.errors import UserError
from nudge.model import snapshots
from nudge.training import checkpoints
from nudge.training.tracking import dead_runs, lineage, record, sender
from nudge.training.tracking.dead_runs import LOCK
from nudge.training.tracking.journal import FILE as JOURNAL
from nudge.training.tracking.journal import Journal, entries

# Workers of a killed process notice its death after up to five seconds, and hold its lock until then.
SECONDS_OF_THE_DYING = 10.0
# What a run leaves in its folder, beside Hydra's notes and the exported model.
LEFT = (JOURNAL, sender.SENT, record.FILE, "config.yaml", "samples.json", "not_finite.json", "error.txt",
        lineage.PATCH, "checkpoints", snapshots.FOLDER)  # fmt: skip


def make(config: Config) -> Path:
    """Make a run's folder, and return it as an absolute path.

    Raises:
        UserError: it, or the place of the exported model, can't be written to.
    """
    folder = Path(config.run_dir)
    for place in (folder, Path(config.export_dir)):
        check_writable(place)
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a run's folder, so that no other process trains in it; the system lets go of it when this process ends.

    Raises:
        UserError: another process holds it.
    """
    lock = FileLock(folder / LOCK)
    found = record.read(folder)
    alive = found is not None and found.host == os.uname().nodename and _is_alive(found.pid)
    try:
        lock.acquire(timeout=0 if alive else SECONDS_OF_THE_DYING)
    except Timeout as error:
        who = f"process {found.pid} on {found.host}" if found else "another process"
        raise UserError(f"run_dir={folder}: {who} is training there; choose another folder, or wait for it") from error
    try:
        for place in (folder, folder / "checkpoints", folder / snapshots.FOLDER):
            for torn in place.glob(".*.*.*-*"):  # a kill has ended its writing
                torn.unlink()
        yield
    finally:
        lock.release()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def clear(folder: Path, keep: Path | None) -> None:
    """Make room for a new run. What the store does not have yet of an older one is moved to a folder inside, and so
    is what nobody has recorded.

    Args:
        folder: the run's, claimed.
        keep: a checkpoint that the new run begins with.
    """
    old = record.read(folder)
    if old is not None and old.status == "RUNNING":
        dead_runs.end(folder, "given up: another run was started in its folder")
    names = [name for name in LEFT if (folder / name).exists()]
    if keep is not None and keep.parent == folder / "checkpoints":
        names.remove("checkpoints")
    if not names:
        return
    if old is None or sender.unsent(folder):
        aside = folder / (f"unsent-{old.key}" if old else f"older-{secrets.token_hex(4)}")
        aside.mkdir()
        for name in names:
            (folder / name).rename(aside / name)
        return
    for name in names:
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        else:
            (folder / name).unlink()


def branch(source: Path, folder: Path, checkpoint: Path) -> None:
    """Begin a new run's history with that of another, up to the step that `checkpoint` holds."""
    step = checkpoints.load(checkpoint)["global_step"]
    journal = Journal(folder / JOURNAL)
    for entry, _ in entries(source / JOURNAL):
        if "metrics" in entry and entry["step"] <= step:
            journal.append(entry)
    journal.close()
    for earlier in snapshots.steps_of(source / snapshots.FOLDER):
        if earlier <= step:
            name = snapshots.file_name(earlier)
            with replacing(folder / snapshots.FOLDER / name) as temporary:
                shutil.copyfile(source / snapshots.FOLDER / name, temporary)
