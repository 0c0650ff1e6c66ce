"""How well curation found what was planted: precision and recall of each filter. The only reader of the labels."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nudge.data import documents, problems
from nudge.data.files import write_text
from nudge.data.generate import LABELS
from nudge.errors import UserError
from nudge.evaluation import intervals

EXAMPLES = 5  # of what each filter dropped; of clean documents as many again
CLEAN = "clean"


def curation(corpus: Path, reports: Path) -> dict[str, Any]:
    """Compare what was dropped with the labels; write `reports/curation_mixture.json` and return its content.

    Recall of a problem is the share of its documents that some filter dropped. Precision of a filter is the share of
    what it dropped that was planted, whatever for: an advertisement may go as a repeated text. Both have 95 % intervals
    (Wilson 1927).

    Raises:
        UserError: the corpus has no labels, or was not curated.
    """
    labels = problems.read_labels(corpus / LABELS)
    dropped = _dropped(corpus / documents.DROPPED)
    train = pq.read_metadata(corpus / "curated" / "train.parquet").num_rows
    made_by = json.loads((corpus / "curated" / documents.SETTINGS).read_text(encoding="utf-8"))
    filters = made_by["data"]["curation"]["filters"]
    problem = {row["id"]: labels[row["id"]]["problem"] if row["id"] in labels else CLEAN for row in dropped}
    clean = train + len(dropped) - len(labels)
    lost = sum(name == CLEAN for name in problem.values())
    result = {
        "documents": {"train": train, "dropped": len(dropped), "planted": len(labels), "clean": clean},
        "clean_kept": intervals.share(clean - lost, clean),
        "precision": intervals.share(len(dropped) - lost, len(dropped)),
        "problems": _problems(labels, dropped),
        "filters": [_filter(counts, labels, dropped, problem) for counts in _counts(filters, dropped, train)],
    }
    write_text(reports / "curation_mixture.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return result


def summary(result: dict[str, Any]) -> dict[str, Any]:
    """Return the shares alone, to be told on one line."""
    recall = {name: round(told["recall"]["share"], 4) for name, told in result["problems"].items()}
    return {"recall": recall} | {key: round(result[key]["share"], 4) for key in ("precision", "clean_kept")}


def _dropped(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; stage 'curate' writes it")
    try:
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: damaged ({str(error).splitlines()[0]}); delete it and call `dvc repro`") from error
    return rows


def _problems(labels: dict[str, Any], dropped: list[dict[str, Any]]) -> dict[str, Any]:
    """Tell for each kind of problem how much of it was found, and by which filter."""
    found_by = {row["id"]: row["filter"] for row in dropped}
    result = {}
    for kind in dict.fromkeys(label["problem"] for label in labels.values()):
        planted = [name for name, label in labels.items() if label["problem"] == kind]
        found = Counter(found_by[name] for name in planted if name in found_by)
        missed = sorted(Counter(labels[name]["detail"] for name in planted if name not in found_by).items())
        result[kind] = {
            "recall": intervals.share(found.total(), len(planted)),
            "by_filter": dict(found.most_common()),
            "missed": [detail for detail, _ in missed[:EXAMPLES]],
        }
    return dict(sorted(result.items()))


def _counts(filters: list[str], dropped: list[dict[str, Any]], left: int) -> list[dict[str, Any]]:
    """Count the documents that came to each filter and that it let pass, in the order of filters."""
    by_filter = Counter(row["filter"] for row in dropped)
    reached = left + len(dropped)
    counts = []
    for name in filters:
        passed = reached - by_filter[name]
        counts.append({"filter": name, "in": reached, "out": passed, "dropped": by_filter[name]})
        reached = passed
    return counts


def _filter(
    counts: dict[str, Any], labels: dict[str, Any], dropped: list[dict[str, Any]], problem: dict[str, str]
) -> dict[str, Any]:
    """Tell of one filter: documents in and out, what it dropped, and how much of what reached it was planted."""
    own = [row for row in dropped if row["filter"] == counts["filter"]]
    # What is dropped stands in the order of filters.
    first = dropped.index(own[0]) if own else len(dropped)
    gone = {row["id"] for row in dropped[:first]}
    reached = Counter(label["problem"] for name, label in labels.items() if name not in gone)
    found = Counter(problem[row["id"]] for row in own)
    lost = found.pop(CLEAN, 0)
    wrong = [row for row in own if problem[row["id"]] == CLEAN]
    return counts | {
        "precision": intervals.share(len(own) - lost, len(own)),
        "clean_dropped": lost,
        "recall": {kind: intervals.share(found[kind], reached[kind]) for kind in sorted(found)},
        "examples": [_example(row, problem) for row in _spread(own)],
        "clean_examples": [_example(row, problem) for row in _spread(wrong)],
    }


def _spread(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a few rows from all over a list."""
    return [rows[len(rows) * number // EXAMPLES] for number in range(EXAMPLES)] if len(rows) > EXAMPLES else rows


def _example(row: dict[str, Any], problem: dict[str, str]) -> dict[str, str]:
    return {"id": row["id"], "text": row["text"], "reason": row["reason"], "problem": problem[row["id"]]}
