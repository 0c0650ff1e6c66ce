"""GRPO: an answer is compared with the others to the same question (Shao et al. 2024, arXiv:2402.03300)."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from nudge.config import posttraining
from nudge.training import losses
from nudge.training.reinforcement import Reinforcement, part_of_policy
from nudge.training.rollouts import Rollouts


class GRPO(Reinforcement):
    """Clipped policy gradient with advantages from groups, and a divergence in the loss."""

    algorithm: posttraining.GRPO

    def advantages(self, rollouts: Rollouts, reward_A: Tensor) -> tuple[Rollouts, dict[str, float]]:
        """Compare each answer with its group; groups without any difference teach nothing, and are counted."""
        found = losses.group_advantages(reward_A, self.algorithm.group, self.algorithm.scale == "group")
        advantage_AT = found.advantage_B[:, None] * rollouts.said_AT
        return replace(rollouts, advantage_AT=advantage_AT), {"groups/dead": found.dead_G.float().mean().item()}

    def loss(self, rollouts: Rollouts, rows: Tensor, answers: int, tokens: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return equation 3 of the paper, each answer with the same weight."""
        log_p_RT, _ = part_of_policy(self, rollouts, rows)
        old_RT, ref_RT, said_RT = rollouts.old_log_p_AT[rows], rollouts.ref_log_p_AT[rows], rollouts.said_AT[rows]
        policy = losses.clipped_policy(log_p_RT, old_RT, rollouts.advantage_AT[rows], self.algorithm.clip)
        kl_RT = losses.kl_in_loss(log_p_RT, old_RT, ref_RT, self.algorithm.kl_corrected)
        share_RT = losses.over_answers(said_RT, answers)
        policy_loss, kl_loss = (policy.loss_BT * share_RT).sum(), (kl_RT * share_RT).sum()
        with torch.no_grad():
            clipped = (policy.clipped_BT * losses.over_tokens(said_RT, tokens)).sum()
        parts = {"loss/policy": policy_loss, "loss/kl": kl_loss, "clip_fraction": clipped}
        return policy_loss + self.algorithm.kl_coefficient * kl_loss, parts
