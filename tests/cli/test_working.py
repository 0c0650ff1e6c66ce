"""`nudge ask --steps`: the steps as they are said, then the number that they come to; and `explain` along them."""

import json
from pathlib import Path

import pytest

from nudge import project
from nudge.cli.explain import explain
from nudge.cli.working import work_out
from nudge.config.composition import compose
from nudge.data.steps import Phrases
from nudge.errors import UserError
from nudge.evaluation.evaluate import evaluate
from nudge.model import saved
from nudge.training.train import train
from tests.conftest import TINY, read_json, runner

SOURCES = ("calculator", "worked", "worked_sums", "adding", "sharing")

STATED = ("worked", "worked_sums")

# Facts up to five are learned in ten seconds.
SMALL = (
    "experiment=worked_steps",
    *(f"data.sources.{name}.max_operand=5" for name in SOURCES),
    "data.sources.comparing.max_operand=20",  # a word of each number that an answer may have
    "data.mixture.tokens=20000",
    "data.mixture.max_repeats=200",
    "model.width=32",
    "model.mlp_width=64",
    "trainer.max_steps=400",
    "trainer.val_every_n_steps=400",
    "trainer.batch_size=128",
    "schedule.warmup_steps=20",
    "callbacks.checkpoint.monitor=val/loss",
    "callbacks.checkpoint.mode=min",
    "callbacks.samples.prompts=[]",
    "tracking.experiment=steps",
)


@pytest.fixture(scope="module")
def model(small_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUDGE_PROJECT", str(small_project))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        project.root.cache_clear()
        project.home.cache_clear()
        exported = train(compose([*SMALL, f"run_dir={folder}", f"export_dir={folder}/model"]))
    project.root.cache_clear()
    project.home.cache_clear()
    return exported


def test_steps_are_shown_a_line_each_and_then_the_answer(model: Path, small_project: Path) -> None:
    done = runner(small_project)("nudge", "ask", "two times two", "--steps", "--model", str(model))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["; two : two", "; one : two plus two equals four", "= four"]


@pytest.mark.parametrize("end", ["", " equals", " step by step"])
def test_a_question_may_be_put_in_each_of_three_ways(
    end: str, model: Path, in_project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work_out(f"four divided by two{end}", str(model), as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["prompt"] == "four divided by two step by step"
    assert told["steps"] == [
        "; four against twenty short",
        "; four minus two equals two , one",
        "; two minus two equals zero , two",
    ]
    assert (told["answer"], told["ended"]) == ("two", "end")
    assert 0 < told["probability"] <= 1


def test_a_model_without_steps_is_refused(in_project: Path, tmp_path: Path) -> None:
    # It would go on with something that looks like an answer.
    exported = train(compose([*TINY, f"run_dir={tmp_path}", f"export_dir={tmp_path}/model"]))
    with pytest.raises(
        UserError, match="trained without steps; `nudge train experiment=worked_steps` trains with them"
    ):
        work_out("two times two", str(exported), as_json=False)


def test_reinforcement_learns_from_the_final_answer_alone(model: Path, in_project: Path, tmp_path: Path) -> None:
    # Questions of practice have no answer to compare with, and those of the calculator no steps.
    config = compose(
        [
            "stage=rlhf",
            "data=worked",
            *(override for override in SMALL if override.startswith("data.")),
            f"stage.init_from={model}",
            f"tokenizer.folder={model}",
            "stage.reward=gold",
            "model=worked",
            "model.width=32",
            "model.mlp_width=64",
            "algorithm.prompts_per_iteration=8",
            "algorithm.group=4",
            "algorithm.max_new=40",
            "algorithm.temperature=3",  # where all answers to a question are right, there is nothing to learn
            "algorithm.validation_prompts=8",
            "trainer.batch_size=32",
            "trainer.max_steps=2",
            "trainer.val_every_n_steps=2",
            "schedule.warmup_steps=1",
            "callbacks.samples.prompts=[]",
            f"run_dir={tmp_path}",
            f"export_dir={tmp_path}/model",
        ]
    )
    train(config)
    lines = (tmp_path / "model" / "curves" / "validation.csv").read_text().splitlines()
    last = dict(zip(lines[0].split(","), lines[-1].split(","), strict=True))
    right, *rewards = (float(last[f"val/{name}"]) for name in ("exact_match", "reward/gold", "reward/proxy"))
    assert rewards == [pytest.approx(right)] * 2
    assert 0 <= right <= 1  # of the five questions that are held out here, often none
    before, after = (saved.load(folder).model.state_dict() for folder in (model, tmp_path / "model"))
    moved = [float((after[name] - weight).norm() / weight.norm()) for name, weight in before.items()]
    assert 0 < max(moved) < 0.5, "it began with what it had learned"


def test_what_it_can_not_read_is_one_clear_line(model: Path, in_project: Path) -> None:
    with pytest.raises(UserError, match="fish"):
        work_out("two times fish", str(model), as_json=False)


def test_a_question_for_steps_is_explained_with_the_steps_that_the_model_says(
    model: Path, in_project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    explain("two times two step by step", str(model), 3, as_json=True, with_steps=False)
    told = json.loads(capsys.readouterr().out)
    assert told["text"] == "two times two step by step ; two : two ; one : two plus two equals four"
    steps = [token for token in told["surprise"]["tokens"]][6:]
    assert max(token["surprisal"] for token in steps) < 1.0, "it surprises nobody with its own words"
    assert len(steps) == len([";", "two", ":", "two", ";", "one", ":", "two", "plus", "two", "equals", "four", "</s>"])


def test_evaluate_tells_steps_apart_from_answers(model: Path, in_project: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/pretrain").symlink_to(model)
    evaluate(tmp_path / "models", tmp_path / "reports")
    test = read_json(tmp_path / "reports/metrics.json")["pretrain"]["test"]
    worked = test["worked"]
    assert worked["count"] == test["by_source"]["worked"]["count"] + test["by_source"]["worked_sums"]["count"]
    # Whoever says exactly the taught steps is right; one may be right without.
    as_taught = sum(test["by_source"][name]["exact_match"] * test["by_source"][name]["count"] for name in STATED)
    assert worked["exact_match"]["right"] - worked["lucky"]["right"] == pytest.approx(as_taught)
    assert sum(worked["failures"].values()) >= worked["count"] - worked["exact_match"]["right"]


def test_a_question_is_told_from_a_text_that_goes_on(small_project: Path) -> None:
    phrases = Phrases(small_project / "data" / "worked.yaml")
    assert phrases.asks("two times two step by step")
    for text in ("two times two", "two times two step by step ; two", "two times fish step by step"):
        assert not phrases.asks(text)
