"""`nudge` in which something goes wrong at a step, as NUDGE_TEST_BREAK says: `KIND@STEP`. Run by tests alone."""

import ctypes
import os
import resource
import sys
from pathlib import Path
from typing import Any

import torch

from nudge.cli.main import run
from nudge.training.pretraining import Pretraining

kind, _, step = os.environ["NUDGE_TEST_BREAK"].partition("@")
original = Pretraining.training_step


def breaking(self: Pretraining, batch: Any, batch_idx: int) -> torch.Tensor:
    if self.trainer.global_step + 1 == int(step) and self.trainer.global_rank == 0:
        match kind:
            case "exception":
                raise ValueError("a bad batch")
            case "exit":
                sys.exit(3)
            case "leave":
                sys.exit()
            case "memory":
                # From here on the system gives no more: the next large request fails for real.
                used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
                resource.setrlimit(resource.RLIMIT_AS, (used + 2**20, resource.RLIM_INFINITY))
                torch.zeros(2**30)
            case "hang":
                # In C, where Python hears no signal: as in a collective whose other side is gone.
                mutex = ctypes.create_string_buffer(64)
                for _ in range(2):
                    ctypes.CDLL(None).pthread_mutex_lock(mutex)
    return original(self, batch, batch_idx)


Pretraining.training_step = breaking  # type: ignore[method-assign]
run()
