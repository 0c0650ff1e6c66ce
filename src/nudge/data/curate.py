"""Stage `curate`: raw documents → checked, without duplicates, split → `corpus/curated/<split>.parquet`."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from nudge.config.schema import DataConfig
from nudge.data import arithmetic, documents, files, numbers
from nudge.data.split import assign
from nudge.errors import UserError


def curate(config: DataConfig, raw: Path, curated: Path, report: Path) -> dict[str, Any]:
    """Curate all sources together; return (and write to `report`) the count of documents in and out of each step.

    Raises:
        UserError: a raw file is damaged, a fact is false, or a split would be empty.
    """
    files.check_seal(raw, "generate")
    tables = [documents.read(raw / f"{name}.parquet") for name in sorted(config.sources)]
    rows = pa.concat_tables(tables).to_pylist()
    counts: dict[str, Any] = {"read": len(rows)}
    rows = without_duplicates(rows)
    counts["exact_duplicates_dropped"] = counts["read"] - len(rows)
    for row in rows:
        check_fact(row)
    splits: dict[str, list[dict[str, Any]]] = {name: [] for name in documents.SPLITS}
    # Without a family, a document is its own.
    assigned = assign({row["family"] or row["text"]: row["stratum"] for row in rows}, config)
    for row in rows:
        splits[assigned[row["family"] or row["text"]]].append(row)
    with files.replacing_folder(curated) as folder:
        for name, members in splits.items():
            if not members:
                raise UserError(
                    f"data: the {name} split is empty with {len(rows)} documents; enlarge the source or its fraction"
                )
            documents.write(documents.table(members), folder / f"{name}.parquet")
            counts[name] = {
                "documents": len(members),
                "families": len({row["family"] for row in members}),
                "by_operation": {
                    operation: sum(row["operation"] == operation for row in members)
                    for operation in arithmetic.OPERATIONS
                },
            }
        files.seal(folder)
    files.write_text(report, json.dumps(counts, indent=1) + "\n")
    return counts


def without_duplicates(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep the first of all documents with the same text."""
    unique: dict[str, dict[str, Any]] = {}
    for row in rows:
        unique.setdefault(row["text"], row)
    return list(unique.values())


def check_fact(row: dict[str, Any]) -> None:
    """Check that an arithmetic document is true and that its words say its numbers.

    Raises:
        UserError: naming the document and the right answer.
    """
    if row["operation"] is None:
        return
    operation, left, right, answer = (row[name] for name in arithmetic.Fact._fields)
    where = f"source '{row['source']}', document {row['text']!r}"
    if operation not in arithmetic.OPERATIONS:
        raise UserError(f"{where}: unknown operation {operation!r}; one of {', '.join(arithmetic.OPERATIONS)}")
    right_answer = arithmetic.compute(operation, left, right)
    if answer != right_answer:
        raise UserError(f"{where}: says {left} {operation} {right} = {answer}; right would be {right_answer}")
    if row["family"] != arithmetic.Fact(operation, left, right, answer).family:
        raise UserError(f"{where}: family is {row['family']!r}, which would put it in the wrong split")
    said = row["text"].removeprefix(row["prompt"] or "")
    if numbers.parse(said) != answer:
        raise UserError(f"{where}: ends in {said.strip()!r}, but its answer is {answer}")
