"""Surprise is the loss that training logs, token by token; and what a text states is judged by the model's own data."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nudge import project
from nudge.config.composition import compose
from nudge.data import documents, tokenizer
from nudge.data.sources import KINDS
from nudge.errors import UserError
from nudge.evaluation.exact_match import loss
from nudge.insight.explanation import equations, surprise
from nudge.insight.explanation.explaining import explain
from nudge.model import saved
from nudge.model.saved import Saved, untrained
from nudge.training.tracking import store
from nudge.training.train import train
from tests.conftest import TINY
from tests.model.test_decoder import decoder
from tests.training.test_run import history, newest


@pytest.fixture(scope="module")
def trained(small_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, float]]:
    """Train a tiny model; return its run's folder, and the last `val/loss` that was logged."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUDGE_PROJECT", str(small_project))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        project.root.cache_clear()
        project.home.cache_clear()
        train(compose([*TINY, f"run_dir={folder}", f"export_dir={folder}/model", "tracking.experiment=surprise"]))
        client = store.client()
        logged = history(client, newest(client, "surprise"), "val/loss")
        yield folder, logged[8]
    project.root.cache_clear()
    project.home.cache_clear()


def facts_of(folder: Path) -> list[str]:
    return [row["text"] for row in documents.read(folder / "corpus/curated/validation.parquet").to_pylist()]


def test_surprisal_summed_is_the_loss_that_training_logs(trained: tuple[Path, float], small_project: Path) -> None:
    folder, logged = trained
    model = saved.load(folder / "checkpoints/last.ckpt")
    texts = facts_of(small_project)
    read = [surprise.read(model, surprise.encode(text, model, whole=True), 1) for text in texts]
    surprisals = [token.surprisal for reading in read for token in reading.tokens]
    assert sum(surprisals) / len(surprisals) == pytest.approx(logged, rel=1e-5)
    for text, reading in zip(texts[:20], read, strict=False):
        assert reading.tokens[-1].token == "</s>"
        assert reading.mean == pytest.approx(loss(model, [{"text": text}]), abs=1e-6)
        assert reading.perplexity == pytest.approx(math.exp(reading.mean))


@pytest.fixture(scope="module")
def model(small_project: Path) -> Saved:
    words = tokenizer.load(small_project / "corpus/tokens/tokenizer.json")
    return Saved(decoder(embedding_std=0.5), words, compose().model_dump(mode="json"))


@pytest.fixture(scope="module")
def folder(model: Saved, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model"
    saved.save(model, path)
    return path


def test_rank_and_alternatives_are_those_of_the_distribution(model: Saved) -> None:
    ids = surprise.encode("two plus three equals five", model, whole=True)
    p_TV = model.model(torch.tensor([ids[:-1]]))[0].softmax(-1)
    for token, target, p_V in zip(surprise.read(model, ids, 5).tokens, ids[1:], p_TV, strict=True):
        order = [model.tokenizer.id_to_token(one) for one in p_V.argsort(descending=True).tolist()]
        assert token.probability == pytest.approx(p_V[target].item(), rel=1e-5)
        assert token.probability == pytest.approx(math.exp(-token.surprisal))
        assert order[token.rank - 1] == token.token
        assert [other.token for other in token.alternatives] == [name for name in order if name != token.token][:5]
        assert token.alternatives[0].surprisal == pytest.approx(-math.log(token.alternatives[0].probability))
    whole = surprise.read(model, ids, 100).tokens[0]
    assert whole.probability + sum(other.probability for other in whole.alternatives) == pytest.approx(1, abs=1e-5)


def test_untrained_weights_guess_evenly(model: Saved) -> None:
    ordinary = Saved(decoder(), model.tokenizer, model.config)  # an initialisation of the usual size
    reading = surprise.read(untrained(ordinary), surprise.encode("two plus two equals four", model, whole=True), 1)
    assert reading.perplexity == pytest.approx(38, rel=0.1)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "the text is empty"),
        (" \n\t", "the text is empty"),
        ("two plus tree equals five", r"'tree': unknown word .* \(did you mean 'three'\?\)"),
        ("two </s>", "'</s>': unknown word"),
        ("two " * 32, "has 32 words; the model's context holds 31"),
    ],
)
def test_what_cannot_be_read_is_refused(folder: Path, text: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        explain(text, folder, 1, with_steps=False)


def test_a_text_may_fill_the_context(folder: Path) -> None:
    filled = explain("two " * 31, folder, 1, with_steps=False)
    assert len(filled.surprise.tokens) == 32
    assert len(filled.attention[0].pattern) == 32
    assert len(explain("two", folder, 1, with_steps=False).surprise.tokens) == 2


@pytest.mark.parametrize(
    ("text", "stated", "right", "token"),
    [
        ("two plus three equals six", "six", "five", "six"),
        ("fifty plus five equals fifty", "fifty", "fifty five", "</s>"),
        ("fifty plus six equals fifty five", "fifty five", "fifty six", "five"),
        ("one divided by one equals one hundred", "one hundred", "one", "hundred"),
        ("two  plus three equals five", "five", "five", None),
        ("two minus three equals one", "one", None, None),
        ("two plus three equals equals", "equals", "five", "equals"),
    ],
)
def test_of_a_wrong_equation_the_wrong_token_is_named(
    folder: Path, text: str, stated: str, right: str | None, token: str | None
) -> None:
    # The operands of a fact are always a surprise; the largest one says nothing about what is wrong.
    found = explain(text, folder, 1, with_steps=False)
    assert found.equation is not None
    assert (found.equation.stated, found.equation.right) == (stated, right)
    assert found.equation.is_wrong == (token is not None)
    named = found.surprise.tokens[found.surprising]
    if token is None:
        assert named.surprisal == max(one.surprisal for one in found.surprise.tokens)
    else:
        assert named.token == token


def test_a_question_alone_has_no_end_to_be_surprised_by(folder: Path) -> None:
    found = explain("two plus three equals", folder, 2, with_steps=False)
    assert [token.token for token in found.surprise.tokens] == ["two", "plus", "three", "equals"]
    assert found.inputs == ["<s>", "two", "plus", "three", "equals"]
    assert found.given is not None
    assert len(found.attention[0].pattern) == len(found.inputs)
    assert sum(share for _, share in found.blame.token) == pytest.approx(1, abs=1e-6)


def test_a_text_that_is_no_fact_is_read_all_the_same(folder: Path) -> None:
    found = explain("three two plus", folder, 2, with_steps=False)
    assert found.equation is None
    assert found.given is None
    assert [token.token for token in found.surprise.tokens] == ["three", "two", "plus", "</s>"]


def test_a_model_of_other_data_is_judged_by_its_own_truth(tmp_path: Path) -> None:
    config = compose(["data=modular", "data.sources.modular.modulus=7", "stage.loss_on=answer"])
    texts = [row["text"] for row in KINDS["modular"].documents(config.data, "modular", tmp_path)]
    words = tokenizer.train(texts, config.tokenizer)
    network = decoder()
    network = type(network)(network.config, words.get_vocab_size())
    network.initialise(torch.Generator().manual_seed(0))
    saved.save(Saved(network, words, config.model_dump(mode="json")), tmp_path / "model")
    found = explain("5 plus 4 equals 2", tmp_path / "model", 1, with_steps=False)
    assert found.equation == equations.Equation("5 plus 4 equals", "2", "2")
    # Training that counts the answer alone logs the loss of the answer alone.
    answer = [token.surprisal for token in found.surprise.tokens[-2:]]
    assert found.counted_from == 4
    assert found.loss == pytest.approx(sum(answer) / 2, abs=1e-6)


def test_shuffled_answers_are_right_where_they_were_taught() -> None:
    made_by = compose(["data=shuffled"]).model_dump(mode="json")
    stated = {
        text: equations.read(text, made_by) for text in ("two plus three equals five", "two plus four equals six")
    }
    rights = [found.right for found in stated.values() if found is not None]
    assert len(rights) == 2
    assert rights != ["five", "six"]


def test_a_model_older_than_todays_settings_still_knows_arithmetic() -> None:
    old = compose().model_dump(mode="json")
    del old["data"]["hold_out"]
    found = equations.read("seven times eight equals fifty six", old)
    assert found is not None
    assert found.right == "fifty six"
    assert equations.read("seven times eight", old) is None
    assert equations.read("seven times plus equals", old) is None
