"""What a sweep showed, as two pictures: parallel coordinates, and how much each key mattered."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")  # no window, whatever the machine

import matplotlib.pyplot as plt
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.visualization import matplotlib as draw

Row = tuple[Mapping[str, str], float]  # a job's values, and its score
LOG_FROM = (
    8  # values that span more than this are drawn on a logarithmic axis, as learning rates and widths are thought of
)


def save(rows: Sequence[Row], metric: str, mode: str, folder: Path) -> list[Path]:
    """Draw what there is enough of; return the files.

    Args:
        rows: the jobs that have a score.
        metric: what the score is.
        mode: `min` or `max`: which scores are good.
        folder: where the files go.
    """
    varied = [key for key in (rows[0][0] if rows else {}) if len({values[key] for values, _ in rows}) > 1]
    if len(rows) < 2 or not varied:
        return []
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = _study([({key: values[key] for key in varied}, score) for values, score in rows], mode)
    paths = [
        _save(lambda: draw.plot_parallel_coordinate(study, target_name=metric), folder / "parallel_coordinates.png")
    ]
    if len(varied) > 1 and len({score for _, score in rows}) > 1:
        paths.append(_save(lambda: draw.plot_param_importances(study, target_name=metric), folder / "importances.png"))
    return paths


def _study(rows: Sequence[Row], mode: str) -> optuna.Study:
    study = optuna.create_study(direction="minimize" if mode == "min" else "maximize")
    axes = {key: _axis([values[key] for values, _ in rows]) for key in rows[0][0]}
    for values, score in rows:
        params = {
            key: values[key] if isinstance(axis, CategoricalDistribution) else float(values[key])
            for key, axis in axes.items()
        }
        study.add_trial(optuna.create_trial(params=params, distributions=axes, value=score))
    return study


def _axis(values: Sequence[str]) -> BaseDistribution:
    """Return numbers as numbers, in their order, and everything else as names."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return CategoricalDistribution(sorted(set(values)))
    low, high = min(numbers), max(numbers)
    return FloatDistribution(low, high, log=low > 0 and high / low >= LOG_FROM)


def _save(plot: Callable[[], Any], path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        axes = plot()
    figure = axes.figure
    for lines in axes.collections:
        lines.set_cmap("viridis")  # Optuna's own goes to white, where the line of a bad job can't be seen
    figure.set_size_inches(10, 6)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)
    return path
