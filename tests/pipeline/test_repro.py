"""The promise of the README, kept in a fresh clone: `dvc repro` trains an accurate model, and reruns what changed."""

import json
import math
import shutil
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import Pipeline, read_json

CHAIN = ["compose", "generate", "curate", "tokenize", "pretrain", "evaluate"]
RAW = ["generate-mixture", "curate-mixture", "tokenize-mixture"]
ASSISTANT = [*RAW, "base", "finetune", "preferences", "reward", "rlhf"]
EXAMINING = ["curation", "probe@planted", "probe@shuffled", "memory", "insight", "report"]
PROBES = {"probe@planted", "probe@shuffled"}
TRAINED = {"pretrain", *PROBES}
TUNED = {"finetune", "reward", "rlhf"}
DATA = {"generate", "curate"}


def ran(output: str) -> list[str]:
    """Return the stages that `dvc repro` ran, in order."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


def read_lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_default_run_is_accurate_on_families_never_seen(pipeline: Pipeline) -> None:
    folder, _, output = pipeline
    assert [stage for stage in ran(output) if stage in CHAIN] == CHAIN
    assert [stage for stage in ran(output) if stage in ASSISTANT] == ASSISTANT
    assert sorted(ran(output)) == sorted(CHAIN + ASSISTANT + EXAMINING)
    assert ran(output)[-1] == "report"
    metrics = read_json(folder / "reports/metrics.json")["pretrain"]
    test = metrics["test"]
    assert test["by_operation"]["plus"]["exact_match"] >= 0.995
    assert test["by_operation"]["minus"]["exact_match"] >= 0.995
    assert test["exact_match"] >= 0.975
    assert metrics["train"]["exact_match"] >= 0.995
    assert metrics["before"]["exact_match"] < 0.01
    assert metrics["before"]["loss"] == pytest.approx(math.log(38), rel=0.02)
    for name, values in test["by_operation"].items():
        assert values["count"] == read_json(folder / "reports/curation.json")["test"]["by_operation"][name]


def test_no_family_is_in_two_splits(pipeline: Pipeline) -> None:
    """Reads the words of the parquet files, by itself: it would find what the code that wrote them overlooked."""
    folder, _, _ = pipeline
    units = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    small = {word: n for n, word in enumerate(f"{units} seventeen eighteen nineteen".split())}
    decades = "twenty thirty forty fifty sixty seventy eighty ninety"
    tens = {word: 10 * n for n, word in enumerate(decades.split(), 2)}

    def number(words: str) -> int:
        total = 0
        for word in words.split():
            total = total * 100 if word == "hundred" else total + (small | tens)[word]
        return total

    families = {}
    facts = 0
    for split in ("train", "validation", "test"):
        families[split] = set()
        for text in pq.read_table(folder / f"corpus/curated/{split}.parquet")["text"].to_pylist():
            question, answer = text.split(" equals ")
            operation = next(o for o in (" plus ", " minus ", " times ", " divided by ") if o in question)
            left, right = (number(words) for words in question.split(operation))
            result = number(answer)
            low, high = (left, right) if operation in (" plus ", " times ") else (result, right)
            whole = result if operation in (" plus ", " times ") else left
            kind = "sum" if operation in (" plus ", " minus ") else "product"
            assert whole == (low + high if kind == "sum" else low * high), text
            families[split].add((kind, min(low, high), max(low, high)))
            facts += 1
    assert facts == 16_294
    assert not families["train"] & families["test"]
    assert not families["train"] & families["validation"]
    assert not families["validation"] & families["test"]
    total = sum(len(members) for members in families.values())
    assert len(families["test"]) / total == pytest.approx(0.1, abs=0.005)


def test_a_second_repro_runs_nothing(restored: Pipeline) -> None:
    folder, run, _ = restored
    for path in (folder / "src").rglob("*.py"):
        path.touch()  # a newer date is no change
    (folder / "src/nudge/model/__pycache__").mkdir(exist_ok=True)
    (folder / "src/nudge/model/__pycache__/decoder.cpython-311.pyc").write_bytes(b"other byte code")
    again = run("dvc", "repro")
    assert ran(again.stdout) == []
    assert "up to date" in (again.stdout + again.stderr)


def test_an_unselected_group_reruns_only_the_composition(restored: Pipeline) -> None:
    folder, run, _ = restored
    replace(folder / "conf/optimizer/sgd.yaml", "lr: 0.3", "lr: 0.4")
    assert ran(run("dvc", "repro").stdout) == ["compose"]


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("conf/optimizer/muon.yaml", "momentum: 0.95", "momentum: 0.9", {*TRAINED, "base"}),
        ("conf/model/calculator.yaml", "layers: 2", "layers: 1", TRAINED),
        ("conf/model/assistant.yaml", "layers: 2", "layers: 1", {"base", *TUNED}),
        ("conf/config.yaml", "seed: 0", "seed: 5", {*TRAINED, "base", *TUNED}),
        ("conf/optimizer/muon.yaml", "lr: 0.02", "lr: 0.01", {"pretrain", "probe@shuffled", "base"}),
        ("conf/config.yaml", "optimizer: muon", "optimizer: adamw", {"pretrain"}),
        ("conf/stage/reward.yaml", "batch_size: 128", "batch_size: 64", {"reward"}),
        ("conf/preferences/default.yaml", "held_out_pairs: 600", "held_out_pairs: 500", {"preferences"}),
        ("conf/data/mixture.yaml", "spam: 0.02", "spam: 0.03", {"generate-mixture", "curate-mixture", "base"}),
        ("conf/data/chat.yaml", "refusals: 2000", "refusals: 1000", TUNED),
        (
            "conf/tokenizer/word.yaml",
            "max_vocabulary: 65536",
            "max_vocabulary: 100",
            {"tokenize", "tokenize-mixture", *PROBES},
        ),
        (
            "conf/data/calculator.yaml",
            "test_fraction: 0.1",
            "test_fraction: 0.2",
            {*DATA, "probe@planted"},
        ),
        ("conf/insight/default.yaml", "timeline_facts: 300", "timeline_facts: 200", {"insight"}),
        ("conf/memory/default.yaml", "by_heart: 1000", "by_heart: 500", {"memory"}),
        ("conf/tracking/mlflow.yaml", "run_name: null", "run_name: other", set()),
    ],
)
def test_a_selected_value_reruns_the_stages_that_use_it(
    restored: Pipeline, file: str, old: str, new: str, changed: set[str]
) -> None:
    folder, run, _ = restored
    replace(folder / file, old, new)
    assert ran(run("dvc", "repro", "compose").stdout) == ["compose"]
    assert set(json.loads(run("dvc", "status", "--json").stdout)) == changed


def test_a_deleted_model_comes_back_from_the_cache(restored: Pipeline) -> None:
    folder, run, _ = restored
    weights = (folder / "models/pretrain/model.safetensors").read_bytes()
    shutil.rmtree(folder / "models")
    assert ran(run("dvc", "repro").stdout) == []
    assert (folder / "models/pretrain/model.safetensors").read_bytes() == weights


def test_dvc_shows_parameters_metrics_plots_and_the_graph(restored: Pipeline) -> None:
    folder, run, _ = restored
    replace(folder / "conf/model/calculator.yaml", "layers: 2", "layers: 3")
    run("dvc", "repro", "compose")
    params = json.loads(run("dvc", "params", "diff", "--json").stdout)
    change = {"old": 2, "new": 3, "diff": 1}
    trained = ("pretrain", "planted", "shuffled")
    assert params["params.yaml"] == {f"{name}.model.layers": change for name in trained}
    shown = run("dvc", "metrics", "show", "--json").stdout
    assert json.loads(shown)[""]["data"]["reports/metrics.json"]["data"]["pretrain"]["test"]["exact_match"] >= 0.975
    metrics = json.loads((folder / "reports/metrics.json").read_text())
    metrics["pretrain"]["test"]["exact_match"] = 0.5
    (folder / "reports/metrics.json").write_text(json.dumps(metrics))
    assert "pretrain.test.exact_match" in run("dvc", "metrics", "diff").stdout
    plots = run("dvc", "plots", "show", "-o", "plots")
    assert plots.returncode == 0, plots.stderr
    page = (folder / "plots/index.html").read_text()
    for title in ("Surprise", "Exact match on validation families", "Blame", "Test facts answered wrongly"):
        assert title in page
    graph = run("dvc", "dag", "--dot").stdout
    told = [("pretrain", "insight"), ("probe@shuffled", "memory"), ("memory", "report"), ("insight", "report")]
    tuned = [("finetune", "rlhf"), ("rlhf", "evaluate"), ("curate-mixture", "curation")]
    for edge in [*pairwise(CHAIN[1:]), *pairwise(ASSISTANT), *told, *tuned]:
        assert f'"{edge[0]}" -> "{edge[1]}"' in graph
    assert '"data.dvc" -> "generate"' in graph


def test_a_new_rating_reruns_the_reward_and_what_follows_and_nothing_before(restored: Pipeline) -> None:
    folder, run, _ = restored
    rated = read_lines(folder / "corpus/preferences/ratings.jsonl")
    rating = next(one for one in rated if one["simulated"])
    mine = rating | {"rater": "a test", "simulated": False, "flip_rate": None}
    (folder / "data/ratings.jsonl").write_text(json.dumps(mine) + "\n")
    try:
        changed = json.loads(run("dvc", "status", "--json").stdout)
        assert set(changed) == {"data.dvc", "preferences"}
        assert run("dvc", "repro", "--single-item", "preferences").returncode == 0
        after = json.loads(run("dvc", "status", "--json").stdout)
        assert set(after) - {"data.dvc"} == {"reward", "rlhf", "evaluate", "report"}
    finally:
        (folder / "data/ratings.jsonl").write_text("")


def test_an_experiment_trains_with_changed_values(restored: Pipeline) -> None:
    folder, run, _ = restored
    values = ["conf/trainer/default.yaml:max_steps=6", "conf/model/calculator.yaml:layers=1"]
    done = run(
        *("dvc", "exp", "run", "-n", "shallow", "evaluate"),
        *(f"-S{value}" for value in values),
        PYTHONPATH=str(folder / "src"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ran(done.stdout) == ["compose", "pretrain", "evaluate"]
    shown = json.loads(run("dvc", "exp", "show", "--json").stdout)
    assert "shallow" in json.dumps(shown)
    comments = (folder / "conf/model/calculator.yaml").read_text()
    assert "# About 100 thousand weights" in comments
