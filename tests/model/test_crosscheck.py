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
from nudge.data import numbers, tokenizer
from nudge.data.tokenizer import prompt_ids
from nudge.insight.hypotheses.answering import answering, attribution
from nudge.insight.questions import Questions
from nudge.model import saved
from nudge.model.decoder import Decoder
from nudge.model.internals import at_positions, trace
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
def test_direct_logit_attribution(models: Models) -> None:
    """Divide the logit of each right token, above the mean of the number words, among embeddings, heads and MLPs."""
    facts = [fact("plus", 42, 7, 49), fact("times", 26, 3, 78)]
    questions = Questions.of(models.ours.tokenizer, facts)
    states = answering(models.ours.model, questions)
    ours = dict(zip(states.components, attribution(models.ours.model, states), strict=True))

    logits_BTV, cache = models.lens.run_with_cache(questions.tokens_BT)
    parts_CBTD, labels = cache.get_full_resid_decomposition(expand_neurons=False, return_labels=True)
    # It divides by the norm's scale, but knows the gain only after folding, which would change the weights.
    gained_CBTD = parts_CBTD * models.llama.model.norm.weight
    of_words_CBT = torch.stack([cache.logit_attrs(gained_CBTD, tokens=word) for word in states.number_words.tolist()])
    above_CBT = cache.logit_attrs(gained_CBTD, tokens=questions.next_BT) - of_words_CBT.mean(0)
    theirs = dict(zip(labels, above_CBT[:, questions.asked_BT], strict=True))

    assert theirs.pop("bias").abs().max() == 0
    assert len(ours) == len(theirs) == 1 + models.ours.model.config.layers * (models.ours.model.config.heads + 1)
    for name, attribution_N in ours.items():
        close(theirs[their_name(name)], attribution_N)
    asked_NV = logits_BTV[questions.asked_BT]
    right_N = asked_NV.gather(1, states.right_N[:, None])[:, 0]
    close(right_N - asked_NV[:, states.number_words].mean(-1), torch.stack(list(ours.values())).sum(0))
    assert min(spread(attribution_N) for attribution_N in ours.values()) > 0.001


def fact(operation: str, left: int, right: int, answer: int) -> dict[str, Any]:
    prompt = f"{numbers.words(left)} {operation} {numbers.words(right)} equals"
    return {
        "text": f"{prompt} {numbers.words(answer)}",
        "source": "test",
        "prompt": prompt,
        "operation": operation,
        "left": left,
        "right": right,
    }


def their_name(component: str) -> str:
    """Return TransformerLens' name: "embed", "L0H1" and "0_mlp_out" for "embeddings", "0.1" and "0 mlp"."""
    if component == "embeddings":
        return "embed"
    layer, head = component.replace(" ", ".").split(".")
    return f"{layer}_mlp_out" if head == "mlp" else f"L{layer}H{head}"


def close(theirs: Tensor, ours: Tensor) -> None:
    assert theirs.shape == ours.shape
    assert (theirs - ours).abs().max() < TOLERANCE


def spread(values: Tensor) -> float:
    return float(values.max() - values.min())
