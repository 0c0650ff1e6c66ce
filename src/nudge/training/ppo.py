"""PPO on language models: a value network says what to expect of each token (Ouyang et al. 2022, arXiv:2203.02155)."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from nudge.config import posttraining
from nudge.config.schema import Config
from nudge.model.decoder import Decoder, Trunk
from nudge.model.scoring import BATCH
from nudge.training import losses
from nudge.training.prompts import Prompts
from nudge.training.reinforcement import Reinforcement, part_of_policy
from nudge.training.rewards import Reward
from nudge.training.rollouts import Rollouts


class ValueNetwork(nn.Module):
    """Say after each token what reward is still to come: the policy's trunk with one number in place of a token.

    It begins with a copy of the policy's weights and a head of zeros, so that it expects nothing.
    """

    def __init__(self, policy: Decoder) -> None:
        super().__init__()
        self.model = Trunk(policy.config, policy.vocabulary)
        self.model.load_state_dict(policy.model.state_dict())
        self.score = nn.Linear(policy.config.width, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Return the value after each token, [B, T]."""
        return self.score(self.model(tokens_BT, None)).squeeze(-1).float()


class PPO(Reinforcement):
    """Clipped policy gradient with generalised advantages, and the divergence as part of the reward."""

    algorithm: posttraining.PPO

    def __init__(self, config: Config, data: Prompts, model: Decoder, reference: Decoder, reward: Reward) -> None:
        super().__init__(config, data, model, reference, reward)
        self.value = ValueNetwork(model)

    @property
    def trained(self) -> nn.Module:
        """Return all that the optimiser moves."""
        return nn.ModuleDict({"model": self.model, "value": self.value})

    def advantages(self, rollouts: Rollouts, reward_A: Tensor) -> tuple[Rollouts, dict[str, float]]:
        """Put a penalty on each token and the reward on the last, and compare with what the network expected."""
        settings, said_AT = self.algorithm, rollouts.said_AT
        self.value.eval()
        parts = [self.value(some[:, :-1]) for some in torch.split(rollouts.texts_AT1, BATCH)]
        value_AT = torch.cat(parts) * said_AT
        kl_AT = losses.kl_estimates(rollouts.old_log_p_AT, rollouts.ref_log_p_AT)[settings.kl_estimator]
        reward_AT = -settings.kl_coefficient * kl_AT * said_AT
        places_T = torch.arange(said_AT.shape[1], device=said_AT.device)
        last_A = (places_T * said_AT).argmax(1)
        reward_AT[torch.arange(len(reward_A), device=said_AT.device), last_A] += reward_A
        found = losses.generalised_advantages(reward_AT, value_AT, said_AT, settings.discount, settings.trace)
        advantage_AT = losses.whitened(found.advantage_BT, said_AT) if settings.whiten else found.advantage_BT
        filled = replace(rollouts, advantage_AT=advantage_AT, value_AT=value_AT, return_AT=found.return_BT)
        return filled, {"reward/penalised": float(reward_AT.sum(1).mean())}

    def loss(self, rollouts: Rollouts, rows: Tensor, answers: int, tokens: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the clipped losses of policy and value, each token with the same weight."""
        settings = self.algorithm
        self.value.eval()
        log_p_RT, entropy_RT = part_of_policy(self, rollouts, rows)
        share_RT = losses.over_tokens(rollouts.said_AT[rows], tokens)
        policy = losses.clipped_policy(
            log_p_RT, rollouts.old_log_p_AT[rows], rollouts.advantage_AT[rows], settings.clip
        )
        value = losses.clipped_value(
            self.value(rollouts.texts_AT1[rows][:, :-1]),
            rollouts.value_AT[rows],
            rollouts.return_AT[rows],
            settings.value_clip,
        )
        policy_loss, value_loss = (policy.loss_BT * share_RT).sum(), (value.loss_BT * share_RT).sum()
        entropy = (entropy_RT * share_RT).sum()
        parts = {
            "loss/policy": policy_loss,
            "loss/value": value_loss,
            "clip_fraction": (policy.clipped_BT * share_RT).sum(),
            "clip_fraction/value": (value.clipped_BT * share_RT).sum(),
        }
        loss = policy_loss + settings.value_coefficient * value_loss - settings.entropy_coefficient * entropy
        return loss, parts
