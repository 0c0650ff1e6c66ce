"""Memory of a training step on one device, by kind: what backpropagation keeps is counted tensor by tensor.

The letters are those of `nudge.model.decoder`: D width, H query heads, K width of all keys, F MLP width, V vocabulary,
T positions of a row. Bytes of one element: `c` of what is computed with, `n` of what norms and losses work in, at least
four. In docs/compute.md stands the table that this follows.
"""

from dataclasses import dataclass

from nudge.compute.arithmetic import hidden_matrices
from nudge.compute.workload import Workload
from nudge.config import schema
from nudge.model.flops import Shape
from nudge.training.machine import with_precision

INDEX = 8  # bytes of a token id
BATCH_ARRAYS = 4  # inputs, targets, positions, documents


@dataclass(frozen=True)
class Precision:
    """Bytes of an element.

    Attributes:
        stored: of a weight, its gradient and the optimiser's state.
        computed: of matrix products and what they read and write.
        exact: of norms and losses.
    """

    stored: int
    computed: int
    exact: int

    @property
    def autocast(self) -> bool:
        """Say whether weights are cast to another type for each product."""
        return self.computed < self.stored


PRECISIONS = {
    "32-true": Precision(4, 4, 4),
    "64-true": Precision(8, 8, 8),
    "bf16-true": Precision(2, 2, 4),
    "bf16-mixed": Precision(4, 2, 4),
    "16-mixed": Precision(4, 2, 4),
}


@dataclass(frozen=True)
class Memory:
    """Bytes on one device at the moment of a step when most are taken.

    Attributes:
        weights, gradients, optimizer: kept all the time.
        activations: what the forward pass leaves for the backward pass.
        transient: more that lives for a moment: logits, gradients of activations, copies that are measured.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    transient: int

    @property
    def total(self) -> int:
        """Return the sum."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.transient


def memory(config: schema.Config, work: Workload) -> Memory:
    """Say what a run's training steps take on one device.

    A device of `strategy=fsdp` keeps its part of weights, gradients and optimiser.
    """
    precision = PRECISIONS[with_precision(config).trainer.precision]
    divided = config.trainer.devices * config.trainer.num_nodes if config.trainer.strategy == "fsdp" else 1
    weights = sum(work.shape.weights.values())
    stored = weights * precision.stored // divided
    state = optimizer_elements(config.optimizer, work.shape) * precision.stored // divided
    kept = 2 * stored + state
    positions = work.largest_rows * work.context
    saved = activations(config, work.shape, positions)
    held_out = work.validation_largest_rows * work.context * in_passing(work.shape, precision)
    # Gradients and weights before the step are compared after it: a copy, and the differences.
    compared = 2 * stored
    step = in_training(config, work.shape, positions, stored, state)
    peak = max(step, kept + held_out, kept + compared)
    return Memory(stored, stored, state, saved, max(0, peak - kept - saved))


def optimizer_elements(config: schema.OptimizerConfig, shape: Shape) -> int:
    """Count the numbers that an optimiser keeps: AdamW two for each weight, Muon and SGD with momentum one."""
    weights = sum(shape.weights.values())
    match config:
        case schema.Muon():
            hidden = sum(rows * columns for rows, columns in hidden_matrices(shape))
            return hidden + 2 * (weights - hidden)
        case schema.AdamW():
            return 2 * weights
        case schema.SGD():
            return weights if config.momentum else 0


def activations(config: schema.Config, shape: Shape, positions: int) -> int:
    """Count the bytes that backpropagation keeps of a forward pass over `positions` positions of packed rows."""
    precision = PRECISIONS[with_precision(config).trainer.precision]
    context, dropout = config.model.context, config.model.dropout
    if config.trainer.activation_checkpointing:
        in_layers = shape.layers * precision.exact * shape.width + context  # inputs; who sees whom, once
    else:
        in_layers = shape.layers * sum(of_layer(shape, precision, context, dropout).values())
    per_position = (
        in_layers
        + norm(shape, precision)
        + precision.exact * shape.vocabulary  # log-probabilities
        + BATCH_ARRAYS * INDEX
    )
    # Under autocast each matrix has a copy in the type that it is multiplied in.
    copies = 0
    if precision.autocast:
        matrices = sum(shape.weights[part] for part in ("attention", "mlp")) + shape.vocabulary * shape.width
        copies = precision.computed * matrices
    return positions * per_position + copies


def norm(shape: Shape, precision: Precision) -> int:
    """Count what a norm keeps of a position: its scale, what it is before the gain; and its output.

    Of fewer bits than it computes with, autograd keeps the wider input too.
    """
    wide = 2 if precision.stored < precision.exact else 1
    return precision.exact * (wide * shape.width + 1) + precision.computed * shape.width


def of_layer(shape: Shape, precision: Precision, context: int, dropout: float) -> dict[str, int]:
    """Count the bytes that one layer keeps of one position, by part."""
    D, K, F = shape.heads * shape.head_width, shape.kv_heads * shape.head_width, shape.mlp_width
    c = precision.computed
    kept = {
        "norms": 2 * norm(shape, precision),
        # Queries, keys, values, what was mixed; the logarithm of each softmax's sum; who sees whom, as numbers (less
        # by that where documents see each other: stage.across_documents=visible).
        "attention": c * (2 * D + 2 * K + context) + 4 * shape.heads,
        "mlp": c * 4 * F,  # gate, its SiLU, up, their product
    }
    if dropout:
        # Not fused then: probabilities before and after dropout, its mask; keys and values repeated for each head.
        kept["attention"] = c * (4 * D + 3 * shape.heads * context)
        kept["dropout"] = c * 2 * shape.width
    if precision.autocast:
        kept["casts"] = c * 3 * shape.width  # one more for each further matrix that reads the same: k, v, up
    return kept


def in_training(config: schema.Config, shape: Shape, positions: int, stored: int, state: int) -> int:
    """Count the bytes at the worst of four moments of a step.

    The loss is computed: everything saved is there, the logits, and the last step's gradients still. The backward pass
    begins: these are gone, and two gradients as large as the logits are there. It is in the last layer's MLP: what
    head and loss had saved is gone, and gradients of the hidden layer are there. The optimiser steps: activations are
    gone, all gradients are there, and Muon's updates of all matrices.

    Args:
        config: the run.
        shape: the network's.
        positions: of one forward pass.
        stored: bytes of the weights on this device; the gradients' are as many.
        state: bytes of the optimiser's state on this device.
    """
    precision = PRECISIONS[with_precision(config).trainer.precision]
    c, n, V = precision.computed, precision.exact, shape.vocabulary
    saved = activations(config, shape, positions)
    logits = c * V + (n * V if c != n else 0)
    after_head = n * V + norm(shape, precision)
    in_mlp = n * shape.width + c * 2 * shape.mlp_width - after_head
    if config.trainer.activation_checkpointing:  # of one layer, what was not kept is there again
        in_mlp += sum(of_layer(shape, precision, config.model.context, config.model.dropout).values())
    head = precision.stored * V * shape.width
    backward = saved + max(stored + positions * logits, positions * 2 * n * V, positions * in_mlp + head)
    updates = 0
    if isinstance(config.optimizer, schema.Muon):
        updates = precision.stored * sum(rows * columns for rows, columns in hidden_matrices(shape))
    return stored + state + max(backward, stored + updates)


def in_passing(shape: Shape, precision: Precision) -> int:
    """Count the bytes of a position in a forward pass that keeps nothing: in an MLP, or at the end."""
    residual = precision.exact * shape.width
    mlp = precision.computed * (shape.width + 3 * shape.mlp_width)
    end = precision.computed * shape.vocabulary + 2 * precision.exact * shape.vocabulary
    return residual + max(mlp, end) + BATCH_ARRAYS * INDEX
