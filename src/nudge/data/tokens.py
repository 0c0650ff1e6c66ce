"""Token ids of many documents in one memory-mapped array, with the boundaries between them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nudge.data.files import replacing
from nudge.errors import UserError


@dataclass(frozen=True)
class Tokens:
    """A split's documents, one after the other; the arrays are maps of the files, not copies.

    Attributes:
        ids: token ids of all documents, [tokens], uint16.
        starts: where each document begins in `ids`, and where the last one ends, [documents + 1], int64.
        answers: where in its document the answer begins; 0 in a document that asks nothing, [documents], int64.
    """

    ids: NDArray[np.uint16]
    starts: NDArray[np.int64]
    answers: NDArray[np.int64]

    def __len__(self) -> int:
        """Count the documents."""
        return len(self.answers)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Count the tokens of each document, [documents]."""
        return np.diff(self.starts)

    @staticmethod
    def write(folder: Path, encoded: Sequence[Sequence[int]], answers: Sequence[int]) -> None:
        """Write documents' token ids as three `.npy` files."""
        arrays = Tokens(
            np.fromiter((token for ids in encoded for token in ids), np.uint16),
            np.concatenate(([0], np.cumsum([len(ids) for ids in encoded]))).astype(np.int64),
            np.asarray(answers, np.int64),
        )
        for field in fields(arrays):
            with replacing(folder / f"{field.name}.npy") as temporary, temporary.open("wb") as file:
                np.save(file, getattr(arrays, field.name))

    @staticmethod
    def open(folder: Path) -> "Tokens":
        """Map the files of `folder` into memory.

        Raises:
            UserError: a file is missing or truncated, or the boundaries don't fit the tokens.
        """
        arrays = []
        for field in fields(Tokens):
            path = folder / f"{field.name}.npy"
            try:
                arrays.append(np.load(path, mmap_mode="r"))
            except FileNotFoundError as error:
                raise UserError(f"{path}: no such file; `dvc repro tokenize` makes it") from error
            except (ValueError, OSError) as error:
                raise UserError(f"{path}: damaged ({error}); call `dvc repro --force tokenize`") from error
        tokens = Tokens(*arrays)
        if tokens.starts[-1] != len(tokens.ids) or len(tokens.starts) != len(tokens.answers) + 1:
            raise UserError(f"{folder}: boundaries don't fit the tokens; call `dvc repro --force tokenize`")
        return tokens
