"""Learning from a reward: iterations of answers by the policy as it is, each followed by some optimiser steps on them.

An optimiser step is a batch of Lightning's. The first batch of an iteration samples; its answers then stand in the
module, and in every checkpoint, so that a run that was cut in the midst of an iteration goes on with the same ones.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nudge.config.posttraining import RolloutConfig
from nudge.config.schema import Config
from nudge.model.decoder import Decoder
from nudge.model.scoring import exact_divergence, log_probabilities_of
from nudge.training.objective import Objective
from nudge.training.prompts import Prompts, Turn
from nudge.training.rewards import Answered, Reward, checked, gold_of
from nudge.training.rollouts import (
    Rollouts,
    ask,
    divergences,
    generator_of,
    judged_by,
    metrics_of,
    said_by,
    texts_of,
)

TRAINING, VALIDATION = range(2)  # streams of random numbers
STATE = "rollouts"  # key of a checkpoint


class Reinforcement(Objective):
    """What PPO and GRPO have in common; a subclass says what an advantage is, and the loss.

    Attributes:
        iteration_metrics: what was logged of a new iteration's answers, until the guards have looked at it.

    Args:
        config: the run.
        data: the questions.
        model: the policy.
        reference: what it is kept near to; frozen, and in no checkpoint.
        reward: what it learns from.
    """

    def __init__(self, config: Config, data: Prompts, model: Decoder, reference: Decoder, reward: Reward) -> None:
        super().__init__(config, data.tokenizer.to_str(), model)
        assert isinstance(config.algorithm, RolloutConfig)
        self.algorithm = config.algorithm
        self.iteration_metrics: dict[str, float] = {}
        self._data, self._reward, self._gold = data, reward, gold_of(data.assistant)
        self._reference = [reference.requires_grad_(False).eval()]  # in a list, so that it is no part of the module
        self._rollouts: Rollouts | None = None
        self._step: dict[str, float] = {}

    @property
    def monitors(self) -> list[str]:
        """Name the metrics that validation logs."""
        return ["val/reward/proxy", "val/reward/gold", "val/exact_match"]

    @property
    def reference(self) -> Decoder:
        """Return the frozen model that the divergence is measured from."""
        return self._reference[0].to(self.model.device)

    @abstractmethod
    def advantages(self, rollouts: Rollouts, reward_A: Tensor) -> tuple[Rollouts, dict[str, float]]:
        """Fill in an iteration's advantages; return it, and what there is to log of them."""

    @abstractmethod
    def loss(self, rollouts: Rollouts, rows: Tensor, answers: int, tokens: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the loss of some answers, and what there is to log, as shares of the whole optimiser step.

        Args:
            rollouts: the iteration.
            rows: which of its answers.
            answers: count of answers of the whole step.
            tokens: count of tokens that were said in them.
        """

    def training_step(self, batch: Turn, batch_idx: int) -> Tensor:
        """Return a micro-batch's share of the step's loss; sample first, if an iteration begins."""
        self.model.eval()  # dropout would make the policy another one than it was when it spoke
        if self._rollouts is None or self._rollouts.iteration != batch["iteration"]:
            self._rollouts = self._iterate(batch)
        rollouts = self._rollouts
        tokens = int(rollouts.said_AT[batch["step_rows"]].sum())
        loss, parts = self.loss(rollouts, batch["rows"], len(batch["step_rows"]), tokens)
        if batch_idx % self.config.trainer.accumulate == 0:
            self._step = {}
        for name, part in parts.items():
            self._step[name] = self._step.get(name, 0.0) + part.item()
        return self.share_of_step(loss, tokens, batch_idx)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Log what the step showed."""
        self._log(self._step)

    @torch.no_grad()
    def _iterate(self, turn: Turn) -> Rollouts:
        """Let the policy answer, judge the answers, and log what they are like."""
        generator = generator_of(self.config.seed, TRAINING, turn["iteration"])
        questions, group = self._data.train, self.algorithm.group
        places = [place for place in turn["prompts"].tolist() for _ in range(group)]
        answers = ask(
            self.model,
            [questions.prompts[place] for place in places],
            [questions.expected[place] for place in places],
            self.algorithm,
            self._data.tokenizer,
            generator,
        )
        reward_A = checked(self._reward, answers, generator).to(self.model.device)
        texts_AT1, said_AT = texts_of(answers, self.model.device)
        log_p_AT, entropy_AT = judged_by(self.model, texts_AT1, said_AT, self.algorithm.temperature)
        ref_log_p_AT, _ = judged_by(self.reference, texts_AT1, said_AT, self.algorithm.temperature)
        nothing_A0 = torch.zeros(len(answers), 0, device=self.model.device)
        rollouts = Rollouts(
            turn["iteration"], texts_AT1, said_AT, log_p_AT, ref_log_p_AT, nothing_A0, nothing_A0, nothing_A0
        )
        rollouts, of_advantages = self.advantages(rollouts, reward_A)
        self.iteration_metrics = (
            metrics_of(answers, reward_A, self._golds(answers), said_AT, entropy_AT)
            | divergences(log_p_AT, ref_log_p_AT, said_AT)
            | of_advantages
        )
        self._log(self.iteration_metrics)
        return rollouts

    def _golds(self, answers: Sequence[Answered]) -> Tensor:
        """Return the rubric's totals, which are logged and, but for `stage.reward=gold`, never learned from."""
        return checked(self._gold, answers, torch.Generator())

    def _log(self, metrics: Mapping[str, float]) -> None:
        # At the step that is being made: what no checkpoint holds is told again when the step is made again.
        for logger in self.loggers:
            logger.log_metrics(dict(metrics), step=self.trainer.global_step + 1)

    @torch.no_grad()
    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Let the policy answer questions of families that it never trained on, with the same numbers each time."""
        generator = generator_of(self.config.seed, VALIDATION, 0)
        questions, places = self._data.validation, batch.tolist()
        prompts = [questions.prompts[place] for place in places]
        expected = [questions.expected[place] for place in places]
        answers = ask(self.model, prompts, expected, self.algorithm, self._data.tokenizer, generator)
        reward_A = checked(self._reward, answers, generator)
        right = [self._data.is_right(one) for one in answers]
        metrics = {
            "val/reward/proxy": float(reward_A.mean()),
            "val/reward/gold": float(self._golds(answers).mean()),
            "val/exact_match": sum(right) / len(right),
            "val/answers/ended": sum(one.ended for one in answers) / len(answers),
            "val/answers/distinct": len({one.text for one in answers}) / len(answers),
        }
        self.log_validation(metrics | self._exact_divergence(places))

    def _exact_divergence(self, places: Sequence[int]) -> dict[str, float]:
        """Return the divergence of whole answers over all that can be said, on average over a few questions."""
        found = []
        for place in [place for place in places if self._data.enumerable(place)][: self.algorithm.exact_prompts]:
            prompt, every = self._data.validation.prompts[place], self._data.every_answer(place)
            log_p_N, ref_log_p_N = (
                log_probabilities_of(model, prompt, every) for model in (self.model, self.reference)
            )
            found.append(exact_divergence(log_p_N, ref_log_p_N))
        if not found:
            return {}
        divergence, covered = (sum(column) / len(found) for column in zip(*found, strict=True))
        return {"val/kl/sequence_exact": divergence, "val/kl/sequence_covered": covered}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the answers that are learned from."""
        super().on_save_checkpoint(checkpoint)
        checkpoint[STATE] = None if self._rollouts is None else self._rollouts.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with them."""
        super().on_load_checkpoint(checkpoint)
        state = checkpoint[STATE]
        self._rollouts = None if state is None else Rollouts(**state).to(self.model.device)


def part_of_policy(module: Reinforcement, rollouts: Rollouts, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return ln p and entropy of some answers by the policy as it is, with gradients, [R, T]."""
    return said_by(module.model, rollouts.texts_AT1[rows], rollouts.said_AT[rows], module.algorithm.temperature)
