"""A kind of text that states arithmetic facts: a template grammar that people wrote, filled in by a program."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from nudge.config.data import DataConfig, RegisterSource
from nudge.data import arithmetic, files, numbers, templates
from nudge.data.arithmetic import Fact
from nudge.errors import UserError, did_you_mean

NUMBERS = ("left", "right", "answer")
KEYS = ("statements", "slots", "sayings")
TAIL = re.compile(r"( [^\w{}]+)?")  # after the answer at most one mark, so that the answer is what a document ends in


class Grammar:
    """How a register says facts, read from the file that people wrote.

    Raises:
        UserError: the file is missing, not YAML, or empty, or a template of it is wrong.
    """

    def __init__(self, path: Path) -> None:
        content = files.read_yaml(path)
        if not isinstance(content, dict) or not content.get("statements"):
            raise UserError(f"{path}: holds no statements; a register needs some for each operation")
        for key in content:
            if key not in KEYS:
                raise UserError(f"{path}: unknown key '{key}'{did_you_mean(str(key), KEYS)}")
        self._path = path
        self._slots: dict[str, list[str]] = content.get("slots") or {}
        self._statements: dict[str, list[str]] = content["statements"]
        self._sayings: list[str] = content.get("sayings") or []
        self._check()
        self.statements = {name: [_parsed(text) for text in texts] for name, texts in self._statements.items()}
        self.sayings = [_parsed(text) for text in self._sayings]
        self.slots = {name: [_parsed(text) for text in texts] for name, texts in self._slots.items()}

    def _check(self) -> None:
        for operation in arithmetic.OPERATIONS:
            if not self._statements.get(operation):
                raise UserError(f"{self._path}: statements lacks '{operation}', or it is empty")
        for operation in self._statements:
            if operation not in arithmetic.OPERATIONS:
                near = did_you_mean(operation, arithmetic.OPERATIONS)
                raise UserError(f"{self._path}: unknown operation '{operation}'{near}")
        for name, phrases in self._slots.items():
            if not phrases:
                raise UserError(f"{self._path}: slot '{name}' has no phrases")
            for number, phrase in enumerate(phrases):
                self._check_template(f"slots.{name}.{number}", phrase)
        for number, text in enumerate(self._sayings):
            self._check_template(f"sayings.{number}", text, at_most_once=NUMBERS[:2])
        for name, texts in self._statements.items():
            for number, text in enumerate(texts):
                self._check_template(f"statements.{name}.{number}", text, once=NUMBERS)
                if not TAIL.fullmatch(text.split("{answer}")[1]):
                    raise UserError(f"{self._path}: {text!r} must end with {{answer}}, or with a mark after it")

    def _check_template(
        self, key: str, text: str, once: tuple[str, ...] = (), at_most_once: tuple[str, ...] = ()
    ) -> None:
        templates.check(f"{self._path}: {key}", text, once, at_most_once, often=tuple(self._slots))

    def state(self, fact: Fact, key: str) -> tuple[str, str]:
        """Say a fact; return the text and what stands in it before the answer. The same key gives the same words."""
        filled = {name: numbers.words(getattr(fact, name)) for name in NUMBERS}
        words, before = self._filled(self.statements[fact.operation], filled, key)
        return " ".join(words), " ".join(words[:before])

    def say(self, left: int, right: int, key: str) -> str:
        """Say something that is no fact."""
        filled = {"left": numbers.words(left), "right": numbers.words(right)}
        return " ".join(self._filled(self.sayings, filled, key)[0])

    def _filled(self, texts: list[list[str]], filled: dict[str, str], key: str) -> tuple[list[str], int]:
        """Choose a template and its phrases by a hash of `key`; return the words, and how many precede the answer."""
        draw = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=16).digest(), "big")
        before = 0

        def fill(text: list[str]) -> list[str]:
            nonlocal draw, before
            words: list[str] = []
            for part in text:
                if part[0] != "{":
                    words.append(part)
                    continue
                name = part[1:-1]
                if name == "answer":
                    before = len(words)
                if name not in filled:
                    draw, choice = divmod(draw, len(self.slots[name]))
                    filled[name] = " ".join(fill(self.slots[name][choice]))
                words += filled[name].split()
            return words

        draw, choice = divmod(draw, len(texts))
        return fill(texts[choice]), before


def _parsed(text: str) -> list[str]:
    return str(text).split()


def documents(data: DataConfig, name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield a document for each fact that this register states, then its sayings.

    Args:
        data: the settings of all data.
        name: what the source is called, there and in the `source` column.
        folder: the folder of what people wrote.
    """
    config = data.sources[name]
    assert isinstance(config, RegisterSource)
    grammar = Grammar(folder / config.grammar)
    if config.sayings and not grammar.sayings:
        raise UserError(f"{folder / config.grammar}: has no sayings, but data.sources.{name}.sayings={config.sayings}")
    stated_by = stating(data)
    for fact in arithmetic.facts(config.max_operand):
        if name in stated_by[fact]:
            text, prompt = grammar.state(fact, f"{data.seed}:{name}:{fact}")
            yield {
                "text": text,
                "source": name,
                "prompt": prompt,
                "family": fact.family,
                "stratum": fact.stratum,
                **fact._asdict(),
            }
    for number in range(config.sayings):
        draw = hashlib.blake2b(f"{data.seed}:{name}:saying {number}".encode(), digest_size=4).digest()
        left, right = (int.from_bytes(part, "big") % (config.max_operand + 1) for part in (draw[:2], draw[2:]))
        yield {"text": grammar.say(left, right, f"{data.seed}:{name}:{number}"), "source": name}


def stating(data: DataConfig) -> Mapping[Fact, list[str]]:
    """Return which registers state each fact: each with the probability that is its share, drawn together.

    Systematic sampling: the shares are laid along a line in an order drawn for each fact, and registers that lie under
    the points u, u + 1, u + 2 … state it. So every fact is stated as often as any other, but for one: with shares that
    add up to 2.6, two or three times. Independent draws would leave 3 % of the facts out.
    """
    registers = {name: source for name, source in data.sources.items() if isinstance(source, RegisterSource)}
    largest = max(source.max_operand for source in registers.values())
    return _stating(data.seed, tuple((name, source.share) for name, source in registers.items()), largest)


@lru_cache(maxsize=1)  # asked once for each register
def _stating(seed: int, shares: tuple[tuple[str, float], ...], max_operand: int) -> Mapping[Fact, list[str]]:
    return {fact: _drawn(f"{seed}:{fact}", list(shares)) for fact in arithmetic.facts(max_operand)}


def _drawn(key: str, shares: list[tuple[str, float]]) -> list[str]:
    digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
    point, order = int.from_bytes(digest[:8], "big") / 2**64, int.from_bytes(digest[8:], "big")
    chosen, end = [], 0.0
    while shares:
        order, place = divmod(order, len(shares))
        name, share = shares.pop(place)
        end += share
        if point < end:
            chosen.append(name)
            point += 1
    return chosen
