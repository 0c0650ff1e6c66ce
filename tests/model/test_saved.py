"""A model folder comes back as it was, loads in transformers, and says what is wrong with it."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nudge.config.composition import compose
from nudge.data import tokenizer
from nudge.errors import UserError
from nudge.model import saved
from nudge.model.saved import Saved
from tests.model.test_decoder import decoder


@pytest.fixture(params=[False, True], ids=["untied", "tied"])
def folder(request: pytest.FixtureRequest, small_project: Path, tmp_path: Path) -> Path:
    words = tokenizer.load(small_project / "corpus/tokens/tokenizer.json")
    model = decoder(tied=request.param, embedding_std=0.3)
    saved.save(Saved(model, words, compose().model_dump(mode="json")), tmp_path / "model")
    return tmp_path / "model"


def test_it_comes_back_the_same(folder: Path) -> None:
    again = saved.load(folder)
    tokens_BT = torch.randint(3, 38, (2, 10))
    expected = decoder(tied=again.model.config.tied, embedding_std=0.3)(tokens_BT)
    assert torch.equal(again.model(tokens_BT), expected)
    assert again.tokenizer.encode("two plus two").tokens == ["<s>", "two", "plus", "two", "</s>"]
    assert again.config["optimizer"]["name"] == "muon"


def test_transformers_loads_it_with_equal_logits(folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    theirs, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    ids = AutoTokenizer.from_pretrained(folder)("two plus three equals", return_tensors="pt").input_ids
    ours = saved.load(folder)
    assert ids[0].tolist() == ours.tokenizer.encode("two plus three equals").ids
    with torch.no_grad():
        assert (theirs.eval()(ids).logits - ours.model(ids)).abs().max() < 1e-5


def test_what_transformers_saves_again_is_the_same_model(folder: Path, tmp_path: Path) -> None:
    # Tied weights broke or were dropped on export (transformers #38870, torchtitan PR #3764, LlamaFactory PR #10137).
    from transformers import AutoModelForCausalLM

    ours = saved.load(folder)
    tied = ours.model.config.tied
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    theirs.save_pretrained(tmp_path / "again")
    assert ("lm_head.weight" in load_file(tmp_path / "again/model.safetensors")) != tied
    again, info = AutoModelForCausalLM.from_pretrained(tmp_path / "again", output_loading_info=True)
    assert not info["missing_keys"]
    shared = again.lm_head.weight.data_ptr() == again.model.embed_tokens.weight.data_ptr()
    assert shared == tied
    tokens_BT = torch.randint(3, 38, (2, 10), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert (again.eval()(tokens_BT).logits - ours.model(tokens_BT)).abs().max() < 1e-5
    # And by us: saved, read, and saved again, all bytes are the same.
    saved.save(ours, tmp_path / "twice")
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "twice" / path.name).read_bytes(), path.name


def test_damage_is_named(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="damaged model"):
        saved.load(folder)


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 32}))
    with pytest.raises(UserError, match="don't fit"):
        saved.load(folder)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model there"):
        saved.load(tmp_path)
    (tmp_path / "x.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="not a checkpoint"):
        saved.load(tmp_path / "x.ckpt")
