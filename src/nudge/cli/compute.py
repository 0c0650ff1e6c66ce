"""`nudge compute`: what a run costs, said before it, and what published models took by the same formula."""

import json
import math
import sys
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from nudge.compute import accelerators, published
from nudge.compute.published import SECONDS_A_YEAR, Claim, Published
from nudge.config.composition import compose
from nudge.errors import UserError

WORTH_IT = 0.95  # of the time, with another count of threads: less is in the noise of a few steps
PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def compute(
    overrides: list[str], with_measure: bool, names: str, assumed: tuple[float, float, float], as_json: bool
) -> None:
    """Print weights, arithmetic, memory, time, energy and money of a run.

    Args:
        overrides: Hydra's, as for `nudge train`.
        with_measure: whether to train for some seconds.
        names: of accelerators, with commas between.
        assumed: share of the peak, dollars an hour, grams of CO2 a kilowatt-hour.
        as_json: print one JSON document instead of tables.

    Raises:
        UserError: a value is out of range, an accelerator unknown, or the run impossible.
    """
    chosen = [accelerators.find(name.strip().lower()) for name in names.split(",") if name.strip()]
    utilization, price, carbon = assumed
    if not 0 < utilization <= 1:  # NaN too
        raise UserError(f"--mfu {utilization:g}: is a share of the peak; above 0, and at most 1")
    for option, value in (("--price", price), ("--carbon", carbon)):
        if not (math.isfinite(value) and value >= 0):
            raise UserError(f"{option} {value:g}: must be a number from 0")
    config = compose(overrides)

    from nudge.compute.estimate import estimate  # imports torch and Lightning: only when the request is sound
    from nudge.compute.placed import Assumptions

    if with_measure:
        print("training for some seconds, to measure … (--no-measure leaves it out)", file=sys.stderr)
    found = estimate(config, with_measure, chosen, Assumptions(utilization, price, carbon))
    if as_json:
        print(json.dumps(found))
    else:
        _show(found)


def compare(model: str, overrides: list[str], as_json: bool) -> None:
    """Print what published models took: by our formula, and as their papers say.

    Raises:
        UserError: there is no such model, or there are overrides, which would change nothing.
    """
    if overrides:
        raise UserError(f"--compare: published models take no overrides; leave out '{overrides[0]}'")
    models = published.find(model)
    gpt3 = published.PUBLISHED["gpt3"]
    claim = published.thousands_of_years(gpt3.flops or gpt3.counted) if gpt3 in models else None
    if as_json:
        told = [asdict(one) | one.by_formula for one in models]
        print(json.dumps({"models": told, "thousands_of_years": None if claim is None else asdict(claim)}))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(_flops_of(models))
    console.print(_hours_of(models))
    for one in models:
        console.print(f"{one.name}: {one.paper}", style="dim")
    if claim is not None:
        console.print(_claim(claim))


def _flops_of(models: list[Published]) -> Table:
    table = _table("Training FLOP", "model", "tokens", "weights", "reported", "by formula", "scores too", "reported")
    for one in models:
        table.add_row(
            one.name,
            f"{one.tokens / 1e12:.1f} T",
            f"{sum(one.shape.weights.values()) / 1e9:.1f} G",
            f"{one.parameters / 1e9:.1f} G",
            f"{one.counted_without_scores:.3g}",
            f"{one.counted:.3g}",
            f"{one.flops:.3g}" if one.flops else "–",
        )
    return table


def _hours_of(models: list[Published]) -> Table | str:
    told = [one for one in models if one.hours is not None]
    if not told:
        return ""
    table = _table("Reported hours", "model", "on", "years of one", "of its peak", "MFU reported")
    for one in told:
        assert one.hours is not None
        board = accelerators.ACCELERATORS[one.accelerator].name.partition(" ")[2]
        years = one.hours * 3600 / SECONDS_A_YEAR
        table.add_row(one.name, board, f"{years:,.0f}", f"{one.of_peak:.0%}", one.utilization or "–")
    return table


def _claim(claim: Claim) -> str:
    v100, p100 = accelerators.ACCELERATORS["v100"], accelerators.ACCELERATORS["p100"]
    later = published.PUBLISHED["llama3.1"]
    assert v100.flops_32 is not None
    assert later.hours is not None
    rate, times = claim.needed_rate, claim.thousands / claim.years
    assumed = published.V100_ASSUMED
    then = claim.years * claim.sustained / assumed
    return f"""
Thousands of GPU-years? At {claim.sustained / 1e12:.1f} TFLOP/s sustained, as OpenAI reported, GPT-3 took \
{claim.years:.0f} V100-years; at the often assumed {assumed / 1e12:.0f} TFLOP/s {then:.0f}.
{claim.thousands:,.0f} are {times:.1f} times as many. They would be right if
- a GPU sustained {rate / 1e12:.1f} TFLOP/s: {rate / v100.flops_16:.0%} of a V100's peak in fp16, \
{rate / v100.flops_32:.0%} of its peak in fp32, {rate / p100.flops_16:.0%} of a P100's in fp16; or
- all that was tried on the way is counted: {claim.needed_flops:.2e} FLOP, {times:.1f} such trainings; or
- a later model is meant: {later.name} took {later.hours * 3600 / SECONDS_A_YEAR:,.0f} H100-years."""


def _show(found: dict[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for table, note in (_weights(found), _arithmetic(found), _memory(found)):
        console.print(table)
        console.print(f" {note}\n", style="dim")
    if found["here"] is not None:
        table, note = _time(found)
        console.print(table)
        console.print(f" {note}\n", style="dim")
    if found["elsewhere"]:
        console.print(_elsewhere(found))
        console.print()
    console.print("\n".join(found["assumptions"]), style="dim")


def _table(title: str, *columns: str) -> Table:
    table = Table(box=None, header_style="dim", title=title, title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    return table


def _weights(found: dict[str, Any]) -> tuple[Table, str]:
    work = found["work"]
    table = _table(f"Weights: {sum(found['weights'].values()):,}", "part", "weights")
    for part, count in found["weights"].items():
        table.add_row(part, f"{count:,}")
    used = work["targets"] / work["rows"] / work["context"]
    return table, (
        f"{work['steps']:,} steps of {work['rows']:,.0f} rows × {work['context']} positions; {used:.0%} of them "
        f"predict a token, {_amount(work['tokens'])} in all"
    )


def _arithmetic(found: dict[str, Any]) -> tuple[Table, str]:
    flops = found["flops"]
    table = _table(f"Training: {flops['training']:.3g} FLOP", "FLOP of a step", "forward", "backward", "share")
    for part, forward in flops["forward"].items():
        table.add_row(part, _amount(forward), _amount(2 * forward), f"{3 * forward / flops['step']:.1%}")
    table.add_row("all", _amount(flops["step"] / 3), _amount(flops["step"] * 2 / 3), "100.0%", style="bold")
    return table, (
        f"besides: optimiser {_amount(flops['optimizer'])} a step, validations {_amount(flops['validation'])} in all; "
        f"scores that a causal mask leaves: {_amount(flops['causal_scores'])} forward"
    )


def _memory(found: dict[str, Any]) -> tuple[Table, str]:
    table = _table(f"Memory of a device: {_amount(found['memory']['total'], 'B')}", "kind", "bytes")
    for kind, size in found["memory"].items():
        if kind != "total":
            table.add_row(kind, _amount(size, "B"))
    measured = found["measured"]
    if measured is None:
        return table, "besides: Python and its libraries"
    before, most = measured["resident_before"], measured["resident_most"]
    return table, (
        f"measured: {_amount(most, 'B')} resident at most; {_amount(before, 'B')} of them are Python and its "
        "libraries, before anything is computed"
    )


def _time(found: dict[str, Any]) -> tuple[Table, str]:
    here, measured = found["here"], found["measured"]
    table = _table(f"Here: {_duration(here['seconds'])}", "part of the run", "seconds")
    for part, seconds in here["parts"].items():
        table.add_row(part, f"{seconds:,.1f}")
    of_peak = "" if here["mfu"] is None else f", {here['mfu']:.0%} of {_amount(here['peak'], 'FLOP/s')} (MFU)"
    return table, (
        f"measured over {measured['steps']} steps: {measured['step'] * 1e3:,.3g} ms each, "
        f"{here['tokens_per_second']:,.0f} tokens/s{of_peak}"
        f"{_threads(measured['by_threads'])}"
    )


def _threads(seconds: dict[int, float]) -> str:
    """Say how long a step takes with each count of threads, and which to choose if that is worth it."""
    if len(seconds) == 1:
        return ""
    used, fastest = next(iter(seconds)), min(seconds, key=seconds.__getitem__)
    gain = seconds[fastest] / seconds[used]
    advice = f"; trainer.threads={fastest} would be faster" if gain < WORTH_IT else ""
    return f"\n threads: {', '.join(f'{time * 1e3:,.3g} ms with {count}' for count, time in seconds.items())}{advice}"


def _elsewhere(found: dict[str, Any]) -> Table:
    table = _table("Elsewhere", "accelerator", "peak TFLOP/s", "needed", "time of one", "kWh", "kg CO2", "$")
    for one in found["elsewhere"]:
        board = one["accelerator"]
        table.add_row(
            board["name"].partition(" ")[2],
            f"{board['flops_16'] / 1e12:,.0f} {board['format_16']}",
            str(one["devices"]),
            _duration(one["seconds"]),
            "–" if one["kilowatt_hours"] is None else f"{one['kilowatt_hours']:.2g}",
            "–" if one["carbon"] is None else f"{one['carbon']:.2g}",
            f"{one['money']:.2g}",
        )
    return table


def _amount(value: float, unit: str = "") -> str:
    """Return a number with a prefix of a thousand, as in "3.2 GB"."""
    size, prefix = next(((size, prefix) for size, prefix in PREFIXES if value >= size), (1, ""))
    return f"{value / size:.3g} {prefix}{unit}".rstrip()


def _duration(seconds: float) -> str:
    """Return a duration as a person would say it."""
    for length, unit in ((SECONDS_A_YEAR, "years"), (24 * 3600, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.2g} s"
