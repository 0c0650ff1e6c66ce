"""What is said about the inside is what transformers and TransformerLens say of the same exported weights."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nudge.config.composition import compose
from nudge.config.schema import ModelConfig
from nudge.data import tokenizer
from nudge.data.tokenizer import prompt_ids
from nudge.model import saved
from nudge.model.decoder import Decoder
from nudge.model.internals import Trace, at_positions, head_contributions, trace
from nudge.model.saved import Saved
from nudge.training import optimizers

TOLERANCE = 1e-4
SHAPES: dict[str, dict[str, object]] = {
    "untied": {},
    "tied": {"tied": True},
    "grouped": {"heads": 4, "kv_heads": 2, "layers": 3},
}


@dataclass(frozen=True)
class Models:
    """The same weights in three libraries."""

    ours: Saved
    llama: Any
    lens: Any


@pytest.fixture(scope="module", params=SHAPES)
def models(request: pytest.FixtureRequest, small_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Train a model for a few steps, so that the gains of its norms are not all 1, and export it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        from transformer_lens.model_bridge.sources import build_bridge_from_module
        from transformers import LlamaForCausalLM

        words = tokenizer.load(small_project / "corpus/tokens/tokenizer.json")
        folder = tmp_path_factory.mktemp("exported") / "model"
        model = trained(words, **SHAPES[request.param])
        saved.save(Saved(model, words, compose().model_dump(mode="json")), folder)
        llama, bridged = (
            LlamaForCausalLM.from_pretrained(folder, attn_implementation="eager").eval() for _ in range(2)
        )
        # Built around the loaded module: its own loader tries the tokenizer on "a", an unknown word.
        lens = build_bridge_from_module(bridged, "LlamaForCausalLM", hf_config=bridged.config)
    return Models(saved.load(folder), llama, lens)


def trained(words: Any, **shape: object) -> Decoder:
    config = compose().model.model_copy(update={"embedding_std": 0.3, **shape})
    model = Decoder(ModelConfig.model_validate(config.model_dump()), words.get_vocab_size())
    model.initialise(torch.Generator().manual_seed(0))
    optimizer = optimizers.build(compose(["optimizer=adamw", "optimizer.lr=0.02"]).optimizer, model)
    facts = ("two plus three equals five", "nine minus four equals five", "six times seven equals forty two")
    rows = [words.encode(fact).ids[:7] for fact in facts]
    tokens_BT = torch.tensor(rows)
    for _ in range(10):
        optimizer.zero_grad()
        logits_BTV = model(tokens_BT[:, :-1])
        torch.nn.functional.cross_entropy(logits_BTV.flatten(0, 1), tokens_BT[:, 1:].flatten()).backward()
        optimizer.step()
    assert (model.model.norm.weight - 1).abs().max() > 0.05, "gains of 1 would hide a norm that is left out"
    return model.eval()


@pytest.fixture
def clean_BT(models: Models) -> Tensor:  # noqa: N802
    return asked(models, "forty two plus seven equals", "twenty six times three equals")


@pytest.fixture
def corrupted_BT(models: Models) -> Tensor:  # noqa: N802
    return asked(models, "forty two minus seven equals", "twenty six times nine equals")


def asked(models: Models, *questions: str) -> Tensor:
    return torch.tensor([prompt_ids(models.ours.tokenizer, question) for question in questions])


@torch.no_grad()
def test_logits_attention_and_residual_stream(models: Models, clean_BT: Tensor) -> None:
    ours = trace(models.ours.model, clean_BT)
    theirs = models.llama(clean_BT, output_attentions=True, output_hidden_states=True)
    lens_logits_BTV, cache = models.lens.run_with_cache(clean_BT)
    close(theirs.logits, ours.logits_BTV)
    close(lens_logits_BTV, ours.logits_BTV)
    layers = models.ours.model.config.layers
    assert len(theirs.attentions) == layers
    for layer in range(layers):
        close(theirs.attentions[layer], ours.pattern[layer])
        close(cache[f"blocks.{layer}.attn.hook_pattern"], ours.pattern[layer])
        close(cache[f"blocks.{layer}.attn.hook_z"], ours.mixed[layer])
        close(theirs.hidden_states[layer], ours.stream[2 * layer])
        close(cache[f"blocks.{layer}.hook_resid_pre"], ours.stream[2 * layer])
        close(cache[f"blocks.{layer}.hook_resid_mid"], ours.stream[2 * layer + 1])
        close(cache[f"blocks.{layer}.hook_resid_post"], ours.stream[2 * layer + 2])
    assert max(spread(pattern_BHTT) for pattern_BHTT in ours.pattern) > 0.1, "attention that is uniform tests nothing"


@torch.no_grad()
def test_a_map_of_activation_patching(models: Models, clean_BT: Tensor, corrupted_BT: Tensor) -> None:
    """Put each place of the clean residual stream into the corrupted run: layer × position."""
    from transformer_lens import patching

    right, wrong = (models.ours.tokenizer.token_to_id(word) for word in ("forty", "thirty"))

    def difference(logits_BTV: Tensor) -> Tensor:
        return (logits_BTV[:, -1, right] - logits_BTV[:, -1, wrong]).mean()

    _, cache = models.lens.run_with_cache(clean_BT)
    theirs_LT = patching.get_act_patch_resid_pre(models.lens, corrupted_BT, cache, difference)
    ours_LT = patching_map(models.ours.model, clean_BT, corrupted_BT, difference)
    close(theirs_LT, ours_LT)
    assert ours_LT.shape == (models.ours.model.config.layers, clean_BT.shape[1])
    assert spread(ours_LT) > 0.01, "patches that change nothing test nothing"


def patching_map(model: Decoder, clean_BT: Tensor, corrupted_BT: Tensor, metric: Callable[[Tensor], Tensor]) -> Tensor:
    clean = trace(model, clean_BT)
    rows = []
    for layer in range(model.config.layers):
        row = []
        for position in range(clean_BT.shape[1]):
            where_B = torch.full((len(clean_BT),), position)
            patch = at_positions(where_B, clean.stream[2 * layer][:, position])
            row.append(metric(trace(model, corrupted_BT, {f"stream.{2 * layer}": patch}).logits_BTV))
        rows.append(torch.stack(row))
    return torch.stack(rows)


@torch.no_grad()
def test_direct_logit_attribution(models: Models, clean_BT: Tensor) -> None:
    """Divide each next token's logit among embeddings, heads and MLPs; together they are the logit."""
    lens, chosen_BT = models.lens, clean_BT.roll(-1, 1)
    logits_BTV, cache = lens.run_with_cache(clean_BT)
    parts_CBTD, labels = cache.get_full_resid_decomposition(expand_neurons=False, return_labels=True)
    # It divides by the norm's scale, but knows the gain only after folding, which would change the weights.
    gained_CBTD = parts_CBTD * models.llama.model.norm.weight
    theirs = dict(zip(labels, cache.logit_attrs(gained_CBTD, tokens=chosen_BT), strict=True))
    ours = attributions(models.ours.model, trace(models.ours.model, clean_BT), chosen_BT)
    assert theirs.keys() - ours.keys() == {"bias"}
    assert theirs["bias"].abs().max() == 0
    for label, attribution_BT in ours.items():
        close(theirs[label], attribution_BT)
    total_BT = logits_BTV.gather(-1, chosen_BT[..., None])[..., 0]
    close(torch.stack(list(ours.values())).sum(0), total_BT)
    assert min(spread(attribution_BT) for attribution_BT in ours.values()) > 0.001


def attributions(model: Decoder, seen: Trace, chosen_BT: Tensor) -> dict[str, Tensor]:
    """Return what each part adds to a token's logit, by TransformerLens' names; all share the norm's scale."""
    norm, final_BTD = model.model.norm, seen.stream[-1]
    scale_BT1 = (final_BTD.square().mean(-1, keepdim=True) + model.config.norm_eps).sqrt()
    direction_BTD = model.lm_head.weight[chosen_BT] * norm.weight / scale_BT1
    found = {"embed": (seen.stream[0] * direction_BTD).sum(-1)}
    for layer, mixed_BTHE in enumerate(seen.mixed):
        added_BTHD = head_contributions(model, layer, mixed_BTHE)
        for head in range(added_BTHD.shape[2]):
            found[f"L{layer}H{head}"] = (added_BTHD[:, :, head] * direction_BTD).sum(-1)
        found[f"{layer}_mlp_out"] = (seen.mlp[layer] * direction_BTD).sum(-1)
    return found


def close(theirs: Tensor, ours: Tensor) -> None:
    assert theirs.shape == ours.shape
    assert (theirs - ours).abs().max() < TOLERANCE


def spread(values: Tensor) -> float:
    return float(values.max() - values.min())
