"""Stage `preferences`: two answers to questions that training may see, rated by programs and by people."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from nudge.config.composition import compose
from nudge.config.posttraining import PreferencesConfig
from nudge.data import arithmetic, ratings
from nudge.data.asking import questions
from nudge.data.raters import COIN, SLIP
from nudge.data.ratings import Rating
from nudge.data.split import assign
from nudge.errors import UserError
from nudge.model import saved
from nudge.rating.preferences import data_of, preferences
from nudge.rating.sampling import sample_answers, sample_pairs
from tests.conftest import read_json

LITTLE: dict[str, Any] = {
    "seed": 0,
    "pairs": 300,
    "held_out_pairs": 60,
    "temperature": 1.0,
    "max_new": 32,
    "raters": [{"flip_rate": 0.0}, {"flip_rate": 0.1}],
}


def made(project: Path, model: Path, **changes: Any) -> dict[str, Any]:
    config = PreferencesConfig.model_validate(LITTLE | changes)
    folder, reports = project / "corpus/preferences", project / "reports"
    return preferences(model, project / "data/ratings.jsonl", folder, reports, config)


def rows_of(project: Path) -> list[Rating]:
    return ratings.read(project / "corpus/preferences/ratings.jsonl")


def a_persons(prompt: str, **changes: Any) -> str:
    one = {
        "pair": "p1",
        "rater": "ada",
        "simulated": False,
        "flip_rate": None,
        "time": "2026-01-31T12:00:00+00:00",
        "prompt": prompt,
        "A": "five",
        "B": "six",
        "choice": "A",
        "why": "right: I counted",
    }
    return json.dumps(one | changes) + "\n"


def test_each_rater_rates_each_pair_of_two_different_answers(rated_project: Path, assistant_model: Path) -> None:
    report = made(rated_project, assistant_model)
    rows = rows_of(rated_project)
    assert len(rows) == 2 * (300 + 60)
    by_pair: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        by_pair[row.pair].add(row.rater)
    assert len(by_pair) == 360
    assert set(map(frozenset, by_pair.values())) == {frozenset({"simulated-0.00", "simulated-0.10"})}
    assert all(row.simulated and "<" not in row.A + row.B for row in rows), "an answer has tokens of the chat form"
    assert read_json(rated_project / "reports/preferences.json") == json.loads(json.dumps(report))
    assert report["model"]["digest"] == saved.digest(assistant_model)


def test_no_question_is_of_a_family_that_is_held_out_for_the_test(rated_project: Path, assistant_model: Path) -> None:
    made(rated_project, assistant_model)
    data = data_of(saved.load(assistant_model), assistant_model)
    # The calculator's split, from its facts alone: what is held out there must be held out here.
    split_of = assign({fact.family: fact.stratum for fact in arithmetic.facts(99)}, compose().data)
    asked = {one.text: one for some in questions(data, 0).values() for one in some}
    seen = [asked[row.prompt] for row in rows_of(rated_project)]
    splits = {split_of[one.family] for one in seen if one.expected is not None}
    assert splits == {"train", "validation"}
    assert any(one.expected is None for one in seen), "no question is to be refused"


def test_the_same_settings_give_the_same_bytes_and_another_seed_others(
    rated_project: Path, assistant_model: Path
) -> None:
    path = rated_project / "corpus/preferences/ratings.jsonl"
    made(rated_project, assistant_model)
    first = path.read_bytes()
    made(rated_project, assistant_model)
    assert path.read_bytes() == first
    made(rated_project, assistant_model, seed=1)
    assert path.read_bytes() != first


def test_the_report_counts_what_is_in_the_file(rated_project: Path, assistant_model: Path) -> None:
    report = made(rated_project, assistant_model)
    rows = rows_of(rated_project)
    noisy = {row["split"]: row for row in report["raters"] if row["rater"] == "simulated-0.10"}
    assert {split: row["count"] for split, row in noisy.items()} == {"train": 300, "validation": 60}
    own = [row for row in rows if row.rater == "simulated-0.10"]
    assert sum(row["why"].get(SLIP, 0) for row in noisy.values()) == sum(one.why == SLIP for one in own)
    ties = sum(one.why == COIN for one in own[:300]) / 300
    assert noisy["train"]["ceiling"] == pytest.approx((1 - ties) * 0.9 + ties / 2)
    (agreed,) = report["agreement"]
    exact = {row.pair: row.choice for row in rows if row.rater == "simulated-0.00"}
    assert agreed["right"] == sum(exact[one.pair] == one.choice for one in own)


def test_people_stand_in_the_same_file_as_programs(rated_project: Path, assistant_model: Path) -> None:
    data = data_of(saved.load(assistant_model), assistant_model)
    prompt = questions(data, 0)["train"][-1].text
    (rated_project / "data/ratings.jsonl").write_text(a_persons(prompt))
    report = made(rated_project, assistant_model)
    assert rows_of(rated_project)[-1].rater == "ada"
    (ada,) = (row for row in report["raters"] if row["kind"] == "person")
    assert (ada["rater"], ada["split"], ada["count"], ada["why"]) == ("ada", "train", 1, {"right": 1})


@pytest.mark.parametrize(
    ("prompt", "changes", "complaint"),
    [
        ("what is love ?", {}, "ratings.jsonl:1: unknown prompt 'what is love ?' ('love': unknown word in"),
        ("what is ?", {}, "ratings.jsonl:1: unknown prompt 'what is ?' (none of the questions that the assistant"),
        ("TEST", {}, "(a question of the test split, which no training may see)"),
        ("TRAIN", {"simulated": True, "flip_rate": 0.2}, "'ada' is simulated; this file is people's"),
    ],
)
def test_ratings_that_no_model_may_learn_from_are_refused(
    rated_project: Path, assistant_model: Path, prompt: str, changes: dict[str, Any], complaint: str
) -> None:
    by_split = questions(data_of(saved.load(assistant_model), assistant_model), 0)
    prompt = by_split[prompt.lower()][0].text if prompt.lower() in by_split else prompt
    (rated_project / "data/ratings.jsonl").write_text(a_persons(prompt, **changes))
    with pytest.raises(UserError) as raised:
        made(rated_project, assistant_model)
    assert complaint in str(raised.value)
    assert not (rated_project / "corpus/preferences").exists(), "something is written in spite of the mistake"


def test_a_model_that_always_says_the_same_gives_no_pairs(rated_project: Path, assistant_model: Path) -> None:
    # Otherwise the stage would ask for ever.
    model = saved.load(assistant_model)
    some = questions(data_of(model, assistant_model), 0)["train"][:5]
    with pytest.raises(UserError, match=r"0 pairs of two different answers in 100 tries, 5 are asked for; raise"):
        sample_pairs(model, some, 5, temperature=1e-4, seed=0, max_new=32)


def test_an_answer_that_does_not_end_is_none(rated_project: Path, assistant_model: Path) -> None:
    model = saved.load(assistant_model)
    some = ["what is two plus three ?"] * 50
    assert sample_answers(model, some, 1.0, seed=0, max_new=1) == [None] * 50
    answers = sample_answers(model, some, 1.0, seed=0, max_new=32)
    assert len({answer for answer in answers if answer}) > 5
    assert answers == sample_answers(model, some, 1.0, seed=0, max_new=32)


def test_a_question_with_an_unknown_word_is_named(rated_project: Path, assistant_model: Path) -> None:
    with pytest.raises(UserError, match="'love': unknown word"):
        sample_answers(saved.load(assistant_model), ["what is love ?"], 1.0, seed=0, max_new=32)
