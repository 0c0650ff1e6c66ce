"""The page's second story: what it says of sources, of three models and of raters is what is in the files."""

import json
import re
import shutil
from pathlib import Path

import pytest

from nudge.data import chat, documents
from nudge.data.tokenizer import END_ID, prompt_ids
from nudge.errors import UserError
from nudge.evaluation.assistant import LONGEST
from nudge.model import saved
from nudge.model.generation import greedy
from nudge.report.report import report
from nudge.studies import NAMES
from tests.chain import working_in
from tests.report import studies
from tests.report.chain import make_chain
from tests.report.project import make
from tests.report.test_report import embedded, values, written

STAGES = {"base": "base", "finetune": "fine-tuned", "rlhf": "preferred"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a small calculator and a small chain to an assistant."""
    folder = make(tmp_path_factory.mktemp("assistant"))
    make_chain(folder)
    return folder


@pytest.fixture(scope="module")
def whole(project: Path) -> str:
    """Write the report."""
    return written(project)


@pytest.fixture
def copy(project: Path, whole: str, tmp_path: Path) -> Path:
    """Copy the project, to be damaged."""
    skipped = shutil.ignore_patterns("mlartifacts", "run*")
    shutil.copytree(project, tmp_path / "copy", ignore=skipped)
    return tmp_path / "copy"


def test_each_model_says_what_the_page_says_it_does(project: Path, whole: str) -> None:
    packed = embedded(whole, "packed-talk")
    assert packed["called"] == list(STAGES.values())
    for place, stage in enumerate(STAGES):
        model = saved.load(project / "models" / stage)
        for it in packed["questions"][::5]:
            # The base model never saw the marks of the chat.
            asked = it["question"] if stage == "base" else chat.prompt_of(it["question"])
            answer = greedy(model.model, [prompt_ids(model.tokenizer, asked)], END_ID, LONGEST)[0]
            text, probability, ended, right, formed = it["said"][place]
            assert text == model.tokenizer.decode(list(answer.ids))
            assert probability == pytest.approx(2.718281828**answer.log_probability, rel=1e-3)
            assert ended == answer.ended
            assert sum(it["p"][place]) == pytest.approx(1, abs=0.02)
            assert formed or not right
            if stage != "base" and right and it["expected"]:
                assert it["expected"] in text


def test_questions_are_of_families_that_no_training_saw_and_some_must_be_refused(project: Path, whole: str) -> None:
    asked = embedded(whole, "packed-talk")["questions"]
    assert len({it["question"] for it in asked}) == len(asked) >= 36
    assert sum(it["expected"] is None for it in asked) >= 8
    seen = {
        chat.question_of(row["prompt"])
        for path in project.glob("outputs/corpora/*/curated")
        for split in ("train", "validation")
        for row in documents.read(path / f"{split}.parquet").to_pylist()
        if row["prompt"] and row["prompt"].startswith(chat.USER)
    }
    assert len(seen) > 100
    assert not seen & {it["question"] for it in asked if it["expected"] is not None}


def test_what_filters_dropped_and_found_is_what_was_measured(project: Path, whole: str) -> None:
    found = json.loads((project / "reports/curation_mixture.json").read_text())
    charts = embedded(whole, "charts")
    dropped = values(charts["filters"])
    assert sum(row["documents"] for row in dropped) == found["documents"]["dropped"]
    clean = sum(row["documents"] for row in dropped if row["of"] != "planted")
    assert clean == sum(one["clean_dropped"] for one in found["filters"])
    for name in found["problems"]:
        assert f"<b>{name.replace('_', ' ')}</b>" in whole


def test_a_simulated_rating_is_never_shown_without_the_word(project: Path, whole: str) -> None:
    shown = re.findall(r'<div class="pick">.*?</div>', whole, re.DOTALL)
    assert shown
    assert all("simulated rater" in one for one in shown)
    assert "nobody has rated a pair yet" in whole


def test_a_persons_rating_comes_first_and_is_not_called_simulated(copy: Path) -> None:
    path = copy / "corpus/preferences/ratings.jsonl"
    lines = path.read_text().splitlines()
    person = json.loads(lines[0]) | {
        "rater": "ada",
        "simulated": False,
        "flip_rate": None,
        "why": "right: I <b>counted",
    }
    path.write_text("\n".join([*lines, json.dumps(person)]) + "\n")
    counted = copy / "reports/preferences.json"
    told = json.loads(counted.read_text())
    told["raters"].append(told["raters"][0] | {"rater": "ada", "kind": "person", "count": 1, "why": {"right": 1}})
    counted.write_text(json.dumps(told))
    html = written(copy)
    first = re.findall(r'<div class="pick">.*?</div>', html, re.DOTALL)[0]
    assert "right: I &lt;b&gt;counted" in first
    assert "simulated" not in first
    assert "People who rated: ada" in html


def test_each_model_of_the_chain_leads_to_its_run(whole: str) -> None:
    for stage in ("base", "finetune", "reward", "rlhf"):
        made = whole.split(f'id="made-models-{stage}"')[1].split("</dl>")[0]
        assert re.search(r"<dt>run</dt><dd>[0-9a-f]{32}</dd>", made), stage
        assert re.search(r"<dt>weights \(SHA-256\)</dt><dd>[0-9a-f]{64}</dd>", made), stage
    assert re.search(r"<dt>corpus</dt><dd>corpus/mixture</dd>", whole)
    figures = re.findall(r"<figure id.*?</figure>", whole, re.DOTALL)
    assert all('href="#made-' in figure for figure in figures)
    assert set(re.findall(r'href="#(made-[\w-]+)"', whole)) <= set(re.findall(r'id="(made-[\w-]+)"', whole))


def test_the_same_input_gives_the_same_bytes_within_five_megabytes(project: Path, whole: str) -> None:
    assert written(project) == whole
    assert len(whole.encode()) < 5_000_000
    for name, spec in embedded(whole, "charts").items():
        assert len(spec["description"]) > 20, name
        assert '"values": []' not in json.dumps(spec), f"{name} is empty"


def test_a_chain_that_ends_early_is_told_as_far_as_it_goes(copy: Path) -> None:
    for name in ("rlhf", "reward"):
        shutil.rmtree(copy / "models" / name)
    html = written(copy)
    assert "not there: run `dvc repro rlhf`" in html
    assert "not there: run `dvc repro reward`" in html
    assert "preferred" not in embedded(html, "packed-talk")["called"]
    assert not {"rl-kl", "reward", "calibration"} & set(embedded(html, "charts"))
    (copy / "reports/metrics.json").unlink()
    (copy / "reports/preferences.json").unlink()
    html = written(copy)
    assert "not measured: run `dvc repro evaluate`" in html
    assert "not there: run `dvc repro preferences`" in html
    shutil.rmtree(copy / "models/finetune")
    shutil.rmtree(copy / "models/base")
    shutil.rmtree(copy / "corpus/mixture")
    html = written(copy)
    assert "not there: run `dvc repro finetune`" in html
    assert "not there: run `dvc repro curate-mixture" in html
    assert "packed-talk" not in html.split("<script>")[0]


def test_a_study_that_was_not_run_is_named_with_its_command(whole: str) -> None:
    for name in NAMES:
        assert f"not measured: run `nudge study {name}`" in whole
    assert "Does RLHF add a capability?" not in whole


def test_the_verdict_is_the_studys_and_every_check_stands_beside_it(copy: Path) -> None:
    studies.write(copy / "reports", copy / "work")
    html = written(copy)
    told = json.loads((copy / "reports/studies/rlhf_question.json").read_text())
    claim = re.search(r"Does RLHF add a capability\? <span[^>]*>(\w+)</span>", html)
    assert claim is not None
    assert claim[1] == told["verdict"]["answer"] == "no"
    question = html.split('<section id="question"')[1].split("</section>")[0]
    marks = re.findall(r"(✓ yes|✗ no)</span>", question)
    assert [mark == "✓ yes" for mark in marks] == [check["passed"] for check in told["verdict"]["checks"]]
    assert "simulated" in question
    assert studies.RUN in html.split('id="made-reports-studies-rlhf_question"')[1].split("</dl>")[0]
    # Without a control that moves, nothing was shown.
    studies.write(copy / "reports", copy / "work", shown=0.01)
    assert re.search(r"Does RLHF add a capability\? <span[^>]*inconclusive[^>]*>undecided<", written(copy))


def test_fitted_curves_begin_where_gold_began_and_turn_earlier_with_fewer_pairs(copy: Path) -> None:
    studies.write(copy / "reports", copy / "work")
    charts = embedded(written(copy), "charts")
    told = json.loads((copy / "reports/studies/overoptimisation.json").read_text())
    drawn = charts["best-of-n-gold"]["datasets"].values()
    (fitted,) = (rows for rows in drawn if "pairs" in rows[0] and "low" not in rows[0])
    for row in told["sizes"]:
        own = [one for one in fitted if one["pairs"] == f"{row['pairs']:,} pairs"]
        assert own[0]["mean"] == pytest.approx(row["best_of_n"]["points"][0]["gold"]["mean"], rel=1e-3)
        highest = max(own, key=lambda one: one["mean"])["d"]
        turning = row["best_of_n"]["fit"]["turning"]["mean"]
        assert turning is None or highest == pytest.approx(turning, abs=0.1)
    assert {"rl-gold", "rl-proxy", "best-of-n-proxy", "arms-capability", "composition", "worth-taught-wrong"} <= set(
        charts
    )


def test_a_law_is_drawn_with_the_run_that_it_foretold_and_its_own_verdict(copy: Path) -> None:
    """A verdict that the page made itself, or curves of a fit that had seen the held-out run, would flatter the law."""
    studies.write(copy / "reports", copy / "work")
    html = written(copy)
    told = json.loads((copy / "reports/studies/scaling.json").read_text())["corpora"]
    section = html.split('<section id="scaling"')[1].split("</section>")[0]
    claims = re.findall(r"Does the law hold for [^?]*\? <span[^>]*>(\w+)</span>", section)
    assert claims == [told[name]["verdict"]["answer"] for name in ("stdlib", "calculator")] == ["yes", "no"]
    chart = embedded(html, "charts")["scaling-stdlib-tokens"]
    drawn = [rows for rows in chart["datasets"].values() if "size" in rows[0]]
    curves, ringed = max(drawn, key=len), min(drawn, key=len)
    assert ringed[0]["loss"] == pytest.approx(told["stdlib"]["held_out"]["loss"], rel=1e-3)
    end = [one for one in curves if one["size"] == ringed[0]["size"]][-1]
    assert end["loss"] == pytest.approx(told["stdlib"]["foretold"]["loss"]["mean"], rel=1e-3)
    assert {f"scaling-calculator-{what}" for what in ("tokens", "flops", "residuals")} <= set(embedded(html, "charts"))


def test_worked_steps_are_held_against_the_aim_and_beside_answers_at_once(copy: Path) -> None:
    """One operation short of the aim, and the whole claim is not supported."""
    studies.write(copy / "reports", copy / "work")
    html = written(copy)
    section = html.split('<section id="steps"')[1].split("</section>")[0]
    assert re.search(r"in each of 2 runs\?\s*<span[^>]*not-supported[^>]*>no<", section)
    charts = embedded(html, "charts")
    by_arm = {row["arm"]: row for row in values(charts["steps-divided-by"])}
    assert by_arm["answers at once, as much FLOP"]["how"] == "at once"
    assert by_arm["counted down, quotients taken away; practice in both"]["how"] == "with steps"
    drawn = {row["arm"]: row["mean"] for row in values(charts["steps-beyond"])}
    assert drawn["factors"] == 1.0
    assert 0.4 < drawn["chain 12"] < 0.8
    assert len(values(charts["steps-tampered"])) == 3
    assert {row["arm"] for row in values(charts["steps-unseen"])} == {
        "practice in adding up",
        "practice in taking away",
    }
    rewarded = {row["arm"]: row["mean"] for row in values(charts["steps-rewarded-greedy"])}
    assert rewarded["then fine-tuned on the steps to all questions"] == 1.0
    assert rewarded["then rewarded by chance"] < rewarded["then rewarded for right answers"] < 1.0


def test_a_corpus_of_which_a_measure_says_nothing_is_left_out_of_its_picture(copy: Path) -> None:
    studies.write(copy / "reports", copy / "work")
    html = written(copy)
    drawn = {row["arm"] for row in values(embedded(html, "charts")["worth-personal-extracted"])}
    assert "raw" not in drawn
    assert "without personal data" in drawn
    assert "nan" not in re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL).lower().split()


def test_preferences_about_another_model_are_not_told_as_this_ones(copy: Path) -> None:
    path = copy / "reports/preferences.json"
    told = json.loads(path.read_text())
    told["model"]["digest"] = "0" * 64
    path.write_text(json.dumps(told))
    html = written(copy)
    assert "reports/preferences.json is about another model: run `dvc repro preferences`" in html
    assert not {"raters", "agreement"} & set(embedded(html, "charts"))


def test_an_algorithm_that_draws_nothing_has_its_curves_too(copy: Path) -> None:
    # DPO records no rewards of answers, no divergence and no entropy.
    path = copy / "models/rlhf/curves/train.csv"
    path.write_text("step,train/loss,reward/accuracy,reward/margin\n1,0.69,0.5,0.0\n2,0.6,0.7,0.2\n")
    html = written(copy)
    assert "it learns from the pairs themselves" in html
    assert {"rl-reward-accuracy", "rl-reward-margin"} <= set(embedded(html, "charts"))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("reports/curation_mixture.json", b'{"documents": {}}', r"no 'train' in documents\); .*dvc repro curation"),
        ("reports/preferences.json", b"[]", r"is no object\); .*dvc repro preferences"),
        ("reports/metrics.json", b'{"rlhf": {"test": {}}}', r"no 'behaviour' in rlhf.test\); .*dvc repro evaluate"),
        ("corpus/preferences/ratings.jsonl", b'{"pair": 1}\n', r"ratings\.jsonl:1"),
        ("reports/studies/rlhf_question.json", b'{"study": ""}', r"no 'question'\); .*nudge study rlhf_question"),
        ("reports/studies/overoptimisation.json", b"{", r"damaged \(.*\); .*nudge study overoptimisation"),
        ("models/rlhf/curves/train.csv", b"", r"damaged \(.*\); .*dvc repro rlhf"),
    ],
)
def test_damaged_input_is_named_in_one_line(copy: Path, name: str, content: bytes, says: str) -> None:
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_bytes(content)
    with pytest.raises(UserError, match=says) as raised, working_in(copy):
        report(copy / "models", copy / "corpus", copy / "reports")
    assert "\n" not in str(raised.value)
    assert name.split("/")[-1] in str(raised.value)
