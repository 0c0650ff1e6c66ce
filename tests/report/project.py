"""A small project that has trained, evaluated and kept snapshots, with measures in the shapes that the stages write."""

import json
import math
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nudge.config.composition import compose
from nudge.data import documents
from nudge.data.curate import curate
from nudge.data.generate import generate
from nudge.data.tokenize import tokenize
from nudge.evaluation.evaluate import evaluate
from nudge.insight import learning, learning_order
from nudge.insight.finding import Criterion, Figure, Finding
from nudge.model import saved
from nudge.training.train import train
from tests.chain import working_in
from tests.conftest import REPOSITORY, TINY

# Operands to 29: numbers of one word and of two, some facts of every operation, and still wrong answers after a minute.
SMALL = (
    *TINY,
    "data.sources.calculator.max_operand=29",
    "callbacks.samples.prompts=[two plus three equals, twenty one minus five equals]",
    "model.layers=2",
    "trainer.max_steps=60",
    "trainer.val_every_n_steps=20",
)


def make(folder: Path) -> Path:
    """Make a project whose model was trained and evaluated, and has not been looked into."""
    for name in ("conf", "data"):
        shutil.copytree(REPOSITORY / name, folder / name)
    for name in ("dvc.yaml", "data.dvc"):
        shutil.copy(REPOSITORY / name, folder / name)
    corpus, reports = folder / "corpus", folder / "reports"
    with working_in(folder):
        config = compose([*SMALL, f"run_dir={folder}/run", f"export_dir={folder}/models/pretrain"])
        generate(config.data, folder, corpus / "raw")
        curate(config.data, corpus / "raw", corpus / "curated", reports / "curation.json")
        tokenize(config.tokenizer, corpus / "curated", corpus / "tokens")
        train(config)
        evaluate(folder / "models", reports)
    return folder


def measure(folder: Path) -> None:
    """Write measures as `insight` and `memory` do: the record of learning is real, the other figures are made up."""
    model, reports = folder / "models/pretrain", folder / "reports"
    curated = {
        split: documents.read(folder / f"corpus/curated/{split}.parquet").to_pylist() for split in documents.SPLITS
    }
    past = learning.history(model, curated)
    content = {
        "model": {"folder": "pretrain", "digest": saved.digest(model), "facts": 50},
        "findings": [plain(one) for one in findings()],
        "timeline": timeline(past.steps),
        "learning": learning_order.summary(past),
    }
    (reports / "insight").mkdir()
    learning.write(learning.facts(past), reports / "insight/learning.parquet")
    (reports / "insight.json").write_text(json.dumps(content))
    (reports / "memory.json").write_text(json.dumps(memory(saved.digest(model))))


def plain(one: Finding) -> dict[str, Any]:
    """Return a finding as JSON holds it, with its verdicts."""
    content = asdict(one) | {"verdict": one.verdict}
    for criterion, kept in zip(one.criteria, content["criteria"], strict=True):
        kept["verdict"] = criterion.verdict
    return content


def timeline(steps: list[int]) -> dict[str, Any]:
    """Return the four measures at some steps, one of them of something that is never learned."""
    measures = dict.fromkeys(
        ("attention patterns", "number representations", "operation semantics", "output mapping"), "a measure"
    )
    rises = [place / len(steps) for place in range(1, len(steps) + 1)]
    return {
        "points": [
            {
                "step": step,
                "exact_match": rise,
                "attention patterns": 0.8 + rise / 5,  # most of it is there with random weights
                "number representations": -rise,
                "operation semantics": None if step < 3 else rise,
                "output mapping": rise**3,
            }
            for step, rise in zip(steps, rises, strict=True)
        ],
        "measures": measures,
        "appears": {
            "exact_match": 3,
            "attention patterns": 0,
            "number representations": None,
            "operation semantics": 3,
            "output mapping": 5,
        },
    }


def findings() -> list[Finding]:
    """Return a finding of each verdict, with details that charts draw."""

    def finding(hypothesis: str, value: float, details: dict[str, Any]) -> Finding:
        figure = Figure("what was measured", value, value - 0.1, value + 0.1, 50, "share", "intervention")
        criterion = Criterion("the share is above one half, since chance gives one half", figure, 0.5)
        return Finding(hypothesis, "A claim <b>about</b> it.", [criterion], [figure], "It shows no more.", details)

    heads = [(layer, head) for layer in range(2) for head in range(2)]
    at = [{"layer": layer, "head": head} for layer, head in heads]
    fall = {"fall": 0.2, "low": 0.1, "high": 0.3, "n": 50}
    return [
        finding(
            "attention patterns",
            0.9,
            {
                "attention": [
                    {**one, "role": role, "attention": 0.5, "uniform": 0.3, "untrained": 0.35}
                    for one in at
                    for role in ("left", "operator", "right")
                ],
                "heads": [{**one, "operation": name, **fall} for one in at for name in ("all", "plus", "minus")],
                "edges": [{**one, "role": "left", "attention": 0.5, "uniform": 0.2, **fall} for one in at],
            },
        ),
        finding(
            "number representations",
            0.1,
            {
                "pictures": [
                    {"model": model, "of": "left", "number": n, "word": str(n), "x": n, "y": n * n, "variance": 0.5}
                    for model in ("trained", "untrained")
                    for n in range(30)
                ],
                "probes": [
                    {"model": model, "operand": "left", "place": place, "target": "ones", "score": 0.8, "control": 0.1}
                    for model in ("trained", "untrained")
                    for place in range(5)
                ],
                "spectrum": [
                    {"model": "trained", "of": "ones", "frequency": n, "share": 1 / n, "p": 0.1} for n in (1, 2, 3)
                ],
                "order": [{"model": "trained", "of": "ones", "place": 0, "metric": "cosine", "correlation": 0.4}],
            },
        ),
        finding(
            "operation semantics",
            0.5,
            {
                "map": [
                    {"swap": "plus and minus", "site": site, "position": position, "share": 0.5, "pairs": 9}
                    for site in ("stream.0", "attention.0", "mlp.0")
                    for position in ("operator", "answering")
                ],
                "sets": [{"carries": "operation", "place": "mlp.0 at answering", "share": 0.9}],
            },
        ),
        finding(
            "output mapping",
            0.5,
            {
                "lens": [
                    {"place": place, "first": share, "low": 0.0, "high": 1.0, "n": 9, "untrained": 0.1, "by_token": {}}
                    for place, share in (("embeddings", 0.1), ("layer 0", 0.9))
                ],
                "attribution": [{"component": name, "logit": 1.0, **fall} for name in ("embeddings", "mlp 0")],
                "reliability": [
                    {"from": 0.0, "to": 1.0, "confidence": p, "right": p, "low": p - 0.1, "high": p, "count": 9}
                    for p in (0.3, 0.9)
                ],
            },
        ),
    ]


def memory(digest: str) -> dict[str, Any]:
    """Return measures of memory, one row of each kind or two."""

    def share(right: int, count: int) -> dict[str, Any]:
        value = right / count if count else None
        return {"count": count, "right": right, "share": value, "low": value, "high": value}

    auc = {
        "operation": "all",
        "auc": 0.6,
        "auc_low": 0.5,
        "auc_high": 0.7,
        "tpr": 0.02,
        "tpr_low": 0.01,
        "tpr_high": 0.03,
    }
    exposed = {"low": 1.0, "high": 9.0, "count": 4, "extracted": 1, "share": 0.25, "share_low": 0.1, "share_high": 0.6}
    return {
        "models": [{"model": "pretrain", "folder": "models/pretrain", "digest": digest, "weights": 1}],
        "distance": [
            {"model": "pretrain", "kind": "seen fact", "operation": "all", **share(9, 10), "reason": None},
            {"model": "pretrain", "kind": "unseen family", "operation": "all", **share(5, 10), "reason": None},
            {"model": "pretrain", "kind": "unseen order", "operation": "all", **share(0, 0), "reason": "none held out"},
        ],
        "canaries_by_repeats": [
            {"model": "planted", "written": written, "kept": kept, "exposure": bits, **exposed}
            for written, kept, bits in ((1, 1, 2.0), (50, 1, 2.5), (50, 50, 8.0))
        ],
        "canaries_by_step": [
            {
                "model": "planted",
                "step": step,
                "written": written,
                "kept": kept,
                "exposure": bits * step / 10,
                **exposed,
            }
            for written, kept, bits in ((1, 1, 2.0), (50, 1, 2.5), (50, 50, 8.0))
            for step in (0, 10)
        ],
        "canary_control": [
            {"model": "planted", "count": 4, "mean": 1.4, "low": 1.3, "high": 1.5, "expected": 1 / math.log(2)}
        ],
        "membership": [
            {"model": "pretrain", "facts": "all", "attack": name, **auc} for name in ("loss", "null control")
        ],
        "capacity": [],
        "by_heart": [{"model": "shuffled", "step": step, **share(step, 100)} for step in (0, 10, 100)],
    }
