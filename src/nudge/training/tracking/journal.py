"""All that a run has to tell MLflow, on disk before it is sent: one entry a line, in order.

The journal is the run's own record: it survives a kill at any moment, the curves of `models/` are made from it, and a
run that continues knows from it what has been told already. Who sends it to a server is `sender.py`.
"""

import errno
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Entry = dict[str, Any]

FILE = "journal.jsonl"


class Journal:
    """Append entries to a file; each is there for good when `append` returns, whatever happens to the process.

    A line that a kill has torn is cut off when the journal is opened again. `metrics` takes each point of a curve
    once: what a continued run computes again, between its checkpoint and its end, is told already.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._last_step: dict[str, int] = {}
        whole = 0
        for entry, end in entries(path):
            whole = end
            for key in entry.get("metrics", ()):
                self._last_step[key] = max(entry["step"], self._last_step.get(key, -1))
        self._file = path.open("ab", buffering=0)
        self._file.truncate(whole)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write one entry.

        Raises:
            OSError: the disk is full or the file is gone.
        """
        line = json.dumps(entry).encode() + b"\n"
        written = self._file.write(line)
        if written != len(line):  # a disk that fills up takes the first part only
            self._file.truncate(self._file.tell() - (written or 0))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def metrics(self, step: int, values: Mapping[str, float], time_ms: int) -> None:
        """Write the points of optimiser step `step` that are not there yet."""
        new = {key: value for key, value in values.items() if step > self._last_step.get(key, -1)}
        if new:
            self.append({"metrics": new, "step": step, "time": time_ms})
            self._last_step.update(dict.fromkeys(new, step))

    def last_step(self) -> int:
        """Return the last optimiser step of which anything is told; −1 if none."""
        return max(self._last_step.values(), default=-1)

    def sync(self) -> None:
        """Make sure that a loss of power loses nothing of what is written."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def entries(path: Path, offset: int = 0) -> Iterator[tuple[Entry, int]]:
    """Yield the whole entries from byte `offset` on, each with the offset behind it."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            try:
                entry = json.loads(line)
            except ValueError:
                print(f"{path}: a line that can't be read is passed over", file=sys.stderr)
                continue
            yield entry, offset
