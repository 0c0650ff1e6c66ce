"""What this machine can do: the peak that `throughput/mfu` is a share of."""

import time

import torch
from lightning_fabric.utilities.throughput import get_available_flops

from nudge.config.schema import TrainerConfig
from nudge.errors import UserError

# A thick square product, as a peak is usually stated; 0.1 s of them outlasts clock changes.
MATRIX_WIDTH = 1024
SECONDS = 0.1


def check_devices(config: TrainerConfig) -> None:
    """Check that the devices that a configuration asks for are there.

    Raises:
        UserError: they aren't.
    """
    if config.accelerator == "gpu" and (count := torch.cuda.device_count()) < config.devices:
        raise UserError(f"trainer.devices={config.devices}: this machine has {count} GPUs; trainer=cpu needs none")


def available_flops(config: TrainerConfig) -> float | None:
    """Return FLOP/s of one device: measured on a CPU, the published peak on a known GPU, None on another.

    Processes on one CPU share it, so each has its part.
    """
    dtype = torch.bfloat16 if config.precision.startswith("bf16") else torch.float32
    if config.accelerator == "cpu":
        return matrix_rate(dtype) / config.devices
    if config.precision == "16-mixed":
        dtype = torch.float16
    peak = get_available_flops(torch.device("cuda"), dtype)
    return float(peak) if peak else None


def matrix_rate(dtype: torch.dtype) -> float:
    """Measure the FLOP/s of matrix products on this CPU with all of torch's threads: the best of three."""
    a, b = torch.randn(2, MATRIX_WIDTH, MATRIX_WIDTH).to(dtype)
    a @ b  # the first product sets up threads and buffers
    best = 0.0
    for _ in range(3):
        begin, products = time.perf_counter(), 0
        while (seconds := time.perf_counter() - begin) < SECONDS / 3:
            a @ b
            products += 1
        best = max(best, 2 * MATRIX_WIDTH**3 * products / seconds)
    return best
