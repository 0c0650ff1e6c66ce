"""Margins of rated pairs: each pair is compared by its own texts."""

import pytest
import torch

from nudge.config.composition import compose
from nudge.config.schema import ModelConfig, parse
from nudge.data import chat, ratings, tokenizer
from nudge.data.ratings import Rating
from nudge.evaluation.preference import margins
from nudge.model.decoder import Decoder
from nudge.model.reward import RewardModel, scores
from nudge.model.saved import SavedReward


def test_each_pair_is_judged_by_its_own_texts() -> None:
    # Made lazily, the texts of all pairs were those of the last one, and every reward model looked like a coin.
    rated = []
    for prompt, answers in (("one plus one", ("two", "three")), ("two plus one", ("three .", "five"))):
        pair = ratings.pair(prompt, *answers).model_dump()
        rated.append(
            Rating(**pair, rater="ada", simulated=False, flip_rate=None, time="2026-01-31", choice="B", why="")
        )
    texts = [chat.document_of(one.prompt, answer) for one in rated for answer in (one.B, one.A)]
    words = tokenizer.train(texts, compose(["tokenizer=chat"]).tokenizer)
    shape = compose().model.model_dump() | {"width": 16, "layers": 1, "heads": 2, "kv_heads": 2, "embedding_std": 0.5}
    decoder = Decoder(parse(ModelConfig, shape), words.get_vocab_size())
    decoder.initialise(torch.Generator().manual_seed(0))
    model = RewardModel.on(decoder, torch.Generator().manual_seed(1)).eval()
    alone = [float(scores(model, [words.encode(text).ids])[0]) for text in texts]
    got = margins(SavedReward(model, words, {}), rated).tolist()
    assert got == pytest.approx([alone[0] - alone[1], alone[2] - alone[3]], rel=1e-5, abs=1e-6)
    assert abs(got[0] - got[1]) > 1e-3
