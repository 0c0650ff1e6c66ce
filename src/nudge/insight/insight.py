"""Stage `insight`: a trained model → four tested hypotheses, a timeline, and the learning time of every fact.

`reports/insight.json` holds

- `model`: `{"folder", "digest", "facts"}`: the tag `model.digest` of the run that made it, and how many test facts;
- `findings`: a list of `Finding`s as plain values, each with its `verdict`, and its criteria with theirs;
- `timeline`: see `timeline.timeline`; null if the model's run kept no snapshots;
- `learning`: see `learning_order.summary`; null likewise.

`reports/insight/learning.parquet` has a row for every fact: when it was learned, and how surprising it is at the end.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nudge.config.schema import InsightConfig
from nudge.data import corpora, documents, files
from nudge.errors import UserError
from nudge.evaluation.recording import attach, tag
from nudge.insight import learning, learning_order
from nudge.insight.finding import Finding
from nudge.insight.hypotheses import attention, numbers, operations, output
from nudge.insight.questions import Questions
from nudge.insight.timeline import timeline
from nudge.model import saved, snapshots
from nudge.model.saved import Saved, untrained

FILE = "insight.json"
FOLDER = "insight"
LEARNING = "learning.parquet"


def insight(folder: Path, reports: Path, config: InsightConfig) -> dict[str, Any]:
    """Test what a model learned, on the test facts of its own corpus; see the module for what is written.

    Args:
        folder: the model's.
        reports: the folder to write in; the report is also added to the run that made the model.
        config: seeds and sample sizes.

    Returns:
        the verdict on each hypothesis.

    Raises:
        UserError: the model is missing, damaged, or no calculator.
    """
    model = saved.load(folder)
    rows = _corpus(model, folder)
    questions = Questions.of(model.tokenizer, rows["test"])
    if not len(questions):
        raise UserError(f"{folder}: its test split holds no arithmetic facts, and these hypotheses are about numbers")
    found = findings(model, untrained(model), questions, config.seed)
    filmed = bool(snapshots.steps_of(folder / snapshots.FOLDER))
    report: dict[str, Any] = {
        "model": {"folder": folder.name, "digest": saved.digest(folder), "facts": len(questions)},
        "findings": [plain(finding) for finding in found],
        "timeline": None,
        "learning": None,
    }
    with files.replacing_folder(reports / FOLDER) as tables:
        if filmed:
            sample = questions.where(_sample(len(questions), config))
            report["timeline"] = timeline(snapshots.load_all(folder), sample, config.seed)
            past = learning.history(folder, rows)
            learning.write(learning.facts(past), tables / LEARNING)
            report["learning"] = learning_order.summary(past, config.seed)
        files.seal(tables)
    report = without_nan(report)
    files.write_text(reports / FILE, json.dumps(report, indent=1, allow_nan=False) + "\n")
    attach(folder, report, FILE)
    verdicts = {finding.hypothesis: finding.verdict for finding in found}
    tag(folder, {f"insight.{name}": verdict for name, verdict in verdicts.items()})
    return verdicts


@torch.inference_mode()
def findings(model: Saved, fresh: Saved, questions: Questions, seed: int) -> list[Finding]:
    """Test all four hypotheses.

    Args:
        model: the model.
        fresh: the same with the random weights that its training began with.
        questions: facts that it was not trained on.
        seed: of samples, permutations and control directions.
    """
    return [
        attention.test(model.model, fresh.model, questions, seed),
        numbers.test(model, fresh, questions, seed),
        operations.test(model, fresh, questions, seed),
        output.test(model.model, fresh.model, questions, seed),
    ]


def plain(finding: Finding) -> dict[str, Any]:
    """Return a finding as plain values, with its verdicts."""
    content = dataclasses.asdict(finding) | {"verdict": finding.verdict}
    for criterion, kept in zip(finding.criteria, content["criteria"], strict=True):
        kept["verdict"] = criterion.verdict
    return content


def without_nan(value: Any) -> Any:
    """Return plain values as JSON takes them: what is no number becomes null."""
    if isinstance(value, dict):
        return {key: without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _corpus(model: Saved, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the documents of each split that a model was trained with."""
    where = corpora.of_model(model.config, folder) / "curated"
    return {split: documents.read(where / f"{split}.parquet").to_pylist() for split in documents.SPLITS}


def _sample(count: int, config: InsightConfig) -> list[int]:
    """Choose some questions, the same for all snapshots."""
    chosen = np.random.default_rng(config.seed).permutation(count)[: config.timeline_facts]
    return sorted(chosen.tolist())
