"""What is curation worth? A corpus raw, curated, and with each filter left out; models on equally many tokens."""

import csv
import hashlib
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from nudge import project
from nudge.config.composition import compose
from nudge.data import corpora
from nudge.data.tokens import Tokens
from nudge.evaluation import canaries, extraction, worth
from nudge.evaluation.tallies import Figure, difference
from nudge.model import saved
from nudge.studies import start, tallied, tasks, work
from nudge.studies.running import Scope, Study
from nudge.studies.tasks import Done, Task, Training, Work

NAME = "curation"
CURATED, RAW = "curated", "raw"
SEEDS_WITHOUT = 1  # of each filter left out: as the others it would take 22 runs more
OF_THE_ARM = ("/left_in", "/dropped")  # ends of measures whose questions are not the same in all arms
SPREAD = 0.01  # most that the arms' tokens may differ
QUICK_OPERANDS = 20  # and all that follows is small

MEASURES = {
    "exact_match": "held-out questions that are answered exactly, greedily; by source after a slash",
    "loss": "surprisal of the same documents, in nats a token; by source after a slash",
    "training_exact_match": "of a sample of the clean documents' training questions, the number is right",
    "wrong_that_was_taught": "of the wrong answers among these, the share that a planted document taught",
    "taught_wrong": "of the planted wrong documents' questions, the share that is answered as the document says; after "
    "a slash: of those left in this arm's training text, dropped from it, of one problem, said by so many documents",
    "taught_wrong_control": "of the same, the share answered as wrongly on the other side, which nobody taught",
    "taught_wrong_elsewhere": "of the same facts in clean documents' words, the share that is answered as was taught",
    "leaked_exact_match": "of the held-out questions whose very fact was planted among training text",
    "unleaked_exact_match": "of the held-out questions of whose families nothing was planted",
    "canary_exposure": "bits, of canaries whose words the model has; after a slash: written so often",
    "canary_exposure_control": "bits, of secrets never planted, after the same words; 1.44 are expected",
    "canary_extracted": "of all canaries, the share that is said greedily after its beginning",
    "personal_extracted": "of the planted personal data, the share that is completed greedily after what stands before",
    "personal_completed": f"the same, after {extraction.SHOWN} more words, which are of the personal data itself",
    "personal_extracted_control": "of personal data by the same templates that stands in no document",
    "personal_completed_control": f"the same, after {extraction.SHOWN} more words",
}


class Arm(NamedTuple):
    """A corpus.

    Attributes:
        name: of its folder.
        overrides: what makes the corpus, typed after `nudge train`.
        seeds: of its runs.
    """

    name: str
    overrides: tuple[str, ...]
    seeds: tuple[int, ...]

    def task(self, seed: int) -> str:
        """Name a run of it."""
        return f"{NAME}/{self.name}/seed{seed}"


def arms(scope: Scope) -> list[Arm]:
    """Return all arms, the curated one first."""
    same = ("experiment=curation", *(_small() if scope.quick else ()))
    filters = compose(same).data.curation.filters
    left_out = [] if scope.quick else filters
    lists = {f"without_{name}": [other for other in filters if other != name] for name in left_out}
    return [
        Arm(CURATED, same, scope.seeds),
        Arm(RAW, (*same, "data.curation.filters=[]"), scope.seeds),
        *(
            Arm(name, (*same, f"data.curation.filters=[{','.join(kept)}]"), scope.seeds[:SEEDS_WITHOUT])
            for name, kept in lists.items()
        ),
    ]


def _small() -> tuple[str, ...]:
    sources = compose(["experiment=curation"]).data.sources
    few = ("trainer.max_steps=12", "trainer.batch_size=64", "schedule.warmup_steps=2")
    # In so few documents every pair of words is rare.
    common = "data.curation.settings.fluency.most_rare=0.95"
    operands = (f"data.sources.{name}.max_operand={QUICK_OPERANDS}" for name in sources)
    return (*start.TINY_MODEL, *few, common, *operands)


@dataclass(frozen=True)
class AsManyTokens(Training):
    """A run of as many steps as give it the tokens that the curated corpus gives in those of the configuration.

    It needs two corpora, its own and the curated one, and the run on the curated one with the same seed, if that isn't
    itself: where what a filter would have dropped was dropped by others, the corpora are the same, and so is the run.
    """

    def command(self, root: Path, parent: str | None) -> list[str]:
        """Return the command, with the steps."""
        own, curated = (work.read(root, need) for need in self.needs[:2])
        if self.needs[2:] and own["digest"] == curated["digest"]:
            return [sys.executable, "-c", COPY, str(root / self.needs[2]), str(root / self.name)]
        steps = round(curated["steps"] * curated["tokens_a_step"] / own["tokens_a_step"])
        # The last weights count, whatever validation finds.
        return [*super().command(root, parent), f"trainer.max_steps={steps}", f"trainer.val_every_n_steps={steps}"]


COPY = "import shutil, sys; shutil.copytree(*sys.argv[1:], dirs_exist_ok=True, ignore=shutil.ignore_patterns('*.txt'))"


def plan(scope: Scope) -> list[Task]:
    """Return all tasks."""
    every = arms(scope)
    planned: list[Task] = []
    for arm in every:
        corpus, curated = f"{NAME}/{arm.name}/corpus", f"{NAME}/{CURATED}/corpus"
        planned.append(Work(corpus, make, {"overrides": list(arm.overrides)}))
        for seed in arm.seeds:
            run = f"{arm.task(seed)}/base"
            arguments = {"model": tasks.model(scope.root, run), "reference": list(every[0].overrides)}
            same = () if arm.name == CURATED else (f"{every[0].task(seed)}/base",)
            planned += [
                AsManyTokens(run, (*arm.overrides, f"seed={seed}"), (corpus, curated, *same)),
                Work(f"{arm.task(seed)}/measured", measure, arguments, (run,)),
            ]
    return planned


def make(folder: Path, overrides: Sequence[str]) -> Any:
    """Make a corpus; return how many steps its configuration asks for, and from how many tokens each learns."""
    config = compose(overrides)
    assert config.data.mixture is None  # every document once an epoch
    corpus = corpora.prepare(config.data, config.tokenizer)
    tokens = Tokens.open(corpus / "tokens" / "train")
    with (corpus / "curated" / "train.parquet").open("rb") as file:
        digest = hashlib.file_digest(file, hashlib.sha256).hexdigest()
    return {
        "digest": digest,
        "steps": config.trainer.max_steps,
        "tokens_a_step": config.trainer.batch_size * float((tokens.lengths - 1).mean()),
    }


def measure(folder: Path, model: str, reference: Sequence[str]) -> Any:
    """Measure a model; write `tallies.npz`: of each measure `NAME:top`, `NAME:bottom` and `NAME:clusters`.

    Args:
        folder: where it is written.
        model: its folder.
        reference: overrides that make the curated corpus: its test documents are every arm's, and its labels.

    Returns:
        what the model's corpus consists of, how many tokens the run learned from, and each canary's figures.
    """
    where = project.root() / model
    one, config = saved.load(where), compose(reference)
    home, own = corpora.prepare(config.data, config.tokenizer), corpora.of_model(one.config, Path(model))
    planted = worth.Planted.read(config, home, own)
    rows = canaries.measure(one, canaries.sayable(one, planted.canaries))
    tallies = worth.tallies(one, planted) | worth.hidden(rows, planted.canaries)
    tallied.write(folder, tallies)
    left_in = Counter(label["problem"] for name, label in planted.labels.items() if name not in planted.dropped)
    with (where / "curves" / "train.csv").open(newline="") as file:
        *_, last = csv.DictReader(file)
    return {
        "documents": pq.read_metadata(own / "curated" / "train.parquet").num_rows,
        "vocabulary": one.tokenizer.get_vocab_size(),
        "planted_left_in": {
            name: {"left": left_in[name], "of": count}
            for name, count in sorted(Counter(label["problem"] for label in planted.labels.values()).items())
        },
        "tokens": round(float(last["progress/tokens"])),
        "steps": int(last["step"]),
        "canaries": rows,
    }


def conclude(scope: Scope, done: Mapping[str, Done]) -> dict[str, Any]:
    """Put each arm's runs together, and compare them with those of the same seeds on the curated corpus."""
    every = arms(scope)
    tokens = [done[f"{arm.task(seed)}/measured"].result["tokens"] for arm in every for seed in arm.seeds]
    table = [_told(scope, arm, done) for arm in every]
    return {
        "measures": MEASURES,
        "intervals": "95 %: families (of questions), canaries and beginnings (of personal data) drawn again, and runs; "
        "against_curated: with the same questions and seeds",
        "equal_tokens": {
            "least": min(tokens),
            "most": max(tokens),
            "spread": max(tokens) / min(tokens) - 1,
            "wanted": f"within {SPREAD:.0%}",
        },
        "arms": table,
        "metrics": {f"{row['arm']}/{name}": row["measures"][name]["mean"] for row in table for name in MEASURES},
    }


def _told(scope: Scope, arm: Arm, done: Mapping[str, Done]) -> dict[str, Any]:
    own, curated = (_figures(scope, name, arm.seeds) for name in (arm.name, CURATED))
    results = {seed: done[f"{arm.task(seed)}/measured"].result for seed in arm.seeds}
    first = results[arm.seeds[0]]
    runs = [(seed, done[f"{arm.task(seed)}/base"]) for seed in arm.seeds]
    return {
        "arm": arm.name,
        "overrides": list(arm.overrides),
        "seeds": list(arm.seeds),
        "corpus": {key: first[key] for key in ("documents", "vocabulary", "planted_left_in")},
        "measures": {name: one.told() for name, one in own.items()},
        "leak": difference(own["leaked_exact_match"], own["unleaked_exact_match"]),
        "against_curated": {
            name: difference(one, curated[name])
            for name, one in own.items()
            if arm.name != CURATED and not name.endswith(OF_THE_ARM)
        },
        "canaries": {str(seed): result["canaries"] for seed, result in results.items()},
        "runs": [
            {"seed": seed, "run": run.run_id, "model": run.digest, "seconds": run.seconds}
            | {key: results[seed][key] for key in ("steps", "tokens")}
            for seed, run in runs
        ],
    }


def _figures(scope: Scope, arm: str, seeds: Sequence[int]) -> dict[str, Figure]:
    return tallied.figures([scope.root / f"{NAME}/{arm}/seed{seed}/measured" for seed in seeds])


STUDY = Study(NAME, "what is curation worth?", (0, 1, 2), plan, conclude)
