"""A nudge can be checked by hand, its gradient without backpropagation, and its optimiser against the reference."""

import copy
from decimal import Decimal
from pathlib import Path

import pytest
import torch

from nudge.config.composition import compose
from nudge.data import tokenizer
from nudge.insight.explanation import nudging, surprise
from nudge.insight.explanation.nudging import SMALLEST_WEIGHT, Nudge
from nudge.model.saved import Saved
from tests.model.test_decoder import decoder

SHAPES = [{}, {"tied": True}, {"heads": 4, "kv_heads": 2, "layers": 3}]
FACT = "seventy two minus five equals sixty seven"


def make(small_project: Path, optimizer: str = "muon", *overrides: str, **shape: object) -> tuple[Saved, list[int]]:
    words = tokenizer.load(small_project / "corpus/tokens/tokenizer.json")
    made_by = compose([f"optimizer={optimizer}", *overrides]).model_dump(mode="json")
    model = Saved(decoder(embedding_std=0.5, **shape), words, made_by)
    return model, surprise.encode(FACT, model, whole=True)


def nudged(model: Saved, ids: list[int]) -> Nudge:
    return nudging.nudge(model, ids, nudging.gradients_of(model.model, ids)[0])


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradient_is_the_slope_of_the_loss(small_project: Path, shape: dict[str, object]) -> None:
    model, ids = make(small_project, **shape)
    found = nudged(model, ids)
    assert found.error < 1e-3
    # The same slope, measured here, with another distance.
    name, losses = found.weight, []
    for side in (1e-3, -1e-3):
        moved = copy.deepcopy(model.model).double()
        with torch.no_grad():
            moved.get_parameter(name)[found.index] += side
            losses.append(nudging.loss_of(moved, ids).item())
    assert (losses[0] - losses[1]) / 2e-3 == pytest.approx(found.gradient, rel=1e-3)


@pytest.mark.parametrize(
    "rate", ["optimizer.lr=0.02", "optimizer.lr=0.0037281048372", "optimizer.lr=1.5", "optimizer.lr=1e-5"]
)
def test_a_pocket_calculator_gets_the_new_weight_exactly(small_project: Path, rate: str) -> None:
    model, ids = make(small_project, "muon", rate)
    found = nudged(model, ids)
    old, gradient, learning_rate, new = (
        Decimal(found.printed[key]) for key in ("old", "gradient", "learning_rate", "new")
    )
    assert old - learning_rate * gradient == new
    assert max(len(found.printed[key].strip("-").replace(".", "")) for key in ("old", "gradient")) <= 8
    assert len(learning_rate.as_tuple().digits) <= 2
    assert float(learning_rate) == found.learning_rate == pytest.approx(model.config["optimizer"]["lr"], rel=0.05)
    for key, true in (("old", found.old), ("gradient", found.gradient), ("new", found.new)):
        assert float(found.printed[key]) == pytest.approx(true, abs=2e-5)
    assert found.old - found.learning_rate * found.gradient == found.new
    assert found.old == model.model.get_parameter(found.weight)[found.index].item()


def test_small_gradients_are_printed_with_digits_to_check() -> None:
    shown = nudging.printed(0.123456789, -0.000012345678, Decimal("0.02"))
    assert shown["gradient"] == "-0.000012346"
    assert Decimal(shown["old"]) - Decimal("0.02") * Decimal(shown["gradient"]) == Decimal(shown["new"])
    assert shown["new"] != shown["old"]
    assert nudging.printed(0.5, 0.0, Decimal("0.02"))["new"] == "0.5"


@pytest.mark.parametrize("shape", SHAPES)
def test_the_weight_has_the_largest_gradient_of_those_inside_the_blocks(
    small_project: Path, shape: dict[str, object]
) -> None:
    model, ids = make(small_project, **shape)
    found = nudged(model, ids)
    gradients, _ = nudging.gradients_of(model.model, ids)
    rivals = [
        (abs(gradient), name)
        for name, matrix in gradients.items()
        if ".layers." in name and matrix.dim() == 2
        for gradient, weight in zip(
            matrix.flatten().tolist(), model.model.get_parameter(name).flatten().tolist(), strict=True
        )
        if abs(weight) >= SMALLEST_WEIGHT
    ]
    assert max(rivals) == (abs(found.gradient), found.weight)
    larger = sum(int((matrix.abs() > abs(found.gradient)).sum()) for matrix in gradients.values())
    assert found.rank == larger + 1
    assert found.count == sum(weight.numel() for weight in model.model.parameters())


@pytest.mark.parametrize("shape", SHAPES)
def test_the_losses_are_those_of_real_steps(small_project: Path, shape: dict[str, object]) -> None:
    model, ids = make(small_project, "sgd", "optimizer.lr=0.002", **shape)
    before = {name: weight.clone() for name, weight in model.model.named_parameters()}
    found = nudged(model, ids)
    assert all(torch.equal(weight, before[name]) for name, weight in model.model.named_parameters()), "it was changed"
    reading = surprise.read(model, ids, 1)
    assert found.loss["before"] == pytest.approx(reading.mean, abs=1e-6)
    stepped = copy.deepcopy(model.model)
    optimizer = torch.optim.SGD(stepped.parameters(), lr=0.002)
    nudging.loss_of(stepped, ids).backward()
    optimizer.step()
    assert found.loss["all"] == pytest.approx(nudging.loss_of(stepped, ids).item(), abs=1e-6)
    assert found.new == pytest.approx(stepped.get_parameter(found.weight)[found.index].item(), abs=1e-7)
    assert found.loss["all"] < found.loss["weight"] < found.loss["before"]
    # The run's own optimiser is the same one here: its momentum begins with this gradient.
    assert found.own.name == "sgd"
    assert found.own.new == pytest.approx(found.new, abs=1e-7)
    assert found.own.decay == 0
    assert found.own.loss == pytest.approx(found.loss["all"], abs=1e-6)


def test_adamw_moves_by_the_learning_rate_whatever_the_gradient(small_project: Path) -> None:
    model, ids = make(small_project, "adamw", "optimizer.lr=0.004", "optimizer.weight_decay=0.5")
    found = nudged(model, ids)
    assert found.own.name == "adamw"
    assert found.own.decay == pytest.approx(-0.004 * 0.5 * found.old)
    direction = -1 if found.gradient > 0 else 1
    assert found.own.new == pytest.approx(found.old + found.own.decay + direction * 0.004, abs=1e-6)
    assert found.own.new != pytest.approx(found.new, abs=1e-4)
    assert "AdamW" in found.own.why
    assert "decay" in found.own.why


def test_muon_moves_by_the_nearest_orthogonal_matrix(small_project: Path) -> None:
    model, ids = make(small_project, "muon", "optimizer.weight_decay=1.0")
    found = nudged(model, ids)
    gradient = nudging.gradients_of(model.model, ids)[0][found.weight]
    weight = torch.nn.Parameter(model.model.get_parameter(found.weight).detach().clone())
    weight.grad = gradient.clone()
    torch.optim.Muon([weight], lr=0.02, weight_decay=1.0, momentum=0.95).step()
    assert found.own.name == "muon"
    assert found.own.new == pytest.approx(weight[found.index].item(), abs=1e-7)
    assert found.own.decay == pytest.approx(-0.02 * found.old)
    assert "orthogonal" in found.own.why


@pytest.mark.parametrize("shape", SHAPES)
def test_blame_sums_to_one_and_an_input_token_gets_that_of_its_embedding(
    small_project: Path, shape: dict[str, object]
) -> None:
    model, ids = make(small_project, **shape)
    gradients, inputs_TD = nudging.gradients_of(model.model, ids)
    found = nudging.blame_of(model, ids, gradients, inputs_TD)
    for shares in (found.part, found.layer, found.head, dict(enumerate(share for _, share in found.token))):
        assert sum(shares.values()) == pytest.approx(1, abs=1e-6)
        assert min(shares.values()) >= 0
    assert [token for token, _ in found.token] == ["<s>", *FACT.split()]
    assert len(set(ids)) == len(ids), "each token of the example must stand once"
    if not model.model.config.tied:
        assert torch.allclose(gradients["model.embed_tokens.weight"][ids[:-1]], inputs_TD, atol=1e-7)
    reference = torch.nn.functional.cross_entropy(model.model(torch.tensor([ids[:-1]]))[0], torch.tensor(ids[1:]))
    reference.backward()
    for name, weight in model.model.named_parameters():
        assert weight.grad is not None
        assert torch.allclose(weight.grad, gradients[name], atol=1e-6), name
