"""`nudge rate`: pairs of answers to people, and their choices back into data/ratings.jsonl."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mlflow.exceptions import MlflowException
from rich.console import Console
from rich.table import Table

from nudge import project
from nudge.cli.ui import PORT
from nudge.config.composition import compose
from nudge.data import ratings
from nudge.errors import RunError, UserError
from nudge.evaluation.agreement import agreement as compare
from nudge.rating import collecting, queue
from nudge.training.tracking import store
from nudge.training.tracking.sender import first_line

T = TypeVar("T")


def push(count: int, reference: str | None, pairs: Path | None, seed: int, url: str | None, as_json: bool) -> None:
    """Put pairs into the review queue and say where they are.

    Raises:
        UserError: no such model or file of pairs, or one that is damaged.
        RunError: the store does not answer.
    """
    chosen = _sampled(count, reference, seed) if pairs is None else ratings.read_pairs(pairs)
    if not chosen:
        raise UserError(f"{pairs}: holds no pairs")
    pushed = _asking(lambda: queue.push(chosen))
    own = store.uri() == store.own_uri()
    base = url or (f"http://127.0.0.1:{PORT}" if own else store.shown(store.uri()))
    page = base.rstrip("/") + pushed.page
    if as_json:
        print(json.dumps({"new": pushed.new, "known": pushed.known, "page": page}))
        return
    known = f", {pushed.known} were there already" if pushed.known else ""
    print(f"{pushed.new} pairs are new in the review queue{known}", file=sys.stderr)
    if own:
        print("`nudge ui` opens MLflow; then", file=sys.stderr)
    print(page)


def pull(rater: str | None, with_dvc: bool, as_json: bool) -> None:
    """Add what people answered to data/ratings.jsonl, and say what to do next.

    Raises:
        UserError: the file is damaged.
        RunError: the store does not answer, or `dvc add` fails.
    """
    path = project.root() / "data" / ratings.FILE
    collected = _asking(lambda: collecting.collect(path, rater))
    if as_json:
        print(json.dumps({"file": str(path), **collected._asdict()}))
    else:
        print(f"{path}: {collected.new} new ratings, {collected.total} in all", file=sys.stderr)
        if collected.ties or collected.unfinished:
            print(f"left out: {collected.ties} ties, {collected.unfinished} unfinished", file=sys.stderr)
    if with_dvc:
        done = subprocess.run(["dvc", "add", "-q", "data"], cwd=project.root(), capture_output=True, text=True)
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
            raise RunError(f"dvc add data: {reason[0]}; the ratings are in {path}")
    elif collected.new and not as_json:
        print("`dvc add data` pins them; `dvc repro` trains on them", file=sys.stderr)


def agreement(path: Path | None, as_json: bool) -> None:
    """Print how often each two raters said the same.

    Raises:
        UserError: the file is missing or damaged.
    """
    if path is None:
        made = project.corpus() / "preferences" / ratings.FILE
        path = made if made.exists() else project.root() / "data" / ratings.FILE
    rows = compare(ratings.read(path))
    if as_json:
        print(json.dumps({"file": str(path), "agreement": rows}))
        return
    if not rows:
        print(f"{path}: no two raters have rated the same pair", file=sys.stderr)
        return
    table = Table("rater", "and", "pairs", "same", "95 %", "kappa", box=None, header_style="dim")
    for row in rows:
        kappa = "–" if row["kappa"] is None else f"{row['kappa']:.2f}"
        interval = f"{row['low']:.1%} to {row['high']:.1%}"
        table.add_row(row["one"], row["other"], str(row["count"]), f"{row['share']:.1%}", interval, kappa)
    Console().print(table)


def _sampled(count: int, reference: str | None, seed: int) -> list[ratings.Pair]:
    """Sample pairs as stage `preferences` does, of questions of the training split."""
    from nudge.data import asking
    from nudge.model import saved
    from nudge.rating.preferences import data_of
    from nudge.rating.sampling import sample_pairs
    from nudge.training.reference import find

    place = find(reference or str(project.models() / "finetune"))
    model = saved.load(place)
    settings = compose().preferences
    # People rate other questions than the simulated raters do: those that the seed puts last.
    questions = asking.questions(data_of(model, place), settings.seed)["train"][::-1]
    first = seed * count % len(questions)
    pairs = sample_pairs(model, questions[first:], count, settings.temperature, seed, settings.max_new)
    return [one.pair for one in pairs]


def _asking(ask: Callable[[], T]) -> T:
    """Ask the store, which a server may keep; say in one line what it answers if that is an error."""
    store.check_reachable()
    try:
        return ask()
    except MlflowException as error:
        raise RunError(f"MLflow store {store.shown(store.uri())}: {store.redacted(first_line(error))}") from error
