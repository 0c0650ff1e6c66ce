"""Shares of blame sum to one and fall where the gradient is, grouped heads included."""

import pytest
import torch

from nudge.model import blame
from nudge.model.decoder import Decoder
from tests.model.test_decoder import decoder


def gradients(model: Decoder) -> dict[str, torch.Tensor]:
    tokens_BT = torch.randint(3, 38, (4, 9))
    logits_BTV = model(tokens_BT[:, :-1])
    torch.nn.functional.cross_entropy(logits_BTV.flatten(0, 1), tokens_BT[:, 1:].flatten()).backward()
    return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("shape", [{}, {"kv_heads": 1}, {"tied": True}])
def test_shares_sum_to_one_and_agree_with_each_other(shape: dict[str, object]) -> None:
    model = decoder(embedding_std=0.5, **shape)
    found = gradients(model)
    parts = blame.by_part(found)
    layers, heads = blame.by_layer(found, model.config), blame.by_head(found, model.config)
    for shares in (parts, layers, heads):
        assert sum(shares.values()) == pytest.approx(1, abs=1e-9)
    for part in ("attention", "mlp"):
        assert sum(share for name, share in layers.items() if name.endswith(part)) == pytest.approx(parts[part])
    gains = sum(float(found[name].double().square().sum()) for name in found if "input_layernorm" in name)
    total = sum(float(gradient.double().square().sum()) for gradient in found.values())
    in_heads = sum(share for name, share in heads.items() if name != "elsewhere")
    assert in_heads == pytest.approx(parts["attention"] - gains / total)


def test_a_heads_blame_is_that_of_its_own_rows_and_columns() -> None:
    model = decoder(layers=2)
    name = "model.layers.1.self_attn.{}.weight"
    zero = {key: torch.zeros_like(weight) for key, weight in model.named_parameters()}
    width = model.config.width // model.config.heads
    zero[name.format("q_proj")][width : 2 * width] = 1.0
    assert blame.by_head(zero, model.config)["1.1"] == 1.0
    zero[name.format("o_proj")][:, :width] = 1.0
    shares = blame.by_head(zero, model.config)
    assert shares["1.0"] == shares["1.1"] == 0.5
