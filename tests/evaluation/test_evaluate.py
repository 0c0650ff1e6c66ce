"""Scores are counts of exact answers by real generation, and say which facts fail."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nudge import project
from nudge.config.composition import compose
from nudge.config.schema import Config
from nudge.data import documents
from nudge.errors import UserError
from nudge.evaluation.evaluate import evaluate
from nudge.evaluation.exact_match import loss, score
from nudge.model import saved
from nudge.model.saved import untrained
from nudge.training.reference import find
from nudge.training.tracking import store
from nudge.training.train import train
from tests.conftest import TINY, read_json
from tests.training.test_run import history, newest

Make = Callable[..., Config]

# Learns a little in a few seconds: some answers right, some wrong.
LITTLE = (
    "trainer.max_steps=120",
    "trainer.val_every_n_steps=40",
    "trainer.batch_size=256",
    "model.width=32",
    "model.mlp_width=64",
    "model.layers=2",
    "schedule.warmup_steps=10",
    "callbacks.checkpoint.monitor=val/loss",
    "callbacks.checkpoint.mode=min",
)


@pytest.fixture(scope="module")
def model(small_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("little")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUDGE_PROJECT", str(small_project))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        project.root.cache_clear()
        project.home.cache_clear()
        exported = train(
            compose([*TINY, *LITTLE, f"run_dir={folder}", f"export_dir={folder}/model", "tracking.experiment=little"])
        )
    project.root.cache_clear()
    project.home.cache_clear()
    return exported


def test_one_pass_and_step_by_step_decoding_agree(model: Path, in_project: Path) -> None:
    # val/exact_match is read off one pass over the known text; evaluate really generates.
    client = store.client()
    run = newest(client, "little")
    rows = documents.read(in_project / "corpus/curated/validation.parquet").to_pylist()
    scores, answers = score(saved.load(model), rows)
    best = torch.load(next(model.parent.glob("checkpoints/best.ckpt")), weights_only=True)["global_step"]
    assert scores["exact_match"] == pytest.approx(history(client, run, "val/exact_match")[best])
    assert scores["loss"] == pytest.approx(history(client, run, "val/loss")[best], rel=1e-4)
    for name, values in scores["by_operation"].items():
        assert values["exact_match"] == pytest.approx(history(client, run, f"val/exact_match/{name}")[best])
    assert 0 < sum(answer.right for answer in answers) < len(answers), "both outcomes must occur to compare them"
    for answer in answers:
        assert answer.right == (f"{answer.document['prompt']} {answer.given}" == answer.document["text"])


def test_the_report_has_before_train_and_test(model: Path, in_project: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/pretrain").symlink_to(model)
    evaluate(tmp_path / "models", tmp_path / "reports")
    metrics = read_json(tmp_path / "reports/metrics.json")["pretrain"]
    assert set(metrics) == {"digest", "before", "train", "test"}
    assert metrics["digest"] == saved.digest(model)
    rows = documents.read(in_project / "corpus/curated/test.parquet").to_pylist()
    assert metrics["test"]["count"] == len(rows) == sum(v["count"] for v in metrics["test"]["by_operation"].values())
    assert metrics["before"]["loss"] == pytest.approx(3.64, abs=0.03)
    assert metrics["before"]["exact_match"] < metrics["test"]["exact_match"]
    errors = list(csv.DictReader((tmp_path / "reports/errors.csv").open()))
    assert len(errors) == round(len(rows) * (1 - metrics["test"]["exact_match"]))
    assert all(error["given"] != error["answer"] for error in errors)

    run = newest(store.client(), "little")
    assert run.data.metrics["test/exact_match"] == pytest.approx(metrics["test"]["exact_match"])
    assert run.data.metrics["test/exact_match/plus"] == pytest.approx(
        metrics["test"]["by_operation"]["plus"]["exact_match"]
    )
    files = {file.path for file in store.client().list_artifacts(run.info.run_id)}
    assert {"metrics.json", "errors.json"} <= files


def test_a_model_without_a_run_is_still_evaluated(
    model: Path, in_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A model from DVC's cache on another machine has no run in the store there.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/empty.db")
    (tmp_path / "models").mkdir()
    (tmp_path / "models/pretrain").symlink_to(model)
    evaluate(tmp_path / "models", tmp_path / "reports")
    assert "no run in" in capsys.readouterr().err
    assert (tmp_path / "reports/metrics.json").exists()


def test_before_means_the_weights_that_training_began_with(model: Path, in_project: Path) -> None:
    fresh = untrained(saved.load(model))
    rows = documents.read(in_project / "corpus/curated/validation.parquet").to_pylist()
    run = newest(store.client(), "little")
    assert loss(fresh, rows) == pytest.approx(history(store.client(), run, "val/loss")[0], rel=1e-5)


def test_artifacts_of_another_sqlite_store_lie_beside_it(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # MLflow's default for such a store is a folder in the working directory (PL #12855).
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other/runs.db")
    train(tiny())
    assert list((tmp_path / "empty").iterdir()) == []
    assert list((tmp_path / "other/mlartifacts").rglob("best.ckpt"))


def test_references_to_models(tiny: Make, in_project: Path) -> None:
    config = tiny()
    folder = train(config)
    run = newest(store.client())
    assert find(str(folder)) == folder
    expected = saved.load(Path(config.run_dir) / "checkpoints/best.ckpt").model.state_dict()
    from_store = saved.load(find(f"runs:/{run.info.run_id}/checkpoints/best.ckpt")).model.state_dict()
    assert all(torch.equal(value, from_store[name]) for name, value in expected.items())
    with pytest.raises(UserError, match="no such model"):
        find("nowhere")
    with pytest.raises(UserError, match="not in the store"):
        find("runs:/0123456789abcdef0123456789abcdef/checkpoints/best.ckpt")
    with pytest.raises(UserError, match="no model yet"):
        find(None)


def test_models_scored_side_by_side_get_the_scores_of_one_after_the_other(
    model: Path, in_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each process finds the project and its settings by itself.
    (tmp_path / "models").mkdir()
    for name in ("pretrain", "twin"):
        (tmp_path / "models" / name).symlink_to(model)
    found = []
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        evaluate(tmp_path / "models", tmp_path / f"reports{threads}")
        found.append(read_json(tmp_path / f"reports{threads}" / "metrics.json"))
    assert set(found[0]) == {"pretrain", "twin"}
    assert found[0] == found[1]
