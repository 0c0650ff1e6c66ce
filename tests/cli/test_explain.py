"""`nudge explain` in processes of its own: what a person reads, what a program reads, what is refused in one line."""

import io
import json
import re
import shutil
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from nudge import project
from nudge.cli import explain as command
from nudge.config.composition import compose
from nudge.data import tokenizer
from nudge.errors import UserError
from nudge.insight.explanation.explaining import explain
from nudge.insight.explanation.looking import most_looked_at, shades
from nudge.model import saved, snapshots
from nudge.model.saved import Saved
from nudge.training.train import train
from tests.conftest import TINY, Command, runner
from tests.model.test_decoder import decoder

SECTIONS = ("SURPRISE", "BLAME", "ONE NUDGE", "ATTENTION")


@pytest.fixture(scope="module")
def run_folder(small_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Train a small model with snapshots, long enough to leave noise behind."""
    folder = tmp_path_factory.mktemp("run")
    longer = ["trainer.max_steps=40", "trainer.val_every_n_steps=40", "callbacks.snapshots.count=6"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUDGE_PROJECT", str(small_project))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        project.root.cache_clear()
        project.home.cache_clear()
        train(compose([*TINY, *longer, f"run_dir={folder}", f"export_dir={folder}/model"]))
        yield folder
    project.root.cache_clear()
    project.home.cache_clear()


@pytest.fixture(scope="module")
def model(run_folder: Path) -> Path:
    return run_folder / "model"


@pytest.fixture(scope="module")
def nudge(small_project: Path) -> Command:
    return runner(small_project)


def test_a_person_reads_it_at_80_columns_without_colours(nudge: Command, model: Path) -> None:
    done = nudge("nudge", "explain", "two plus three equals six", "--model", str(model), "--steps", "--top", "2")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    text = done.stdout
    places = [text.index(section) for section in (*SECTIONS, "STEPS")]
    assert places == sorted(places)
    assert "\x1b" not in text
    # The first lines name the folder, which may be long.
    assert max(len(line) for line in text.splitlines()[2:]) <= 80
    assert "The equation is wrong: two plus three equals five." in text
    assert "The wrong token is 'six'" in text
    (sum_,) = re.findall(r"^  (-?[\d.]+) - ([\d.]+) × \(?(-?[\d.]+)\)? = (-?[\d.]+)$", text, re.MULTILINE)
    old, rate, gradient, new = map(Decimal, sum_)
    assert old - rate * gradient == new
    for layer, head in ((0, 0), (0, 1)):
        assert f"layer {layer} head {head}" in text
    assert re.search(r"^two +[·░▒▓█]{2} +\S+ \d+%", text, re.MULTILINE)
    assert "-ln p is that of 'five'" in text, "the right answer's, not the wrong one's"
    steps = text[text.index("STEPS") :].splitlines()[2:]
    assert len(steps) == len(snapshots.steps_of(model / "snapshots"))


def test_a_terminal_that_knows_no_unicode_shows_the_rest(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    command.explain("two plus three equals five", str(model), 1, as_json=False, with_steps=False)
    sys.stdout.flush()
    assert b"looks most at" in sys.stdout.buffer.getvalue()  # type: ignore[attr-defined]


def test_a_program_reads_one_json_document(nudge: Command, model: Path) -> None:
    done = nudge("nudge", "explain", "two plus three equals five", "--model", str(model), "--json", "--steps")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert " ".join(token["token"] for token in found["surprise"]["tokens"]) == "two plus three equals five </s>"
    for reading in (found["surprise"], found["untrained"]):
        surprisals = [token["surprisal"] for token in reading["tokens"]]
        assert reading["mean"] == pytest.approx(sum(surprisals) / 6)
        assert {len(token["alternatives"]) for token in reading["tokens"]} == {3}
    assert found["loss"] == pytest.approx(found["surprise"]["mean"], abs=1e-6)
    assert found["surprise"]["mean"] < found["untrained"]["mean"], "40 steps taught it nothing"
    blame = found["blame"]
    tokens = {str(place): one["share"] for place, one in enumerate(blame["token"])}
    for shares in (blame["part"], blame["layer"], blame["head"], tokens):
        assert sum(shares.values()) == pytest.approx(1, abs=1e-6)
    nudge_ = found["nudge"]
    assert nudge_["old"] - nudge_["learning_rate"] * nudge_["gradient"] == nudge_["new"]
    assert nudge_["error"] < 1e-3
    assert nudge_["own"]["name"] == "muon"
    assert len(found["attention"]) == 2
    for head in found["attention"]:
        assert [sum(row) for row in head["pattern"]] == pytest.approx([1.0] * 6, abs=1e-5)
    # Documented, so that no program has to guess.
    page = (Path(__file__).parents[2] / "docs/explain.md").read_text()
    for key in [*found, *nudge_, *nudge_["own"], *found["surprise"]["tokens"][0], *found["steps"][0], *blame]:
        assert f"`{key}`" in page, key


def test_steps_go_from_noise_to_what_the_model_says(model: Path) -> None:
    found = explain("two plus three equals six", model, 1, with_steps=True)
    assert found.steps is not None
    first, *_, last = found.steps
    assert [frame.step for frame in found.steps] == snapshots.steps_of(model / "snapshots")
    assert (first.step, last.step) == (0, 40)
    # Two tokens, "five" and the end, of 38 words: that is what random weights make of them.
    assert first.surprisal == pytest.approx(2 * 3.64, rel=0.1)
    assert last.surprisal is not None
    assert last.surprisal < first.surprisal - 1
    assert first.right is False
    asked = explain("two plus three equals", model, 1, with_steps=True)
    assert asked.steps == found.steps
    loose = explain("three two plus", model, 1, with_steps=True)
    assert loose.steps is not None
    assert {frame.right for frame in loose.steps} <= {True, False}
    beyond = explain("ninety nine times ninety nine equals", model, 1, with_steps=True)
    assert beyond.steps is not None
    assert {frame.surprisal for frame in beyond.steps} == {None}, "the model has no word for thousand"


def test_without_snapshots_there_is_one_line(model: Path, run_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "model", ignore=shutil.ignore_patterns("snapshots"))
    with pytest.raises(UserError, match="no snapshots"):
        explain("two plus three equals five", tmp_path / "model", 1, with_steps=True)
    checkpoint = run_folder / "checkpoints/last.ckpt"
    assert explain("two plus three equals five", checkpoint, 1, with_steps=False).steps is None
    with pytest.raises(UserError, match="a checkpoint has no snapshots"):
        explain("two plus three equals five", checkpoint, 1, with_steps=True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["two plus tree equals five"], "'tree': unknown word in 'two plus tree equals five' (did you mean 'three'?)"),
        (["two", "--model", "nowhere"], "nowhere: no such model"),
    ],
)
def test_a_wrong_request_is_one_line_and_exit_2(
    nudge: Command, model: Path, arguments: list[str], expected: str
) -> None:
    where = [] if "--model" in arguments else ["--model", str(model)]
    done = nudge("nudge", "explain", *arguments, *where)
    assert done.returncode == 2
    assert done.stdout == ""
    assert expected in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_weights_of_another_vocabulary_are_refused(model: Path, tmp_path: Path) -> None:
    # Of another size they failed late, of the same size they answered in other words (silnlp #1053).
    own = tokenizer.load(model / "tokenizer.json")
    for name, vocabulary in (
        ("larger", {**own.get_vocab(), "thousand": 38}),
        ("other", {word: (number if number < 3 else 40 - number) for word, number in own.get_vocab().items()}),
    ):
        folder = tmp_path / name
        shutil.copytree(model, folder)
        changed = Tokenizer.from_file(str(model / "tokenizer.json"))
        changed.model = WordLevel(vocabulary)
        changed.save(str(folder / "tokenizer.json"))
        digests = saved.vocabulary_digest(own), saved.vocabulary_digest(changed)
        assert digests[0] != digests[1]
        with pytest.raises(UserError) as caught:
            explain("two plus three equals five", folder, 1, with_steps=False)
        assert f"38 words ({digests[0]})" in str(caught.value)
        assert f"is of {len(vocabulary)} ({digests[1]})" in str(caught.value)


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model there"):
        explain("two", tmp_path, 1, with_steps=False)
    (tmp_path / "notes.txt").write_text("two plus two")
    with pytest.raises(UserError, match="not a checkpoint"):
        explain("two", tmp_path / "notes.txt", 1, with_steps=False)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_models_of_every_optimiser_and_shape_are_explained(optimizer: str, model: Path, tmp_path: Path) -> None:
    words = tokenizer.load(model / "tokenizer.json")
    made_by = compose([f"optimizer={optimizer}"]).model_dump(mode="json")
    network = decoder(tied=True, heads=4, kv_heads=2, layers=1, embedding_std=0.3)
    saved.save(Saved(network, words, made_by), tmp_path / "model")
    found = explain("two plus three equals five", tmp_path / "model", 1, with_steps=False)
    assert found.nudge.own.name == optimizer
    assert len(found.attention) == 4


def test_shades_tell_shares_apart_and_the_most_looked_at_are_named() -> None:
    row = [0.04, 0.2, 0.0, 0.76, 0.0]
    assert shades(row, 3) == "·░·█"
    assert shades([0.3, 0.7], 1) == "▒▓"
    assert shades([1.0], 0) == "█"
    assert most_looked_at(row, ["<s>", "two", "plus", "three", "equals"]) == [("three", 0.76), ("two", 0.2)]
