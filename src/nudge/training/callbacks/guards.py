"""Stop a run of reinforcement learning that has lost its language, while its curves still say when."""

from typing import Any

from pytorch_lightning import Callback, Trainer

from nudge.config.posttraining import GuardsConfig
from nudge.errors import RunError
from nudge.training.reinforcement import Reinforcement

KL, DISTINCT = "kl/k3", "answers/distinct"


class Guards(Callback):
    """Watch the divergence from the reference and the share of distinct answers of each iteration.

    Args:
        config: the bounds, and for how many iterations in a row they may be broken.
    """

    def __init__(self, config: GuardsConfig) -> None:
        self._config = config
        self._broken = dict.fromkeys((KL, DISTINCT), 0)

    def state_dict(self) -> dict[str, Any]:
        """Return how often in a row each bound has been broken."""
        return {"broken": dict(self._broken)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self._broken = dict(state_dict["broken"])

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Reinforcement, optimizer: Any) -> None:  # type: ignore[override]
        """Look at an iteration once, in its first step.

        Raises:
            RunError: a bound has been broken too often in a row.
        """
        if not pl_module.iteration_metrics:  # looked at already, or before an interruption
            return
        metrics, pl_module.iteration_metrics = pl_module.iteration_metrics, {}
        kl, distinct = self._config.kl, self._config.distinct
        self._count(trainer, KL, metrics[KL], kl is None or metrics[KL] <= kl, f"above algorithm.guards.kl={kl}")
        within = distinct is None or metrics[DISTINCT] >= distinct
        self._count(trainer, DISTINCT, metrics[DISTINCT], within, f"below algorithm.guards.distinct={distinct}")

    def _count(self, trainer: Trainer, name: str, value: float, within: bool, bound: str) -> None:
        self._broken[name] = 0 if within else self._broken[name] + 1
        if self._broken[name] >= self._config.iterations:
            raise RunError(
                f"step {trainer.global_step + 1}: {name} is {value:.4g}, {bound}, in {self._broken[name]} iterations "
                "in a row; a higher algorithm.kl_coefficient or a lower optimizer.lr often helps"
            )
