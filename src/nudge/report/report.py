"""Stage `report`: everything that was measured of a model → `reports/nudge.html`, one page that needs no network."""

import sys
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from nudge.data import files
from nudge.report import page
from nudge.report.chapters import CHAPTERS
from nudge.report.evidence import MODEL, Evidence, read
from nudge.report.provenance import UNKNOWN
from nudge.training.tracking import store

FILE = "nudge.html"


def report(models: Path, corpus: Path, reports: Path) -> dict[str, Any]:
    """Write the report and add it to the MLflow run of the model that it is about.

    The same inputs give the same bytes: it holds no time of its own making.

    Args:
        models, corpus, reports: the project's folders; what is not in `reports` yet is said to be missing.

    Returns:
        `{"bytes", "chapters", "charts"}`.

    Raises:
        UserError: there is no model or no corpus, or something is damaged.
    """
    evidence = read(models, corpus, reports)
    chapters = [chapter(evidence) for chapter in CHAPTERS]
    text = page.render(chapters, evidence.made, "How a small model learned", _lead(evidence))
    files.write_text(reports / FILE, text)
    _attach(evidence.made[MODEL].run, reports / FILE)
    charts = sum(len(getattr(figure, "charts", ())) for chapter in chapters for figure in chapter.figures.values())
    return {"bytes": len(text.encode()), "chapters": len(chapters), "charts": charts}


def _attach(run: str, path: Path) -> None:
    """Add the page to a run as its artifact `report/nudge.html`, which MLflow's artifact view shows, or say why not."""
    if run == UNKNOWN:
        where = store.shown(store.uri())
        print(f"{path}: no run in {where} made the model; the report is in reports/ only", file=sys.stderr)
        return
    try:
        store.client().log_artifact(run, str(path), "report")
    except MlflowException as error:
        print(f"MLflow: {path.name} not recorded ({error}); it is in reports/", file=sys.stderr)


def _lead(evidence: Evidence) -> dict[str, Any]:
    test = (evidence.metrics or {}).get("test", {})
    steps = None if evidence.training is None else int(evidence.training["step"].iloc[-1])
    return {
        "weights": sum(weight.numel() for weight in evidence.saved.model.parameters()),
        "documents": int((evidence.documents["split"] == "train").sum()),
        "steps": steps,
        "exact_match": test.get("exact_match"),
        "count": test.get("count"),
        "before": (evidence.metrics or {}).get("before", {}).get("exact_match"),
        "example": evidence.example,
        "insight": evidence.insight is not None,
    }
