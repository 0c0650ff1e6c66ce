"""What the default pipeline says of its model: verdicts that follow from figures, and a page of them."""

import json
import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from mlflow.tracking import MlflowClient

from nudge import project
from nudge.data import corpora, documents
from nudge.insight.insight import findings
from nudge.insight.questions import Questions
from nudge.model import saved
from nudge.training.tracking.made_by import MODEL_DIGEST
from tests.conftest import Pipeline, read_json

HYPOTHESES = ["attention patterns", "number representations", "operation semantics", "output mapping"]


def test_each_hypothesis_has_a_verdict_that_follows_from_its_figures(pipeline: Pipeline) -> None:
    folder, _, _ = pipeline
    report = read_json(folder / "reports/insight.json")
    assert [finding["hypothesis"] for finding in report["findings"]] == HYPOTHESES
    for finding in report["findings"]:
        roles = {criterion["figure"]["role"] for criterion in finding["criteria"]}
        assert roles & {"intervention", "control"}, "a verdict that rests on looking alone"
        outcomes = [criterion["verdict"] for criterion in finding["criteria"]]
        wanted = "supported" if set(outcomes) == {"supported"} else None
        wanted = "not supported" if "not supported" in outcomes else wanted or "inconclusive"
        assert finding["verdict"] == wanted
        for criterion in finding["criteria"]:
            figure = criterion["figure"]
            assert figure["low"] <= figure["value"] <= figure["high"]
            assert figure["n"] > 0
    assert report["model"]["facts"] == 1632


def test_every_fact_has_a_learning_time_and_those_known_at_the_end_are_those_answered(pipeline: Pipeline) -> None:
    folder, _, _ = pipeline
    table = pq.read_table(folder / "reports/insight/learning.parquet").to_pandas()
    assert len(table) == 16_294
    test = table[table["split"] == "test"]
    right = read_json(folder / "reports/metrics.json")["pretrain"]["test"]["exact_match"]
    # The last snapshot is of the last step, the evaluated model of the best one.
    assert test["learned_at"].notna().mean() == pytest.approx(right, abs=0.01)
    appears = read_json(folder / "reports/insight.json")["timeline"]["appears"]
    assert set(appears) == {"exact_match", *HYPOTHESES}
    assert 0 < appears["exact_match"] < 1000


def test_what_is_learned_by_heart_is_told_from_what_is_understood(pipeline: Pipeline) -> None:
    folder, _, _ = pipeline
    memory = read_json(folder / "reports/memory.json")
    distance = {(row["model"], row["kind"]): row for row in memory["distance"] if row["operation"] == "all"}
    scores = read_json(folder / "reports/metrics.json")["pretrain"]
    for kind, split in (("seen fact", "train"), ("unseen family", "test")):
        assert distance["pretrain", kind]["share"] == pytest.approx(scores[split]["exact_match"])
        assert distance["pretrain", kind]["count"] == scores[split]["count"]
    for kind in ("unseen order", "unseen operand", "unseen answer"):
        assert distance["planted", kind]["count"] > 100
        assert distance["pretrain", kind]["count"] == 0
    assert distance["pretrain", "beyond the range"]["share"] < 0.2
    assert distance["shuffled", "seen fact"]["share"] > 0.9
    assert distance["shuffled", "unseen family"]["share"] < 0.05
    capacity = memory["capacity"][0]
    assert 0.1 < capacity["bits_per_weight"] < 3.6
    control = memory["canary_control"][0]
    assert control["mean"] == pytest.approx(1 / math.log(2), abs=0.15)
    by_step = {(row["step"], row["written"], row["kept"]): row["exposure"] for row in memory["canaries_by_step"]}
    spread = {step: by_step[step, 50, 50] - by_step[step, 50, 1] for step, *_ in by_step}
    assert max(spread.values()) > 4, "removing duplicates must bring exposure down"
    null = [row for row in memory["membership"] if row["attack"] == "null control" and row["operation"] == "all"]
    assert null[0]["auc_low"] <= 0.5 <= null[0]["auc_high"]


def test_no_hypothesis_is_supported_where_nothing_was_understood(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An analysis that can't say no says nothing: random weights, and answers that can only be learned by heart.
    folder, _, _ = pipeline
    place = folder / "models/probes/shuffled"
    shuffled = saved.load(place)
    monkeypatch.setenv("NUDGE_PROJECT", str(folder))
    project.root.cache_clear()
    project.home.cache_clear()
    corpus = corpora.of_model(shuffled.config, place)  # its own, with its answers
    project.root.cache_clear()
    project.home.cache_clear()
    assert corpus != folder / "corpus"
    unseen = documents.read(corpus / "curated/test.parquet").to_pylist()[::20]
    fresh = saved.untrained(shuffled)
    questions = Questions.of(shuffled.tokenizer, unseen)
    with torch.inference_mode():
        for model in (fresh, shuffled):
            verdicts = {finding.hypothesis: finding.verdict for finding in findings(model, fresh, questions, seed=0)}
            assert list(verdicts) == HYPOTHESES
            assert "supported" not in verdicts.values()


def test_the_run_has_the_verdicts_and_the_page(pipeline: Pipeline) -> None:
    folder, _, _ = pipeline
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("nudge")
    assert experiment is not None
    digest = saved.digest(folder / "models/pretrain")
    run = client.search_runs([experiment.experiment_id], f"tags.`{MODEL_DIGEST}` = '{digest}'")[0]
    verdicts = {
        found["hypothesis"]: found["verdict"] for found in read_json(folder / "reports/insight.json")["findings"]
    }
    assert {name: run.data.tags[f"insight.{name}"] for name in HYPOTHESES} == verdicts
    for name in ("insight.json", "memory.json"):
        kept = Path(client.download_artifacts(run.info.run_id, name)).read_text()
        assert json.loads(kept) == read_json(folder / "reports" / name)
    page = (folder / "reports/nudge.html").read_bytes()
    assert Path(client.download_artifacts(run.info.run_id, "report/nudge.html")).read_bytes() == page
    assert len(page) < 5_000_000
    assert run.info.run_id[:8].encode() in page
