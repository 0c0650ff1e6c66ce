"""A search space in Optuna's words from overrides in Hydra's."""

import itertools
import math
from collections.abc import Mapping, Sequence

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from nudge.errors import UserError


def distributions(swept: Mapping[str, Override]) -> dict[str, BaseDistribution]:
    """Translate `1,2,3`, `choice(…)`, `range(…)`, `interval(…)` and `tag(log, interval(…))`.

    Raises:
        UserError: an interval is empty.
    """
    return {key: _distribution(key, override) for key, override in swept.items()}


def _distribution(key: str, override: Override) -> BaseDistribution:
    sweep = override.value()
    try:
        if isinstance(sweep, IntervalSweep):
            low, high, log = sweep.start, sweep.end, "log" in sweep.tags
            if isinstance(low, int) and isinstance(high, int):
                return IntDistribution(low, high, log=log)
            assert low is not None
            assert high is not None
            return FloatDistribution(low, high, log=log)
        if isinstance(sweep, RangeSweep) and not sweep.shuffle:
            # Hydra leaves the end out, Optuna takes it in.
            values = list(sweep.range())
            if values and all(isinstance(value, int) for value in values):
                return IntDistribution(min(values), max(values), step=abs(int(sweep.step)))
    except ValueError as error:
        raise UserError(f"{key}={override.get_value_string()}: {error}") from error
    return CategoricalDistribution(list(override.sweep_string_iterator()))


def grid(space: Mapping[str, BaseDistribution]) -> list[dict[str, object]]:
    """Return every combination.

    Raises:
        UserError: an interval of real numbers can't be counted.
    """
    values: list[Sequence[object]] = []
    for key, distribution in space.items():
        if isinstance(distribution, FloatDistribution) or (
            isinstance(distribution, IntDistribution) and distribution.log
        ):
            raise UserError(f"{key}: hydra.sweeper.sampler=grid needs single values, as in {key}=1,2,3")
        if isinstance(distribution, IntDistribution):
            values.append(range(distribution.low, distribution.high + 1, distribution.step))
        else:
            assert isinstance(distribution, CategoricalDistribution)
            values.append(distribution.choices)
    return [dict(zip(space, chosen, strict=True)) for chosen in itertools.product(*values)]


def examples(space: Mapping[str, BaseDistribution], most: int = 32) -> list[dict[str, object]]:
    """Return some combinations of the ends of intervals and of single values: enough to notice a misspelt key."""
    ends = [
        list(d.choices) if isinstance(d, CategoricalDistribution) else [d.low, d.high]  # type: ignore[attr-defined]
        for d in space.values()
    ]
    count = math.prod(len(values) for values in ends)
    every = max(1, count // most)
    return [
        dict(zip(space, chosen, strict=True)) for chosen in itertools.islice(itertools.product(*ends), 0, None, every)
    ]
