"""Give up a run that does worse than others of its search."""

import math

import optuna
from optuna.trial import Trial, TrialState
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn

from nudge.config.schema import PruningConfig
from nudge.errors import Pruned
from nudge.training import study


class Pruning(Callback):
    """Report the validation loss to an Optuna study after each validation, and end the run if the study says so.

    Args:
        config: where the study is, and which of its trials this run is.

    Raises:
        Pruned: in rank 0 and all others, from the end of a validation.
    """

    def __init__(self, config: PruningConfig) -> None:
        self._config = config
        self._trial: Trial | None = None
        self._reported = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the trial; one process talks to the study."""
        if trainer.is_global_zero:
            found = study.load(self._config.storage, self._config.study)
            frozen = found.get_trials(deepcopy=False)[self._config.trial]
            self._reported = max(frozen.intermediate_values, default=0)
            if frozen.state == TrialState.RUNNING:
                self._trial = Trial(found, frozen._trial_id)
                self._warmup = found.user_attrs[study.PRUNER]["warmup"] * trainer.max_steps
                self._sign = 1 if found.direction == optuna.study.StudyDirection.MINIMIZE else -1

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report, and ask whether to go on."""
        step = trainer.global_step
        if trainer.state.fn != TrainerFn.FITTING or step == 0:
            return
        loss = float(trainer.callback_metrics["val/loss"])
        stop = False
        if self._trial is not None and step > self._reported:  # a continued run comes by the same steps again
            # The study compares in the direction of its score; a loss is better when it is lower.
            self._trial.report(self._sign * loss, step)
            early_or_over = step < self._warmup or step >= trainer.max_steps
            stop = not early_or_over and math.isfinite(loss) and self._trial.should_prune()
        if trainer.strategy.broadcast(stop):
            raise Pruned(f"val/loss {loss:.4g} in step {step} is worse than the median of earlier trials")
