"""`nudge explain`: what a model makes of one text, for a person at a terminal or as one JSON document."""

import dataclasses
import io
import json
import sys
from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.table import Table

from nudge.insight.explanation.explaining import Explanation
from nudge.insight.explanation.explaining import explain as explained
from nudge.insight.explanation.looking import SHADES, most_looked_at, shades
from nudge.insight.explanation.nudging import Nudge
from nudge.insight.explanation.surprise import Surprise
from nudge.training.reference import find

BAR = 16  # characters of a share of 1
NOTHING = "(nothing)"  # the answer of a model that ends at once


def explain(text: str, reference: str | None, top: int, as_json: bool, with_steps: bool) -> None:
    """Print what a model makes of a text; the JSON document is described in docs/explain.md.

    Raises:
        UserError: no such model, a text that it can't read, or no snapshots.
    """
    explanation = explained(text, find(reference), top, with_steps)
    if as_json:
        print(json.dumps(_plain(explanation)))
        return
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # shades and bars are no ASCII, and the rest is worth reading without
    # A path may have brackets in it, which rich would take for markup.
    console = Console(markup=False, highlight=False)
    for part in _report(explanation):
        console.print(part)


def _plain(value: object) -> object:
    """Turn dataclasses and named tuples into what JSON has, with their names."""
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _report(explanation: Explanation) -> Iterable[RenderableType]:
    yield f"{explanation.text}\nread by {explanation.model}"
    yield "\n".join(_said(explanation))
    yield "\nSURPRISE  -ln p of each token in nats; 'before' is with untrained weights"
    yield _surprise(explanation)
    if explanation.counted_from:
        counted = explanation.surprise.tokens[explanation.counted_from].token
        yield f"this model's training counts the tokens from '{counted}' on: loss {explanation.loss:.4f} nats"
    yield "\nBLAME  share of the squared gradient of this text's loss"
    yield _side_by_side(
        _shares("part", explanation.blame.part.items()),
        _shares("layer", explanation.blame.layer.items()),
    )
    yield _side_by_side(
        _shares("head", explanation.blame.head.items()),
        _shares("input token", explanation.blame.token),
    )
    yield "\nONE NUDGE  a step of gradient descent on this text, seen from one weight"
    yield from _nudge(explanation.nudge)
    yield "\nATTENTION  who looks at whom\n"
    yield from _attention(explanation)
    yield f"one character a token, from {explanation.inputs[0]} on: {_legend()}"
    if explanation.steps is not None:
        expected = explanation.steps[-1].answer
        of = f"; -ln p is that of '{expected}'" if expected else ""
        yield f"\nSTEPS  the same text at the snapshots of the run{of}"
        yield _steps(explanation)


def _said(explanation: Explanation) -> Iterable[str]:
    """Say what stands in the text, what the model answers, and which token surprises it."""
    equation, given = explanation.equation, explanation.given
    token = explanation.surprise.tokens[explanation.surprising]
    if equation is not None and given is not None:
        if equation.stated is not None:
            verdict = "wrong" if equation.is_wrong else "right" if equation.right else "without an answer that is known"
            right = f": {equation.question} {equation.right}" if equation.is_wrong else ""
            yield f"The equation is {verdict}{right}."
        yield f"The model answers '{given.text or NOTHING}' ({_percent(given.probability)})."
    instead = token.alternatives[0] if token.alternatives else None
    expected = (
        "" if token.rank == 1 or instead is None else f"; expected: '{instead.token}' {_percent(instead.probability)}"
    )
    probable = f"{_percent(token.probability)}, rank {token.rank}"
    kind = "The wrong token is" if equation is not None and equation.is_wrong else "Most surprising:"
    yield f"{kind} '{token.token}', {token.surprisal:.2f} nats ({probable}){expected}."


def _surprise(explanation: Explanation) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("token", overflow="fold")
    for title in ("p", "-ln p", "rank", "before"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("others", overflow="fold")
    rows = zip(explanation.surprise.tokens, explanation.untrained.tokens, strict=True)
    for place, (token, before) in enumerate(rows):
        table.add_row(
            token.token,
            _percent(token.probability),
            f"{token.surprisal:.4f}",
            str(token.rank),
            f"{before.surprisal:.4f}",
            _others(token),
            style="bold" if place == explanation.surprising else "",
        )
    now, then = explanation.surprise, explanation.untrained
    perplexity = f"perplexity {now.perplexity:.2f}, before {then.perplexity:.2f}"
    table.add_row("mean", "", f"{now.mean:.4f}", "", f"{then.mean:.4f}", perplexity, style="dim")
    return table


def _others(token: Surprise) -> str:
    return ", ".join(f"{other.token} {_percent(other.probability)}" for other in token.alternatives)


def _shares(title: str, shares: Iterable[tuple[str, float]]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column(title, overflow="fold", min_width=11)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("", width=BAR)
    for name, share in shares:
        table.add_row(name, f"{share:.2%}", "█" * round(share * BAR))
    return table


def _side_by_side(*tables: Table) -> Table:
    grid = Table.grid(padding=(0, 4, 1, 0))
    grid.add_row(*tables)
    return grid


def _nudge(nudge: Nudge) -> Iterable[str]:
    digits, own = nudge.printed, nudge.own
    row, column = nudge.index
    yield f"{nudge.weight}, row {row}, column {column}"
    yield f"its gradient is number {nudge.rank:,} of {nudge.count:,} by size, and the largest inside the blocks"
    yield "of all weights that are not close to zero"
    yield "\n  old - learning rate × gradient = new"
    yield f"  {digits['old']} - {digits['learning_rate']} × {_signed(digits['gradient'])} = {digits['new']}\n"
    yield f"check: (loss(w + h) - loss(w - h)) / 2h in float64 is {nudge.difference:.8g},"
    yield f"which differs from the gradient by {nudge.error:.1e} of it"
    yield f"loss: {nudge.loss['before']:.6f}; {nudge.loss['weight']:.6f} after this weight's step;"
    yield f"{nudge.loss['all']:.6f} after that of all weights"
    yield f"\nthe run's optimiser ({own.name}) puts the weight at {own.new:.6f}, and the loss at {own.loss:.6f}"
    if own.decay:
        yield f"of this step, {own.decay:+.6f} is weight decay"
    yield own.why


def _signed(number: str) -> str:
    return f"({number})" if number.startswith("-") else number


def _legend() -> str:
    limits = ("< 5%", "< 25%", "< 50%", "< 75%", "more")
    return ", ".join(f"{shade} {limit}" for shade, limit in zip(SHADES, limits, strict=True))


def _attention(explanation: Explanation) -> Iterable[RenderableType]:
    tokens = explanation.inputs
    for head in explanation.attention:
        table = Table(box=None, header_style="dim", pad_edge=False)
        table.add_column(f"layer {head.layer} head {head.head}", overflow="fold", min_width=14)
        table.add_column("", width=len(tokens), no_wrap=True)
        table.add_column("looks most at", overflow="fold")
        for place, row in enumerate(head.pattern):
            named = ", ".join(f"{token} {share:.0%}" for token, share in most_looked_at(row, tokens))
            table.add_row(tokens[place], shades(row, place), named)
        yield table
        yield ""


def _steps(explanation: Explanation) -> Table:
    assert explanation.steps is not None
    table = Table(box=None, header_style="dim", pad_edge=False)
    for title in ("step", "-ln p"):
        table.add_column(title, justify="right", no_wrap=True)
    # A line a step: before it has learned where to stop, a model's answer is long.
    table.add_column("the model answers", overflow="ellipsis", no_wrap=True, max_width=40)
    table.add_column("p", justify="right", no_wrap=True)
    table.add_column("")
    for frame in explanation.steps:
        surprisal = "" if frame.surprisal is None else f"{frame.surprisal:.4f}"
        right = {True: "right", False: "wrong", None: ""}[frame.right]
        table.add_row(
            f"{frame.step:,}", surprisal, frame.given.text or NOTHING, _percent(frame.given.probability), right
        )
    return table


def _percent(share: float) -> str:
    """Write a probability so that small ones keep a digit: 99.35%, 0.02%, 0.003%, 4e-09%."""
    return f"{share:.2%}" if share >= 0.0001 or share == 0 else f"{100 * share:.1g}%"
