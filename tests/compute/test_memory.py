"""Memory by formula is what torch allocates: each kind, and the most at any moment of a step."""

from pathlib import Path

import numpy as np
import pytest

from nudge.compute.memory import in_training, memory
from nudge.compute.workload import Workload
from nudge.config.composition import compose
from nudge.data.tokens import Tokens
from nudge.model.flops import Shape
from nudge.training.batches import packed
from tests.compute.measuring import bytes_of_step

TEN_MILLION = (
    "trainer.precision=32-true",  # auto means another on another machine
    "model.width=320", "model.layers=8", "model.heads=5", "model.kv_heads=5", "model.mlp_width=864",
    "model.context=256",
)  # fmt: skip
CASES = {
    "calculator": ((), 38, 64),
    "calculator, larger batch": ((), 38, 512),
    "assistant": (("experiment=base",), 300, 128),
    "assistant, larger batch": (("experiment=base",), 300, 512),
    "ten million": (TEN_MILLION, 2000, 16),
    "ten million, larger batch": (TEN_MILLION, 2000, 64),
    "grouped, tied": (("model.heads=4", "model.kv_heads=1", "model.tied=true"), 500, 256),
    "AdamW": (("optimizer=adamw",), 38, 256),
    "SGD": (("optimizer=sgd",), 38, 256),
    "dropout": (("model.dropout=0.1",), 38, 256),
    "bfloat16": (("trainer.precision=bf16-true",), 300, 256),
    "mixed": (("trainer.precision=bf16-mixed",), 300, 256),
    "recomputed": ((*TEN_MILLION, "trainer.activation_checkpointing=true"), 300, 64),
    "recomputed, mixed": (
        (*TEN_MILLION, "trainer.precision=bf16-mixed", "trainer.activation_checkpointing=true"),
        300,
        64,
    ),
    "large vocabulary": (("model.layers=1",), 20_000, 64),
}


def documents(vocabulary: int, count: int, longest: int) -> Tokens:
    random = np.random.default_rng(0)
    lengths = random.integers(longest // 2, longest, count)
    starts = np.concatenate(([0], lengths.cumsum()))
    ids = random.integers(3, vocabulary, starts[-1]).astype(np.uint16)
    return Tokens(ids, starts, np.zeros(count, np.int64))


@pytest.mark.parametrize(("overrides", "vocabulary", "count"), CASES.values(), ids=CASES)
def test_memory_is_what_torch_allocates(
    overrides: tuple[str, ...], vocabulary: int, count: int, tmp_path: Path
) -> None:
    # A kind that was forgotten: old gradients that live until the loss is there, log-probabilities, the mask.
    config = compose(list(overrides))
    batch = packed(documents(vocabulary, count, 24), np.arange(count), config.model.context, 1000)
    measured = bytes_of_step(config, vocabulary, batch, tmp_path)
    shape, rows = Shape.of(config.model, vocabulary), len(batch["inputs"])
    positions = rows * config.model.context
    taken = memory(config, Workload(shape, config.model.context, 1, rows, 1, rows, 1, 1, 1))
    assert taken.weights == measured.weights
    assert taken.gradients == measured.gradients
    # AdamW keeps a count of steps with each weight, too.
    assert taken.optimizer == pytest.approx(measured.optimizer, rel=0.01, abs=100)
    if not config.trainer.activation_checkpointing:  # else torch tells of what is kept for what is computed again
        assert taken.activations == pytest.approx(measured.activations, rel=0.02)
    most = in_training(config, shape, positions, taken.weights, taken.optimizer)
    assert most == pytest.approx(measured.most, rel=0.02)
