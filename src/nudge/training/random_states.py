"""Every random state of a process, as plain values that a checkpoint can hold."""

import random
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Trainer

States = dict[str, Any]


def states() -> States:
    """Return the states of Python, NumPy, torch and this process's GPU."""
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    found: States = {
        "python": [version, list(internal), gauss],
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.get_rng_state()
    return found


def restore(found: States) -> None:
    """Set what `states` returned."""
    version, internal, gauss = found["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = found["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(found["torch"])
    if "cuda" in found and torch.cuda.is_available():
        torch.cuda.set_rng_state(found["cuda"])


def shift(rank: int) -> None:
    """Give this process random numbers of its own, a function of the seed and its rank."""
    seed = torch.initial_seed() + rank
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def of_all_ranks(trainer: Trainer) -> list[States]:
    """Return each process's states, in the order of their ranks; all processes must call this."""
    if trainer.world_size == 1:
        return [states()]
    gathered: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(gathered, states())
    return gathered
