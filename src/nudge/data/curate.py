"""Stage `curate`: raw documents → checked, split, filtered → `corpus/curated/*.parquet`."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa

from nudge import project
from nudge.config.data import DataConfig
from nudge.data import arithmetic, dividing, documents, files, numbers
from nudge.data.filters import FILTERS, Context, Row
from nudge.data.sources import KINDS
from nudge.data.text import curating
from nudge.data.truth import ARITHMETIC, Known, Truth
from nudge.errors import UserError

DROPPED = pa.schema([("id", pa.string()), *documents.SCHEMA, ("filter", pa.string()), ("reason", pa.string())])
MARKS = re.compile(r"[^\w ]+$")  # after an answer


def curate(config: DataConfig, raw: Path, curated: Path, report: Path) -> dict[str, Any]:
    """Curate all sources together; return (and write to `report`) the count of documents in and out of each step.

    What a filter drops is written to `dropped.parquet` beside `curated`, with the filter and its reason.

    Raises:
        UserError: a raw file is damaged, a fact is false, or a split would be empty.
    """
    files.check_seal(raw, "generate")
    if config.is_text:
        return curating.curate(config, raw, curated, report, settings(config))
    rows = _read(raw, sorted(config.sources))
    truths = {name: KINDS[source.kind].truth(config, name) for name, source in config.sources.items()}
    for row in rows:
        check_fact(row, truths[row["source"]])
    counts: dict[str, Any] = {"read": len(rows)}
    parts, dropped, counts["filters"] = filtered(dividing.divided(rows, config), config)
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
    documents.write(pa.Table.from_pylist(dropped, schema=DROPPED), curated.with_name(documents.DROPPED))
    files.write_text(report, json.dumps(counts, indent=1) + "\n")
    return counts


def _read(raw: Path, sources: list[str]) -> list[Row]:
    """Read all documents; give each its `id`."""
    rows = []
    for name in sources:
        for number, row in enumerate(documents.read(raw / f"{name}.parquet").to_pylist()):
            rows.append(row | {"id": documents.identify(name, number)})
    return rows


def filtered(
    parts: dict[str, list[Row]], config: DataConfig
) -> tuple[dict[str, list[Row]], list[Row], list[dict[str, Any]]]:
    """Apply the filters of the configuration in its order.

    Returns:
        what is left of each part; what was dropped, with its `filter` and `reason`; and the counts of each filter.
    """
    parts = dict(parts)
    held_out = [row for name, members in parts.items() if name != "train" for row in members]
    context = Context(config, project.root() / config.path, held_out)
    dropped, counts = [], []
    for name in config.curation.filters:
        judged = list(parts) if FILTERS[name].everywhere else ["train"]
        gone = []
        shortened = {}
        for part in judged:
            if cut := FILTERS[name].cut:
                whole, parts[part] = parts[part], cut(parts[part], context)
                shortened = {"cut": sum(new != old for old, new in zip(whole, parts[part], strict=True))}
            reasons = FILTERS[name].judge(parts[part], config.curation.settings.get(name), context)
            both = list(zip(parts[part], reasons, strict=True))
            parts[part] = [row for row, reason in both if reason is None]
            gone += [row | {"filter": name, "reason": reason} for row, reason in both if reason is not None]
        left = sum(len(parts[part]) for part in judged)
        counts.append({"filter": name, "in": left + len(gone), "out": left, "dropped": len(gone)} | shortened)
        dropped += gone
    return parts, dropped, counts


def settings(config: DataConfig) -> dict[str, Any]:
    """Return what `corpus/curated` says of the configuration that made it."""
    return {"data": config.model_dump(mode="json")}


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
