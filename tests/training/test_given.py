"""Examples and questions from a file: what is held out never gets in by this door."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from nudge import project
from nudge.config.composition import compose
from nudge.data import documents, tokenizer
from nudge.errors import UserError
from nudge.training import given

ASKED = "<user> what is two plus three ? <assistant>"
HELD_OUT = "<user> how much is one plus one ? <assistant>"
Write = Callable[..., str]


@pytest.fixture
def words() -> Tokenizer:
    texts = [f"{ASKED} the answer is five .", f"{HELD_OUT} two"]
    return tokenizer.train(texts, compose(["tokenizer=chat"]).tokenizer)


@pytest.fixture
def curated(tmp_path: Path) -> Path:
    def row(prompt: str, left: int, right: int) -> dict[str, Any]:
        fact = {"operation": "plus", "left": left, "right": right, "answer": left + right}
        return {"text": f"{prompt} two", "source": "chat", "prompt": prompt, "family": "x", **fact}

    for split, rows in {
        "train": [row(ASKED, 2, 3)],
        "validation": [row("<user> what is two plus two ? <assistant>", 2, 2)],
        "test": [row(HELD_OUT, 1, 1)],
    }.items():
        documents.write(documents.table(rows), tmp_path / f"{split}.parquet")
    return tmp_path


@pytest.fixture
def write(in_project: Path, tmp_path: Path) -> Write:
    def lines(*rows: Any) -> str:
        path = tmp_path / "given.jsonl"
        path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
        assert project.root() == in_project
        return str(path)

    return lines


def test_examples_are_read_as_the_corpus_is(words: Tokenizer, curated: Path, write: Write) -> None:
    """One token too few before the answer, and the model would be trained to say the question's last word."""
    text = f"{ASKED} the answer is five ."
    tokens = given.examples(write({"prompt": ASKED, "text": text}), words, curated)
    assert tokens.ids.tolist() == words.encode(text).ids
    assert tokens.ids[: tokens.answers[0]].tolist() == tokenizer.prompt_ids(words, ASKED)


def test_questions_are_divided_and_keep_their_answers(words: Tokenizer, curated: Path, write: Write) -> None:
    rows = [{"prompt": ASKED, "answer": 5, "split": split} for split in ("train", "validation")]
    found = given.questions(write(*rows), words, curated)
    assert found == {split: [(tokenizer.prompt_ids(words, ASKED), 5)] for split in ("train", "validation")}


EXAMPLE = {"prompt": ASKED, "text": f"{ASKED} five"}


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([], "empty"),
        (['{"prompt": "a'], "line 1 is no JSON"),
        ([EXAMPLE, {"prompt": ASKED}], "line 2 lacks 'text'"),
        ([{"prompt": ASKED, "text": "five"}], "doesn't begin with its prompt"),
        ([{"prompt": ASKED, "text": f"{ASKED} six"}], "'six': unknown word"),
        ([{"prompt": HELD_OUT, "text": f"{HELD_OUT} two"}], "is of the test split"),
        ([EXAMPLE | {"operation": "plus", "left": 1, "right": 1}], "is of the test split"),
        ([EXAMPLE | {"operation": "plus", "left": 2, "right": 2}], "is of the validation split"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    rows: list[Any], complaint: str, words: Tokenizer, curated: Path, write: Write
) -> None:
    with pytest.raises(UserError) as error:
        given.examples(write(*rows), words, curated)
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


def test_questions_need_both_splits_and_no_held_out_family(words: Tokenizer, curated: Path, write: Write) -> None:
    asked = {"prompt": ASKED, "answer": 5}
    with pytest.raises(UserError, match="has none whose split is validation"):
        given.questions(write(asked | {"split": "train"}), words, curated)
    validated = {"prompt": HELD_OUT, "answer": 2, "split": "validation"}
    with pytest.raises(UserError, match="is of the test split"):
        given.questions(write(asked | {"split": "train"}, validated), words, curated)
    with pytest.raises(UserError, match="no such file"):
        given.questions("nowhere.jsonl", words, curated)
