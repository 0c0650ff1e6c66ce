"""Every position of a question knows what stands there: else an ablation would hide the wrong token."""

from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from nudge.config.schema import TokenizerConfig
from nudge.data import tokenizer
from nudge.errors import UserError
from nudge.evaluation.exact_match import answer_all
from nudge.insight.questions import ROLES, Questions, answered
from tests.insight.conftest import Learned


def fact(text: str, left: int, right: int, answer: int, operation: str = "plus") -> dict[str, Any]:
    prompt = text[: text.index("equals") + len("equals")]
    return {
        "text": text,
        "prompt": prompt,
        "source": "calculator",
        "family": f"{left}+{right}",
        "stratum": "sum",
        "operation": operation,
        "left": left,
        "right": right,
        "answer": answer,
    }


def words(*rows: dict[str, Any]) -> Tokenizer:
    return tokenizer.train(
        [row["text"] for row in rows], TokenizerConfig(kind="word", max_vocabulary=100, folder=None, reserved=[])
    )


def test_positions_know_their_role_and_word() -> None:
    rows = [
        fact("thirty one plus nine equals forty", 31, 9, 40),
        fact("five plus five equals ten", 5, 5, 10),
        fact("sixty divided by twenty equals three", 60, 20, 3, "divided by"),
        fact("13 plus 45 equals 5", 13, 45, 5),
    ]
    questions = Questions.of(words(*rows), rows)
    said = [
        " ".join(ROLES[role] for role in roles if ROLES[role] not in ("end", "padding"))
        for roles in questions.role_BT.tolist()
    ]
    assert said == [
        "begin left left operator right equals answer",
        "begin left operator right equals answer",
        "begin left operator operator right equals answer",
        "begin left operator right equals answer",
    ]
    assert questions.word_BT[0].tolist() == [0, 0, 1, 0, 0, 0, 0, 0]
    assert questions.produces_BT[0].tolist() == [place == 5 for place in range(8)]
    assert questions.asked_BT[1].tolist() == [place in (4, 5) for place in range(8)]
    assert questions.where([1, 3]).tokens_BT.shape == (2, 7), "columns that only padding fills are still there"


def test_what_can_not_be_placed_is_refused() -> None:
    good = fact("three plus two equals five", 3, 2, 5)
    with pytest.raises(UserError, match=r"does not say 'two' and then 'three'"):
        Questions.of(words(good), [good | {"left": 2, "right": 3}])
    with pytest.raises(UserError, match="'seven': unknown word"):
        Questions.of(words(good), [fact("seven plus two equals nine", 7, 2, 9)])
    assert len(Questions.of(words(good), [{**good, "operation": None}])) == 0


def test_one_pass_decides_what_step_by_step_decoding_would_do(little: Learned) -> None:
    # An intervention is scored in one pass; scored otherwise, falls would be of something else than evaluate's.
    rows = little.splits["test"]
    by_decoding = torch.tensor([answer.right for answer in answer_all(little.saved, rows)])
    in_one_pass = answered(little.saved.model, Questions.of(little.saved.tokenizer, rows))
    assert 0 < by_decoding.sum() < len(rows), "both outcomes must occur to compare them"
    assert torch.equal(by_decoding, in_one_pass)
