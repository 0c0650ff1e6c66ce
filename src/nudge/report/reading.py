"""Files that other stages wrote, as the report reads them: what is damaged is named with the command that mends it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from nudge.errors import UserError

Shape = Mapping[str, Any] | Sequence[Any] | None  # None is any value; a list holds the one shape of all its items

FIGURE = dict.fromkeys(("name", "value", "low", "high", "n", "unit", "role"))
FINDING: dict[str, Any] = {
    **dict.fromkeys(("hypothesis", "claim", "verdict", "caveat")),
    "criteria": [{**dict.fromkeys(("says", "threshold", "above", "verdict")), "figure": FIGURE}],
    "figures": [FIGURE],
    "details": {},
}
TOLD = dict.fromkeys(("split", "operation", "carries"))
# What the chapters rely on; a key with a question mark may be absent, and null may stand for a whole list or table.
INSIGHT: Shape = {
    "model": {"digest": None},
    "findings": [FINDING],
    "timeline?": {"points": [{"step": None}], "appears": {}, "measures": {}},
    "learning?": {
        "exact_match": [{**TOLD, "step": None, "exact_match": None}],
        "learning_time": [{**TOLD, "median": None}],
        "rarity": [dict.fromkeys(("split", "operation", "counted", "rank_correlation", "low", "high", "count"))],
        "last": [dict.fromkeys(("text", "split", "learned_at", "surprisal", "answer_in_training"))],
    },
}
CANARIES = dict.fromkeys(("model", "written", "kept", "exposure", "low", "high", "count", "extracted"))
MEMORY: Shape = {
    "models": [{"model": None, "digest": None}],
    "distance?": [dict.fromkeys(("model", "kind", "operation", "count", "share", "low", "high"))],
    "canaries_by_step?": [{**CANARIES, "step": None}],
    "canaries_by_repeats?": [{**CANARIES, **dict.fromkeys(("share", "share_low", "share_high"))}],
    "canary_control?": [dict.fromkeys(("mean", "low", "high", "expected"))],
    "membership?": [
        dict.fromkeys(
            ("model", "facts", "attack", "operation", "auc", "auc_low", "auc_high", "tpr", "tpr_low", "tpr_high")
        )
    ],
    "capacity?": [{**dict.fromkeys(("bits", "bits_possible", "bits_per_weight")), "held_out": {"share": None}}],
    "by_heart?": [dict.fromkeys(("model", "step", "share", "count"))],
}

SHARE = dict.fromkeys(("count", "share", "low", "high"))
MEAN = dict.fromkeys(("count", "mean", "low", "high"))
EXAMPLE = dict.fromkeys(("text", "reason", "problem"))
CURATION: Shape = {
    "documents": dict.fromkeys(("train", "dropped", "planted", "clean")),
    "clean_kept": SHARE,
    "precision": SHARE,
    "problems": {},
    "filters": [
        {
            **dict.fromkeys(("filter", "in", "out", "dropped", "clean_dropped")),
            "precision": SHARE,
            "examples": [EXAMPLE],
            "clean_examples": [EXAMPLE],
        }
    ],
}
BEHAVIOUR = {
    **dict.fromkeys(("form", "ended", "accuracy", "refusal_precision", "refusal_recall"), SHARE),
    "forms": {},
    "gold": MEAN,
}
ASSISTANT = {
    "test": {
        "behaviour": BEHAVIOUR,
        "behaviour_drawn": BEHAVIOUR,
        "pass_at_k": {},
        "guessing_at_k": {},
        "win_rate?": MEAN,
    },
    "mixture_loss?": None,
}
METRICS: Shape = {
    "base?": {
        "test": {"by_source?": {}},
        "asked?": [{**SHARE, **dict.fromkeys(("question", "shots"))}],
        "styles?": {"classifier": SHARE, "share": {}, "entropy": None},
    },
    "finetune?": ASSISTANT,
    "rlhf?": ASSISTANT,
    "reward?": {
        "test": {
            "raters": [{**SHARE, **dict.fromkeys(("rater", "flip_rate", "ceiling", "of_ceiling"))}],
            "calibration": [dict.fromkeys(("from", "to", "count", "predicted", "chosen"))],
        }
    },
}
PREFERENCES: Shape = {
    "model": {"digest": None},
    "pairs": {},
    "raters": [dict.fromkeys(("rater", "kind", "flip_rate", "split", "count", "why", "ceiling"))],
    "agreement": [{**SHARE, **dict.fromkeys(("one", "other", "kappa"))}],
}

INTERVAL = dict.fromkeys(("mean", "low", "high"))
STUDIED = dict.fromkeys(("study", "question", "seeds", "run", "commits", "seconds", "tasks"))
VERDICT = dict.fromkeys(("answer", "reason"))
CURVE = {
    "points": [{"d": None, "proxy": INTERVAL, "gold": INTERVAL}],
    "highest_gold": {"d": None, "gold": INTERVAL},
    "fit": {"form": None, "alpha": INTERVAL, "beta": INTERVAL, "turning": INTERVAL, "rms": None},
}
QUESTION: Shape = {
    **STUDIED,
    "verdict": {**VERDICT, "checks": [{**dict.fromkeys(("what", "threshold", "passed")), "found": INTERVAL}]},
    "questions": {},
    "floor": {},
    "arms": {"finetuned": {"capability": {}, "behaviour": {"win_rate": INTERVAL, "total": INTERVAL}}},
}
COMPOSITION: Shape = {**STUDIED, "verdict": VERDICT, "parts": {"train": {}, "held_out": {}}}
OVEROPTIMISATION: Shape = {
    **STUDIED,
    "rater": None,
    "sizes": [{"pairs": None, "best_of_n": CURVE, "rl": CURVE}],
    "gold_chooses": [None],
}
OF_CEILING = {**SHARE, "ceiling": None, "of_ceiling": INTERVAL}
REWARD_CEILING: Shape = {
    **STUDIED,
    "verdict": VERDICT,
    "flip_rates": [{"trained_on": None, "flip_rate": None, "own": OF_CEILING, "without_slips": OF_CEILING}],
}
FITTED = {**dict.fromkeys(("E", "A", "alpha", "B", "beta", "a", "b"), INTERVAL), "rms": None}
SWEEP = {
    "verdict": {**VERDICT, "checks": [dict.fromkeys(("what", "threshold", "found", "passed"))]},
    "foretold": {"loss": INTERVAL, "fit": FITTED},
    "held_out": dict.fromkeys(("loss", "error")),
    "measured_on": {"tokens": None},
    "fit": FITTED,
    "fit_to_all_weights": FITTED,
    "runs": [
        dict.fromkeys(
            ("role", "seed", "rate", "weights", "all_weights", "tokens", "flops", "epochs", "loss", "bits_per_byte")
        )
    ],
}
SCALING: Shape = {**STUDIED, "verdict": VERDICT, "corpora": {"stdlib": SWEEP, "calculator": SWEEP}}
WORKED_STEPS: Shape = {**STUDIED, "aim": {"reached": None}, "arms": [{"arm": None, "what": None, "measures": {}}]}
WORKED_RL: Shape = {**STUDIED, "arms": [{"arm": None, "what": None, "measures": {}}]}
CURATION_STUDY: Shape = {**STUDIED, "arms": [{"arm": None, "seeds": [None], "measures": {}}]}


def measures(path: Path, stage: str, shape: Shape, by: str = "dvc repro") -> dict[str, Any] | None:
    """Read a stage's JSON; None if the stage has not run.

    Raises:
        UserError: it is no JSON, or not of this shape.
    """
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise damaged(path, stage, str(error), by) from error
    if lack := _lack(content, shape):
        raise damaged(path, stage, lack, by)
    return content


def table(path: Path, stage: str, columns: Sequence[str]) -> pd.DataFrame | None:
    """Read a table that a stage wrote, CSV or parquet; None if there is none.

    Raises:
        UserError: it can't be read, or a column is missing.
    """
    if not path.is_file():
        return None
    try:
        told: pd.DataFrame = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except (ValueError, OSError, pa.ArrowException) as error:  # pandas' errors of parsing are ValueErrors
        raise damaged(path, stage, (str(error).splitlines() or ["empty"])[0]) from error
    if missing := [column for column in columns if column not in told]:
        raise damaged(path, stage, f"no column '{missing[0]}'")
    if not len(told):
        raise damaged(path, stage, "no rows")
    return told


def damaged(path: Path, stage: str, reason: str, by: str = "dvc repro") -> UserError:
    """Say that a file is damaged, and what makes it anew."""
    return UserError(f"{path}: damaged ({reason}); delete it and call `{by} {stage}`")


def _lack(value: Any, shape: Shape, where: str = "") -> str | None:
    """Say what a value lacks of a shape; None if nothing."""
    if shape is None or (value is None and where):
        return None
    if isinstance(shape, Mapping):
        if not isinstance(value, dict):
            return f"{where or 'the whole'} is no object"
        for name, of_it in shape.items():
            key = name.removesuffix("?")
            if key in value:
                lack = _lack(value[key], of_it, f"{where}.{key}".lstrip("."))
            else:
                lack = None if key != name else f"no '{key}'" + (f" in {where}" if where else "")
            if lack:
                return lack
        return None
    if not isinstance(value, list):
        return f"{where} is no list"
    lacks = (_lack(item, shape[0], f"{where}[{place}]") for place, item in enumerate(value))
    return next(filter(None, lacks), None)
