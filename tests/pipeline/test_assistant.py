"""What the default pipeline makes of raw text: a curated corpus, and an assistant whose behaviour RLHF changes."""

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from nudge.model import saved
from nudge.training.tracking.made_by import MODEL_DIGEST
from tests.conftest import Pipeline, read_json


@pytest.fixture
def metrics(pipeline: Pipeline) -> dict[str, Any]:
    folder, _, _ = pipeline
    found: dict[str, Any] = read_json(folder / "reports/metrics.json")
    return found


def test_the_filters_find_what_was_planted_and_leave_the_rest(pipeline: Pipeline) -> None:
    folder, _, _ = pipeline
    found = read_json(folder / "reports/curation_mixture.json")
    recall = {kind: of["recall"]["share"] for kind, of in found["problems"].items()}
    assert recall["exact_duplicates"] >= 0.99
    assert recall["leaked_test_facts"] >= 0.99
    assert recall["near_duplicates"] >= 0.95
    assert recall["personal_data"] >= 0.95
    assert found["precision"]["share"] >= 0.99
    assert found["clean_kept"]["share"] >= 0.99


def test_fine_tuning_makes_an_assistant_that_answers_stops_and_refuses(metrics: dict[str, Any]) -> None:
    assert metrics["base"]["test"]["exact_match"] >= 0.9
    test = metrics["finetune"]["test"]
    assert test["by_operation"]["plus"]["exact_match"] >= 0.97
    assert test["exact_match"] >= 0.93
    said = test["behaviour"]
    assert min(said["form"]["share"], said["ended"]["share"]) >= 0.99
    assert min(said["refusal_precision"]["share"], said["refusal_recall"]["share"]) >= 0.97
    # The base has never seen the marks of a chat, nor a text with another before it.
    asked = metrics["base"]["asked"]
    in_chat = [row["share"] for row in asked if row["question"].startswith("<user>")]
    assert max(in_chat) < max(row["share"] for row in asked if row["shots"] == 0)
    assert max(row["share"] for row in asked if row["shots"] > 0) < 0.5


def test_the_reward_model_foresees_most_of_what_can_be_foreseen(metrics: dict[str, Any]) -> None:
    trained_on = next(row for row in metrics["reward"]["test"]["raters"] if row["rater"] == "simulated-0.10")
    assert trained_on["of_ceiling"] >= 0.92  # of 600 pairs: 0.95 less an interval


def test_rlhf_changes_behaviour_and_keeps_capability(metrics: dict[str, Any]) -> None:
    before, after = metrics["finetune"]["test"], metrics["rlhf"]["test"]
    assert after["win_rate"]["mean"] >= 0.75
    assert after["behaviour_drawn"]["gold"]["mean"] > before["behaviour_drawn"]["gold"]["mean"]
    assert abs(after["pass_at_k"]["16"] - before["pass_at_k"]["16"]) <= 0.015
    assert after["pass_at_k"]["16"] > after["guessing_at_k"]["16"] + 0.5


def test_the_preferred_model_leads_back_to_every_run_that_made_it(pipeline: Pipeline) -> None:
    folder, _, _ = pipeline
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiments = [one.experiment_id for one in client.search_experiments()]

    def run_of(model: Path) -> dict[str, str]:
        made = f"tags.`{MODEL_DIGEST}` = '{saved.digest(model)}'"
        return dict(client.search_runs(experiments, made, order_by=["start_time DESC"])[0].data.tags)

    rlhf = run_of(folder / "models/rlhf")
    finetune = client.get_run(rlhf["from.init.run"]).data.tags
    reward = client.get_run(rlhf["from.reward.run"]).data.tags
    base = client.get_run(finetune["from.init.run"]).data.tags
    assert [tags["stage"] for tags in (rlhf, finetune, reward, base)] == ["rlhf", "finetune", "reward", "pretrain"]
    assert reward["from.init.digest"] == saved.digest(folder / "models/finetune")
    assert base["dvc.data"] == rlhf["dvc.data"]


def test_ask_compares_the_stages(pipeline: Pipeline) -> None:
    folder, run, _ = pipeline
    stages = [part for stage in ("base", "finetuned", "rlhf") for part in ("--stage", stage)]
    done = run("nudge", "ask", "what is forty seven plus thirty eight ?", *stages, "--json", cwd=folder)
    told = json.loads(done.stdout)["stages"]
    assert [one["stage"] for one in told] == ["base", "finetuned", "rlhf"]
    assert "eighty five" in told[2]["answer"]
    plain = run("nudge", "ask", "two plus three equals", "--json", cwd=folder)
    assert json.loads(plain.stdout)["answer"] == "five"
