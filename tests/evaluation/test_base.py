"""What a base model makes of questions: the number that is heard first, worked examples, kinds of text."""

from pathlib import Path

import pytest

from nudge.data import chat, documents
from nudge.data.chat import Assistant
from nudge.data.tokenizer import prompt_ids
from nudge.evaluation import base
from nudge.evaluation.base import first_number
from nudge.model import saved
from tests.evaluation.fitting import fitted


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("five", 5),
        ("the answer is twenty five . four plus", 25),
        ("five or six", 5),
        ("fifteen", 15),
        ("one hundred ninety eight .", 198),
        ("five six", None),  # one run of number words that is no number
        ("hundred", None),
        ("well .", None),
        ("", None),
        ("5", None),
    ],
)
def test_the_first_run_of_number_words_is_heard(text: str, number: int | None) -> None:
    assert first_number(text) == number


@pytest.fixture(scope="module")
def assistant(assistant_chain: Path) -> Assistant:
    return Assistant.read(assistant_chain / "data/assistant.yaml")


def test_every_question_is_asked_with_0_1_and_3_examples(in_chain: Path, assistant: Assistant) -> None:
    model = saved.load(in_chain / "models/base")
    rows = documents.read(in_chain / "corpus/mixture/curated/test.parquet").to_pylist()
    facts = [row for row in rows if row["answer"] is not None][:40]
    train = documents.read(in_chain / "corpus/mixture/curated/train.parquet").to_pylist()
    table = base.asked(model, assistant, facts, [row for row in train if row["answer"] is not None])
    questions = (*assistant.questions, chat.prompt_of(assistant.questions[0]))
    assert [(one["question"], one["shots"]) for one in table] == [
        (question, shots) for question in questions for shots in (0, 1, 3)
    ]
    assert all(one["count"] == 40 and one["share"] == one["right"] / 40 for one in table)


def test_a_model_that_knows_the_answer_in_one_form_is_right_in_that_form_alone(assistant: Assistant) -> None:
    facts = [{"left": n, "operation": "plus", "right": 1, "answer": n + 1, "text": str(n)} for n in range(8)]
    texts = [
        f"{assistant.asks(row['left'], 'plus', 1)[0]} the answer is {word} ."
        for row, word in zip(facts, ("one", "two", "three", "four", "five", "six", "seven", "eight"), strict=True)
    ]
    model = fitted(texts, 150, more_words=f"<user> <assistant> {' '.join(assistant.asks(0, 'plus', 1))}")
    table = base.asked(model, assistant, facts, facts)
    right = {(one["question"], one["shots"]): one["share"] for one in table}
    assert right[assistant.questions[0], 0] == 1.0
    assert right[assistant.questions[2], 0] < 1.0
    # Three examples and the question have up to 35 tokens, its context 32: once that ended the evaluation.
    assert (assistant.questions[0], 1) in right
    assert (chat.prompt_of(assistant.questions[0]), 3) not in right


def test_the_longest_worked_examples_leave_room_for_an_answer(in_chain: Path, assistant: Assistant) -> None:
    model = saved.load(in_chain / "models/base")
    for longest in (
        max(assistant.asks(99, "divided by", 99), key=len),
        chat.prompt_of(assistant.asks(99, "divided by", 99)[0]),
    ):
        ids = prompt_ids(model.tokenizer, " ".join([f"{longest} ninety nine ."] * 3 + [longest]))
        assert len(ids) + 4 <= model.model.config.context


def test_kinds_of_text_are_told_apart(in_chain: Path) -> None:
    model = saved.load(in_chain / "models/base")
    rows = documents.read(in_chain / "corpus/mixture/curated/train.parquet").to_pylist()
    found = base.styles(model, rows, [row for row in rows if row["answer"] is not None][:100])
    assert found["classifier"]["share"] > 0.95
    assert sum(found["share"].values()) == pytest.approx(1)
    assert set(found["share"]) <= {row["source"] for row in rows}
    assert found["entropy"] > 0
    again = base.styles(model, rows, [row for row in rows if row["answer"] is not None][:100])
    assert again == found
