"""A process that another one has started for its run, and that must not outlive it."""

import ctypes
import os
import signal
import sys

PARENT = "NUDGE_PARENT"  # id of the process that started this one for its run
PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Let the system kill this process when the one that started it ends in any way; the first thing that it does."""
    parent = os.environ.get(PARENT)
    if parent is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it has ended already
        os._exit(1)
