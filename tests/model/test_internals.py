"""What is said about the inside is about the model that answers: the trace is its forward pass."""

import pytest
import torch

from nudge.model.internals import at_positions, head_contributions, sites, surprisals, trace
from tests.model.test_decoder import decoder


@pytest.mark.parametrize("shape", [{}, {"kv_heads": 1}, {"tied": True}, {"rope_theta": 100.0}])
def test_the_trace_is_the_forward_pass(shape: dict[str, object]) -> None:
    model = decoder(embedding_std=0.5, **shape).eval()
    tokens_BT = torch.randint(3, 38, (5, 11))
    seen = trace(model, tokens_BT)
    assert (seen.logits_BTV - model(tokens_BT)).abs().max() < 1e-5
    for layer in range(model.config.layers):
        assert torch.allclose(seen.pattern[layer].sum(-1), torch.ones(()), atol=1e-6)
        assert (seen.pattern[layer].triu(1) == 0).all(), "a position looks into the future"
        contributions = head_contributions(model, layer, seen.mixed[layer])
        assert (contributions.sum(2) - seen.attention[layer]).abs().max() < 1e-5
    parts = seen.stream[0] + sum(seen.attention) + sum(seen.mlp)
    assert (parts - seen.stream[-1]).abs().max() < 1e-5
    loss = torch.nn.functional.cross_entropy(seen.logits_BTV[:, :-1].flatten(0, 1), tokens_BT[:, 1:].flatten())
    assert surprisals(seen.logits_BTV, tokens_BT).mean().item() == pytest.approx(loss.item(), abs=1e-5)


def test_padding_on_the_right_changes_nothing_before_it() -> None:
    model = decoder(embedding_std=0.5).eval()
    tokens_BT = torch.randint(3, 38, (3, 9))
    padded_BT = torch.nn.functional.pad(tokens_BT, (0, 4))
    assert (trace(model, padded_BT).logits_BTV[:, :9] - model(tokens_BT)).abs().max() < 1e-5


def test_a_document_that_just_fits_is_traced_with_its_end_token() -> None:
    # Training takes documents of one token more than the context; insight and the report died of their traces.
    model = decoder(embedding_std=0.5, context=8)
    tokens_BT = torch.randint(3, 38, (3, 9))
    seen = trace(model, tokens_BT)
    assert seen.logits_BTV.shape == (3, 9, 38)
    assert (seen.logits_BTV[:, :8] - model(tokens_BT[:, :8])).abs().max() < 1e-5


def test_patching_the_stream_after_the_last_layer_gives_the_other_prompts_logits() -> None:
    model = decoder(embedding_std=0.5).eval()
    here_BT, there_BT = torch.randint(3, 38, (2, 6, 8))
    last = f"stream.{2 * model.config.layers}"
    other = trace(model, there_BT)
    position_B = torch.full((6,), 7)
    patched = trace(model, here_BT, {last: at_positions(position_B, other.stream[-1][:, 7])})
    assert torch.equal(patched.logits_BTV[:, 7], other.logits_BTV[:, 7])
    untouched = trace(model, here_BT)
    assert torch.equal(patched.logits_BTV[:, :7], untouched.logits_BTV[:, :7])
    assert not torch.allclose(other.logits_BTV[:, 7], untouched.logits_BTV[:, 7])


def test_every_site_can_be_changed_and_a_wrong_name_is_refused() -> None:
    model = decoder(embedding_std=0.5).eval()
    tokens_BT = torch.randint(3, 38, (2, 7))
    untouched = trace(model, tokens_BT).logits_BTV
    for site in sites(model):
        assert torch.equal(trace(model, tokens_BT, {site: lambda value: value.clone()}).logits_BTV, untouched), site
        assert not torch.allclose(trace(model, tokens_BT, {site: torch.zeros_like}).logits_BTV, untouched), site
    with pytest.raises(AssertionError, match="no such site"):
        trace(model, tokens_BT, {"stream.99": torch.zeros_like})
