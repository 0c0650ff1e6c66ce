"""What studies of post-training begin with: one base model, and for each seed a fine-tuned one with rated pairs."""

from pathlib import Path
from typing import Any

from nudge import project
from nudge.config.composition import compose
from nudge.studies import tasks
from nudge.studies.running import Scope
from nudge.studies.tasks import Task, Training, Work

BASE = "start/base"
# Of a quick study: it shows that everything runs, and nothing else.
TINY_MODEL = ("model.width=16", "model.layers=1", "model.heads=2", "model.kv_heads=2", "model.mlp_width=32")
TINY_PAIRS = {"pairs": 24, "held_out_pairs": 8}


def finetuned(seed: int) -> str:
    """Name the task that fine-tunes."""
    return f"start/seed{seed}/finetune"


def pairs(seed: int) -> str:
    """Name the task that samples and rates pairs of the fine-tuned model's answers."""
    return f"start/seed{seed}/preferences"


def of(scope: Scope) -> list[Task]:
    """Return the tasks, for all seeds."""
    few = ("trainer.max_steps=40", "trainer.val_every_n_steps=40", "trainer.batch_size=64")
    planned: list[Task] = [
        Training(BASE, ("experiment=base", *(TINY_MODEL if scope.quick else ()), *(few if scope.quick else ())))
    ]
    for seed in scope.seeds:
        planned += [
            training(scope, finetuned(seed), seed, BASE, "stage=finetune", steps=None, needs=(BASE,)),
            Work(
                pairs(seed),
                rate,
                {"model": tasks.model(scope.root, finetuned(seed)), "seed": seed} | (TINY_PAIRS if scope.quick else {}),
                (finetuned(seed),),
            ),
        ]
    return planned


def training(
    scope: Scope, name: str, seed: int, init: str, *overrides: str, steps: int | None, needs: tuple[str, ...]
) -> Training:
    """Return a run of post-training.

    Args:
        scope: of the study.
        name: of the task.
        seed: of the run.
        init: the task whose model it starts from.
        overrides: what it is told besides.
        steps: optimiser steps; None: what the configuration says. The last weights count, whatever validation finds.
        needs: the tasks before it.
    """
    told = [
        *overrides,
        f"seed={seed}",
        f"stage.init_from={tasks.model(scope.root, init)}",
        f"tokenizer.folder={tasks.model(scope.root, BASE)}",  # all share one corpus of questions
    ]
    if scope.quick:
        told += [*TINY_MODEL, "trainer.max_steps=8", "trainer.val_every_n_steps=8", "callbacks.samples.prompts=[]"]
        if "stage=finetune" not in told:
            told.append("schedule.warmup_steps=1")
    elif steps is not None:
        told += [f"trainer.max_steps={steps}", f"trainer.val_every_n_steps={steps}"]
    return Training(name, tuple(told), needs)


def ratings(scope: Scope, seed: int) -> str:
    """Return the file of a seed's ratings, relative to the project."""
    return (scope.root / pairs(seed) / "corpus" / "ratings.jsonl").relative_to(project.root()).as_posix()


def rate(folder: Path, model: str, seed: int, **settings: int) -> Any:
    """Sample pairs of a model's answers and let simulated raters choose, as the pipeline's stage does."""
    from nudge.rating.preferences import preferences

    config = compose().preferences.model_copy(update={"seed": seed, **settings})
    root = project.root()
    people = root / "data" / "ratings.jsonl"
    report = preferences(root / model, people, folder / "corpus", folder / "reports", config)
    return {"pairs": {split: found["count"] for split, found in report["pairs"].items()}}
