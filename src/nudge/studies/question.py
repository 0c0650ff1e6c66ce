"""Does RLHF add a capability, or only change which one is shown? One arm, four controls, a verdict.

One of the controls is an arm of the study of compositions, which is run along.
"""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nudge import project
from nudge.config.data import DataConfig
from nudge.config.parsing import parse
from nudge.data import asking, chat, corpora, documents, rubric
from nudge.data.tokenizer import prompt_ids
from nudge.evaluation import best_of_n
from nudge.evaluation.assistant import fact_of
from nudge.model import saved
from nudge.studies import composition, examples, measuring, start, tasks, verdict
from nudge.studies.measuring import HARD
from nudge.studies.running import Scope, Study
from nudge.studies.tasks import Done, Task, Training, Work
from nudge.training.rewards import Gold

NAME = "rlhf_question"
ARMS = ("rlhf", "random", "rejection", "taught")
TRIES = (1, 2, 4, 8, 16)
SAMPLES = 8  # answers of which rejection sampling keeps one: as many as a group of GRPO has
MAX_NEW = 24  # tokens, as in training
REJECTION_STEPS = 100  # of 256: about two passes over the chosen answers
TAUGHT_STEPS = 200  # after 100 the control had moved, in a trial
SHARE_OF_HARD = 0.7  # of the lessons; the others keep what was learned before
LESSONS = 20_000
GENTLE = "optimizer.lr=0.002"  # half of fine-tuning's: it is trained already


def plan(scope: Scope) -> list[Task]:
    """Return all tasks."""
    planned = start.of(scope)
    for seed in scope.seeds:
        planned += _of_seed(scope, seed)
    named = {task.name for task in planned}
    return planned + [task for task in composition.plan(scope) if task.name not in named]


def _of_seed(scope: Scope, seed: int) -> list[Task]:
    here, tuned = f"{NAME}/seed{seed}", start.finetuned(seed)
    few: dict[str, int] = {"most": 40} if scope.quick else {}
    small = ("algorithm.prompts_per_iteration=4", "trainer.batch_size=16", "algorithm.group=4") if scope.quick else ()

    def learning(arm: str, reward: str, *needs: str) -> Training:
        told = ("experiment=rlhf_question", f"stage.reward={reward}", *small)
        if scope.quick:
            told = (*told, "algorithm.validation_prompts=8", "algorithm.exact_prompts=0")
        return start.training(scope, f"{here}/{arm}", seed, tuned, *told, steps=None, needs=needs)

    def supervised(arm: str, before: str, steps: int) -> Training:
        told = ("stage=finetune", examples.override(scope.root / before), GENTLE)
        return start.training(scope, f"{here}/{arm}", seed, tuned, *told, steps=steps, needs=(tuned, before))

    judge = tasks.model(scope.root, f"{here}/reward")
    rated = ("stage=reward", f"stage.ratings={start.ratings(scope, seed)}")
    model = tasks.model(scope.root, tuned)
    arms = {"finetuned": model} | {arm: tasks.model(scope.root, f"{here}/{arm}") for arm in ARMS}
    trained = (f"{here}/reward", tuned)
    return [
        start.training(scope, f"{here}/reward", seed, tuned, *rated, steps=None, needs=(tuned, start.pairs(seed))),
        learning("rlhf", judge, *trained),
        learning("random", "random", tuned),
        Work(f"{here}/chosen", choose, {"model": model, "reward": judge, "seed": seed} | few, trained),
        supervised("rejection", f"{here}/chosen", REJECTION_STEPS),
        Work(f"{here}/lessons", teach, {"model": model, "seed": seed} | few, (tuned,)),
        supervised("taught", f"{here}/lessons", TAUGHT_STEPS),
        Work(
            f"{here}/measured",
            measuring.measure,
            {"models": arms} | ({"most": 120} if scope.quick else {}),
            tuple(f"{here}/{arm}" for arm in ARMS),
        ),
    ]


def choose(folder: Path, model: str, reward: str, seed: int, most: int | None = None) -> Any:
    """Write the best of a model's own answers to each training question, by a reward model: what rejection keeps."""
    tuned = saved.load(project.root() / model)
    rows, data = _training(model, tuned.config)
    asked = measuring.once(rows)[:most]
    assistant = asking.assistant_of(data)
    drawn = best_of_n.draw(
        tuned.model,
        tuned.tokenizer,
        assistant,
        Gold(assistant),
        [prompt_ids(tuned.tokenizer, row["prompt"]) for row in asked],
        [row["answer"] for row in asked],
        SAMPLES,
        MAX_NEW,
        seed,
    )
    best = best_of_n.choose(measuring.scores(reward, assistant, tuned, drawn))
    chosen = [(row, answers[place]) for row, answers, place in zip(asked, drawn.answers, best, strict=True)]
    kept = [(row, one) for row, one in chosen if one.ended and one.text]
    examples.write(folder, [row | {"text": f"{row['prompt']} {one.text}"} for row, one in kept])
    right = float(np.mean([rubric.gold(assistant, one.question, one.text, one.expected).right > 0 for _, one in kept]))
    return {"examples": len(kept), "right": right, "gold": float(drawn.gold_PN[np.arange(len(best)), best].mean())}


def teach(folder: Path, model: str, seed: int, most: int | None = None) -> Any:
    """Write right answers to questions of training families, most of them of the hard operations."""
    rows, data = _training(model, saved.load(project.root() / model).config)
    assistant = asking.assistant_of(data)
    facts = [row for row in rows if row["operation"] is not None]
    hard = [row for row in facts if row["operation"] in HARD]
    drawing = random.Random(seed)
    lessons = []
    for _ in range(most or LESSONS):
        row = drawing.choice(hard if drawing.random() < SHARE_OF_HARD else facts)
        fact = fact_of(row)
        forms = assistant.forms(fact)
        form = drawing.choices(list(forms), [assistant.answers[name].weight for name in forms])[0]
        prompt = chat.prompt_of(drawing.choice(assistant.asks(fact.left, fact.operation, fact.right)))
        lessons.append(row | {"prompt": prompt, "text": f"{prompt} {forms[form]}"})
    examples.write(folder, lessons)
    return {"examples": len(lessons)}


def _training(model: str, made_by: Mapping[str, Any]) -> tuple[list[dict[str, Any]], DataConfig]:
    curated = corpora.of_model(made_by, Path(model)) / "curated"
    return documents.read(curated / "train.parquet").to_pylist(), parse(DataConfig, made_by["data"])


def conclude(scope: Scope, done: Mapping[str, Done]) -> dict[str, Any]:
    """Compare the arms, and decide."""
    found = measuring.load([scope.root / f"{NAME}/seed{seed}/measured" for seed in scope.seeds])
    hard = np.isin(found["operation"], HARD)
    every = np.ones(len(hard), dtype=bool)
    kinds = {"all": every, "hard": hard} | {
        name: found["operation"] == name for name in sorted(set(found["operation"].tolist()))
    }
    start_p = found["p/finetuned"]
    arms: dict[str, Any] = {}
    for arm in ("finetuned", *ARMS):
        p, score = found[f"p/{arm}"], found[f"score/{arm}"]
        before = found["score/finetuned"]
        wins = 0.5 + 0.5 * np.sign(np.round(score[..., -1] - before[..., -1], 9))
        capability = {
            kind: {
                str(k): {
                    "pass": _interval(measuring.solved(p, k)[:, which], found["family"][which]),
                    "change": _interval(
                        (measuring.solved(p, k) - measuring.solved(start_p, k))[:, which], found["family"][which]
                    ),
                }
                for k in TRIES
            }
            for kind, which in kinds.items()
            if which.any()
        }
        arms[arm] = {
            "capability": capability,
            "behaviour": {
                "win_rate": _interval(wins, found["family_of_all"]),
                "has_a_form": _interval(found[f"stated/{arm}"].astype(float), found["family_of_all"]),
                **{
                    key: _interval(score[..., place], found["family_of_all"])
                    for place, key in enumerate(measuring.CRITERIA)
                },
            },
        }
    floor = {
        kind: {str(k): float(measuring.solved(found["floor"], k)[which].mean()) for k in TRIES}
        for kind, which in kinds.items()
        if which.any()
    }
    shown = {"held_out": composition.change(scope, "shown")}
    decisive = {arm: _decisive(arms[arm]) for arm in ("rlhf", "random", "taught")} | {"shown": shown}
    judged = verdict.decide(decisive) if hard.any() else None
    return {
        "verdict": judged
        and {
            "answer": judged.answer,
            "reason": judged.reason,
            "checks": [check._asdict() for check in judged.checks],
        },
        "questions": {"all": len(found["family_of_all"]), "facts": int(every.sum()), "hard": int(hard.sum())},
        "families": {"all": len(set(found["family"])), "hard": len(set(found["family"][hard]))},
        "floor": floor,
        "arms": arms,
        "chosen": {f"seed{seed}": done[f"{NAME}/seed{seed}/chosen"].result for seed in scope.seeds},
        "metrics": {f"{arm}/{name}": value["mean"] for arm in ARMS for name, value in _decisive(arms[arm]).items()},
    }


def _decisive(arm: dict[str, Any]) -> dict[str, Any]:
    found = {kind: arm["capability"][kind]["16"]["change"] for kind in ("all", "hard") if kind in arm["capability"]}
    return found | {"win_rate": arm["behaviour"]["win_rate"]}


def _interval(values_SN: measuring.Floats, families_N: Any) -> dict[str, Any]:
    return measuring.over_seeds_and_families(values_SN, families_N)


STUDY = Study(NAME, "does RLHF add a capability, or only change which one is shown?", tuple(range(5)), plan, conclude)
