"""Examples and questions from a file in place of a corpus's own: what a study chose, worked out or made up.

A file of JSON objects, one a line. Examples have `prompt` and `text`, the whole document; questions have `prompt`,
`answer` (the right number) and `split` (train or validation). No prompt may be of a family that the corpus holds out.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from nudge import project
from nudge.data import documents, tokenizer
from nudge.data.tokens import Tokens
from nudge.errors import UserError

Row = dict[str, Any]


def examples(name: str, words: Tokenizer, curated: Path) -> Tokens:
    """Return a file's documents to train on.

    Raises:
        UserError: the file can't be read, holds nothing, a word that the model doesn't know, or a held-out question.
    """
    rows = _read(name, ("prompt", "text"))
    _check_not_held_out(name, rows, curated, ("train",))
    for row in rows:
        if not row["text"].startswith(f"{row['prompt']} "):
            raise UserError(f"stage.examples={name}: '{row['text']}' doesn't begin with its prompt '{row['prompt']}'")
    _check_words(words, [row["text"] for row in rows])
    encoded = [one.ids for one in words.encode_batch([row["text"] for row in rows])]
    answers = [
        len(one.ids) + 1 for one in words.encode_batch([row["prompt"] for row in rows], add_special_tokens=False)
    ]
    return Tokens(
        np.fromiter((token for ids in encoded for token in ids), np.uint16),
        np.concatenate(([0], np.cumsum([len(ids) for ids in encoded]))).astype(np.int64),
        np.asarray(answers, np.int64),
    )


def questions(name: str, words: Tokenizer, curated: Path) -> dict[str, list[tuple[list[int], int]]]:
    """Return a file's questions as token ids, each with its right answer, by split.

    Raises:
        UserError: as `examples`; or a split has none.
    """
    rows = _read(name, ("prompt", "answer", "split"))
    _check_words(words, [row["prompt"] for row in rows])
    found: dict[str, list[tuple[list[int], int]]] = {}
    for split in ("train", "validation"):
        some = [row for row in rows if row["split"] == split]
        if not some:
            raise UserError(f"stage.questions={name}: has none whose split is {split}")
        known = ("train",) if split == "train" else ("train", "validation")
        _check_not_held_out(name, some, curated, known)
        found[split] = [(tokenizer.prompt_ids(words, row["prompt"]), row["answer"]) for row in some]
    return found


def file(name: str) -> Path:
    """Return the file of a name.

    Raises:
        UserError: there is none.
    """
    path = project.root() / name
    if not path.is_file():
        raise UserError(f"{name}: no such file; a study writes such files, or you: one JSON object a line")
    return path


def _read(name: str, keys: tuple[str, ...]) -> list[Row]:
    rows = []
    for number, line in enumerate(file(name).read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{name}: line {number} is no JSON ({error})") from error
        if missing := [key for key in keys if not isinstance(row, dict) or key not in row]:
            raise UserError(f"{name}: line {number} lacks '{missing[0]}'; each needs {', '.join(keys)}")
        rows.append(row)
    if not rows:
        raise UserError(f"{name}: empty; each line needs {', '.join(keys)}")
    return rows


def _check_words(words: Tokenizer, texts: list[str]) -> None:
    known = set(words.get_vocab())
    for text in texts:
        if not known.issuperset(text.split()):  # saying what is wrong takes longer than seeing it
            tokenizer.check_known(words, text)


def _check_not_held_out(name: str, rows: list[Row], curated: Path, allowed: tuple[str, ...]) -> None:
    held_out: dict[Any, str] = {}
    for split in documents.SPLITS:
        if split not in allowed:
            for row in documents.read(curated / f"{split}.parquet").to_pylist():
                held_out[row["prompt"]] = split
                if row["operation"] is not None:  # in whatever words it is asked
                    held_out[_fact(row)] = split
    for row in rows:
        of = held_out.get(row["prompt"]) or held_out.get(_fact(row))
        if of is not None:
            raise UserError(f"{name}: '{row['prompt']}' is of the {of} split, which training may not see")


def _fact(row: Row) -> tuple[Any, ...]:
    return tuple(row.get(key) for key in ("operation", "left", "right"))
