"""Stage `curate`: raw documents → checked, without duplicates, split → `corpus/curated/*.parquet`."""

import json
import re
from collections.abc import Set
from pathlib import Path
from typing import Any

import pyarrow as pa

from nudge.config.schema import DataConfig
from nudge.data import arithmetic, documents, files, hold_out, numbers
from nudge.data.sources import KINDS
from nudge.data.split import assign
from nudge.data.truth import ARITHMETIC, Known, Truth
from nudge.errors import UserError

MARKS = re.compile(r"[^\w ]+$")  # after an answer


def curate(config: DataConfig, raw: Path, curated: Path, report: Path) -> dict[str, Any]:
    """Curate all sources together; return (and write to `report`) the count of documents in and out of each step.

    Raises:
        UserError: a raw file is damaged, a fact is false, or a split would be empty.
    """
    files.check_seal(raw, "generate")
    tables = [documents.read(raw / f"{name}.parquet") for name in sorted(config.sources)]
    rows = pa.concat_tables(tables).to_pylist()
    counts: dict[str, Any] = {"read": len(rows)}
    rows = without_duplicates(rows, {name for name, source in config.sources.items() if not source.deduplicate})
    counts["exact_duplicates_dropped"] = counts["read"] - len(rows)
    truths = {name: KINDS[source.kind].truth(config, name) for name, source in config.sources.items()}
    for row in rows:
        check_fact(row, truths[row["source"]])
    parts = divided(rows, config)
    with files.replacing_folder(curated) as folder:
        for name, members in parts.items():
            if not members and name in documents.SPLITS:
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
        files.write_text(folder / documents.SETTINGS, json.dumps(settings(config), indent=1) + "\n")
        files.seal(folder)
    files.write_text(report, json.dumps(counts, indent=1) + "\n")
    return counts


def settings(config: DataConfig) -> dict[str, Any]:
    """Return what `corpus/curated` says of the configuration that made it."""
    return {"data": config.model_dump(mode="json")}


def divided(rows: list[dict[str, Any]], config: DataConfig) -> dict[str, list[dict[str, Any]]]:
    """Divide documents among the splits, and what is held out of all of them."""
    trained_on = {name for name, source in config.sources.items() if KINDS[source.kind].always_trained_on}
    by_family = {name for name, source in config.sources.items() if KINDS[source.kind].families_only}
    always = [row["source"] in trained_on or (row["source"] in by_family and row["family"] is None) for row in rows]
    free = [row for row, trains in zip(rows, always, strict=True) if not trains]
    # Without a family, a document is its own.
    assigned = assign({row["family"] or row["text"]: row["stratum"] for row in free}, config)
    parts: dict[str, list[dict[str, Any]]] = {name: [] for name in (*documents.SPLITS, documents.HELD_OUT)}
    for row, trains, reason in zip(rows, always, hold_out.reasons(rows, assigned, config), strict=True):
        if reason is not None:
            parts[documents.HELD_OUT].append(row | {"held_out": reason})
        elif trains:
            parts["train"].append(row)
        else:
            parts[assigned[row["family"] or row["text"]]].append(row)
    return parts


def without_duplicates(rows: list[dict[str, Any]], kept: Set[str] = frozenset()) -> list[dict[str, Any]]:
    """Keep the first of all documents with the same text, and all of the sources in `kept`."""
    unique, seen = [], set()
    for row in rows:
        if row["text"] not in seen or row.get("source") in kept:
            unique.append(row)
        seen.add(row["text"])
    return unique


def check_fact(row: dict[str, Any], truth: Truth | None = ARITHMETIC) -> None:
    """Check that an arithmetic document is true in its source, and that its words say its numbers.

    Nobody vouches for a source without a truth: only its words are checked.

    Raises:
        UserError: naming the document and the right answer.
    """
    if row["operation"] is None:
        return
    operation, left, right, answer = (row[name] for name in arithmetic.Fact._fields)
    where = f"source '{row['source']}', document {row['text']!r}"
    if operation not in arithmetic.OPERATIONS:
        raise UserError(f"{where}: unknown operation {operation!r}; one of {', '.join(arithmetic.OPERATIONS)}")
    known = truth.known(operation, left, right) if truth else Known(answer, row["family"])
    if known is None or answer != known.answer:
        right_answer = known and known.answer
        raise UserError(f"{where}: says {left} {operation} {right} = {answer}; right would be {right_answer}")
    if row["family"] != known.family:
        raise UserError(f"{where}: family is {row['family']!r}, which would put it in the wrong split")
    said = row["text"].removeprefix(row["prompt"] or "")
    if (truth.heard(said) if truth else numbers.parse(MARKS.sub("", said))) != answer:
        raise UserError(f"{where}: ends in {said.strip()!r}, but its answer is {answer}")
