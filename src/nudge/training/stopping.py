"""Signals that ask a run to end: it finishes its step, saves a checkpoint, and leaves with a true status.

SIGTERM comes from schedulers and containers, SIGINT from Ctrl-C, SIGHUP from a terminal that closes. A second Ctrl-C
does not wait. If a step is not done within the grace period, the last checkpoint before it has to do.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from pytorch_lightning import Trainer

from nudge.errors import Stopped

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stopping:
    """Hear signals, and let all processes of a run agree on the step after which they stop.

    Args:
        grace_seconds: from the signal to the end of the process at the latest.
        last_words: called with a reason if the grace period passes, just before the process ends.
    """

    def __init__(self, grace_seconds: float, last_words: Callable[[str], None]) -> None:
        self._grace_seconds, self._last_words = grace_seconds, last_words
        self._received: int | None = None
        self._waits_for_step = False
        self._group: Any = None
        self._over = threading.Event()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle signals inside the block; give them back to whoever had them before."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {signum: signal.signal(signum, self._hear) for signum in SIGNALS}
        # Python calls handlers between its own instructions only: one that waits in a collective for a process that
        # is gone would never hear. The system writes to this pipe at once, and a thread reads it.
        ear, mouth = socket.socketpair()
        mouth.setblocking(False)
        wakeup = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._count_down, args=(ear,), name="grace", daemon=True).start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            mouth.close()
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def pass_on(self) -> None:
        """Stop what comes after a run that was over before it could heed a signal: the next jobs of a sweep.

        Raises:
            Stopped: there was a signal.
        """
        if self._received is not None:
            raise Stopped(self._received, f"stopped by {self._name()} when the run was done")

    def _count_down(self, ear: socket.socket) -> None:
        """Wait for the first signal; if the process is still there when the grace period is over, end it."""
        while heard := ear.recv(1):
            if heard[0] in SIGNALS:
                self._over.wait(self._grace_seconds)
                if not self._over.is_set():
                    self._received = heard[0]
                    self._leave()
                return

    def _hear(self, signum: int, frame: FrameType | None) -> None:
        if self._received is not None:
            if signum == signal.SIGINT and self._received == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self._received = signum
        if not self._waits_for_step:
            raise Stopped(signum, f"stopped by {self._name()} outside of a step")

    def _leave(self) -> None:
        reason = f"{self._name()}; the step was not done within trainer.grace_seconds={self._grace_seconds:g}"
        print(f"nudge: stopped by {reason}", file=sys.stderr, flush=True)
        self._last_words(reason)
        os._exit(128 + (self._received or 0))

    def begin(self, trainer: Trainer) -> None:
        """Wait for the ends of steps from now on, in the place of the handler that Lightning has put before ours."""
        self._waits_for_step = True
        if threading.current_thread() is threading.main_thread():
            for signum in SIGNALS:
                signal.signal(signum, self._hear)
        if trainer.world_size > 1:
            # On the CPU, so that asking at each step makes no GPU wait.
            self._group = torch.distributed.new_group(backend="gloo")

    def end(self) -> None:
        """Wait no longer: a signal from now on ends the run at once."""
        self._waits_for_step = False

    def over(self) -> None:
        """Stop the countdown: the run has told how it ended."""
        self._over.set()

    def agreed(self, trainer: Trainer) -> bool:
        """Say whether any process of the run was asked to stop; all must call this at the end of the same step."""
        if trainer.world_size == 1:
            return self._received is not None
        signum = torch.tensor(self._received or 0)
        torch.distributed.all_reduce(signum, torch.distributed.ReduceOp.MAX, group=self._group)
        if signum.item():
            self._received = int(signum.item())
        return bool(signum.item())

    def stop(self, step: int) -> None:
        """Stop after a step that a checkpoint holds.

        Raises:
            Stopped: always.
        """
        raise Stopped(self._received or signal.SIGTERM, f"stopped by {self._name()} after step {step}")

    def _name(self) -> str:
        return {signal.SIGINT: "Ctrl-C"}.get(self._received, signal.Signals(self._received or signal.SIGTERM).name)  # type: ignore[call-overload]
