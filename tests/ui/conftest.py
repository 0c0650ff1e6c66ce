"""A real Chromium and a real `nudge ui`, as a person would start them."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.conftest import environment

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
expect.set_options(timeout=SLOW)


@contextmanager
def started_ui(folder: Path) -> Iterator[str]:
    """Start `nudge ui` in a project, and give the address that it prints."""
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
