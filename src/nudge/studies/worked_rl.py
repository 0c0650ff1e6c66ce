"""Reward on the final answer alone, from a model that saw few worked examples: are steps discovered, or sharpened?

Two controls: a reward by chance, which can teach nothing, and fine-tuning on taught steps, which shows what there is to
learn. And what RL does without its name: fine-tuning on those of the model's own answers that are right.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nudge import project
from nudge.config.data import DataConfig
from nudge.config.parsing import parse
from nudge.data import corpora, documents, steps
from nudge.data.steps import Phrases
from nudge.data.tokenizer import END_ID, prompt_ids
from nudge.evaluation import worked
from nudge.evaluation.assistant import fact_of
from nudge.evaluation.tallies import Figure, Tally, difference
from nudge.model import sampling, saved
from nudge.model.saved import Saved
from nudge.studies import examples, start, tallied, tasks
from nudge.studies.running import Scope, Study
from nudge.studies.tasks import Done, Task, Training, Work

NAME = "worked_rl"
BEFORE = "few"
ARMS = {
    BEFORE: "few worked examples",
    "rl": "then rewarded for right answers",
    "random": "then rewarded by chance",
    "own": "then fine-tuned on right answers of its own",
    "taught": "then fine-tuned on the steps to all questions",
}
# Of a million tokens, so many are worked products and quotients: about sixty documents of 963, each once an epoch, of
# which a fifth is cut.
FEW = "data.mixture.weights.worked=0.01"
SOURCE = "worked"
ALONE = ("~data.sources.worked_sums", "~data.mixture.weights.worked_sums")  # sums are one step: nothing to discover
TRIES = (1, 4, 16, 64)
SAMPLES = 8  # answers of which a right one is kept: as many as a group of GRPO has
MAX_NEW = 150  # tokens; the longest working has 151 with its end token
STEPS = 100  # of each arm after the first
LEARNING = (
    "algorithm.prompts_per_iteration=64",
    "algorithm.group=8",
    f"algorithm.max_new={MAX_NEW}",
    "algorithm.guards={kl: null, distinct: null}",  # what it ends in is measured
    "algorithm.scale=group",  # one right answer among eight is to count
    "algorithm.kl_coefficient=0.01",  # a new capability lies away from where it begins
    "algorithm.exact_prompts=0",  # there is no list of all workings
    "optimizer.lr=0.001",
    "trainer.batch_size=512",
)
QUICK = ("algorithm.prompts_per_iteration=4", "algorithm.group=4", "algorithm.max_new=20", "trainer.batch_size=16")

MEASURES = {
    "greedy": "held-out products and quotients whose most probable working comes to the right answer",
    "as_taught": "the share of them of which every step is as it was taught",
    **{f"pass_at_{tries}": f"the share that one of {tries} drawn workings answers" for tries in TRIES},
    "drawn_as_taught": "of all drawn workings, the share of which every step is as it was taught",
    "drawn_lucky": "of the drawn workings that are right, the share with a step that is not as it was taught",
}


def plan(scope: Scope) -> list[Task]:
    """Return all tasks."""
    return [task for seed in scope.seeds for task in _of_seed(scope, seed)]


def _of_seed(scope: Scope, seed: int) -> list[Task]:
    here = f"{NAME}/seed{seed}"
    begin = f"{here}/{BEFORE}"
    model = tasks.model(scope.root, begin)
    few = {"most": 16} if scope.quick else {}
    small = _small() if scope.quick else ()
    same = ("data=worked", "model=worked", *ALONE, *small)
    from_it = (f"stage.init_from={model}", "tokenizer=inherited", f"tokenizer.folder={model}", f"seed={seed}")

    def trained(arm: str, *overrides: str, needs: tuple[str, ...]) -> Training:
        count = 4 if scope.quick else STEPS
        # The last weights count, whatever validation finds.
        length = (f"trainer.max_steps={count}", f"trainer.val_every_n_steps={count}", "schedule.warmup_steps=1")
        return Training(f"{here}/{arm}", (*overrides, *same, *from_it, *length, "callbacks.samples.prompts=[]"), needs)

    def learning(arm: str, reward: str) -> Training:
        told = ("stage=rlhf", "algorithm=grpo", f"stage.reward={reward}", *LEARNING, *(QUICK if scope.quick else ()))
        return trained(arm, *told, needs=(begin,))

    def supervised(arm: str, before: str) -> Training:
        told = ("stage=finetune", examples.override(scope.root / before), "trainer.batch_size=64", "optimizer.lr=0.002")
        return trained(arm, *told, needs=(begin, before))

    models = {arm: tasks.model(scope.root, f"{here}/{arm}") for arm in ARMS}
    start_with = ("experiment=worked_steps", FEW, f"seed={seed}", *small)
    steps_of = ("trainer.max_steps=12", "trainer.batch_size=64", "schedule.warmup_steps=2") if scope.quick else ()
    return [
        Training(begin, (*start_with, *steps_of)),
        learning("rl", "gold"),
        learning("random", "random"),
        Work(f"{here}/chosen", choose, {"model": model, "seed": seed} | few, (begin,)),
        supervised("own", f"{here}/chosen"),
        Work(f"{here}/lessons", teach, {"model": model} | few, (begin,)),
        supervised("taught", f"{here}/lessons"),
        Work(f"{here}/measured", measure, {"models": models} | few, tuple(f"{here}/{arm}" for arm in ARMS)),
    ]


def _small() -> tuple[str, ...]:
    return (*start.TINY_MODEL, "data.mixture.tokens=20000", "callbacks.samples.prompts=[]")


def choose(folder: Path, model: str, seed: int, most: int | None = None) -> Any:
    """Write, of a model's own drawn workings to each training question, the first that is right, whatever its steps."""
    one = saved.load(project.root() / model)
    rows, phrases = _asked(one, model, "train", most)
    answers = _drawn(one, rows, phrases, SAMPLES, seed)
    kept = [
        (row, text)
        for row, some in zip(rows, answers, strict=True)
        for text in [_first_right(some)]
        if text is not None
    ]
    examples.write(folder, [row | {"text": f"{row['prompt']} {text}"} for row, text in kept] or rows[:1])
    right = [said for some in answers for said, _ in some if said.right]
    return {"examples": len(kept), "of": len(rows), "lucky": sum(one.failure is not None for one in right)}


def _first_right(some: Sequence[tuple[worked.Worked, str]]) -> str | None:
    return next((text for said, text in some if said.right), None)


def teach(folder: Path, model: str, most: int | None = None) -> Any:
    """Write the taught working to each question of training."""
    rows, _ = _asked(saved.load(project.root() / model), model, "train", most)
    examples.write(folder, rows)
    return {"examples": len(rows)}


def measure(folder: Path, models: Mapping[str, str], most: int | None = None) -> Any:
    """Measure models on the held-out products and quotients; write the tallies `ARM/MEASURE`."""
    first = saved.load(project.root() / models[BEFORE])
    rows, phrases = _asked(first, models[BEFORE], "test", most)
    tallies = {
        f"{arm}/{name}": tally
        for arm, place in models.items()
        for name, tally in _tallies(saved.load(project.root() / place), rows, phrases).items()
    }
    tallied.write(folder, tallies)
    return {"questions": len(rows)}


def _tallies(one: Saved, rows: Sequence[dict[str, Any]], phrases: Phrases) -> dict[str, Tally]:
    families = [row["family"] for row in rows]
    prompts = [prompt_ids(one.tokenizer, row["prompt"]) for row in rows]
    surest = [
        worked.read(fact_of(row), one.tokenizer.decode(list(said.ids)), said.ended, phrases)
        for row, said in zip(rows, sampling.greedy(one.model, prompts, END_ID, MAX_NEW), strict=True)
    ]
    drawn = [[said for said, _ in some] for some in _drawn(one, rows, phrases, max(TRIES), seed=0)]
    right_N = np.array([sum(said.right for said in some) for some in drawn], np.float64)
    taught_N = np.array([sum(said.right and said.failure is None for said in some) for some in drawn], np.float64)
    every_N, names = np.full(len(rows), float(max(TRIES))), np.array(families)
    return {
        "greedy": Tally.share([said.right for said in surest], families),
        "as_taught": Tally.share([said.right and said.failure is None for said in surest], families),
        **{f"pass_at_{k}": Tally(_passes(right_N, max(TRIES), k), np.ones(len(rows)), names) for k in TRIES},
        "drawn_as_taught": Tally(taught_N, every_N, names),
        "drawn_lucky": Tally(right_N - taught_N, right_N, names),
    }


def _passes(right_N: np.ndarray[Any, Any], drawn: int, tries: int) -> np.ndarray[Any, Any]:
    """Return the unbiased estimate that one of so many tries is right, [N] (Chen et al. 2021, arXiv:2107.03374)."""
    missed_N = np.ones_like(right_N)
    for place in range(tries):
        missed_N *= np.clip(drawn - right_N - place, 0, None) / (drawn - place)
    return 1 - missed_N


def _asked(one: Saved, model: str, split: str, most: int | None) -> tuple[list[dict[str, Any]], Phrases]:
    """Return the worked products and quotients of a split, of all sources the one that has steps to discover.

    Not those that are cut before a held-out step: the model's own working would show it what is held out.
    """
    data = parse(DataConfig, one.config["data"])
    phrases = steps.phrases_of(data, project.root())
    assert phrases is not None
    rows = documents.read(corpora.of_model(one.config, Path(model)) / "curated" / f"{split}.parquet").to_pylist()
    return [row for row in rows if row["source"] == SOURCE and not row["cut"]][:most], phrases


def _drawn(
    one: Saved, rows: Sequence[dict[str, Any]], phrases: Phrases, count: int, seed: int
) -> list[list[tuple[worked.Worked, str]]]:
    """Draw workings of each question at temperature 1; return them read, with their texts."""
    prompts = [prompt_ids(one.tokenizer, row["prompt"]) for row in rows for _ in range(count)]
    uniform_BN = sampling.uniform(len(prompts), MAX_NEW, torch.Generator().manual_seed(seed))
    sampled = sampling.sample(one.model, prompts, END_ID, uniform_BN)
    found = list(zip(sampled.answers(END_ID), sampled.ended_B.tolist(), strict=True))
    texts = one.tokenizer.decode_batch([ids for ids, _ in found])
    return [
        [
            (worked.read(fact_of(row), texts[at], found[at][1], phrases), texts[at])
            for at in range(place * count, (place + 1) * count)
        ]
        for place, row in enumerate(rows)
    ]


def conclude(scope: Scope, done: Mapping[str, Done]) -> dict[str, Any]:
    """Put each arm's runs together, and compare them with what they began with."""
    figures = _figures(scope)
    return {
        "measures": MEASURES,
        "intervals": "95 %: families and runs drawn again; gains: over the same questions and seeds",
        "arms": [_told(scope, arm, figures, done) for arm in figures],
        "metrics": {f"{arm}/{name}": own[name].mean for arm, own in figures.items() for name in MEASURES},
    }


def _told(scope: Scope, arm: str, figures: Mapping[str, Mapping[str, Figure]], done: Mapping[str, Done]) -> Any:
    runs = [(seed, done[f"{NAME}/seed{seed}/{arm}"]) for seed in scope.seeds]
    return {
        "arm": arm,
        "what": ARMS[arm],
        "measures": {name: one.told() for name, one in figures[arm].items()},
        "gains": {name: difference(one, figures[BEFORE][name]) for name, one in figures[arm].items() if arm != BEFORE},
        "runs": [{"seed": seed, "run": run.run_id, "model": run.digest, "seconds": run.seconds} for seed, run in runs],
    }


def _figures(scope: Scope) -> dict[str, dict[str, Figure]]:
    """Return the measures of each arm."""
    found = tallied.figures([scope.root / f"{NAME}/seed{seed}/measured" for seed in scope.seeds])
    return {arm: {name: found[f"{arm}/{name}"] for name in MEASURES} for arm in ARMS}


STUDY = Study(NAME, "does a reward on the answer alone discover steps, or sharpen them?", (0, 1, 2), plan, conclude)
