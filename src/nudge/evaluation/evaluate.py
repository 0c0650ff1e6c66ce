"""Stage `evaluate`: trained models → `reports/metrics.json`, and tables of where they fail."""

import csv
import json
import math
import sys
from pathlib import Path
from typing import Any

from nudge.data import documents, files
from nudge.evaluation.exact_match import Answered, score
from nudge.evaluation.recording import record
from nudge.model import saved
from nudge.model.saved import untrained

ERROR_COLUMNS = ("operation", "left", "right", "prompt", "answer", "given", "probability")


def evaluate(models: Path, corpus: Path, reports: Path) -> dict[str, Any]:
    """Score each stage's model before training, on the documents it was trained on, and on those it never saw.

    Writes `metrics.json`, `accuracy.csv` (by split and operation) and `errors.csv` (each wrong test answer), and adds
    them to the MLflow run that made the model.

    Returns:
        exact match on the test split by stage and operation.

    Raises:
        UserError: a model or the corpus is missing or damaged.
    """
    files.check_seal(corpus / "curated", "curate")
    splits = {name: documents.read(corpus / "curated" / f"{name}.parquet").to_pylist() for name in ("train", "test")}
    metrics: dict[str, Any] = {}
    accuracy, errors = [], []
    for folder in sorted(path.parent for path in models.glob("*/config.json")):
        stage, model = folder.name, saved.load(folder)
        wrong: list[dict[str, Any]] = []
        metrics[stage] = {"before": score(untrained(model), splits["test"])[0]}
        for split, rows in splits.items():
            metrics[stage][split], answers = score(model, rows)
            if split == "test":
                wrong = [_error(answer) for answer in answers if not answer.right]
        errors += [{"stage": stage, **row} for row in wrong]
        accuracy += [
            {"stage": stage, "split": split, "operation": name, **values}
            for split, scores in metrics[stage].items()
            for name, values in scores["by_operation"].items()
        ]
        record(folder, metrics[stage], wrong)
    files.write_text(reports / "metrics.json", json.dumps(metrics, indent=1) + "\n")
    _write_csv(reports / "accuracy.csv", accuracy, ("stage", "split", "operation", "exact_match", "count"))
    _write_csv(reports / "errors.csv", errors, ("stage", *ERROR_COLUMNS))
    print(f"test errors: {len(errors)}, in {reports / 'errors.csv'}", file=sys.stderr)
    return {
        stage: {"all": scores["test"]["exact_match"]}
        | {name: values["exact_match"] for name, values in scores["test"]["by_operation"].items()}
        for stage, scores in metrics.items()
    }


def _error(answer: Answered) -> dict[str, Any]:
    row = answer.document
    return {
        **{name: row[name] for name in ("operation", "left", "right", "prompt")},
        "answer": row["text"].removeprefix(row["prompt"]).strip(),
        "given": answer.given,
        "probability": round(math.exp(answer.log_probability), 4),
    }


def _write_csv(path: Path, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    with files.replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
