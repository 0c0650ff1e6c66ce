"""Stage `evaluate`: trained models → `reports/metrics.json`, and tables of where they fail."""

import csv
import json
import math
import multiprocessing
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch

from nudge import project
from nudge.config.data import DataConfig, RegisterSource
from nudge.config.parsing import parse
from nudge.data import asking, corpora, documents, files
from nudge.data.chat import Assistant
from nudge.data.split import uniform
from nudge.evaluation import assistant as answering
from nudge.evaluation import base, preference, worked
from nudge.evaluation.assistant import Said
from nudge.evaluation.exact_match import Answered, by_source, loss, score
from nudge.evaluation.recording import record
from nudge.model import saved
from nudge.model.saved import Saved, untrained
from nudge.process import keep_freed_memory
from nudge.training import reference

ORDER = ("pretrain", "base", "finetune", "reward", "rlhf")  # in which the stages follow each other
MOST_SCORED = 14_000  # training documents: all of the calculator's; of a larger corpus …
SAMPLE = 4_000  # … so many, drawn by hash: the interval of a share is then ±1.5 points at most
ASSISTANT = "assistant.yaml"
SEED = 0  # of drawn answers: the same numbers decide for each stage, so their answers can be compared
ERROR_COLUMNS = ("operation", "left", "right", "prompt", "answer", "given", "probability")


def evaluate(models: Path, reports: Path) -> dict[str, Any]:
    """Score each stage's model before training, on the documents it was trained on, and on those it never saw.

    Writes `metrics.json`, `accuracy.csv` (by split and operation) and `errors.csv` (each wrong test answer), and adds
    them to the MLflow run that made the model.

    Returns:
        exact match on the test split by stage and operation.

    Raises:
        UserError: a model or its corpus is missing or damaged.
    """
    metrics: dict[str, Any] = {}
    accuracy, errors = [], []
    for folder, (scores, wrong) in _side_by_side(stage_folders(models), models):
        stage = folder.name
        metrics[stage] = {"digest": saved.digest(folder), **scores}  # so that figures of an older model can be told
        errors += [{"stage": stage, **row} for row in wrong]
        accuracy += [
            {"stage": stage, "split": split, "operation": name, **values}
            for split in ("before", "train", "test")
            for name, values in metrics[stage].get(split, {}).get("by_operation", {}).items()
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
        if "exact_match" in scores["test"]
    }


def stage_folders(models: Path) -> list[Path]:
    """Return the folders of the stages' models, in the order in which the stages follow each other."""
    there = {path.parent.name: path.parent for path in models.glob("*/config.json")}
    known = [there.pop(name) for name in ORDER if name in there]
    return [*known, *(there[name] for name in sorted(there))]


Row = dict[str, Any]
Scores = tuple[dict[str, Any], list[Row]]  # for metrics.json, and the wrong answers


def _side_by_side(folders: Sequence[Path], models: Path) -> Iterator[tuple[Path, Scores]]:
    """Score each model, as many at once as torch would take threads: networks this small use one core well."""
    processes = min(len(folders), torch.get_num_threads())
    if processes <= 1:
        yield from ((folder, scored(folder, models)) for folder in folders)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, spawn, initializer=_in_one_thread) as pool:
        yield from zip(folders, pool.map(partial(scored, models=models), folders), strict=True)


def _in_one_thread() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()


def scored(folder: Path, models: Path) -> Scores:
    """Score one stage's model in the way of its stage."""
    stage = _made_by(folder)["stage"]["name"]
    if stage == "reward":
        return {"test": preference.measure(folder)}, []
    model = saved.load(folder)
    splits = _splits(model, folder)
    if stage in ("finetune", "rlhf"):
        return _assistant(model, splits, models)
    scores: dict[str, Any] = {"before": score(untrained(model), splits["test"])[0]}
    scores["train"], _ = score(model, _some([row for row in splits["train"] if not row["cut"]]))
    scores["test"], answers = score(model, splits["test"])
    data = parse(DataConfig, model.config["data"])
    if len({row["source"] for row in splits["test"]}) > 1:
        scores["test"]["by_source"] = by_source(model, splits["test"], answers)
    if with_steps := worked.read_all(data, answers):
        scores["test"]["worked"] = worked.summary(with_steps)
    if any(isinstance(source, RegisterSource) for source in data.sources.values()):
        facts = [row for row in splits["test"] if row["operation"] is not None]
        examples = [row for row in splits["train"] if row["operation"] is not None]
        phrases = Assistant.read(project.root() / data.path / ASSISTANT)
        scores["asked"] = base.asked(model, phrases, facts, examples)
        scores["styles"] = base.styles(model, splits["train"], facts)
    return scores, [_error(answer) for answer in answers if not answer.right]


def _assistant(model: Saved, splits: Mapping[str, list[Row]], models: Path) -> Scores:
    """Score an assistant: what it answers by greedy decoding, how it behaves, what it can do, what it has forgotten."""
    phrases = asking.assistant_of(parse(DataConfig, model.config["data"]))
    before = saved.load(reference.find(model.config["stage"]["init_from"]))
    test = splits["test"]
    facts = [row for row in test if row["answer"] is not None]
    scores: dict[str, Any] = {"before": answering.exact_match(answering.most_probable(before, phrases, test))}
    train = answering.most_probable(model, phrases, _some(splits["train"]))
    said = answering.most_probable(model, phrases, test)
    scores["train"] = answering.exact_match(train)
    right_N = answering.probability_of_right(model, phrases, facts)
    drawn = answering.drawn(model, phrases, test, SEED)
    scores["test"] = answering.exact_match(said) | {
        "loss": loss(model, test),
        "behaviour": answering.behaviour(phrases, said),
        "behaviour_drawn": answering.behaviour(phrases, drawn),
        "pass_at_k": answering.passes(right_N),
        "guessing_at_k": answering.passes(answering.guessing(facts, splits["train"])),
    }
    if model.config["stage"]["name"] == "rlhf":
        scores["test"]["win_rate"] = answering.win_rate(drawn, answering.drawn(before, phrases, test, SEED))
    if (models / "base").is_dir():
        # What pretraining taught: held-out documents of the mixture.
        mixture = _splits(saved.load(models / "base"), models / "base")["validation"]
        scores["mixture_loss"] = loss(model, mixture)
    return scores, [_wrong(one) for one in said if one.row["answer"] is not None and not one.score.right]


def _made_by(folder: Path) -> dict[str, Any]:
    made_by: dict[str, Any] = json.loads((folder / "nudge.json").read_text(encoding="utf-8"))
    return made_by


def _splits(model: Saved, folder: Path) -> dict[str, list[Row]]:
    curated = corpora.of_model(model.config, folder) / "curated"
    files.check_seal(curated, "curate")
    return {name: documents.read(curated / f"{name}.parquet").to_pylist() for name in documents.SPLITS}


def _some(rows: Sequence[Row]) -> list[Row]:
    if len(rows) <= MOST_SCORED:
        return list(rows)
    return sorted(rows, key=lambda row: uniform(row["text"]))[:SAMPLE]


def _wrong(one: Said) -> Row:
    return {
        **{name: one.row[name] for name in ("operation", "left", "right", "prompt")},
        "answer": one.row["answer"],
        "given": one.text,
        "probability": None,
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
