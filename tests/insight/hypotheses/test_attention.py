"""Whether attention looks at what the answer needs: a model that copies does, one that knows nothing does not."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nudge.config.schema import ModelConfig
from nudge.data import numbers
from nudge.data.tokenizer import PAD_ID
from nudge.insight.hypotheses import attention
from nudge.insight.hypotheses.ablation import (
    SEEN,
    edge_ablation,
    edge_hiding,
    exact,
    head_ablation,
    looks,
    means,
    observe,
)
from nudge.insight.questions import Questions, answered
from nudge.model.decoder import Decoder
from nudge.model.internals import trace
from nudge.model.saved import Saved
from tests.insight.conftest import Learned
from tests.insight.test_questions import fact, words


@pytest.fixture(scope="module")
def adding() -> tuple[Decoder, Decoder, Questions]:
    """Train one head alone to add among words that mean nothing; also give it untrained.

    Without these it would add as well with uniform attention: what is the same in all questions is no disturbance.
    """
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for left, right in [*product(range(8), range(8))] * 4:
        noise = " ".join(rng.choice(["red", "green", "blue", "white", "black", "grey"], 4))
        asked = f"{noise} {numbers.words(left)} plus {numbers.words(right)} equals"
        rows.append(fact(f"{asked} {numbers.words(left + right)}", left, right, left + right))
    questions = Questions.of(words(*rows), rows)
    shape: dict[str, Any] = {"width": 32, "layers": 1, "heads": 1, "kv_heads": 1, "mlp_width": 64, "context": 16}
    config = ModelConfig(**shape, rope_theta=1e4, norm_eps=1e-6, dropout=0.0, tied=False, embedding_std=0.02)
    untrained, model = (Decoder(config, 30) for _ in range(2))
    for network in (untrained, model):
        network.initialise(torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003, weight_decay=0.0)
    for step in range(2000):  # how many it takes depends on how a processor rounds
        if step % 50 == 0 and answered(model, questions).float().mean() > 0.99:
            break
        logits_BTV = model(questions.tokens_BT)
        F.cross_entropy(logits_BTV.flatten(0, 1), questions.next_BT.flatten(), ignore_index=PAD_ID).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return model.eval(), untrained.eval(), questions


def test_what_must_look_is_found_to_look(adding: tuple[Decoder, Decoder, Questions]) -> None:
    model, untrained, questions = adding
    assert answered(model, questions).float().mean() > 0.95
    finding = attention.test(model, untrained, questions, 0)
    falls = {row["role"]: row["fall"] for row in finding.details["edges"] if row["operation"] == "all"}
    assert falls["left"] > 0.3, "an answer that follows from the left operand survives without it"
    assert falls["right"] > 0.3
    for role in ("operator", "equals"):
        assert falls[role] == 0, "a token that is the same in all questions tells something of each"
    hidden = {row["role"]: row["fall_if_hidden"] for row in finding.details["edges"]}
    assert hidden["operator"] > 0.5, "hiding hurts only what is needed, so the verdict could rest on it"
    assert finding.verdict == "supported", finding.criteria


def test_it_can_say_no(little: Learned, shuffled: Learned, untrained: Saved) -> None:
    for model, questions in (
        (untrained.model, little.questions("test")),
        (shuffled.saved.model, shuffled.questions("test")),
    ):
        finding = attention.test(model, untrained.model, questions, 0)
        assert finding.verdict == "not supported"
        assert finding.criteria[2].verdict == "not supported", "what nobody answers can't depend on anything"


def test_the_tables_are_whole(little: Learned, untrained: Saved) -> None:
    finding = attention.test(little.saved.model, untrained.model, little.questions("test"), 0)
    config = little.saved.model.config
    edges = [row for row in finding.details["edges"] if row["operation"] == "all"]
    assert len(edges) == config.layers * config.heads * len(SEEN)
    for layer in range(config.layers):
        for head in range(config.heads):
            rows = [row for row in finding.details["attention"] if (row["layer"], row["head"]) == (layer, head)]
            for column in ("attention", "uniform", "untrained"):
                assert sum(row[column] for row in rows) == pytest.approx(1, abs=1e-5)
    of_all = {(row["layer"], row["head"]): row for row in finding.details["heads"] if row["operation"] == "all"}
    for at, whole in of_all.items():
        parts = [
            row for row in finding.details["heads"] if (row["layer"], row["head"]) == at and row["operation"] != "all"
        ]
        assert sum(row["n"] for row in parts) == whole["n"]
        assert sum(row["fall"] * row["n"] for row in parts) / whole["n"] == pytest.approx(whole["fall"])
        assert whole["low"] <= whole["fall"] <= whole["high"]


def test_uniform_attention_is_recognised(untrained: Saved, little: Learned) -> None:
    # The baseline must be what a head does that prefers nothing: all queries 0.
    indifferent = Decoder(untrained.model.config, untrained.model.vocabulary)
    indifferent.load_state_dict(untrained.model.state_dict())
    for block in indifferent.model.layers:
        torch.nn.init.zeros_(block.self_attn.q_proj.weight)  # type: ignore[union-attr, arg-type]
    looks_BLHR, uniform_BR = looks(observe(indifferent.eval(), little.questions("test")))
    assert (looks_BLHR - uniform_BR[:, None, None]).abs().max() < 1e-5


def test_hiding_takes_a_role_from_one_head_where_answers_are_produced(little: Learned) -> None:
    questions = little.questions("test")
    (seen,) = observe(little.saved.model, questions)
    layer, head = little.saved.model.config.layers - 1, 1
    before_BHTT = seen.trace.pattern[layer]
    after_BHTT = edge_hiding(layer, head, "left")(seen)[f"pattern.{layer}"](before_BHTT)
    hidden_BTT = questions.produces_BT[:, :, None] & questions.has("left")[:, None, :]
    assert (after_BHTT[:, head][hidden_BTT] == 0).all()
    assert (after_BHTT.sum(-1) - 1).abs().max() < 1e-5
    elsewhere_BT = ~questions.produces_BT
    assert (after_BHTT[:, head][elsewhere_BT] - before_BHTT[:, head][elsewhere_BT]).abs().max() < 1e-6
    assert torch.equal(after_BHTT[:, 0], before_BHTT[:, 0])


def test_ablating_every_edge_of_a_head_is_ablating_what_it_gathers(little: Learned) -> None:
    # One after the other over all roles, the edges' losses must sum to all that differs between questions.
    questions = little.questions("test")
    (seen,) = observe(little.saved.model, questions)
    layer, head = 0, 1
    mean = means([seen], "values")
    mixed_BTHE = seen.trace.mixed[layer]
    for role in SEEN:
        mixed_BTHE = edge_ablation(mean, layer, head, role)(seen)[f"mixed.{layer}"](mixed_BTHE)
    mean_BTE = mean[layer][questions.role_BT, questions.word_BT, head]
    expected_BTE = seen.trace.pattern[layer][:, head] @ mean_BTE
    here_BT = questions.produces_BT
    assert (mixed_BTHE[:, :, head][here_BT] - expected_BTE[here_BT]).abs().max() < 1e-4
    assert torch.equal(mixed_BTHE[:, :, head][~here_BT], seen.trace.mixed[layer][:, :, head][~here_BT])
    assert torch.equal(mixed_BTHE[:, :, 0], seen.trace.mixed[layer][:, :, 0])


def test_one_token_of_an_operand_is_not_two(little: Learned) -> None:
    questions = little.questions("test")
    (seen,) = observe(little.saved.model, questions)
    mean, mixed_BTHE = means([seen], "values"), seen.trace.mixed[0]
    one_BTHE, all_BTHE = (
        edge_ablation(mean, 0, 1, "left", seed)(seen)["mixed.0"](mixed_BTHE) - mixed_BTHE for seed in (0, None)
    )
    differs_B = (one_BTHE - all_BTHE).abs().amax((1, 2, 3)) > 1e-6
    assert torch.equal(differs_B, questions.has("left").sum(1) > 1)


@torch.no_grad()
def test_the_mean_of_equal_questions_changes_nothing(little: Learned) -> None:
    model, questions = little.saved.model, little.questions("test")
    same = observe(model, questions.where([7] * 5))
    for edits in (head_ablation(means(same, "mixed"), 0, 1), edge_ablation(means(same, "values"), 0, 1, "left")):
        changed_BTV = trace(model, same[0].batch.tokens_BT, edits(same[0])).logits_BTV
        assert (changed_BTV - same[0].trace.logits_BTV).abs().max() < 1e-4
    # And of different ones it takes away what the head says of each.
    seen = observe(model, questions)
    assert exact(model, seen, head_ablation(means(seen, "mixed"), 0, 1)).mean() < exact(model, seen).mean() - 0.05
