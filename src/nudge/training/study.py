"""The Optuna study of a search: made, found again, and loaded by the jobs that report to it."""

import numpy as np
import optuna
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from nudge.errors import UserError

PRUNER = "nudge.pruner"  # attribute of a study: its pruner's name, startup_trials, and warmup (share of a run's steps)

optuna.logging.set_verbosity(optuna.logging.WARNING)


def check(storage: str) -> None:
    """Check that a storage can be used.

    Raises:
        UserError: it can't.
    """
    _open(storage)


def make(storage: str, name: str, mode: str, pruner: dict[str, str | float]) -> optuna.Study:
    """Make a study, or take the one that is there.

    Raises:
        UserError: the storage can't be used.
    """
    direction = StudyDirection.MINIMIZE if mode == "min" else StudyDirection.MAXIMIZE
    study = optuna.create_study(storage=_open(storage), study_name=name, direction=direction, load_if_exists=True)
    study.set_user_attr(PRUNER, pruner)
    return study


def load(storage: str, name: str) -> optuna.Study:
    """Open the study that a job belongs to, with its pruner."""
    store = _open(storage)
    study = optuna.load_study(storage=store, study_name=name)
    return optuna.load_study(storage=store, study_name=name, pruner=_pruner(study.user_attrs[PRUNER]))


def sampler(seed: int, trial: int, startup_trials: int) -> BaseSampler:
    """Return the sampler of one trial: what it draws depends on its number and on the trials before, on nothing else.

    A sampler that lived through the search would after a cut begin its random numbers anew, and draw what it had drawn.
    """
    mixed = np.random.SeedSequence([seed, trial]).generate_state(1)[0]  # neighbours would draw alike
    # Trials of one batch know nothing of each other's results; constant_liar keeps them apart.
    return TPESampler(n_startup_trials=startup_trials, constant_liar=True, seed=int(mixed))


def _pruner(settings: dict[str, str | float]) -> BasePruner:
    if settings["name"] == "none":
        return NopPruner()
    return MedianPruner(int(settings["startup_trials"]))


def _open(storage: str) -> RDBStorage:
    try:
        if make_url(storage).password is not None:
            raise UserError(
                "hydra.sweeper.storage: holds a password, and would be recorded with each run; leave it out, and set "
                "PGPASSWORD or write ~/.pgpass"
            )
        return RDBStorage(storage)
    except (SQLAlchemyError, ValueError, ImportError) as error:
        reason = str(error).splitlines()[0]
        if isinstance(error, ImportError):
            reason = "its driver is not installed; for PostgreSQL: pip install 'psycopg[binary]'"
        raise UserError(f"hydra.sweeper.storage={storage}: can't be opened ({reason})") from error
