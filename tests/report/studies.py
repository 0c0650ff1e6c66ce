"""Results of studies as the studies' own code concludes them, from measurements that are made up."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nudge.data import raters
from nudge.data.arithmetic import OPERATIONS
from nudge.evaluation.best_of_n import divergence_bound
from nudge.evaluation.tallies import Tally
from nudge.studies import (
    composition,
    measuring,
    overoptimisation,
    question,
    reward_ceiling,
    tallied,
    worked_rl,
    worked_steps,
)
from nudge.studies.running import Scope
from nudge.studies.scaling import study as scaling
from nudge.studies.scaling import sweep as scaling_sweep
from nudge.studies.scaling.law import Fit, Law
from nudge.studies.tasks import Done

SEEDS = (0, 1)
RUN = "0123456789abcdef0123456789abcdef"
QUESTIONS = 60


def write(reports: Path, work: Path, shown: float = 0.5) -> None:
    """Write the results of all studies.

    Args:
        reports: the project's folder.
        work: where measurements go.
        shown: p of the positive control, which begins at 0.01; if it doesn't move the verdict must be open.
    """
    scope = Scope(work, SEEDS)
    for name, figures in (
        (composition.NAME, _composition(scope, shown)),
        (question.NAME, _question(scope)),
        (overoptimisation.NAME, _overoptimisation(scope)),
        ("curation", _curation()),
        (reward_ceiling.NAME, _reward_ceiling(scope)),
        (scaling_sweep.NAME, _scaling()),
        (worked_steps.NAME, _worked_steps(scope)),
        (worked_rl.NAME, _worked_rl(scope)),
    ):
        content = {
            "study": name,
            "question": "a question",
            "seeds": list(SEEDS),
            "quick": False,
            "run": RUN,
            "commits": ["c" * 40],
            "seconds": {"of_all_tasks": 7200.0, "of_this_start": 3600.0, "jobs": 2},
            **figures,
            "tasks": {"start/base": {"run": RUN, "model": "d" * 64, "seconds": 9.0, "overrides": []}, "pool": {}},
        }
        (reports / "studies").mkdir(exist_ok=True)
        (reports / f"studies/{name}.json").write_text(json.dumps(content))


def _question(scope: Scope) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    operation = np.array(["plus", "times"] * (QUESTIONS // 2))
    family = np.array([f"family {place // 2}" for place in range(QUESTIONS)])
    for seed in SEEDS:
        start = np.where(operation == "plus", 0.9, 0.2) * rng.uniform(0.5, 1, QUESTIONS)
        arrays: dict[str, Any] = {
            "operation": operation,
            "family": family,
            "family_of_all": family,
            "floor": np.full(QUESTIONS, 0.02),
        }
        moved = {"finetuned": 0.0, "rlhf": 0.0, "random": 0.0, "rejection": 0.0, "taught": 0.3}
        score = rng.uniform(0, 1, (QUESTIONS, len(measuring.CRITERIA)))
        for arm, more in moved.items():
            better = 0.3 if arm in ("rlhf", "rejection") else 0.0
            arrays[f"p/{arm}"] = np.clip(start + more * (operation == "times"), 0, 1)
            arrays[f"score/{arm}"] = score + better
            arrays[f"stated/{arm}"] = np.ones(QUESTIONS, dtype=bool)
        _save(scope.root / f"{question.NAME}/seed{seed}/measured" / measuring.FILE, arrays)
    chosen = {f"{question.NAME}/seed{seed}/chosen": Done("", 1.0, "c", result={"examples": 9}) for seed in SEEDS}
    return question.conclude(scope, chosen)


def _composition(scope: Scope, shown: float) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    done = {}
    for seed in SEEDS:
        arrays: dict[str, Any] = {
            f"family:{part}": np.array([f"family {place}" for place in range(QUESTIONS)])
            for part in ("train", "held_out")
        }
        for part in ("train", "held_out"):
            for arm, p in (("finetuned", 0.01), ("rl", 0.3), ("shown", shown)):
                arrays[f"{part}/{arm}"] = p * rng.uniform(0.5, 1, QUESTIONS)
        _save(scope.root / f"{composition.NAME}/seed{seed}/measured" / measuring.FILE, arrays)
        done[f"{composition.NAME}/seed{seed}/asked"] = Done("", 1.0, "c", result={"train": 1})
    return composition.conclude(scope, done)


def _overoptimisation(scope: Scope) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    ns = np.array([1, 2, 4, 8, 16, 64, 256, 1024])
    d_N = np.sqrt([divergence_bound(int(n)) for n in ns])
    noise_Q = rng.normal(0, 0.05, QUESTIONS)
    steps, far = np.array([0, 1, 3, 10, 30, 100]), np.array([0.0, 0.2, 1.0, 4.0, 9.0, 16.0])
    done = {}
    for seed in SEEDS:
        pool: dict[str, Any] = {"n": ns}
        for size in overoptimisation.PAIRS:
            beta = 1 / np.log(size)
            pool[f"proxy/{size}"] = d_N[:, None] + noise_Q
            pool[f"scale/{size}"] = np.array([0.0, 1.0])
            pool[f"gold/{size}"] = (1 + d_N * (0.6 - beta * d_N))[:, None] + noise_Q
            root_N = np.sqrt(far)
            log_N = np.log(np.where(root_N > 0, root_N, 1.0))
            followed = {
                "step": steps,
                "kl": far[:, None] + np.abs(noise_Q),
                "proxy": root_N[:, None] + noise_Q,
                "gold": (1 + root_N * (0.4 - beta * log_N))[:, None] + noise_Q,
            }
            _save(scope.root / f"{overoptimisation.NAME}/seed{seed}/pairs{size}/followed/followed.npz", followed)
        _save(scope.root / f"{overoptimisation.NAME}/seed{seed}/pool/pool.npz", pool)
        result = {
            "accuracy": {str(size): {} for size in overoptimisation.PAIRS},
            "gold_chooses": [1.0 + 0.1 * place for place in range(len(ns))],
        }
        done[f"{overoptimisation.NAME}/seed{seed}/pool"] = Done("", 1.0, "c", result=result)
    return overoptimisation.conclude(scope, done)


def _curation() -> dict[str, Any]:
    def figure(mean: float | None) -> dict[str, Any]:
        low, high = (None, None) if mean is None else (0.9 * mean, 1.1 * mean)
        return {"mean": mean, "low": low, "high": high, "count": 60, "by_seed": [mean]}

    def arm(name: str, seeds: tuple[int, ...], worse: float) -> dict[str, Any]:
        measures = {
            "exact_match": figure(0.9 - 0.1 * worse),
            "taught_wrong": figure(0.05 + 0.4 * worse),
            "wrong_that_was_taught": figure(0.1 * worse),
            "canary_exposure": figure(1.4 + 9 * worse),
            "canary_extracted": figure(0.5 * worse),
            "personal_extracted": figure(None if name == "raw" else 0.3 * worse),
        }
        return {"arm": name, "seeds": list(seeds), "measures": measures}

    left_out = ("exact_duplicates", "repetition", "language", "quality", "personal_data", "abuse", "consistency")
    arms = [arm("curated", SEEDS, 0), arm("raw", SEEDS, 1), *(arm(f"without_{n}", (0,), 0.3) for n in left_out)]
    return {"measures": {}, "arms": arms}


def _save(path: Path, arrays: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)


def _reward_ceiling(scope: Scope) -> dict[str, Any]:
    rates = reward_ceiling.flip_rates()
    found = [
        {
            "rater": raters.name(rate),
            "count": 600,
            "right": round(580 * (1 - rate)),
            "ceiling": 1 - rate,
            "of_ceiling": 0.96,
        }
        for rate in rates
    ]
    names = [f"{reward_ceiling.NAME}/seed{seed}/{raters.name(rate)}/measured" for seed in SEEDS for rate in rates]
    return reward_ceiling.conclude(scope, {name: Done("", 1.0, "c", result=found) for name in names})


def _scaling() -> dict[str, Any]:
    scope = Scope(Path("none"), (0,))
    return scaling.conclude(scope, scaling_done(scope))


def scaling_done(scope: Scope) -> dict[str, Done]:
    """Let a law hold for text, and for the calculator a threshold in its place."""
    law = Law(1.5, 30.0, 0.3, 300.0, 0.4)
    rng = np.random.default_rng(0)
    done = {}
    for sweep in scaling_sweep.sweeps(scope):
        rows: dict[str, dict[str, Any]] = {}
        every = list(scaling_sweep.runs(sweep, scope.seeds))
        for one in every:
            weights, tokens = 12 * one.size.layers * one.size.width**2, 1000 * one.steps
            loss = law.at(weights, tokens) if sweep.name == "stdlib" else 3.5 - 2.0 * (weights * one.steps > 5e6)
            rows[one.name] = {
                "width": one.size.width,
                "layers": one.size.layers,
                "weights": weights,
                "all_weights": weights + 64 * one.size.width,
                "steps": one.steps,
                "tokens": tokens,
                "flops": 6.0 * weights * tokens,
                "loss": loss * float(np.exp(rng.normal(0, 0.004))),
                "bits_per_byte": loss / 2.3 if sweep.name == "stdlib" else None,
            }
        (held_out,) = [one.name for one in every if one.role == "held_out"]
        seen = [rows[one.name] for one in every if one.role == "fit"]
        off = np.log([one["loss"] / law.at(one["weights"], one["tokens"]) for one in seen])
        fitted = Fit(law, [law] * 99, off, 0.3)
        said = {
            "loss": fitted.foretell(rows[held_out]["weights"], rows[held_out]["tokens"]),
            "least_seen": min(one["loss"] for one in seen),
            "fit": fitted.told(),
        }
        found = {
            "rows": rows,
            "steps_per_epoch": 1000.0,
            "fit": fitted.told(),
            "fit_to_all_weights": fitted.told(),
            "measured_on": {"tokens": 5000},
        }
        for task, result in (("foretold", said), ("measured", found)):
            done[f"{scaling_sweep.NAME}/{sweep.name}/{task}"] = Done("", 1.0, "c", result=result)
    return done


def _worked_steps(scope: Scope) -> dict[str, Any]:
    """Return what is concluded of arms that work in steps, rightly but for quotients, or answer at once."""
    done: dict[str, Done] = {}
    rng = np.random.default_rng(0)
    for arm in worked_steps.arms(scope):
        done[f"{worked_steps.NAME}/{arm.name}/corpus"] = Done("", 1.0, "c", result={"steps": 100})
        for seed in scope.seeds:
            done[f"{arm.task(seed)}/pretrain"] = Done("", 60.0, "c", RUN, "d" * 64)
            done[f"{arm.task(seed)}/measured"] = Done("", 1.0, "c", result={"failures": {"times: sum": 1}})
            folder = scope.root / f"{arm.task(seed)}/measured"
            folder.mkdir(parents=True, exist_ok=True)
            names = [f"at_once/{name}" for name in OPERATIONS]
            if not arm.name.startswith("at_once"):
                names += [f"right/{name}" for name in OPERATIONS]
            if arm.name == worked_steps.MAIN:
                names += ["changed_follows", "changed_returns", "noise_returns", "beyond/factors", "beyond/chain 12"]
                names += ["unseen/adding", "unseen/sharing"]
            shares = {
                name: 0.6 if name in ("right/divided by", "beyond/chain 12") or name.startswith("at_once") else 1.0
                for name in names
            }
            _write_shares(folder, shares, rng)
    return worked_steps.conclude(scope, done)


def _worked_rl(scope: Scope) -> dict[str, Any]:
    """Return what is concluded of networks to which a reward teaches little, chance nothing and lessons all."""
    done: dict[str, Done] = {}
    rng = np.random.default_rng(0)
    learned = {"few": 0.3, "rl": 0.5, "random": 0.3, "own": 0.5, "taught": 1.0}
    for seed in scope.seeds:
        here = f"{worked_rl.NAME}/seed{seed}"
        done |= {f"{here}/{arm}": Done("", 60.0, "c", RUN, "d" * 64) for arm in worked_rl.ARMS}
        folder = scope.root / f"{here}/measured"
        folder.mkdir(parents=True, exist_ok=True)
        shares = {f"{arm}/{name}": learned[arm] for arm in worked_rl.ARMS for name in worked_rl.MEASURES}
        _write_shares(folder, shares, rng)
    return worked_rl.conclude(scope, done)


def _write_shares(folder: Path, shares: Mapping[str, float], rng: np.random.Generator) -> None:
    """Write tallies of measures that are about so large."""
    families = [f"family {place // 2}" for place in range(QUESTIONS)]
    drawn = {name: rng.uniform(size=QUESTIONS) < share for name, share in shares.items()}
    tallied.write(folder, {name: Tally.share(list(right), families) for name, right in drawn.items()})
