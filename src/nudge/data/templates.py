"""Templates that people write in `data/`, as "{left} plus {right}": read, checked, and read back from what they say."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import Any

from nudge.data import files
from nudge.errors import UserError, did_you_mean


def read(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    """Read a file of templates, which has these keys and no other.

    Raises:
        UserError: it is missing, not YAML, or has other keys.
    """
    content = files.read_yaml(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no keys; it needs {', '.join(keys)}")
    for key in content:
        if key not in keys:
            raise UserError(f"{path}: unknown key '{key}'{did_you_mean(str(key), keys)}")
    for key in keys:
        if not content.get(key):
            raise UserError(f"{path}: '{key}' is missing or empty")
    return content


def text(where: str, content: object) -> str:
    """Return a text with single spaces, as answers are compared.

    Args:
        where: file and key, for the error.
        content: what stands there.

    Raises:
        UserError: it is no text, or empty.
    """
    if not isinstance(content, str) or not content.strip():
        raise UserError(f"{where} is {content!r}; it must be a text")
    return " ".join(content.split())


def phrases(where: str, content: object, names: Sequence[str]) -> dict[str, str]:
    """Return one phrase for each name: for each operation, say.

    Raises:
        UserError: a name is missing or unknown, or its phrase is no text.
    """
    said = content if isinstance(content, dict) else {}
    for name in said:
        if name not in names:
            raise UserError(f"{where}: unknown '{name}'{did_you_mean(str(name), names)}")
    for name in names:
        if name not in said:
            raise UserError(f"{where} lacks a phrase for '{name}'")
    return {name: text(f"{where}.{name}", phrase) for name, phrase in said.items()}


def check(
    where: str, template: str, once: Sequence[str], at_most_once: Sequence[str] = (), often: Sequence[str] = ()
) -> None:
    """Check which fields a template uses.

    Args:
        where: file and key, for the error.
        template: a text with fields in braces.
        once: fields that it must use once, no more and no less.
        at_most_once: fields that it may use once.
        often: fields that it may use as often as it likes.

    Raises:
        UserError: it uses them otherwise, or another field, or is no template.
    """
    known = (*once, *at_most_once, *often)
    try:
        used = fields(template)
    except (ValueError, TypeError) as error:
        raise UserError(f"{where} {template!r}: {error}") from error
    for name in used:
        if name not in known:
            raise UserError(f"{where} uses {{{name}}}{did_you_mean(name, known)}")
    for name in (*once, *at_most_once):
        if used.count(name) > 1 or (name in once and name not in used):
            raise UserError(f"{where} must use {{{name}}} once, not {used.count(name)} times")
    if template.format(**{name: f"{{{name}}}" for name in known}) != template:
        raise UserError(f"{where} {template!r}: a field is its name in braces and nothing more")


def fields(template: str) -> list[str]:
    """Return the fields of a template, in order."""
    return [name for _, name, _, _ in Formatter().parse(template) if name is not None]


def pattern(template: str, shapes: Mapping[str, str]) -> re.Pattern[str]:
    """Turn a template into an expression with a group for each field.

    Args:
        template: a text with fields in braces.
        shapes: for each field an expression of what can stand there.
    """
    parts = [
        re.escape(literal) + (f"(?P<{name}>{shapes[name]})" if name else "")
        for literal, name, _, _ in Formatter().parse(template)
    ]
    return re.compile("".join(parts))
