"""The configuration of reinforcement learning and of learning from preferences: one class an algorithm."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nudge.config.section import Section


class GuardsConfig(Section):
    """Bounds that a run may not break for `iterations` iterations in a row; null leaves one open."""

    kl: float | None = Field(gt=0)
    distinct: float | None = Field(ge=0, le=1)
    iterations: int = Field(ge=1)


class RolloutConfig(Section):
    """What all algorithms have that learn from answers of the model itself."""

    prompts_per_iteration: int = Field(ge=1)
    group: int = Field(ge=1)
    epochs: int = Field(ge=1)
    max_new: int = Field(ge=1)
    temperature: float = Field(gt=0)
    clip: float = Field(gt=0, lt=1)
    kl_coefficient: float = Field(ge=0)
    validation_prompts: int = Field(ge=1)
    exact_prompts: int = Field(ge=0)
    guards: GuardsConfig

    @property
    def answers(self) -> int:
        """Count the answers of one iteration."""
        return self.prompts_per_iteration * self.group


class PPO(RolloutConfig):
    name: Literal["ppo"]
    kl_estimator: Literal["k1", "k2", "k3"]
    value_clip: float = Field(gt=0)
    value_coefficient: float = Field(ge=0)
    entropy_coefficient: float = Field(ge=0)
    discount: float = Field(gt=0, le=1)
    trace: float = Field(ge=0, le=1)
    whiten: bool


class GRPO(RolloutConfig):
    name: Literal["grpo"]
    scale: Literal["group", "none"]
    kl_corrected: bool

    @model_validator(mode="after")
    def _groups_compare(self) -> "GRPO":
        if self.group < 2:
            raise ValueError("group=1 leaves nothing to compare an answer with; it needs 2 or more")
        return self


class DPO(Section):
    name: Literal["dpo"]
    beta: float = Field(gt=0)
    raters: list[str] = Field(min_length=1)
    pairs: int | None = Field(ge=1)


AlgorithmConfig = Annotated[PPO | GRPO | DPO, Field(discriminator="name")]


class RaterConfig(Section):
    """A simulated rater."""

    flip_rate: float = Field(ge=0, lt=0.5)


class PreferencesConfig(Section):
    """Which pairs of answers are sampled, and who rates them."""

    seed: int = Field(ge=0)
    pairs: int = Field(ge=1)
    held_out_pairs: int = Field(ge=1)
    temperature: float = Field(gt=0)
    max_new: int = Field(ge=1)
    raters: list[RaterConfig]

    @model_validator(mode="after")
    def _each_once(self) -> "PreferencesConfig":
        names = [f"{rater.flip_rate:.2f}" for rater in self.raters]  # as raters are called
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two raters have the flip rate {twice[0]}; each must have another")
        return self
