"""`nudge ui` in a real browser: what a newcomer looks for is there to be seen."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from playwright.sync_api import Page, expect, sync_playwright

from tests.conftest import Pipeline, environment

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SLOW = 60_000  # ms; the first page load of the UI takes several seconds on two busy cores


@pytest.fixture(scope="module")
def address(pipeline: Pipeline) -> Iterator[str]:
    """Start `nudge ui` as a person would, and give the address that it prints."""
    folder, _, _ = pipeline
    process = subprocess.Popen(
        ["nudge", "ui"], cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    printed = ""
    for line in process.stderr:
        printed += line
        if "Application startup complete" in line:
            break
    match = re.search(r"http://127\.0\.0\.1:\d+", printed)
    assert match, printed
    yield match[0]
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=30)


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


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """Open a browser; fail if a page asks for anything that isn't on this machine."""
    assert CHROMIUM, "chromium is not installed: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.set_default_timeout(SLOW)
        elsewhere: list[str] = []
        page.on("request", lambda request: elsewhere.append(request.url) if "//127.0.0.1" not in request.url else None)
        # A panel for a chat assistant covers a third of the page when the UI is opened for the first time.
        page.add_init_script(
            "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');"
            "localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');"
        )
        yield page
        browser.close()
        assert [url for url in elsewhere if not url.startswith(("data:", "blob:"))] == []


def picture(page: Page, tmp_path: Path, name: str) -> None:
    """Take a screenshot; with NUDGE_PICTURES set, to that folder: `make pictures` makes the README's."""
    path = Path(os.environ.get("NUDGE_PICTURES", tmp_path)) / f"{name}.png"
    page.wait_for_timeout(1500)  # charts are drawn in an animation; a test must not depend on this, a picture may
    page.screenshot(path=path)
    assert path.stat().st_size > 20_000


def open_run(page: Page, address: str, run_id: str, tab: str = "") -> None:
    page.goto(f"{address}/#/experiments/1/runs/{run_id}{tab}?workflowType=machine_learning")
    expect(page.get_by_role("heading", name="pretrain-seed0")).to_be_visible(timeout=SLOW)


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
    expect(frame.get_by_role("heading", level=1)).to_be_visible(timeout=SLOW)
    expect(frame.locator("html[data-drawn=all]")).to_be_attached(timeout=SLOW)
