"""FLOPs of a run, and the optimiser's, are what torch counts."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nudge.compute.arithmetic import arithmetic, optimizer_flops
from nudge.compute.workload import Workload, workload
from nudge.config.composition import compose
from nudge.errors import UserError
from nudge.model.decoder import Decoder
from nudge.model.flops import Shape, training_flops_per_token
from nudge.training import optimizers


@pytest.mark.parametrize(
    "overrides", [(), ("model.heads=4", "model.kv_heads=1", "model.mlp_width=48"), ("optimizer=adamw",)], ids=str
)
def test_the_optimisers_products_are_those_that_torch_counts(overrides: tuple[str, ...]) -> None:
    # Tall and wide matrices: Newton-Schulz works on the shorter side of either.
    config = compose(list(overrides))
    model = Decoder(config.model, 38)
    optimizer = optimizers.build(config.optimizer, model)
    for weight in model.parameters():
        weight.grad = torch.randn_like(weight)
    with FlopCounterMode(display=False) as counter:
        optimizer.step()
    expected = optimizer_flops(config.optimizer, Shape.of(config.model, 38))
    assert expected == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_a_run_is_its_steps() -> None:
    # Padding is computed as tokens are; micro-batches and devices divide a step and add nothing to it.
    config = compose()
    work = Workload(Shape.of(config.model, 38), 32, 100, 10, 200, 10, 4, 5, 5)
    counted = arithmetic(config, work)
    assert counted.step == pytest.approx(training_flops_per_token(config.model, 38) * 320)
    assert counted.training == 100 * counted.step
    assert counted.validation == pytest.approx(5 * 5 / 10 * counted.step / 3)
    assert arithmetic(config, replace(work, steps=200)).training == 2 * counted.training


@pytest.mark.usefixtures("in_project")
def test_the_work_is_that_of_the_real_batches() -> None:
    # Documents are not rows: several share one, and micro-batches are packed apart.
    whole, halves = (workload(compose([f"trainer.accumulate={count}", "trainer.max_steps=120"])) for count in (1, 2))
    assert whole.targets == halves.targets
    assert 512 / 4 < whole.rows <= halves.rows < 512 / 2
    assert halves.largest_rows < 0.6 * whole.largest_rows
    assert (whole.steps, whole.validations) == (120, 2)


@pytest.mark.usefixtures("in_project")
def test_rows_of_text_are_full() -> None:
    # Text is cut into windows, and its data module has one loader where that of documents has a list.
    work = workload(compose(["experiment=stdlib", "data.sources.text.path='[a-c]*.py'", "trainer.batch_size=4"]))
    assert work.rows == work.largest_rows == 4
    assert work.targets == pytest.approx(4 * work.context, rel=0.01)
    assert work.validation_rows >= work.validation_largest_rows > 0


@pytest.mark.usefixtures("in_project")
def test_what_is_not_counted_is_refused() -> None:
    # Rollouts and frozen weights cost something else: a wrong figure would be worse than none.
    with pytest.raises(UserError, match="stage=reward: not counted"):
        workload(compose(["stage=reward"]))
    with pytest.raises(UserError, match=r"stage\.lora: not counted"):
        workload(compose(["stage=finetune", "stage.lora={rank: 8, alpha: 16}"]))
