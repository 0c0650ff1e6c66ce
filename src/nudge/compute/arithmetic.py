"""Floating-point operations of a whole run, by part; formulas of the network itself stand in `nudge.model.flops`."""

from collections.abc import Iterator
from dataclasses import dataclass

from nudge.compute.workload import Workload
from nudge.config import schema
from nudge.model.flops import TRAINING, Shape

# torch.optim.Muon's default, and Jordan's (kellerjordan.github.io/posts/muon).
NEWTON_SCHULZ_STEPS = 5


@dataclass(frozen=True)
class Arithmetic:
    """FLOPs of a run.

    Attributes:
        forward: of one training step, by part.
        causal_scores: what `forward["scores"]` would be if only the pairs that a causal mask leaves were counted.
        optimizer: of one step.
        validation: of all validations together.
        steps: optimiser steps.
    """

    forward: dict[str, float]
    causal_scores: float
    optimizer: float
    validation: float
    steps: int

    @property
    def step(self) -> float:
        """Return the FLOPs of one training step: forward and backward."""
        return TRAINING * sum(self.forward.values())

    @property
    def training(self) -> float:
        """Return the training FLOPs of the run: what people mean who say how large a training was."""
        return self.steps * self.step

    @property
    def total(self) -> float:
        """Return all that is counted: training, optimiser and validation."""
        return self.training + self.steps * self.optimizer + self.validation


def arithmetic(config: schema.Config, work: Workload) -> Arithmetic:
    """Count the FLOPs of a run."""
    positions = work.rows * work.context
    per_position = work.shape.forward_flops(work.context)
    held_out_positions = (work.validations + 1) * work.validation_rows * work.context
    return Arithmetic(
        forward={part: flops * positions for part, flops in per_position.items()},
        causal_scores=work.shape.forward_flops(work.context, causal=True)["scores"] * positions,
        optimizer=optimizer_flops(config.optimizer, work.shape),
        validation=held_out_positions * sum(per_position.values()),
        steps=work.steps,
    )


def optimizer_flops(config: schema.OptimizerConfig, shape: Shape) -> float:
    """Count the matrix products of one step of an optimiser: only Muon has any.

    For a matrix of m × n with m ≤ n each Newton–Schulz step takes X Xᵀ (2 m² n), its square (2 m³), and the product
    with X (2 m² n).
    """
    if not isinstance(config, schema.Muon):
        return 0.0
    flops = 0.0
    for rows, columns in hidden_matrices(shape):
        m, n = sorted((rows, columns))
        flops += NEWTON_SCHULZ_STEPS * (4.0 * m * m * n + 2.0 * m**3)
    return flops


def hidden_matrices(shape: Shape) -> Iterator[tuple[int, int]]:
    """Yield the rows and columns of each matrix inside the blocks."""
    queries, keys = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    for _ in range(shape.layers):
        yield from ((queries, shape.width), (shape.width, queries), (keys, shape.width), (keys, shape.width))
        yield from [(shape.mlp_width, shape.width)] * shape.mlp_matrices
