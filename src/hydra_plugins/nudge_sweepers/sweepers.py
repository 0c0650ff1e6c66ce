"""The sweepers of `conf/hydra/sweeper/`. Every `nudge train` imports this file: what is heavy waits for a sweep."""

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class GridSweeper(Sweeper):
    """Run every combination of the values.

    Args:
        params: swept keys with their values, as they would stand on the command line.
    """

    def __init__(self, params: DictConfig | None = None) -> None:
        self.params = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra knows of the sweep."""
        self._given = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> Any:
        """Run the sweep that the arguments describe."""
        from nudge.sweeps.grid import Grid

        Grid(*self._given, self.params, arguments).run()


class OptunaSweeper(Sweeper):
    """Let Optuna choose the values.

    Args:
        params: swept keys with their values or intervals, as they would stand on the command line.
        settings: the other keys of `conf/hydra/sweeper/optuna.yaml`.
    """

    def __init__(self, params: DictConfig | None = None, **settings: Any) -> None:
        self.params, self.settings = params, settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra knows of the sweep."""
        self._given = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> Any:
        """Run the search that the arguments describe."""
        from nudge.sweeps.search import Search

        Search(*self._given, self.params, arguments, self.settings).run()
