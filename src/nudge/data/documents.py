"""Documents as tables: the columns that every stage agrees on, written and read as parquet."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nudge.data.files import replacing
from nudge.errors import UserError

SPLITS = ("train", "validation", "test")
SETTINGS = "settings.json"  # beside the documents, and beside the tokens: the configuration that made them
DROPPED = "dropped.parquet"  # beside the folder of curated documents: those that are not there, and why
HELD_OUT = "held_out"  # documents that stand in no split, for questions that lie further from training than the test's

# Sources that have no such thing leave a column null.
SCHEMA = pa.schema(
    [
        pa.field("text", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("prompt", pa.string()),  # the beginning of the text that asks; the rest is the answer
        pa.field("family", pa.string()),  # documents of one family are never divided between splits
        pa.field("stratum", pa.string()),  # families of one stratum are divided in exact proportion
        pa.field("operation", pa.string()),
        pa.field("left", pa.int64()),
        pa.field("right", pa.int64()),
        pa.field("answer", pa.int64()),
        pa.field("held_out", pa.string()),  # why no split has it: "order", "operand" or "answer"
        pa.field("cut", pa.bool_()),  # whether the text goes on and is cut off here, so that nothing ends
    ]
)


def identify(source: str, number: int) -> str:
    """Name a raw document by its source and its place in that source's file."""
    return f"{source}:{number}"


def write(documents: pa.Table, path: Path) -> None:
    """Write documents so that the same rows give the same bytes, and no reader sees half a file."""
    with replacing(path) as temporary:
        pq.write_table(documents, temporary, compression="zstd")


def read(path: Path) -> pa.Table:
    """Read a file of documents.

    Raises:
        UserError: the file is missing, truncated, or not one of documents.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; `dvc repro` makes it")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: damaged parquet ({reason}); delete it and call `dvc repro`") from error
    if missing := [name for name in SCHEMA.names if name not in table.column_names]:
        raise UserError(f"{path}: column '{missing[0]}' is missing; delete the file and call `dvc repro`")
    return table.select(SCHEMA.names).cast(SCHEMA)


def table(rows: list[dict[str, Any]]) -> pa.Table:
    """Make a table of documents from rows; keys that a row lacks become null."""
    return pa.Table.from_pylist(rows, schema=SCHEMA)
