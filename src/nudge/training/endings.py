"""How a run ended: the status that MLflow shows, the reason, and what a person can do about it."""

import errno
import signal

import torch

from nudge.errors import Pruned, RunError, Stopped
from nudge.training.tracking.record import Status

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def ending(error: BaseException) -> tuple[Status, str]:
    """Return the status and the reason, in one line, of a run that `error` ended."""
    if isinstance(error, Stopped):
        return "KILLED", error.line
    if isinstance(error, Pruned):
        return "KILLED", f"pruned: {error}"
    if isinstance(error, KeyboardInterrupt):
        return "KILLED", "interrupted by Ctrl-C"
    if isinstance(error, RunError):
        return "FAILED", str(error)
    return "FAILED", " ".join(f"{type(error).__name__}: {error}".split())


def explained(error: BaseException, step: int) -> BaseException:
    """Turn what Lightning, torch or the system raised in step `step` into what happened, where that is known.

    Errors that nobody has foreseen stay what they are: a traceback says more than a guess.
    """
    if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
        # Lightning turns Ctrl-C into SystemExit(1).
        return Stopped(
            signal.SIGINT, f"interrupted by Ctrl-C in step {step}; the steps since the last checkpoint are lost"
        )
    text = str(error)
    again = "the same command with this run's run_dir then goes on from the last checkpoint"
    if isinstance(error, SystemExit) and not error.code:
        return RunError(f"something called sys.exit() in step {step}; {again}")
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in text
    ):
        return RunError(
            f"out of memory in step {step} ({_first_line(text)}); raise trainer.accumulate, or lower trainer.batch_size"
        )
    if isinstance(error, OSError) and error.errno in FULL:
        return RunError(f"no space left in step {step} ({text}); make room, {again}")
    if isinstance(error, OSError) and error.filename is not None:
        return RunError(f"can't write in step {step} ({text}); mend that, {again}")
    if isinstance(error, RuntimeError) and "DataLoader worker" in text:
        return RunError(f"a loader worker died in step {step} ({_first_line(text)}); {again}")
    if isinstance(error, RuntimeError) and any(
        sign in text for sign in ("Connection closed by peer", "Connection reset")
    ):
        return RunError(f"another process of this run died in step {step} ({_first_line(text)}); {again}")
    return error


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "no details")[:300]
