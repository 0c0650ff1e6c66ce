"""Ratings: which of two answers a rater found better, one JSON line each, people's and simulated ones alike.

People's stand in `data/ratings.jsonl`; stage `preferences` writes them with the simulated ones into one file.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from nudge.data import files
from nudge.errors import UserError, did_you_mean

FILE = "ratings.jsonl"
REASONS = ("right", "form", "short", "polite", "other")  # what a person may give as the reason

Choice = Literal["A", "B"]
R = TypeVar("R", bound="Row")


class Row(BaseModel):
    """Part of a file of JSON lines: unknown keys and wrong types are errors; values can't change afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Pair(Row):
    """Two answers to one question, to be rated.

    Attributes:
        pair: names the pair, whoever rates it.
        prompt: the question alone.
    """

    pair: str = Field(min_length=1)
    prompt: str = Field(min_length=1)
    A: str
    B: str

    @model_validator(mode="after")
    def _two_answers(self) -> Self:
        if self.A == self.B:
            raise ValueError("A and B are the same answer; a pair needs two")
        return self


class Rating(Pair):
    """One rater's choice between two answers.

    Attributes:
        rater: a person's name, or "simulated-0.10".
        simulated: whether a program chose.
        flip_rate: how often that program says the opposite of its rubric; None for people.
        time: ISO 8601; of a simulated rating, which has no moment, 1970.
        why: the reason that the rater gave; of a simulated rating, the criterion that decided.
    """

    rater: str
    simulated: bool
    flip_rate: Annotated[float, Field(ge=0, lt=0.5, allow_inf_nan=False)] | None
    time: str
    choice: Choice
    why: str

    @field_validator("rater")
    @classmethod
    def _somebody(cls, rater: str) -> str:
        if not rater.strip():
            raise ValueError("nobody; each rating names its rater")
        return rater

    @field_validator("choice", mode="before")
    @classmethod
    def _no_tie(cls, choice: object) -> object:
        if choice not in ("A", "B"):
            raise ValueError("choice must be A or B; leave ties and unfinished ratings out")
        return choice

    @field_validator("time")
    @classmethod
    def _is_a_time(cls, time: str) -> str:
        try:
            datetime.fromisoformat(time)
        except ValueError as error:
            raise ValueError("not a time; ISO 8601 is like 2026-01-31T12:00:00+00:00") from error
        return time

    @model_validator(mode="after")
    def _who_flips(self) -> Self:
        if self.simulated != (self.flip_rate is not None):
            raise ValueError("flip_rate is a number for simulated raters, and null for people")
        return self


def pair(prompt: str, one: str, other: str) -> Pair:
    """Name the pair of two answers; which of them is A is drawn by a hash, so that the side says nothing.

    The same two answers give the same pair, in whatever order they come.
    """
    answers = sorted((one, other))
    digest = hashlib.blake2b(json.dumps([prompt, *answers]).encode(), digest_size=8).digest()
    first, second = answers if digest[0] % 2 else reversed(answers)
    return Pair(pair=digest.hex(), prompt=prompt, A=first, B=second)


def read_pairs(path: Path) -> list[Pair]:
    """Read a file of pairs, `{"pair", "prompt", "A", "B"}` a line.

    Raises:
        UserError: with the number of the first line that is wrong.
    """
    found: dict[str, Pair] = {}
    for number, line in _lines(path):
        one = _parse(Pair, line, path, number)
        if found.setdefault(one.pair, one) != one:
            raise UserError(f"{path}:{number}: pair {one.pair} stands there twice, with other content")
    return list(found.values())


def read(path: Path, known_prompt: Callable[[str], str | None] | None = None) -> list[Rating]:
    """Read a file of ratings; one that is empty holds none.

    Args:
        known_prompt: returns what is wrong with a prompt, or None if it is known.

    Raises:
        UserError: with the number of the first line that is wrong.
    """
    ratings: list[Rating] = []
    pairs: dict[str, tuple[int, Pair]] = {}
    rated: dict[tuple[str, str], int] = {}
    for number, line in _lines(path):
        one = _parse(Rating, line, path, number)
        if known_prompt is not None and (wrong := known_prompt(one.prompt)):
            raise UserError(f"{path}:{number}: unknown prompt '{one.prompt}' ({wrong})")
        first, before = pairs.setdefault(one.pair, (number, _asked(one)))
        if before != _asked(one):
            raise UserError(
                f"{path}:{number}: unknown prompt or answers: pair {one.pair} is another one in line {first}; "
                "all ratings of a pair have its prompt, A and B"
            )
        if (first := rated.setdefault((one.pair, one.rater), number)) != number:
            raise UserError(
                f"{path}:{number}: '{one.rater}' rated pair {one.pair} already in line {first}; keep one of the two"
            )
        ratings.append(one)
    return ratings


def write(ratings: Iterable[Rating], path: Path) -> None:
    """Write a file of ratings whole, or not at all."""
    files.write_text(path, "".join(json.dumps(one.model_dump(), ensure_ascii=False) + "\n" for one in ratings))


def merge(old: Iterable[Rating], new: Iterable[Rating]) -> list[Rating]:
    """Return the ratings of both, one for each rater and pair, in the order in which they came.

    Who rated a pair again has changed their mind: the later one counts.
    """
    merged: dict[tuple[str, str], Rating] = {}
    for one in (*old, *new):
        before = merged.get((one.pair, one.rater))
        if before is None or datetime.fromisoformat(one.time) > datetime.fromisoformat(before.time):
            merged[one.pair, one.rater] = one
    return list(merged.values())


def add(new: Iterable[Rating], path: Path) -> int:
    """Merge ratings into a file, which other processes may be doing too; return by how many it grew.

    Raises:
        UserError: the file is there and damaged; it is left as it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path.parent):
        old = read(path) if path.exists() else []
        merged = merge(old, new)
        if merged != old:
            write(merged, path)
    return len(merged) - len(old)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from changing a folder; the lock is on the folder itself, since DVC pins all files in it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _asked(one: Pair) -> Pair:
    return Pair(pair=one.pair, prompt=one.prompt, A=one.A, B=one.B)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        content = path.read_text(encoding="utf-8-sig")  # some editors put a mark before the first line
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; an empty one holds no ratings") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable as UTF-8 text ({error})") from error
    # Not splitlines(): an answer may hold a line separator that JSON doesn't escape.
    lines = content.split("\n")
    yield from ((number, line) for number, line in enumerate(lines, 1) if line.strip())


def _parse(kind: type[R], line: str, path: Path, number: int) -> R:
    try:
        plain = json.loads(line)
    except ValueError as error:
        raise UserError(
            f"{path}:{number}: half a line, or no JSON ({line[:40]!r}); each line is one whole JSON object"
        ) from error
    if not isinstance(plain, dict):
        raise UserError(f"{path}:{number}: {line[:40]!r} is no JSON object; each line is one")
    try:
        return kind.model_validate(plain)
    except ValidationError as error:
        # A misspelt key is a missing one too; the misspelling says more.
        first = sorted(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            near = did_you_mean(key, set(kind.model_fields) - set(plain) or set(kind.model_fields))
            raise UserError(f"{path}:{number}: unknown key '{key}'{near}") from error
        if first["type"] == "missing":
            raise UserError(
                f"{path}:{number}: '{key}' is missing; a line has {', '.join(kind.model_fields)}"
            ) from error
        reason = first["msg"].removeprefix("Value error, ")
        what = f"{key} = {first['input']!r}: " if key else ""
        raise UserError(f"{path}:{number}: {what}{reason.replace('Input should', 'it should')}") from error
