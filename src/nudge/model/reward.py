"""A reward model: the trunk of a language model with one number in place of the next token.

Parameter names are those of Hugging Face's `LlamaForSequenceClassification` with one label.
"""

import torch
from torch import Tensor, nn

from nudge.config.schema import ModelConfig
from nudge.model.decoder import Decoder, Trunk


class RewardModel(nn.Module):
    """Score a whole text by the state at its last token.

    Args:
        config: the shape of the trunk.
        vocabulary: number of distinct tokens.
    """

    def __init__(self, config: ModelConfig, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        self.model = Trunk(config, vocabulary)
        self.score = nn.Linear(config.width, 1, bias=False)

    @staticmethod
    def on(language_model: Decoder, generator: torch.Generator) -> "RewardModel":
        """Put a head of small random weights on a copy of a language model's trunk.

        Standard deviation 1/(D + 1), as in Stiennon et al. 2020 (arXiv:2009.01325), appendix B.
        """
        reward = RewardModel(language_model.config, language_model.vocabulary)
        reward.model.load_state_dict(language_model.model.state_dict())
        with torch.no_grad():
            reward.score.weight.normal_(0.0, 1 / (language_model.config.width + 1), generator=generator)
        return reward

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """Return the score of each text, [B].

        Args:
            tokens_BT: texts with their end tokens, filled up on the right with anything.
            lengths_B: count of tokens of each text. What follows them can't be seen: attention looks back only.
        """
        state_BTD = self.model(tokens_BT, None)
        last_BD = state_BTD[torch.arange(len(tokens_BT), device=tokens_BT.device), lengths_B - 1]
        return self.score(last_BD).squeeze(-1)

    @property
    def device(self) -> torch.device:
        """Return where the weights are."""
        return self.score.weight.device


@torch.inference_mode()
def scores(model: RewardModel, texts: list[list[int]], batch: int = 512) -> Tensor:
    """Return the score of each text, [N], whatever its neighbours in a batch are.

    Args:
        model: the reward model.
        texts: token ids of whole texts, end tokens included.
        batch: texts in one pass.
    """
    found_N = torch.zeros(len(texts))
    # Texts of about one length share a batch, so that little is padded.
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    for first in range(0, len(order), batch):
        places = order[first : first + batch]
        rows = [torch.tensor(texts[place], device=model.device) for place in places]
        tokens_BT = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths_B = torch.tensor([len(row) for row in rows], device=model.device)
        found_N[places] = model(tokens_BT, lengths_B).float().cpu()
    return found_N
