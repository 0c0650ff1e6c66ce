"""The report as a file: what is in it, what it says of what is missing, and that equal inputs give equal bytes."""

import base64
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.tracking import MlflowClient

from nudge.config.composition import compose
from nudge.data import documents
from nudge.data.curate import curate
from nudge.data.tokenizer import END_ID, prompt_ids
from nudge.errors import UserError
from nudge.model import saved, snapshots
from nudge.model.generation import greedy
from nudge.model.internals import surprisals, trace
from nudge.report import film, page, style
from nudge.report.chapters import CHAPTERS
from nudge.report.report import report
from tests.chain import working_in
from tests.report.project import SMALL, make, measure


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a small model in a project of its own."""
    return make(tmp_path_factory.mktemp("report"))


def written(folder: Path) -> str:
    with working_in(folder):
        report(folder / "models", folder / "corpus", folder / "reports")
    return (folder / "reports/nudge.html").read_text()


@pytest.fixture(scope="module")
def bare(project: Path) -> str:
    """Write the report of a model that nobody has looked into."""
    return written(project)


@pytest.fixture(scope="module")
def full(project: Path, bare: str) -> str:
    """Write it again when there are measures; `bare` comes first."""
    measure(project)
    return written(project)


def embedded(html: str, name: str) -> Any:
    """Return the JSON of a script element."""
    match = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', html, re.DOTALL)
    assert match, name
    return json.loads(match[1])


def values(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows that a chart of one layer draws."""
    rows: list[dict[str, Any]] = next(iter(spec["datasets"].values())) if "datasets" in spec else spec["data"]["values"]
    return rows


def test_what_was_not_measured_is_said_and_not_drawn(bare: str, full: str) -> None:
    assert "not measured: run `dvc repro insight`" in bare
    assert "not measured: run `dvc repro memory`" in bare
    assert "supported" not in re.sub(r"<style>.*?</style>", "", bare, flags=re.DOTALL).split("<script>")[0]
    drawn = set(embedded(full, "charts")) - set(embedded(bare, "charts"))
    assert {
        "needs",
        "edges",
        "map-trained",
        "lens",
        "patching-0",
        "timeline",
        "carrying-plus",
        "reliability",
        "distance",
        "canaries",
        "by-heart",
    } <= drawn


def test_verdicts_stand_as_they_were_found(full: str) -> None:
    found = re.findall(r'<li><span><a href="#(\w+)">[^<]*</a></span><span class="verdict ([\w-]+)"', full)
    assert found == [
        ("attention", "supported"),
        ("numbers", "not-supported"),
        ("operations", "inconclusive"),
        ("output", "inconclusive"),
    ]
    assert "A claim &lt;b&gt;about&lt;/b&gt; it." in full, "markup of a finding must not become the page's"


def test_what_random_weights_have_already_is_not_said_to_be_learned(full: str) -> None:
    shown = full.split('id="figure-learned-timeline"')[-1]
    said = re.search(r"When each is there[^<]*", shown)
    assert said is not None
    assert re.search(r"attention patterns: begins at 8\d % of it; number representations: not at all", said[0])
    assert "output mapping: step 5" in said[0]


def test_the_same_input_gives_the_same_bytes(project: Path, full: str) -> None:
    assert written(project) == full


def test_one_file_of_a_bearable_size_that_names_no_address(full: str) -> None:
    assert len(full.encode()) < 3_000_000
    assert re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', full.split("<script>")[0]) == []
    assert "default-src 'none'" in full


def test_every_chart_has_data_and_says_in_words_what_it_shows(full: str) -> None:
    for name, spec in embedded(full, "charts").items():
        assert len(spec["description"]) > 20, name
        assert '"values": []' not in json.dumps(spec), f"{name} is empty"


def test_every_number_leads_to_the_run_the_configuration_and_the_data(project: Path, full: str) -> None:
    with working_in(project):
        client = MlflowClient(f"sqlite:///{project}/mlflow.db")
        run = client.search_runs(["1"])[0]
        names = [file.path for file in client.list_artifacts(run.info.run_id, "report")]
    assert names == ["report/nudge.html"]
    made = full.split('id="made-models-pretrain"')[1].split("</dl>")[0]
    assert run.info.run_id in made
    assert run.data.tags["config.hash"] in made
    assert run.inputs.dataset_inputs[0].dataset.digest in made
    figures = re.findall(r"<figure id.*?</figure>", full, re.DOTALL)
    assert len(figures) > 20
    assert all('href="#made-' in figure for figure in figures)
    sections = re.findall(r"<section id.*?</section>", full, re.DOTALL)
    assert len(sections) == len(CHAPTERS) + 1
    assert set(re.findall(r'href="#(made-[\w-]+)"', full)) <= set(re.findall(r'id="(made-[\w-]+)"', full))


def test_the_picker_holds_what_the_model_really_answers(project: Path, full: str) -> None:
    packed = embedded(full, "packed-facts")
    model = saved.load(project / "models/pretrain")
    rows = [
        {**row, "split": split}
        for split in documents.SPLITS
        for row in documents.read(project / f"corpus/curated/{split}.parquet").to_pylist()
    ]
    assert packed["count"] == len(rows) > 1000

    def column(name: str, kind: str, *shape: int) -> Any:
        return np.frombuffer(base64.b64decode(packed[name]), kind).reshape(len(rows), *shape)

    keys_N3 = column("keys", "<u2", 3)
    index = {tuple(key): place for place, key in enumerate(keys_N3.tolist())}
    checked = {True: 0, False: 0}
    for row in rows[:: len(rows) // 60]:
        place = index[packed["operations"].index(row["operation"]), row["left"], row["right"]]
        prompt = prompt_ids(model.tokenizer, row["prompt"])
        answer = greedy(model.model, [prompt], END_ID, 12)[0]
        said = model.tokenizer.decode(list(answer.ids), skip_special_tokens=False)
        right = row["text"] == f"{row['prompt']} {said}"
        assert packed["answers"][column("given", "<u2")[place]] == said
        assert bool(column("right", "u1")[place]) == right
        assert packed["splits"][column("split", "u1")[place]] == row["split"]
        probability = column("probability", "<u2")[place] / 65535
        assert probability == pytest.approx(np.exp(answer.log_probability), abs=2e-5)
        tokens_BT = model.tokenizer.encode(row["text"])
        ids = np.array(tokens_BT.ids)
        seen = trace(model.model, torch.tensor([tokens_BT.ids]))
        nats = surprisals(seen.logits_BTV, torch.tensor([tokens_BT.ids]))[0].detach().numpy()
        kept = column("surprisal", "u1", packed["length"] - 1)[place, : len(nats)] * packed["nats"]
        assert np.abs(kept - np.minimum(nats, 255 / 16)).max() <= 1 / 32 + 1e-6
        assert (column("tokens", "u1", packed["length"])[place, : len(ids)] == ids).all()
        looks = np.concatenate([pattern[0, :, len(prompt) - 1, : len(prompt)].detach() for pattern in seen.pattern])
        attention = column("attention", "u1", len(packed["heads"]), packed["asks"])[place, :, : len(prompt)]
        assert np.abs(attention / 255 - looks).max() <= 0.5 / 255 + 1e-6
        checked[right] += 1
    assert checked[False], "the test must have seen wrong answers too"


def test_the_picker_knows_held_out_facts_and_no_split_counts_them(project: Path, full: str, tmp_path: Path) -> None:
    shutil.copytree(project, tmp_path / "copy", ignore=shutil.ignore_patterns("mlartifacts", "run"))
    folder = tmp_path / "copy"
    with working_in(folder):
        config = compose([*SMALL, "data.hold_out.operands=[23]"])
        curate(config.data, folder / "corpus/raw", folder / "corpus/curated", folder / "reports/curation.json")
    held_out = documents.read(folder / "corpus/curated/held_out.parquet").to_pylist()
    assert held_out
    html = written(folder)
    packed = embedded(html, "packed-facts")
    assert packed["count"] == embedded(full, "packed-facts")["count"], "the same facts, divided otherwise"
    split_N = np.frombuffer(base64.b64decode(packed["split"]), "u1")
    keys_N3 = np.frombuffer(base64.b64decode(packed["keys"]), "<u2").reshape(-1, 3)
    theirs = keys_N3[split_N == packed["splits"].index("held out")]
    assert len(theirs) == len(held_out)
    assert (theirs[:, 1:] == 23).any(1).all()
    assert sum(row["count"] for row in values(embedded(html, "charts")["splits"])) == packed["count"] - len(held_out)


def test_the_map_moves_the_words_and_not_the_plane(project: Path) -> None:
    shots = list(snapshots.load_all(project / "models/pretrain"))
    whole, first = film.number_map(shots), film.number_map([shots[0], shots[-1], shots[0]])
    assert whole is not None
    assert first is not None
    assert whole.xy_SN2.shape == (len(shots), len(whole.words), 2)
    assert first.xy_SN2[0] == pytest.approx(first.xy_SN2[2]), "equal weights must stand at equal places"
    assert np.abs(whole.xy_SN2[0] - whole.xy_SN2[-1]).max() > 0


def test_the_film_shows_each_snapshot(project: Path, full: str) -> None:
    steps = [frame["step"] for frame in embedded(full, "film-frames")]
    assert steps == snapshots.steps_of(project / "models/pretrain/snapshots")
    spec = embedded(full, "charts")["film-surprise"]
    shown = values(spec)
    assert [row["frame"] for row in shown] == list(range(len(steps)))
    assert shown[0]["nats"] != shown[-1]["nats"]


def test_a_run_that_kept_no_snapshots_and_no_curves_has_a_report_too(project: Path, full: str, tmp_path: Path) -> None:
    shutil.copytree(project, tmp_path / "copy", ignore=shutil.ignore_patterns("mlartifacts", "run"))
    folder = tmp_path / "copy"
    shutil.rmtree(folder / "models/pretrain/snapshots")
    shutil.rmtree(folder / "models/pretrain/curves")
    (folder / "mlflow.db").unlink()
    html = written(folder)
    assert "callbacks.snapshots.count=20" in html
    assert 'id="film"' not in html
    assert "not in this store" in html
    assert "loss" not in embedded(html, "charts")


def test_a_run_that_recorded_gradients_at_some_steps_has_blame_without_gaps(
    project: Path, full: str, tmp_path: Path
) -> None:
    shutil.copytree(project, tmp_path / "copy", ignore=shutil.ignore_patterns("mlartifacts", "run"))
    path = tmp_path / "copy/models/pretrain/curves/train.csv"
    curve = pd.read_csv(path)
    seldom = [name for name in map(str, curve) if name.startswith(("blame/", "update_ratio/"))]
    curve.loc[curve["step"] % 10 != 0, seldom] = np.nan  # callbacks.gradients.every_n_steps=10
    curve.loc[curve["step"] % 4 == 1, ["train/loss"]] = np.nan  # a snapshot between two recorded steps
    curve.to_csv(path, index=False)
    html = written(tmp_path / "copy")
    assert "nan" not in re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL).lower().split()
    assert "nan%" not in html
    assert "At step 10, the first at which it was recorded, most of the blame" in html
    charts = embedded(html, "charts")
    for name, steps in (("blame", {10, 20, 30, 40, 50, 60}), ("ratios", {10, 20, 30, 40, 50, 60})):
        assert {row["at"] for row in values(charts[name])} == steps, name
    assert '"loss": null' not in json.dumps(charts["loss"])
    curve.drop(columns=seldom).to_csv(path, index=False)
    assert "recorded no gradients (callbacks.gradients)" in written(tmp_path / "copy")


def test_a_damaged_measure_is_named(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project, tmp_path / "copy", ignore=shutil.ignore_patterns("mlartifacts", "run"))
    (tmp_path / "copy/reports/memory.json").write_text('{"distance": [')
    with pytest.raises(UserError, match=r"memory\.json: damaged"):
        written(tmp_path / "copy")


def test_figures_of_another_model_are_not_told_as_this_ones(project: Path, full: str, tmp_path: Path) -> None:
    assert "needs" in embedded(full, "charts")
    shutil.copytree(project, tmp_path / "copy", ignore=shutil.ignore_patterns("mlartifacts", "run"))
    reports = tmp_path / "copy/reports"
    insight, memory = (json.loads((reports / f"{name}.json").read_text()) for name in ("insight", "memory"))
    insight["model"]["digest"] = memory["models"][0]["digest"] = "0" * 64
    (reports / "insight.json").write_text(json.dumps(insight))
    (reports / "memory.json").write_text(json.dumps(memory))
    html = written(tmp_path / "copy")
    for stage in ("insight", "memory"):
        assert f"reports/{stage}.json is about another model: run `dvc repro {stage}`" in html
    drawn = set(embedded(html, "charts"))
    assert not drawn & {"needs", "map-trained", "timeline", "carrying-plus", "times-plus", "distance", "canaries"}
    assert 'class="verdict' not in html


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("reports/insight.json", b'{"model": {"digest": ""}}', r"no 'findings'\); .*dvc repro insight"),
        ("reports/insight.json", b"[]", r"is no object\); .*dvc repro insight"),
        (
            "reports/memory.json",
            b'{"models": [{"model": "pretrain"}]}',
            r"no 'digest' in models\[0\]\); .*repro memory",
        ),
        ("reports/insight/learning.parquet", b"PAR1", r"damaged \(.*\); .*dvc repro insight"),
        ("models/pretrain/curves/train.csv", b"", r"damaged \(.*\); .*dvc repro pretrain"),
        ("models/pretrain/curves/validation.csv", b"a,b\n1,2\n", r"no column 'step'\); .*dvc repro pretrain"),
    ],
)
def test_damaged_input_is_named_in_one_line_with_what_mends_it(
    project: Path, full: str, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    shutil.copytree(project, tmp_path / "copy", ignore=shutil.ignore_patterns("mlartifacts", "run"))
    (tmp_path / "copy" / name).write_bytes(content)
    with pytest.raises(UserError, match=re.escape(name) + ".*" + says) as raised:
        written(tmp_path / "copy")
    assert "\n" not in str(raised.value)


def test_names_in_a_chart_do_not_depend_on_the_charts_before_it() -> None:
    import altair as alt

    def spec() -> dict[str, Any]:
        base = alt.Chart(style.data([{"a": 1.23456}])).encode(x="a:Q")
        return style.finish(
            (base.mark_point() + base.mark_line()).add_params(alt.param(name="frame", value=0)), "Points"
        )

    assert spec() == spec()
    assert "1.235" in json.dumps(spec())


def test_scripts_cannot_be_closed_by_what_they_hold() -> None:
    assert "</script" not in page.as_json({"text": "</script><!--"})
    assert page.number(1234567) == "1,234,567"
    assert page.cell(float("nan")) == "–"
