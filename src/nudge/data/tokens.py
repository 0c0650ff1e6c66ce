"""Token ids of many documents in one memory-mapped array, with the boundaries between them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nudge.data.files import replacing, write_text
from nudge.errors import UserError

ARRAYS = ("ids", "starts", "answers", "sources")
NAMES = "sources.json"


@dataclass(frozen=True)
class Tokens:
    """A split's documents, one after the other; the arrays are maps of the files, not copies.

    Attributes:
        ids: token ids of all documents, [tokens], uint16.
        starts: where each document begins in `ids`, and where the last one ends, [documents + 1], int64.
        answers: where in its document the answer begins; 0 in a document that asks nothing, [documents], int64.
        sources: which of `source_names` each document came from, [documents], int16; empty if nobody said.
        source_names: what the sources are called, in alphabetical order.
    """

    ids: NDArray[np.uint16]
    starts: NDArray[np.int64]
    answers: NDArray[np.int64]
    sources: NDArray[np.int16] = field(default_factory=lambda: np.zeros(0, np.int16))
    source_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Count the documents."""
        return len(self.answers)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Count the tokens of each document, [documents]."""
        return np.diff(self.starts)

    @staticmethod
    def write(folder: Path, encoded: Sequence[Sequence[int]], answers: Sequence[int], sources: Sequence[str]) -> None:
        """Write documents' token ids as `.npy` files, and the names of their sources as `sources.json`."""
        names = tuple(sorted(set(sources)))
        arrays: dict[str, NDArray[Any]] = {
            "ids": np.fromiter((token for ids in encoded for token in ids), np.uint16),
            "starts": np.concatenate(([0], np.cumsum([len(ids) for ids in encoded]))).astype(np.int64),
            "answers": np.asarray(answers, np.int64),
            "sources": np.searchsorted(names, sources).astype(np.int16) if names else np.zeros(0, np.int16),
        }
        for name, array in arrays.items():
            with replacing(folder / f"{name}.npy") as temporary, temporary.open("wb") as file:
                np.save(file, array)
        write_text(folder / NAMES, json.dumps(names) + "\n")

    @staticmethod
    def open(folder: Path) -> "Tokens":
        """Map the files of `folder` into memory.

        Raises:
            UserError: a file is missing or truncated, or the boundaries don't fit the tokens.
        """
        ids, starts, answers, sources = (_mapped(folder / f"{name}.npy") for name in ARRAYS)
        path = folder / NAMES
        try:
            names = tuple(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise UserError(f"{path}: no such file; `dvc repro tokenize` makes it") from error
        except ValueError as error:
            raise UserError(f"{path}: damaged ({error}); call `dvc repro --force tokenize`") from error
        if starts[-1] != len(ids) or len(starts) != len(answers) + 1 or len(sources) != len(answers):
            raise UserError(f"{folder}: boundaries don't fit the tokens; call `dvc repro --force tokenize`")
        return Tokens(ids, starts, answers, sources, names)


def _mapped(path: Path) -> NDArray[Any]:
    try:
        return np.load(path, mmap_mode="r")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; `dvc repro tokenize` makes it") from error
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: damaged ({error}); call `dvc repro --force tokenize`") from error
