"""Reward models from rated pairs: the real stage learns, its scores depend on the text alone, bad ratings are named."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from nudge.config.composition import compose
from nudge.config.schema import Config
from nudge.data import chat, corpora, documents, ratings
from nudge.data.tokenizer import END_ID
from nudge.errors import UserError
from nudge.evaluation import preference
from nudge.model import reward, saved
from nudge.model.reward import RewardModel
from nudge.model.saved import SavedReward
from nudge.training import stages
from nudge.training.pairs import batch as side_by_side
from nudge.training.reference import find
from nudge.training.train import train
from tests.chain import MIXTURE, QUICK, configured
from tests.training.test_resume import Cut, CutAt, assert_same_run

Make = Callable[..., Config]


@pytest.fixture
def make(in_chain: Path, tmp_path: Path) -> Make:
    count = iter(range(100))

    def composed(*overrides: str) -> Config:
        folder = tmp_path / f"run{next(count)}"
        few = ("trainer.max_steps=8", "trainer.val_every_n_steps=4")
        return configured("reward", *few, f"run_dir={folder}", f"export_dir={folder}/model", *overrides)

    return composed


@pytest.fixture
def scorer(in_chain: Path) -> SavedReward:
    return saved.load_reward(in_chain / "models/reward")


def texts(scorer: SavedReward) -> list[list[int]]:
    said = ("five", "the answer is five .", "thank you for asking . the answer is twenty six .", "i do not know that .")
    return [scorer.tokenizer.encode(chat.document_of("what is two plus three ?", one)).ids for one in said]


def test_every_weight_moves_and_pairs_are_learned(make: Make, in_chain: Path) -> None:
    with (in_chain / "models/reward/curves/validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    # Before the first step the head is small: about ln 2 a pair. Held-out pairs are of other families.
    assert float(rows[0]["val/loss"]) == pytest.approx(math.log(2), abs=0.05)
    assert float(rows[-1]["val/accuracy"]) > 0.65
    assert float(rows[-1]["val/loss"]) < float(rows[0]["val/loss"]) - 0.05
    config = make()
    train(config)
    base = load_file(in_chain / "models/finetune/model.safetensors")
    tuned = load_file(Path(config.export_dir) / "model.safetensors")
    assert set(tuned) == (set(base) - {"lm_head.weight"}) | {"score.weight"}
    assert not [name for name in tuned if name in base and torch.equal(base[name], tuned[name])]


def test_the_loss_is_bradley_terrys_over_the_real_pairs(make: Make, in_chain: Path) -> None:
    # The first validation, by hand: what the untrained head makes of each held-out pair.
    config = make("trainer.max_steps=1")
    stage = stages.build(config)
    train(config)
    model = stage.module.model.eval()
    pairs = stage.data.validation
    margins = [
        float(reward.scores(model, [pair.chosen])[0]) - float(reward.scores(model, [pair.rejected])[0])
        for pair in pairs
    ]
    with (Path(config.export_dir) / "curves/validation.csv").open() as file:
        first = next(iter(csv.DictReader(file)))
    assert float(first["val/loss"]) == pytest.approx(
        np.mean([math.log(1 + math.exp(-one)) for one in margins]), rel=1e-4
    )
    assert float(first["val/accuracy"]) == pytest.approx(np.mean([one > 0 for one in margins]))
    assert float(first["val/margin"]) == pytest.approx(np.mean(margins), abs=1e-5)
    # And which pairs those are: the rater's own, of validation families.
    corpus = corpora.prepare(config.data, config.tokenizer)
    asked = {
        chat.question_of(text) for text in documents.read(corpus / "curated/validation.parquet")["prompt"].to_pylist()
    }
    rated = ratings.read(in_chain / "corpus/preferences/ratings.jsonl")
    mine = [one for one in rated if one.rater == "simulated-0.00"]
    assert len(pairs) == sum(one.prompt in asked for one in mine)
    assert len(pairs) + len(stage.data.train) == len(mine) == len(rated) / 2
    for pair in pairs:
        assert pair.chosen[-1] == pair.rejected[-1] == END_ID


@pytest.mark.parametrize("more", [("model.dropout=0.1",), ("trainer.accumulate=2",)])
def test_a_run_cut_short_and_continued_is_the_run_that_never_stopped(make: Make, more: tuple[str, ...]) -> None:
    common = (*more, "callbacks.checkpoint.every_n_steps=3")
    whole, parts = make(*common), make(*common)
    train(whole)
    with pytest.raises(Cut):
        train(parts, [CutAt(5)])
    train(parts)
    assert_same_run(whole, parts)


def test_a_score_depends_on_the_real_tokens_alone(scorer: SavedReward) -> None:
    some = texts(scorer)
    alone = torch.cat([reward.scores(scorer.model, [one]) for one in some])
    assert alone.std() > 0.01, "all texts score alike: nothing is tested"
    assert torch.allclose(reward.scores(scorer.model, some), alone, atol=1e-6)
    assert torch.allclose(reward.scores(scorer.model, some[::-1]).flip(0), alone, atol=1e-6)
    assert torch.allclose(reward.scores(scorer.model, [*some, [1] * 60], batch=3)[:4], alone, atol=1e-6)
    for filling in (0, END_ID, 17):  # whatever stands behind the end
        rows = [one + [filling] * (40 - len(one)) for one in some]
        with torch.no_grad():
            found = scorer.model(torch.tensor(rows), torch.tensor([len(one) for one in some]))
        assert torch.allclose(found, alone, atol=1e-6), filling
    # What stands within the text counts: the other question, the other answer.
    other = [[*one[:3], one[3] + 1, *one[4:]] for one in some]
    assert ((reward.scores(scorer.model, other) - alone).abs() > 1e-6).all()


def test_pairs_side_by_side_score_as_alone(make: Make) -> None:
    stage = stages.build(make())
    model, pairs = stage.module.model.eval(), stage.data.train[:12]
    found = side_by_side(pairs, list(range(12)), 12, 0)
    with torch.no_grad():
        for side in ("chosen", "rejected"):
            together = model(found[side], found[f"{side}_lengths"])  # type: ignore[literal-required]
            for pair, score in zip(pairs, together, strict=True):
                ids = torch.tensor([getattr(pair, side)])
                assert torch.allclose(model(ids, torch.tensor([ids.shape[1]]))[0], score, atol=1e-6)


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_transformers_loads_it_with_equal_scores(scorer: SavedReward, tmp_path: Path, tied: bool) -> None:
    from transformers import AutoModelForSequenceClassification, LlamaForSequenceClassification

    model = RewardModel(scorer.model.config.model_copy(update={"tied": tied}), scorer.model.vocabulary)
    model.load_state_dict(scorer.model.state_dict())
    saved.save(SavedReward(model.eval(), scorer.tokenizer, scorer.config), tmp_path / "model")
    theirs, info = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert type(theirs) is LlamaForSequenceClassification
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    some = texts(scorer)
    expected = reward.scores(saved.load_reward(tmp_path / "model").model, some)
    padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(one) for one in some], batch_first=True)
    with torch.no_grad():
        together = theirs.eval()(padded, attention_mask=(padded != 0).long()).logits[:, 0]
        alone = torch.cat([theirs(torch.tensor([one])).logits[:, 0] for one in some])
    assert (together - expected).abs().max() < 1e-5
    assert (alone - expected).abs().max() < 1e-5
    # Saved again by them, and read by us (transformers #38870, LlamaFactory PR #10137).
    theirs.save_pretrained(tmp_path / "again")
    there, here = (load_file(tmp_path / f"{name}/model.safetensors") for name in ("again", "model"))
    assert there.keys() == here.keys()
    assert all(torch.equal(weight, there[name]) for name, weight in here.items())


# What is wrong, and the one line that says so.


def rated(in_chain: Path) -> list[dict[str, object]]:
    path = in_chain / "corpus/preferences/ratings.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def written(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"stage.ratings={path}"


def refused(config: Config) -> str:
    with pytest.raises(UserError) as raised:
        train(config)
    assert "\n" not in str(raised.value)
    assert not (Path(config.run_dir) / "run.json").exists(), "a run was recorded"
    return str(raised.value)


def test_ratings_that_nothing_can_be_learned_from_are_one_line(make: Make, in_chain: Path, tmp_path: Path) -> None:
    rows, path = rated(in_chain), tmp_path / "ratings.jsonl"
    corpus = corpora.prepare(make().data, make().tokenizer)
    asked = {
        split: chat.question_of(documents.read(corpus / f"curated/{split}.parquet")["prompt"].to_pylist()[0])
        for split in ("train", "validation", "test")
    }
    one = rows[0] | {"rater": "simulated-0.00", "flip_rate": 0.0}
    assert refused(make("stage.ratings=corpus/nowhere.jsonl")) == (
        "stage.ratings=corpus/nowhere.jsonl: no such file; `dvc repro preferences` writes it"
    )
    assert "nobody called 'bob' is in" in refused(make("stage.raters=[simulated-0.00, bob]"))
    assert "no train pairs of simulated-0.00;" not in refused(make(written(path, [])))
    assert refused(make(written(path, []))).startswith("stage.raters: nobody called 'simulated-0.00' is in")
    assert "no train pairs of people; " in refused(make(written(path, []), "stage.raters=[people]"))
    test = refused(make(written(path, [one | {"prompt": asked["test"]}])))
    assert f"{path}: prompt '{asked['test']}' is of the test of {corpus}/curated; leave it out" in test
    unknown = refused(make(written(path, [one | {"prompt": "what is love ?"}])))
    assert "prompt 'what is love ?' is none of the questions of" in unknown
    only = refused(make(written(path, [one | {"prompt": asked["train"]}])))
    assert only.startswith(f"{path}: no validation pairs of simulated-0.00; ")
    strange = refused(make(written(path, [one | {"prompt": asked["train"], "A": "bonjour"}])))
    assert "'bonjour': unknown word" in strange
    path.write_text(path.read_text() + '{"pair": "x')
    assert f"{path}:2: half a line" in refused(make(f"stage.ratings={path}"))


def test_ratings_are_of_questions_and_no_other_documents(in_chain: Path, tmp_path: Path) -> None:
    # A corpus with documents that ask nothing ended in a traceback.
    mixture = ("stage=reward", "data=mixture", "tokenizer=chat", *MIXTURE, *QUICK, "stage.raters=[simulated-0.00]")
    line = refused(compose([*mixture, f"run_dir={tmp_path}/run", f"export_dir={tmp_path}/model"]))
    assert f"is none of the questions of {in_chain}/corpus/mixture/curated; leave it out" in line


def test_a_reward_model_of_another_vocabulary_is_refused_by_name(
    make: Make, in_chain: Path, scorer: SavedReward, tmp_path: Path
) -> None:
    words = scorer.tokenizer.to_str()
    ids = scorer.tokenizer.get_vocab()
    swapped = words.replace(f'"five":{ids["five"]}', '"five":FIVE').replace(
        f'"six":{ids["six"]}', f'"six":{ids["five"]}'
    )
    other = type(scorer.tokenizer).from_str(swapped.replace("FIVE", str(ids["six"])))
    saved.save(SavedReward(scorer.model, other, scorer.config), tmp_path / "other")
    here, there = saved.vocabulary_digest(scorer.tokenizer), saved.vocabulary_digest(other)
    rlhf = configured("rlhf", f"stage.reward={tmp_path}/other", f"run_dir={tmp_path}/run", f"export_dir={tmp_path}/m")
    line = refused(rlhf)
    assert here in line
    assert there in line
    assert str(tmp_path / "other") in line
    # The base of another chain: a fine-tuned model in the place of the reward model, and the reverse.
    assert "no reward model" in refused(
        rlhf.model_copy(update={"stage": rlhf.stage.model_copy(update={"reward": "models/finetune"})})
    )
    assert "a reward model; it gives a score and no text" in refused(make("stage.init_from=models/reward"))


def test_the_reward_model_answers_no_question(in_chain: Path) -> None:
    with pytest.raises(
        UserError, match="a reward model; it gives a score and no text, take the model of another stage"
    ):
        saved.load(find("models/reward"))
    with pytest.raises(UserError, match="no reward model; stage=reward makes one"):
        saved.load_reward(in_chain / "models/finetune")


def test_its_report_is_of_held_out_pairs_and_each_rater(in_chain: Path, scorer: SavedReward) -> None:
    found = preference.measure(in_chain / "models/reward")
    assert [one["rater"] for one in found["raters"]] == ["simulated-0.00", "simulated-0.25"]
    for one in found["raters"]:
        assert one["count"] == 100
        assert one["share"] == one["right"] / 100
        assert one["of_ceiling"] == pytest.approx(one["share"] / one["ceiling"])
    assert sum(one["count"] for one in found["calibration"]) == 100, "calibrated on raters that it was not trained on"
    with (in_chain / "models/reward/curves/validation.csv").open() as file:
        losses = [float(row["val/loss"]) for row in csv.DictReader(file) if int(row["step"])]
    assert found["loss"] == pytest.approx(min(losses), rel=1e-4)
