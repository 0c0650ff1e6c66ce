"""The states from which a model says its answers, taken apart into the components that wrote them.

Shape suffixes as in `model/internals.py`, and N answering positions of all questions together, C components, G groups.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from nudge.data.tokenizer import SPECIAL
from nudge.insight.questions import Questions
from nudge.model.decoder import Decoder
from nudge.model.internals import head_contributions, trace

BATCH = 512


@dataclass(frozen=True)
class Answering:
    """All positions after which a token of an answer or the end token comes.

    Attributes:
        places: names of the places of the residual stream: "embeddings", "0 attention", "0 mlp", …
        stream_SND: the state at each place.
        components: names of what writes into the stream: "embeddings", the heads "layer.head", "0 mlp", …
        parts_CND: what each has written; their sum is the state at the last place.
        right_N: the token that comes next.
        question_N: which question a position belongs to.
        group_N: word of its role, as one number: positions of one group say the same word of the answer.
        number_words: the tokens that answers are made of.
    """

    places: list[str]
    stream_SND: Tensor
    components: list[str]
    parts_CND: Tensor
    right_N: Tensor
    question_N: Tensor
    group_N: Tensor
    number_words: Tensor

    def all_right(self, logits_NV: Tensor) -> Tensor:
        """Say for each question whether the right token is the most probable at each of its positions, [B]."""
        wrong_N = (logits_NV.argmax(-1) != self.right_N).long()
        return torch.bincount(self.question_N, wrong_N, minlength=int(self.question_N.max()) + 1) == 0


@torch.inference_mode()
def answering(model: Decoder, questions: Questions) -> Answering:
    """Run a model on questions with their known answers and keep what happens where the answer is said."""
    config = model.config
    layers, heads = range(config.layers), range(config.heads)
    words = int(questions.word_BT.max()) + 1
    streams, parts, group_N = [], [], []
    for batch in questions.batches(BATCH):
        seen, asked_BT = trace(model, batch.tokens_BT), batch.asked_BT
        streams.append(torch.stack([x_BTD[asked_BT] for x_BTD in seen.stream]))
        written = [seen.stream[0][asked_BT]]
        for layer in layers:
            written += head_contributions(model, layer, seen.mixed[layer])[asked_BT].unbind(1)
            written.append(seen.mlp[layer][asked_BT])
        parts.append(torch.stack(written))
        group_N.append((batch.role_BT * words + batch.word_BT)[asked_BT])
    right_N = questions.next_BT[questions.asked_BT]
    return Answering(
        ["embeddings", *(f"{layer} {part}" for layer in layers for part in ("attention", "mlp"))],
        torch.cat(streams, 1),
        [
            "embeddings",
            *(name for layer in layers for name in (*(f"{layer}.{head}" for head in heads), f"{layer} mlp")),
        ],
        torch.cat(parts, 1),
        right_N,
        questions.asked_BT.nonzero()[:, 0],
        torch.cat(group_N),
        torch.tensor(sorted(set(right_N.tolist()) - set(range(len(SPECIAL))))),
    )


@torch.inference_mode()
def lens(model: Decoder, stream_SND: Tensor) -> Tensor:
    """Read states as if the last norm and the output matrix came right after them: logits [S, N, V].

    The logit lens (nostalgebraist 2020, "interpreting GPT: the logit lens").
    """
    return model.lm_head(model.model.norm(stream_SND))


@torch.inference_mode()
def attribution(model: Decoder, states: Answering) -> Tensor:
    """Return what each component adds to the logit of the right token above the mean of the number words, [C, N].

    The scale of the last norm is held at what it was, so that the logit is linear in the components, and these sum to
    it (Elhage et al. 2021, "A mathematical framework for transformer circuits").
    """
    norm, output_VD = model.model.norm, model.lm_head.weight
    assert norm.eps is not None
    scale_N1 = states.stream_SND[-1].square().mean(-1, keepdim=True).add(norm.eps).rsqrt()
    direction_ND = output_VD[states.right_N] - output_VD[states.number_words].mean(0)
    return torch.einsum("cnd,nd->cn", states.parts_CND, direction_ND * norm.weight * scale_N1)


@torch.inference_mode()
def without(model: Decoder, states: Answering, removed: list[int]) -> Tensor:
    """Return the logits [N, V] when what some components write into the last state is replaced by its mean.

    The mean is that over the positions of the same group. Only the way straight to the output is cut: what other
    components have made of it stays.
    """
    groups = int(states.group_N.max()) + 1
    count_G1 = torch.bincount(states.group_N, minlength=groups).clamp_min(1)[:, None]
    x_ND = states.stream_SND[-1].clone()
    for component in removed:
        part_ND = states.parts_CND[component]
        mean_GD = torch.zeros(groups, part_ND.shape[1]).index_add_(0, states.group_N, part_ND) / count_G1
        x_ND += mean_GD[states.group_N] - part_ND
    return model.lm_head(model.model.norm(x_ND))
