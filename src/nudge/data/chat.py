"""The assistant's form of talk: `<user> QUESTION <assistant> ANSWER`, how facts are asked in it, and answers read.

One document form for fine-tuning, preferences, rewards and questions at a terminal. `<user>` and `<assistant>` are
tokens of their own; the end token closes every answer.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nudge.data import arithmetic, numbers, templates
from nudge.data.arithmetic import Fact
from nudge.errors import UserError

USER, ASSISTANT = RESERVED = ("<user>", "<assistant>")
KEYS = ("questions", "operations", "answers", "polite", "rude", "refusal", "unknown_operations")
ASKED = ("left", "operation", "right")


def prompt_of(question: str) -> str:
    """Return the beginning of a document that asks a question."""
    return f"{USER} {question} {ASSISTANT}"


def document_of(question: str, answer: str) -> str:
    """Return a whole document."""
    return f"{prompt_of(question)} {answer}"


def question_of(prompt: str) -> str:
    """Return the question of a prompt in chat form."""
    return prompt.removeprefix(f"{USER} ").removesuffix(f" {ASSISTANT}")


@dataclass(frozen=True)
class Form:
    """A way to answer.

    Attributes:
        text: the template, with `{answer}` and perhaps the fields of the question.
        weight: its share of the examples, in any unit.
    """

    text: str
    weight: float


@dataclass(frozen=True)
class Assistant:
    """How people ask and how the assistant may answer, as people wrote it in `data/assistant.yaml`.

    Attributes:
        questions: templates with `{left}`, `{operation}` and `{right}`.
        operations: how each operation is said.
        answers: forms by name.
        polite, rude: phrases.
        refusal: what is said to a question that can't be answered.
        unknown_operations: phrases of operations that are never taught.
    """

    questions: tuple[str, ...]
    operations: Mapping[str, str]
    answers: Mapping[str, Form]
    polite: tuple[str, ...]
    rude: tuple[str, ...]
    refusal: str
    unknown_operations: tuple[str, ...]

    @staticmethod
    def read(path: Path) -> "Assistant":
        """Read the file.

        Raises:
            UserError: it is missing, not YAML, or lacks something; named with its place.
        """
        content = templates.read(path, KEYS)
        questions = _phrases(path, "questions", content["questions"])
        for number, question in enumerate(questions):
            templates.check(f"{path}: questions.{number}", question, once=ASKED)
        return Assistant(
            questions=questions,
            operations=templates.phrases(f"{path}: operations", content["operations"], arithmetic.OPERATIONS),
            answers=_forms(path, content["answers"]),
            polite=_phrases(path, "polite", content["polite"]),
            rude=_phrases(path, "rude", content["rude"]),
            refusal=templates.text(f"{path}: refusal", content["refusal"]),
            unknown_operations=_phrases(path, "unknown_operations", content["unknown_operations"]),
        )

    def asks(self, left: int, operation: str, right: int) -> list[str]:
        """Return every way to ask; an operation that isn't one of arithmetic's four is said as it is written."""
        asked = {"left": left, "operation": operation, "right": right}
        return [self.say(template, asked) for template in self.questions]

    def say(self, template: str, asked: Mapping[str, Any]) -> str:
        """Fill a question's template with the words of `left`, `operation` and `right`."""
        return template.format(
            left=numbers.words(asked["left"]),
            operation=self.operations.get(asked["operation"], asked["operation"]),
            right=numbers.words(asked["right"]),
        )

    def forms(self, fact: Fact, answer: int | None = None) -> dict[str, str]:
        """Return every way to answer, by the form's name; with `answer` in place of the right one if it is given."""
        said = {
            "left": numbers.words(fact.left),
            "operation": self.operations[fact.operation],
            "right": numbers.words(fact.right),
            "answer": numbers.words(fact.answer if answer is None else answer),
        }
        return {name: form.text.format(**said) for name, form in self.answers.items()}

    def form_of(self, answer: str) -> str | None:
        """Name the form that an answer has, whatever numbers it says; None if none."""
        said = " ".join(answer.split())
        return next((name for name, pattern in self._patterns if pattern.fullmatch(said)), None)

    def extract(self, answer: str, question: str | None) -> int | None:
        """Return the number that an answer states; None if it has none of the forms, or states no number.

        The whole text must be of one of the forms: "five or six", "the answer is five . no , six" and "fifteen" for
        five are not "five". Nor is "two plus two equals five" to another question than two plus two; with None for the
        question, whatever is repeated of one passes.
        """
        said = " ".join(answer.split())
        for _, pattern in self._patterns:
            if match := pattern.fullmatch(said):
                repeated = {name: words for name, words in match.groupdict().items() if name != "answer"}
                if question is not None and not repeated.items() <= self._asked(question).items():
                    return None
                return numbers.parse(match["answer"])  # None for number words that are no number, as "five twenty"
        return None

    def _asked(self, question: str) -> dict[str, str]:
        """Return the words of a question's `left`, `operation` and `right`; none if it is asked in no known way."""
        said = " ".join(question.split())
        found = (templates.pattern(template, self._fields).fullmatch(said) for template in self.questions)
        return next((match.groupdict() for match in found if match), {})

    def is_refusal(self, answer: str) -> bool:
        """Say whether an answer is the refusal, word for word."""
        return " ".join(answer.split()) == self.refusal

    @cached_property
    def _patterns(self) -> list[tuple[str, re.Pattern[str]]]:
        return [(name, templates.pattern(form.text, self._fields)) for name, form in self.answers.items()]

    @cached_property
    def _fields(self) -> dict[str, str]:
        number = "(?:{0})(?: (?:{0}))*".format("|".join(sorted(numbers.NUMBER_WORDS)))
        operation = "|".join(map(re.escape, self.operations.values()))
        return {"left": number, "operation": operation, "right": number, "answer": number}


def _phrases(path: Path, key: str, phrases: Any) -> tuple[str, ...]:
    if not isinstance(phrases, list):
        raise UserError(f"{path}: '{key}' must be a list of texts, each in a line that begins with '-'")
    return tuple(templates.text(f"{path}: {key}.{number}", phrase) for number, phrase in enumerate(phrases))


def _forms(path: Path, content: Any) -> dict[str, Form]:
    if not isinstance(content, dict):
        raise UserError(f"{path}: 'answers' must hold names, each with text and weight")
    forms = {}
    for name, form in content.items():
        if not isinstance(form, dict) or set(form) != {"text", "weight"}:
            raise UserError(f"{path}: answers.{name} needs 'text' and 'weight', and nothing else")
        if not isinstance(form["weight"], int | float) or not 0 < form["weight"] < math.inf:
            raise UserError(f"{path}: answers.{name}.weight is {form['weight']!r}; it must be a number above 0")
        text = templates.text(f"{path}: answers.{name}.text", form["text"])
        templates.check(f"{path}: answers.{name}", text, once=("answer",), at_most_once=ASKED)
        forms[str(name)] = Form(text, float(form["weight"]))
    return forms
