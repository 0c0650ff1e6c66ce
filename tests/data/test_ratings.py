"""A file of ratings loses nothing, doubles nothing, and says in one line what is wrong with it."""

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from nudge.data import ratings
from nudge.data.ratings import Rating
from nudge.errors import UserError

ONE: dict[str, Any] = {
    "pair": "p1",
    "rater": "ada",
    "simulated": False,
    "flip_rate": None,
    "time": "2026-01-31T12:00:00+00:00",
    "prompt": "what is two plus three ?",
    "A": "the answer is five .",
    "B": "five , obviously .",
    "choice": "A",
    "why": "polite",
}


def rating(**changes: Any) -> Rating:
    return Rating.model_validate(ONE | changes)


def line(**changes: Any) -> str:
    return json.dumps(ONE | changes) + "\n"


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ratings.jsonl"
    # U+2028 is a line to str.splitlines(), and stands in an answer as it is.
    some = [rating(), rating(rater="zoë", A="fünf\u2028, gern\n"[:-1]), rating(pair="p2", simulated=True, flip_rate=0)]
    some[1] = some[1].model_copy(update={"pair": "p3"})
    ratings.write(some, path)
    assert ratings.read(path) == some
    assert [path.name for path in tmp_path.iterdir()] == ["ratings.jsonl"], "a temporary file is left"


def test_an_empty_file_holds_no_ratings(tmp_path: Path) -> None:
    (tmp_path / "ratings.jsonl").touch()
    assert ratings.read(tmp_path / "ratings.jsonl") == []


@pytest.mark.parametrize(
    ("second", "complaint"),
    [
        (line(pair="p2", rater=" "), "rater = ' ': nobody; each rating names its rater"),
        (line(pair="p2", rater=None), "rater = None: it should be a valid string"),
        (json.dumps({k: v for k, v in ONE.items() if k != "rater"}), "'rater' is missing; a line has pair, prompt,"),
        (line(), "'ada' rated pair p1 already in line 1; keep one of the two"),
        (line(choice="B"), "'ada' rated pair p1 already in line 1; keep one of the two"),
        (line(pair="p2", choice="tie"), "choice = 'tie': choice must be A or B"),
        (line(pair="p2", choice=None), "choice = None: choice must be A or B"),
        (line(rater="bob", prompt="what is six minus two ?"), "unknown prompt or answers: pair p1 is another one in"),
        (line(pair="p2", prompt="what is love ?"), "unknown prompt 'what is love ?' (who knows)"),
        (line()[:60], "half a line, or no JSON"),
        ("[]", "'[]' is no JSON object"),
        (line(pair="p2", reason="kind"), "unknown key 'reason' (there is: "),
        (
            json.dumps({"whi" if k == "why" else k: v for k, v in ONE.items()}),
            "unknown key 'whi' (did you mean 'why'?)",
        ),
        (line(pair="p2", B=ONE["A"]), "A and B are the same answer; a pair needs two"),
        (line(pair="p2", time="yesterday"), "time = 'yesterday': not a time; ISO 8601 is like"),
        (line(pair="p2", flip_rate=0.1), "flip_rate is a number for simulated raters, and null for people"),
        (line(pair="p2", simulated=True, flip_rate=0.5), "flip_rate = 0.5: it should be less than 0.5"),
        (line(pair="p2", simulated="no"), "simulated = 'no': it should be a valid boolean"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, second: str, complaint: str) -> None:
    path = tmp_path / "ratings.jsonl"
    path.write_text(line() + second, encoding="utf-8")
    with pytest.raises(UserError) as raised:
        ratings.read(path, lambda prompt: "who knows" if "love" in prompt else None)
    assert str(raised.value).startswith(f"{path}:2: {complaint}")
    assert "\n" not in str(raised.value)


def test_a_pair_has_the_same_sides_in_whatever_order_the_answers_come() -> None:
    # Otherwise the same two answers, sampled again in another order, would be asked again under another name.
    pairs = [ratings.pair("what is two plus three ?", "five", str(number)) for number in range(400)]
    assert pairs == [ratings.pair("what is two plus three ?", str(number), "five") for number in range(400)]
    assert len({one.pair for one in pairs}) == 400
    # The side says nothing about the answer: 200 ± 4 standard deviations.
    assert 160 < sum(one.A == "five" for one in pairs) < 240


def test_merging_doubles_nothing_and_the_later_choice_counts() -> None:
    later = rating(choice="B", time="2026-02-01T12:00:00+01:00")
    other = rating(rater="bob")
    assert ratings.merge([rating()], [rating(), other]) == [rating(), other]
    assert ratings.merge([rating(), other], [later]) == [later, other]
    assert ratings.merge([later], [rating()]) == [later]


def test_a_damaged_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ratings.jsonl"
    path.write_text(line() + line()[:30], encoding="utf-8")
    before = path.read_bytes()
    with pytest.raises(UserError, match="half a line"):
        ratings.add([rating(pair="p2")], path)
    assert path.read_bytes() == before


def _add(path: Path, rater: str) -> None:
    for number in range(20):
        ratings.add([rating(pair=f"p{number}", rater=rater)], path)


def test_what_two_processes_add_at_once_is_all_there(tmp_path: Path) -> None:
    # Read, merge and write without a lock lose what the other wrote in between.
    path = tmp_path / "ratings.jsonl"
    path.touch()
    both = [multiprocessing.Process(target=_add, args=(path, rater)) for rater in ("ada", "bob")]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert len(ratings.read(path)) == 40
    assert [path.name for path in tmp_path.iterdir()] == ["ratings.jsonl"], "DVC would pin what is left"
