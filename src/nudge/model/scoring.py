"""How probable given answers are: one pass over texts that are already there."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nudge.model.decoder import Decoder

BATCH = 512  # texts in one pass without gradients


def padded(texts: Sequence[Sequence[int]], device: torch.device | None = None) -> Tensor:
    """Return texts as rows filled up on the right with padding, [B, T]."""
    rows = [torch.tensor(text, dtype=torch.int64) for text in texts]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device)


@torch.no_grad()
def log_probabilities_of(model: Decoder, prompt: Sequence[int], answers: Sequence[Sequence[int]]) -> Tensor:
    """Return ln p of each whole answer to a prompt, [answers], float64; an end token counts if the answer has one."""
    found = []
    for first in range(0, len(answers), BATCH):
        some = answers[first : first + BATCH]
        tokens_BT = padded([[*prompt, *answer] for answer in some], model.device)
        log_p_BTV = model(tokens_BT[:, :-1])[:, len(prompt) - 1 :].double().log_softmax(-1)
        log_p_BT = log_p_BTV.gather(-1, tokens_BT[:, len(prompt) :, None]).squeeze(-1)
        lengths_B = torch.tensor([len(answer) for answer in some], device=model.device)
        said_BT = torch.arange(log_p_BT.shape[1], device=model.device) < lengths_B[:, None]
        found.append((log_p_BT * said_BT).sum(1))
    return torch.cat(found)


def exact_divergence(log_p_N: Tensor, ref_log_p_N: Tensor) -> tuple[float, float]:
    """Return KL(π‖π_ref) between distributions over answers, in nats, and the probability that the answers cover.

    All other answers count as one more, so that it is exact where the answers are all there is, and elsewhere a lower
    bound (the data-processing inequality: Cover and Thomas 2006, section 2.8).

    Args:
        log_p_N: ln π of answers, each another.
        ref_log_p_N: ln π_ref of the same.
    """
    inside, ref_inside = float(log_p_N.exp().sum()), float(ref_log_p_N.exp().sum())
    divergence = float((log_p_N.exp() * (log_p_N - ref_log_p_N)).sum())
    rest, ref_rest = max(1 - inside, 0.0), max(1 - ref_inside, 1e-300)
    if rest > 1e-12:
        divergence += rest * float(torch.tensor(rest / ref_rest, dtype=torch.float64).log())
    return max(divergence, 0.0), inside
