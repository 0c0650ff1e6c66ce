"""The whole mixture, made once: nothing held out is told in training, and the filters find what was planted."""

import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from nudge.config.composition import compose
from nudge.data import asking, chat, curate, documents, tokenizer
from nudge.data.generate import LABELS, generate
from nudge.data.tokenize import tokenize
from nudge.data.tokens import Tokens
from nudge.errors import UserError
from nudge.evaluation.curation import curation

Row = dict[str, Any]

ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
SMALL = {word: number for number, word in enumerate(ONES)} | {word: 10 * (n + 2) for n, word in enumerate(TENS)}
SPOKEN = re.compile(
    rf"\b(?:(one) hundred ?)?(?:({'|'.join(TENS)}) ({'|'.join(ONES[1:10])})\b|({'|'.join([*TENS, *ONES])})\b)?"
)


def numbers_in(text: str) -> list[int]:
    """Read the numbers of a text: a parser of the test's own, so that it can't share an error with the filter's."""
    found = []
    for match in SPOKEN.finditer(text):
        if match[0].strip():
            hundred, ten, one, single = match.groups()
            found.append(100 * bool(hundred) + sum(SMALL[word] for word in (ten, one, single) if word))
    return found


def test_the_tests_own_parser_reads() -> None:
    text = "one hundred ninety eight and one hundred , forty two plus sixty = one hundred two , none"
    assert numbers_in(text) == [198, 100, 42, 60, 102]


@pytest.fixture(scope="module")
def corpus(in_project_module: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixture")
    config = compose(["data=mixture", "tokenizer=chat"])
    generate(config.data, in_project_module, folder / "raw")
    labels = folder / LABELS
    labels.rename(folder / "hidden")  # curation has to work without: it never looks
    curate.curate(config.data, folder / "raw", folder / "curated", folder / "curation.json")
    (folder / "hidden").rename(labels)
    tokenize(config.tokenizer, folder / "curated", folder / "tokens")
    return folder


def rows_of(corpus: Path, split: str) -> list[Row]:
    return documents.read(corpus / f"curated/{split}.parquet").to_pylist()


@pytest.fixture(scope="module")
def families(corpus: Path) -> set[str]:
    """Return the held-out families."""
    return {row["family"] for split in ("validation", "test") for row in rows_of(corpus, split)}


@pytest.fixture(scope="module")
def held_out(families: set[str]) -> set[tuple[int, ...]]:
    """Return the three numbers of each held-out family, from its name alone."""
    triples = set()
    for family in families:
        left, sign, right = re.split(r"([+*])", family)
        a, b = int(left), int(right)
        triples.add(tuple(sorted((a, b, a + b if sign == "+" else a * b))))
    assert len(triples) > 1000
    return triples


def test_no_training_text_tells_a_held_out_family_in_any_register_or_order(
    corpus: Path, held_out: set[tuple[int, ...]]
) -> None:
    raw = [row for path in (corpus / "raw").glob("*.parquet") for row in documents.read(path).to_pylist()]
    leaking = [row for row in raw if row["family"] is None and tells(row["text"], held_out)]
    assert len(leaking) > 300, "nothing leaked: the test below shows nothing"
    words, tokens = tokenizer.load(corpus / "tokens/tokenizer.json"), Tokens.open(corpus / "tokens/train")
    for first, last in itertools.pairwise(tokens.starts.tolist()):
        text = words.decode(tokens.ids[first:last].tolist())
        assert not tells(text, held_out), text


def tells(text: str, held_out: set[tuple[int, ...]]) -> bool:
    said = numbers_in(text)
    return any(tuple(sorted(three)) in held_out for three in itertools.combinations(said, 3))


def test_no_question_of_a_later_stage_asks_for_a_held_out_family(families: set[str]) -> None:
    # Fine-tuning, preferences and RLHF all ask what the fine-tuning corpus's training split asks.
    config = compose(["data=chat"]).data
    asked = [question for question in asking.questions(config, seed=0)["train"] if question.expected is not None]
    assert len(asked) > 10_000
    for question in asked:
        left, right = numbers_in(question.text)
        parts = (left, right) if {"plus", "times"} & set(question.text.split()) else (question.expected, right)
        sign = "*" if {"times", "divided"} & set(question.text.split()) else "+"
        assert f"{min(parts)}{sign}{max(parts)}" not in families, question


def test_the_split_is_the_calculators(corpus: Path, small_project: Path) -> None:
    for split in ("validation", "test"):
        theirs = documents.read(small_project / f"corpus/curated/{split}.parquet").to_pylist()
        assert {row["family"] for row in rows_of(corpus, split)} == {row["family"] for row in theirs}


def test_the_filters_find_what_was_planted_and_leave_the_rest(corpus: Path, tmp_path: Path) -> None:
    told = curation(corpus, tmp_path)
    recall = {name: one["recall"]["share"] for name, one in told["problems"].items()}
    assert recall["exact_duplicates"] >= 0.99
    assert recall["leaked_test_facts"] >= 0.99
    assert recall["near_duplicates"] >= 0.95
    assert recall["personal_data"] >= 0.95
    assert told["precision"]["share"] >= 0.99
    assert told["clean_kept"]["share"] >= 0.99
    assert 0.5 < recall["wrong_facts"] < 1, "what spreads can't be outvoted"
    assert all(one["dropped"] and one["examples"] for one in told["filters"]), "a filter without work"
    assert json.loads((tmp_path / "curation_mixture.json").read_text()) == told


def test_nothing_vanishes(corpus: Path) -> None:
    raw = sum(pq.read_metadata(path).num_rows for path in (corpus / "raw").glob("*.parquet"))
    kept = sum(pq.read_metadata(path).num_rows for path in (corpus / "curated").glob("*.parquet"))
    dropped = pq.read_table(corpus / "dropped.parquet").to_pylist()
    assert raw == kept + len(dropped)
    assert len({row["id"] for row in dropped}) == len(dropped)
    assert all(row["filter"] and row["reason"] for row in dropped)


def test_every_training_fact_is_still_told(corpus: Path) -> None:
    told = {(row["operation"], row["left"], row["right"]) for row in rows_of(corpus, "train") if row["operation"]}
    assert len(told) == pytest.approx(0.8 * 16_294, rel=0.01)


def test_the_vocabulary_is_small_and_has_what_the_assistant_says(corpus: Path, in_project_module: Path) -> None:
    words = tokenizer.load(corpus / "tokens/tokenizer.json")
    assert [words.id_to_token(number) for number in range(5)] == ["<pad>", "<s>", "</s>", "<user>", "<assistant>"]
    assert words.get_vocab_size() <= 350
    assistant = asking.assistant_of(compose(["data=chat"]).data)
    said = [assistant.refusal, *assistant.polite, *assistant.rude]
    for operation in ("plus", "minus", "times", "divided by", *assistant.unknown_operations):
        said += assistant.asks(60, operation, 30)
    said += [
        form.text.format(answer="two", left="two", right="two", operation="plus") for form in assistant.answers.values()
    ]
    for text in said:
        tokenizer.check_known(words, text)
    tokenizer.check_known(words, chat.prompt_of("what is two plus three ?"))


def test_tokens_know_their_source(corpus: Path) -> None:
    tokens, rows = Tokens.open(corpus / "tokens/train"), rows_of(corpus, "train")
    assert [tokens.source_names[code] for code in tokens.sources.tolist()] == [row["source"] for row in rows]


def test_the_labels_are_for_measuring_alone(corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus, tmp_path / "corpus")
    (tmp_path / "corpus" / LABELS).unlink()
    with pytest.raises(UserError, match=r"labels.parquet: no such file"):
        curation(tmp_path / "corpus", tmp_path)
    assert LABELS not in {path.name for path in (corpus / "raw").iterdir()}
    source = Path(curate.__file__).parent
    readers = [path for path in source.rglob("*.py") if "read_labels" in path.read_text()]
    assert readers == [source / "problems/__init__.py"], "curation could read the labels"
