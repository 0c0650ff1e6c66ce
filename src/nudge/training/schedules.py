"""Learning-rate schedules in optimiser steps: warm-up, then decay."""

import math

from nudge.config.schema import ScheduleConfig


def factor(config: ScheduleConfig, step: int, max_steps: int) -> float:
    """Return what the peak learning rate is multiplied with in optimiser step `step`, counted from 0.

    The rate rises in equal parts to its peak in the `warmup_steps`-th step; it would reach `final_fraction` of it in
    the step after the last, so that no step is wasted on a rate of zero.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.decay == "constant":
        return 1.0
    begin = max(config.warmup_steps - 1, 0)
    progress = min(1.0, (step - begin) / max(1, max_steps - begin))
    remaining = 1 - progress if config.decay == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
    return config.final_fraction + (1 - config.final_fraction) * remaining
