"""Worked steps: they are right, and read back as they were said; and no training document shows a held-out fact."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from nudge.config.composition import compose
from nudge.data import arithmetic, curate, documents, generate, numbers, steps, tokenize
from nudge.data.arithmetic import Fact
from nudge.data.steps import Phrases, Step, Style
from nudge.data.tokenizer import END_ID
from nudge.data.tokens import Tokens
from nudge.errors import UserError
from nudge.evaluation import beyond

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def corpus(small_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worked")
    config = compose(["data=worked"])
    generate.generate(config.data, small_project, folder / "raw")
    curate.curate(config.data, folder / "raw", folder / "curated", folder / "report.json")
    tokenize.tokenize(config.tokenizer, folder / "curated", folder / "tokens")
    return folder


@pytest.fixture(scope="module")
def splits(corpus: Path) -> dict[str, Rows]:
    found = {path.stem: documents.read(path).to_pylist() for path in (corpus / "curated").glob("*.parquet")}
    raw = [row for path in sorted((corpus / "raw").glob("*.parquet")) for row in documents.read(path).to_pylist()]
    return found | {"dropped": pq.read_table(corpus / "dropped.parquet").to_pylist(), "raw": raw}


@pytest.fixture(scope="module")
def phrases(small_project: Path) -> Phrases:
    return Phrases(small_project / "data" / "worked.yaml")


# A parser that shares nothing with the code that writes the documents, nor with the filter that drops some: it spells
# the numbers by itself, and looks in any text for two numbers around an operation.
UNITS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen""".split()  # noqa: SIM905
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()  # noqa: SIM905
SPELLED = UNITS + [f"{tens} {unit}".removesuffix(" zero") for tens in TENS for unit in UNITS[:10]]
VALUE = {words: number for number, words in enumerate(SPELLED)} | {
    f"one hundred {words}".removesuffix(" zero"): 100 + number for number, words in enumerate(SPELLED)
}
NUMBER = "|".join(sorted(VALUE, key=len, reverse=True))
SHOWN = re.compile(rf"(?<![a-z])({NUMBER}) (plus|minus|times|divided by|shared by) (?=({NUMBER})(?![a-z]))")


def shown(text: str) -> set[tuple[str, int, int]]:
    """Return what a text adds and takes away as {"+", smaller, larger}, and what it multiplies and divides as "×"."""
    found = set()
    for left, operation, right in SHOWN.findall(text):
        one, other = VALUE[left], VALUE[right]
        if operation == "minus":
            one -= other
        if operation in ("divided by", "shared by"):
            one //= other or 1
        if operation == "shared by" and one in (0, 1, 10):
            continue  # one step, which is read by itself
        sign = "+" if operation in ("plus", "minus") else "×"
        found.add((sign, min(one, other), max(one, other)))
    return found


def test_no_training_document_shows_a_held_out_fact_in_its_question_or_in_a_step(splits: dict[str, Rows]) -> None:
    # "sixteen plus eight equals twenty four" inside a worked product would teach a sum that is asked for in the test.
    held_out: set[tuple[str, int, int]] = set()
    for name in ("validation", "test"):
        for row in splits[name]:
            if row["source"] == "calculator":
                held_out |= shown(row["text"])
    assert len(held_out) == 2 * 539, "a family of each tenth, twice"
    assert len(splits["train"]) > 30_000
    for row in splits["train"]:
        assert not shown(row["text"]) & held_out, row["text"]


def test_what_is_dropped_and_what_is_cut_off_shows_a_held_out_fact(splits: dict[str, Rows], corpus: Path) -> None:
    # One that finds nothing would find no leak either; and what is cut off too early is training that is lost.
    held_out = {pair for name in ("validation", "test") for row in splits[name] for pair in shown(row["prompt"] or "")}
    whole = {row["prompt"]: row["text"] for row in splits["raw"]}
    dropped = [row for row in splits["dropped"] if row["filter"] == "held_out_steps"]
    assert len(dropped) > 100
    assert {row["source"] for row in dropped} == {"worked", "adding", "sharing"}
    for row in dropped:
        assert shown(row["text"]) & held_out, row["text"]
        assert row["text"] == whole[row["prompt"]], "dropped, and cut before that"
    cut = [row for row in splits["train"] if row["cut"] and row["text"] != whole[row["prompt"]]]
    assert {row["source"] for row in cut} == {"worked", "adding", "sharing"}
    for row in cut:
        left = whole[row["prompt"]].removeprefix(row["text"])
        assert shown(left.split(" ; ")[1]) & held_out, row["text"]
        assert row["answer"] is None, "it gives no answer"
    counted = json.loads((corpus / "report.json").read_text())["filters"][-1]
    assert (counted["filter"], counted["cut"], counted["dropped"]) == ("held_out_steps", len(cut), len(dropped))


def test_what_is_cut_has_no_end_to_learn(splits: dict[str, Rows], corpus: Path) -> None:
    # "; forty against fifty short" is the last of a document, and no answer to ninety by five.
    tokens = Tokens.open(corpus / "tokens" / "train")
    ends = tokens.ids[tokens.starts[1:] - 1] == END_ID
    assert ends.tolist() == [not row["cut"] for row in splits["train"]]


def test_worked_documents_hold_out_what_the_calculator_does(splits: dict[str, Rows]) -> None:
    for name in ("validation", "test"):
        asked = {
            source: {tuple(row[key] for key in Fact._fields) for row in splits[name] if row["source"] == source}
            for source in ("calculator", "worked", "worked_sums")
        }
        assert asked["worked"] | asked["worked_sums"] == asked["calculator"]
        assert not any(row["source"] in ("adding", "sharing", "comparing") for row in splits[name])


@pytest.mark.parametrize("style", ["down", "up", "multiples"])
def test_steps_lead_to_the_answer_and_are_true(style: Style, phrases: Phrases) -> None:
    for fact in arithmetic.facts(99):
        working = steps.working(fact, style)
        said = phrases.say(working)
        assert steps.final(said) == fact.answer, said
        assert phrases.heard(said) == working
        for step in working:
            assert step.fact is None or arithmetic.compute(*step.fact[:3]) == step.answer


def test_a_product_counts_its_left_factor_if_that_is_a_digit(phrases: Phrases) -> None:
    expected = (
        "; three : twelve ; two : twelve plus twelve equals twenty four "
        "; one : twenty four plus twelve equals thirty six"
    )
    assert phrases.say(steps.working(Fact("times", 3, 12, 36))) == expected
    assert phrases.say(steps.working(Fact("times", 12, 3, 36))) == expected
    assert phrases.say(steps.working(Fact("times", 3, 2, 6))).startswith("; three : two ; two : two plus two")
    # Eight ones are counted in as many sums as eight eights, and 7 + 1 is held out.
    assert phrases.say(steps.working(Fact("times", 8, 1, 8))) == "; one : eight"
    assert phrases.say(steps.working(Fact("times", 1, 8, 8))) == "; one : eight"


def test_a_quotient_takes_ten_times_the_divisor_while_it_can(phrases: Phrases) -> None:
    assert phrases.say(steps.working(Fact("divided by", 48, 4, 12))) == (
        "; forty eight against forty enough ; forty eight minus forty equals eight , ten ; eight against forty short ; "
        "eight minus four equals four , eleven ; four minus four equals zero , twelve"
    )


def test_a_divisor_of_two_digits_is_never_taken_ten_times(phrases: Phrases) -> None:
    said = "; forty eight minus twenty four equals twenty four , one ; twenty four minus twenty four equals zero , two"
    assert phrases.say(steps.working(Fact("divided by", 48, 24, 2))) == said


def test_what_is_no_step_is_heard_as_none(phrases: Phrases) -> None:
    heard = phrases.heard("; eight : twelve ; seven twelve plus ; two : one plus one equals fish")
    assert heard == [Step("begin", 12, count=8), None, None]


@pytest.mark.parametrize(
    ("said", "is_true"),
    [
        ("; five : three plus two equals five", True),
        ("; five : three plus two equals six", False),
        ("; five minus two equals three , one", True),
        ("; five minus two equals two , one", False),
        ("; forty five against fifty short", True),
        ("; forty five against fifty enough", False),
        ("; six : eight", True),  # it states no sum
    ],
)
def test_a_step_is_true_if_what_it_states_is(said: str, is_true: bool, phrases: Phrases) -> None:
    [step] = phrases.heard(said)
    assert step is not None
    assert step.is_true == is_true


def test_without_steps_the_corpus_is_the_calculators(small_project: Path) -> None:
    none, calculator = compose(["data=worked", "data.steps=none"]).data, compose([]).data
    assert none.sources == calculator.sources
    assert none.mixture is not None
    assert none.mixture.weights is not None
    assert set(none.mixture.weights) == {"calculator"}


def test_each_comparison_within_a_quotient_is_practised(splits: dict[str, Rows], phrases: Phrases) -> None:
    # "forty against fifty" failed in ninety by five: it stood only before "forty minus five", which is held out.
    said = {f";{part}" for row in splits["train"] for part in row["text"].split(" ;")[1:]}
    for divisor in range(1, steps.MOST_TIMES + 1):
        for left in range(100):
            assert phrases.say([steps.compared(left, steps.TENFOLD * divisor)]) in said
    [cut] = [row["text"] for row in splits["train"] if row["prompt"] == "forty divided by five step by step"]
    assert cut == "forty divided by five step by step ; forty against fifty short"


def test_chains_of_each_length_are_left_to_ask(splits: dict[str, Rows], phrases: Phrases) -> None:
    # Practice that is cut is in training with its question, and no chain of nine was left: the one that must not break.
    asked = Counter(one.group for one in beyond.questions(phrases, beyond.trained(splits["train"])))
    assert asked.keys() == beyond.GROUPS.keys()
    assert min(asked.values()) > 40, asked


def test_practice_in_adding_begins_as_a_product_does(splits: dict[str, Rows], phrases: Phrases) -> None:
    # "nine times two" was begun with "; two : two": no more than the few products showed which factor is counted.
    adding = [row for row in splits["train"] if row["source"] == "adding"]
    assert len(adding) > 10_000
    for row in adding:
        left, right, start = numbers.found(row["prompt"])
        product = steps.working(Fact("times", left, right, left * right))
        begin, *sums = phrases.heard(row["text"].removeprefix(row["prompt"]))
        assert begin == Step("begin", start, count=product[0].count), row["text"]
        expected = [(one.count, one.right) for one in product[1:]]
        assert [(one.count, one.right) for one in sums if one] == expected[: len(sums)]
        assert row["cut"] or len(sums) == len(expected)


def test_practice_is_no_quotient_and_ends_at_zero_alone(splits: dict[str, Rows]) -> None:
    sharing = [row for row in splits["raw"] if row["source"] == "sharing"]
    assert len(sharing) > 10_000
    for row in sharing:
        total, divisor, count = numbers.found(row["prompt"])
        assert count or total % divisor, "without a rest, from the beginning: that is a quotient"
        assert row["cut"] == bool(total % divisor), row["text"]


@pytest.mark.parametrize(
    ("line", "instead", "complaint"),
    [
        ("question:", "qestion:", "unknown key 'qestion' (did you mean 'question'?)"),
        ("{count} : {answer}", "{cuont} : {answer}", "steps.begin uses {cuont} (did you mean 'count'?)"),
        ("  plus: plus", "  puls: plus", "operations: unknown 'puls' (did you mean 'plus'?)"),
        ('say: "; {answer}"', 'say: "nothing"', "steps.say must use {answer} once, not 0 times"),
    ],
)
def test_a_wrong_file_is_one_clear_line(
    line: str, instead: str, complaint: str, small_project: Path, tmp_path: Path
) -> None:
    written = (small_project / "data" / "worked.yaml").read_text()
    assert line in written
    (tmp_path / "worked.yaml").write_text(written.replace(line, instead, 1))
    with pytest.raises(UserError, match=re.escape(complaint)) as told:
        Phrases(tmp_path / "worked.yaml")
    assert "\n" not in str(told.value)
