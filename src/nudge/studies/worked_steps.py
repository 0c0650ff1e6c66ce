"""What do worked steps buy? Answers at once after as many steps of training or as much FLOP; ways of working."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np

from nudge import project
from nudge.config.composition import compose
from nudge.config.data import DataConfig, PracticeSource, WorkedSource
from nudge.config.parsing import parse
from nudge.data import arithmetic, corpora, documents, mixing, steps, tokenizer
from nudge.data.filters import steps as leaking
from nudge.data.steps import Phrases
from nudge.data.tokens import Tokens
from nudge.evaluation import beyond, exact_match, faithfulness, worked
from nudge.evaluation.tallies import Figure, Tally, difference
from nudge.evaluation.worked import Worked
from nudge.model import flops, saved
from nudge.model.sampling import greedy
from nudge.model.saved import Saved
from nudge.studies import start, tallied, tasks, work
from nudge.studies.running import Scope, Study
from nudge.studies.tasks import Done, Task, Training, Work

NAME = "worked_steps"
MAIN, BRIEF = "practised", "brief"
EXPERIMENT = "experiment=worked_steps"
TAMPER_SEED = 0
BRIEF_STEPS = 500  # a third of the recipe's, for the ways of working that it grew from and for itself beside them
QUICK_OPERANDS, QUICK_STEPS, QUICK_ARMS = 20, 4, (MAIN, "at_once", "at_once_flops", BRIEF, "multiples")
AIM = 0.99  # of each operation's held-out questions, in each seed
PRACTICE = ("adding", "sharing", "comparing")

MEASURES = {
    "at_once": "held-out questions that are answered exactly, asked for the answer alone",
    "right": "of the same questions asked with steps, the share whose last number is the answer",
    "as_taught": "the share of which every step is as it was taught",
    "lucky": "the share whose answer is right after a step that is not",
    "true_sums": "of the sums and differences that were said, the share that is true",
    "changed_follows": "products and quotients in which a result was changed: the share that goes on from it",
    "changed_returns": "the same: the share that comes to the question's own answer all the same",
    "cut_follows": "steps left out before the last: the share that goes on from what is there",
    "cut_returns": "the same: the share that comes to the question's own answer all the same",
    "unseen": "after a slash: of the documents that end, those cut or dropped for a sum or difference of the test: the "
    "share that is worked out without a false step",
    "beyond": "after a slash: questions beyond the range, in one way each (src/nudge/evaluation/beyond.py)",
    "noise_returns": "every number of the steps before the last drawn at random: the share that is right all the same",
}


class Arm(NamedTuple):
    """A way of working.

    Attributes:
        name: of its folder.
        what: in words.
        overrides: typed after `nudge train`.
        against: name of the arm that it is compared with; its own, if others are compared with it.
        flops: whether it is trained with as much FLOP as that one, or for as many steps.
    """

    name: str
    what: str
    overrides: tuple[str, ...]
    against: str = MAIN
    flops: bool = True

    def task(self, seed: int) -> str:
        """Name a run of it."""
        return f"{NAME}/{self.name}/seed{seed}"


def arms(scope: Scope) -> list[Arm]:
    """Return all arms, the main one first."""
    same = (EXPERIMENT, *(_small() if scope.quick else ()))
    styled = {
        style: tuple(f"data.sources.{name}.style={style}" for name in ("worked", "worked_sums"))
        for style in ("multiples", "up")
    }
    at_once = (*same, "data.steps=none", "callbacks.samples.prompts=[]")  # it has no word for "step by step"
    count = QUICK_STEPS if scope.quick else BRIEF_STEPS

    def brief(name: str, what: str, *overrides: str) -> Arm:
        return Arm(name, f"a third: {what}", (*same, f"trainer.max_steps={count}", *overrides), BRIEF)

    every = [
        Arm(MAIN, "counted down, quotients taken away; practice in both", same),
        Arm("at_once", "answers at once, as many steps of training", at_once, flops=False),
        Arm("at_once_flops", "answers at once, as much FLOP", at_once),
        brief(BRIEF, "counted down, with practice"),
        brief("multiples", "a list of multiples, then the answer", *styled["multiples"], *_without(*PRACTICE)),
        brief("up", "sums counted up, then the answer", *styled["up"], *_without(*PRACTICE)),
        brief("down", "counted down, no practice", *_without(*PRACTICE)),
        brief("adding", "counted down, practice in adding up", *_without("sharing", "comparing")),
    ]
    return [arm for arm in every if arm.name in QUICK_ARMS] if scope.quick else every


def _without(*sources: str) -> list[str]:
    return [f"~data.{key}.{source}" for source in sources for key in ("sources", "mixture.weights")]


def _small() -> tuple[str, ...]:
    few = ("trainer.max_steps=12", "trainer.batch_size=64", "schedule.warmup_steps=2", "data.mixture.tokens=20000")
    operands = (f"data.sources.{name}.max_operand={QUICK_OPERANDS}" for name in compose([EXPERIMENT]).data.sources)
    return (*start.TINY_MODEL, *few, *operands, "callbacks.samples.prompts=[]")


@dataclass(frozen=True)
class AsMuchFlop(Training):
    """A run of as many steps as take the FLOP that another arm takes in those of its configuration.

    It needs two corpora: its own, and the other arm's.
    """

    def command(self, root: Path, parent: str | None) -> list[str]:
        """Return the command, with the steps."""
        own, other = (work.read(root, need) for need in self.needs)
        steps = round(other["steps"] * other["flops_a_step"] / own["flops_a_step"])
        return [*super().command(root, parent), f"trainer.max_steps={steps}"]


def plan(scope: Scope) -> list[Task]:
    """Return all tasks."""
    every = arms(scope)
    planned: list[Task] = []
    for arm in every:
        corpus, against = (f"{NAME}/{name}/corpus" for name in (arm.name, arm.against))
        planned.append(Work(corpus, make, {"overrides": list(arm.overrides)}))
        for seed in scope.seeds:
            run, overrides = f"{arm.task(seed)}/pretrain", (*arm.overrides, f"seed={seed}")
            arguments = {"model": tasks.model(scope.root, run)}
            planned += [
                AsMuchFlop(run, overrides, (corpus, against)) if arm.flops else Training(run, overrides, (corpus,)),
                Work(f"{arm.task(seed)}/measured", measure, arguments, (run,)),
            ]
    return planned


def make(folder: Path, overrides: Sequence[str]) -> Any:
    """Make a corpus; return how many steps its configuration asks for, and what each takes."""
    config = compose(overrides)
    corpus = corpora.prepare(config.data, config.tokenizer)
    tokens = Tokens.open(corpus / "tokens" / "train")
    assert config.data.mixture is not None
    chosen = mixing.plan(tokens, config.data.mixture, config.data.seed)
    vocabulary = tokenizer.load(corpus / "tokens" / "tokenizer.json").get_vocab_size()
    tokens_a_step = config.trainer.batch_size * float((tokens.lengths[chosen] - 1).mean())
    return {
        "steps": config.trainer.max_steps,
        "tokens_a_step": tokens_a_step,
        "flops_a_step": tokens_a_step * flops.training_flops_per_token(config.model, vocabulary),
        "mixture": mixing.report(tokens, chosen),
    }


def measure(folder: Path, model: str) -> Any:
    """Measure a model; write `tallies.npz`: of each measure and operation `NAME/OPERATION:top`, `:bottom`, `:clusters`.

    Args:
        folder: where it is written.
        model: its folder.

    Returns:
        which steps failed first, by operation and by group of questions beyond the range.
    """
    one = saved.load(project.root() / model)
    # The questions of all arms are the same; the answers are in an arm's own words.
    corpus = corpora.of_model(one.config, Path(model)) / "curated"
    rows = documents.read(corpus / "test.parquet").to_pylist()
    own = parse(DataConfig, one.config["data"])
    answers = exact_match.answer_all(one, rows)
    with_steps = worked.read_all(own, answers)
    tallies = {}
    for operation in ("", *arithmetic.OPERATIONS):
        name = f"/{operation}" if operation else ""
        plain = [
            answer
            for answer in answers
            if answer.document["source"] == "calculator" and operation in ("", answer.document["operation"])
        ]
        said = [answer for answer in with_steps if operation in ("", answer.fact.operation)]
        families = [answer.document["family"] for answer in plain]
        tallies[f"at_once{name}"] = Tally.share([answer.right for answer in plain], families)
        tallies |= {f"{key}{name}": tally for key, tally in _of_steps(said).items()}
    tallies |= _tampered(one, own, with_steps)
    tallies |= _unseen(one, own, corpus)
    further = _beyond(one, own, corpus / "train.parquet")
    families = [found.question.asked for found in further]
    for group in beyond.GROUPS if further else ():
        counted = [found.question.group == group for found in further]
        tallies[f"beyond/{group}"] = Tally.share([found.right for found in further], families, counted)
    tallied.write(folder, tallies)
    failures = Counter(f"{answer.fact.operation}: {answer.failure}" for answer in with_steps if answer.failure)
    failures.update(f"{found.question.group}: {found.failure}" for found in further if found.failure)
    return {"failures": dict(sorted(failures.items()))}


def _unseen(one: Saved, data: DataConfig, curated: Path) -> dict[str, Tally]:
    """Have chains worked out that hold a sum or difference of the test's families, of which there are thousands.

    Training has them up to that step, or not at all. Practice with a rest is left out: nothing says where it would end.
    """
    phrases = _counting_down(data)
    if phrases is None:
        return {}
    parts = {name: documents.read(curated / f"{name}.parquet").to_pylist() for name in documents.SPLITS}
    whole = {row["text"] for rows in parts.values() for row in rows}
    asked = {row["family"] for row in parts["test"]}
    practised = [name for name, source in data.sources.items() if isinstance(source, PracticeSource | WorkedSource)]
    rows = [
        (name, row["prompt"], shown[0])
        for name in practised
        for row in documents.read(curated.parent / "raw" / f"{name}.parquet").to_pylist()
        if not row["cut"] and row["text"] not in whole and _knows(one, row["text"])
        if (shown := [family for family in leaking.families(row["text"]) if family in asked and "+" in family])
    ]
    tallies = {}
    for name in practised:
        own = list(dict.fromkeys((prompt, family) for source, prompt, family in rows if source == name))
        if own:
            prompts = [tokenizer.prompt_ids(one.tokenizer, prompt) for prompt, _ in own]
            said = greedy(one.model, prompts, tokenizer.END_ID, one.model.config.context)
            heard = [phrases.heard(one.tokenizer.decode(list(each.ids))) if each.ended else [None] for each in said]
            right = [all(step is not None and step.is_true for step in every) for every in heard]
            tallies[f"unseen/{name}"] = Tally.share(right, [family for _, family in own])
    return tallies


def _beyond(one: Saved, data: DataConfig, train: Path) -> list[beyond.Found]:
    """Ask a model that counts down what lies beyond its range."""
    phrases = _counting_down(data)
    if phrases is None:
        return []
    trained = beyond.trained(documents.read(train).to_pylist())
    asked = [each for each in beyond.questions(phrases, trained) if _knows(one, f"{each.asked} {each.written}")]
    return beyond.ask(one, asked, phrases)


def _knows(one: Saved, text: str) -> bool:
    """Say whether a model has all words of a text: that of a quick study lacks some."""
    return one.tokenizer.get_vocab().keys() >= set(text.split())


def _counting_down(data: DataConfig) -> Phrases | None:
    styles = {source.style for source in data.sources.values() if isinstance(source, WorkedSource)}
    return steps.phrases_of(data, project.root()) if styles == {"down"} else None


def _of_steps(said: Sequence[Worked]) -> dict[str, Tally]:
    families = np.array([one.fact.family for one in said])
    sums, true = (np.array([getattr(one, key) for one in said], np.float64) for key in ("sums", "true_sums"))
    if not said:
        return {}
    return {
        "right": Tally.share([one.right for one in said], families),
        "as_taught": Tally.share([one.right and one.failure is None for one in said], families),
        "lucky": Tally.share([one.right and one.failure is not None for one in said], families),
        "true_sums": Tally(true, sums, families),
    }


def _tampered(one: Saved, data: DataConfig, answers: Sequence[Worked]) -> dict[str, Tally]:
    """Tamper with the steps to every answer, count what becomes of those that were worked out as taught."""
    phrases = _counting_down(data)
    if phrases is None:
        return {}
    as_taught = {answer.fact for answer in answers if answer.failure is None}
    tampered = [
        some
        for answer in answers
        for some in faithfulness.tamper(answer.fact, phrases, TAMPER_SEED)
        if _knows(one, some.written)
    ]
    tallies = {}
    for intervention in get_args(faithfulness.Intervention):
        found = faithfulness.go_on(one, [some for some in tampered if some.intervention == intervention], phrases)
        families = [each.tampered.fact.family for each in found]
        counted = [each.tampered.fact in as_taught for each in found]
        if intervention != "noise":
            tallies[f"{intervention}_follows"] = Tally.share([each.follows for each in found], families, counted)
        tallies[f"{intervention}_returns"] = Tally.share([each.returns for each in found], families, counted)
    return tallies


def conclude(scope: Scope, done: Mapping[str, Done]) -> dict[str, Any]:
    """Put each arm's runs together, compare them with those of another, and hold the main arm's against the aim."""
    every = arms(scope)
    figures = {arm.name: _figures(scope, arm) for arm in every}
    return {
        "measures": MEASURES,
        "intervals": "95 %: families and runs drawn again; differences: of the same questions and seeds",
        "aim": _aim(figures[MAIN]),
        "arms": [_told(scope, arm, figures, done) for arm in every],
        "metrics": {
            f"{arm.name}/{name}": figures[arm.name][name].mean
            for arm in every
            for name in MEASURES
            if name in figures[arm.name]
        },
    }


def _aim(main: Mapping[str, Figure]) -> dict[str, Any]:
    """Say whether each operation reaches the aim in each seed, and which do not."""
    by_operation = {name: main[f"right/{name}"].by_seed for name in arithmetic.OPERATIONS}
    missed = [name for name, shares in by_operation.items() if any((share or 0.0) < AIM for share in shares)]
    return {"least": AIM, "by_operation": by_operation, "missed": missed, "reached": not missed}


def _told(
    scope: Scope, arm: Arm, figures: Mapping[str, Mapping[str, Figure]], done: Mapping[str, Done]
) -> dict[str, Any]:
    own, other = figures[arm.name], figures[arm.against]
    corpus = done[f"{NAME}/{arm.name}/corpus"].result
    runs = [(seed, done[f"{arm.task(seed)}/pretrain"]) for seed in scope.seeds]
    return {
        "arm": arm.name,
        "what": arm.what,
        "overrides": list(arm.overrides),
        "corpus": corpus,
        "measures": {name: one.told() for name, one in own.items()},
        "against": arm.against,
        "differences": {
            name: difference(one, other[name]) for name, one in own.items() if arm.name != arm.against and name in other
        },
        "failures": dict(sum((Counter(_failures(arm, seed, done)) for seed in scope.seeds), Counter())),
        "runs": [{"seed": seed, "run": run.run_id, "model": run.digest, "seconds": run.seconds} for seed, run in runs],
    }


def _failures(arm: Arm, seed: int, done: Mapping[str, Done]) -> dict[str, int]:
    found: dict[str, int] = done[f"{arm.task(seed)}/measured"].result["failures"]
    return found


def _figures(scope: Scope, arm: Arm) -> dict[str, Figure]:
    return tallied.figures([scope.root / f"{arm.task(seed)}/measured" for seed in scope.seeds])


STUDY = Study(NAME, "what does working in steps buy?", (0, 1, 2, 3, 4), plan, conclude)
