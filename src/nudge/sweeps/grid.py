"""Every combination of the values: what `nudge train -m seed=1,2,3 optimizer=muon,adamw` does."""

from pathlib import Path

from nudge.config.schema import Config
from nudge.errors import UserError
from nudge.sweeps import outcome
from nudge.sweeps.folder import Sheet, SweepFolder
from nudge.sweeps.launching import Launching
from nudge.sweeps.outcome import Outcome
from nudge.sweeps.planning import Checked, check, combinations
from nudge.sweeps.sweep import Sweep
from nudge.sweeps.table import Row


class Grid(Sweep):
    """One job for each combination, numbered with the last key varying fastest."""

    kind = "grid"

    def prepare(self) -> Config:
        """Compose every job's configuration."""
        self._values = combinations(self._plan.swept)
        self._checked: list[Checked] = [
            check(self._context, self._master, self._overrides(number)) for number in range(len(self._values))
        ]
        possible = [checked.config for checked in self._checked if checked.config is not None]
        if not possible:
            raise UserError(self._checked[0].error or "no combination")
        return possible[0]

    def identity(self) -> object:
        """Return each job's overrides, and what would be computed."""
        return [[self._overrides(number), checked.hash] for number, checked in enumerate(self._checked)]

    def unfinished(self, place: Path, sheet: Sheet) -> bool:
        """Say whether a job is left that could still finish."""
        return bool(self._open(place))

    def go(self, claimed: SweepFolder, launching: Launching) -> None:
        """Run the jobs that have not finished."""
        launching.launch(
            {
                number: [*self._overrides(number), *self.named(self._values[number])]
                for number in self._open(claimed.path)
            }
        )

    def rows(self, claimed: SweepFolder) -> list[Row]:
        """Return how each job ended."""
        return [Row(number, values, self._outcome(number, claimed.path)) for number, values in enumerate(self._values)]

    def _outcome(self, number: int, place: Path) -> Outcome:
        error = self._checked[number].error
        return outcome.read(place / str(number)) if error is None else Outcome("impossible", error)

    def _open(self, place: Path) -> list[int]:
        return [number for number in range(len(self._values)) if not self._outcome(number, place).ended]

    def _overrides(self, number: int) -> list[str]:
        return [*self._plan.fixed, *(f"{key}={value}" for key, value in self._values[number].items())]
