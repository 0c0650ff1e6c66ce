"""`nudge ui` in a real browser: what a newcomer looks for is there to be seen."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from playwright.sync_api import Page, expect

from tests.conftest import Pipeline
from tests.ui.conftest import picture, started_ui


@pytest.fixture(scope="module")
def address(pipeline: Pipeline) -> Iterator[str]:
    """Start `nudge ui` over the default pipeline's store."""
    with started_ui(pipeline[0]) as address:
        yield address


@pytest.fixture
def run_id(pipeline: Pipeline) -> str:
    """Return the run of the default pipeline's own model: the first of its name in the store."""
    client = MlflowClient(f"sqlite:///{pipeline[0]}/mlflow.db")
    experiment = client.get_experiment_by_name("nudge")
    assert experiment is not None
    own = "attributes.run_name = 'pretrain-seed0'"
    return client.search_runs([experiment.experiment_id], own, order_by=["start_time ASC"], max_results=1)[
        0
    ].info.run_id


def open_run(page: Page, address: str, run_id: str, tab: str = "") -> None:
    page.goto(f"{address}/#/experiments/1/runs/{run_id}{tab}?workflowType=machine_learning")
    expect(page.get_by_role("heading", name="pretrain-seed0")).to_be_visible()


def test_the_run_with_its_status_dataset_tags_and_parameters(
    page: Page, address: str, run_id: str, pipeline: Pipeline, tmp_path: Path
) -> None:
    open_run(page, address, run_id)
    expect(page.get_by_text("Finished").first).to_be_visible()
    lock = (pipeline[0] / "dvc.lock").read_text()
    digest = lock.split("path: corpus/curated")[1].split("md5: ")[1].split()[0]
    expect(page.get_by_text(f"curated ({digest})").first).to_be_visible()
    expect(page.get_by_text("config.hash").first).to_be_visible()
    for name in ("optimizer.adamw.lr", "model.width", "trainer.max_steps"):
        expect(page.get_by_text(name, exact=True).first).to_be_attached()
    for name in ("val/exact_match/divided by", "test/exact_match", "throughput/mfu"):
        expect(page.get_by_text(name, exact=True).first).to_be_attached()
    picture(page, tmp_path, "run")


@pytest.mark.parametrize(
    ("search", "names", "file"),
    [
        ("^train/loss|^val", ["train/loss", "val/loss", "val/exact_match"], "loss"),
        ("^blame", ["blame/embeddings", "blame/attention", "blame/mlp", "blame/output"], "blame"),
        ("^grad", ["grad/norm", "grad/norm_clipped"], "gradients"),
    ],
)
def test_the_curves_are_drawn(
    page: Page, address: str, run_id: str, tmp_path: Path, search: str, names: list[str], file: str
) -> None:
    open_run(page, address, run_id, "/model-metrics")
    page.get_by_placeholder("Search metric charts").fill(search)
    for name in names:
        expect(page.get_by_text(f"({name})").first).to_be_visible()
    drawn = page.locator(".plotly path.js-line, .js-plotly-plot path.js-line")
    expect(drawn.nth(len(names) - 1)).to_be_visible()
    assert all(len(drawn.nth(n).get_attribute("d") or "") > 200 for n in range(len(names) - 1)), "lines without points"
    picture(page, tmp_path, file)


def test_the_artifacts_hold_checkpoints_and_the_sample_table(
    page: Page, address: str, run_id: str, tmp_path: Path
) -> None:
    open_run(page, address, run_id, "/artifacts")
    page.get_by_text("checkpoints", exact=True).click()
    for name in ("best.ckpt", "last.ckpt"):
        expect(page.get_by_text(name, exact=True)).to_be_visible()
    page.get_by_text("samples.json", exact=True).click()
    expect(page.get_by_text("two plus three equals").first).to_be_visible()
    # The first question, from the first guess to the right answer.
    expect(page.get_by_role("row", name="0 two plus three equals", exact=False).first).to_be_visible()
    expect(page.get_by_text("five", exact=True).first).to_be_visible()
    # Where the file lies on this disk says nothing to a reader of the picture.
    page.get_by_text("Path: file://").evaluate("element => { element.style.visibility = 'hidden' }")
    picture(page, tmp_path, "samples")


def test_the_page_of_the_run_is_drawn_in_the_artifact_view(page: Page, address: str, run_id: str) -> None:
    # MLflow shows HTML in a sandboxed frame, where a page that asks for storage or a network stays white.
    open_run(page, address, run_id, "/artifacts")
    page.get_by_text("report", exact=True).click()
    page.get_by_text("nudge.html", exact=True).click()
    frame = page.frame_locator("iframe").first
    expect(frame.get_by_role("heading", level=1)).to_be_visible()
    expect(frame.locator("html[data-drawn=all]")).to_be_attached()
