"""A person rates pairs of answers in MLflow's review queue, in a real browser, and the ratings arrive in data/."""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import REPOSITORY, Command, runner
from tests.ui.conftest import picture, started_ui

PAIRS = [
    {"pair": "p1", "prompt": "what is two plus three ?", "A": "five", "B": "the answer is five , you are welcome ."},
    {"pair": "p2", "prompt": "how much is six minus two ?", "A": "the answer is three .", "B": "four , obviously ."},
    {"pair": "p3", "prompt": "what is three modulo two ?", "A": "one", "B": "i do not know that ."},
]
Served = tuple[Path, Command, str]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Start `nudge ui` over a fresh store in a project without a model; give the project, a runner, and the address."""
    folder = tmp_path_factory.mktemp("rated")
    shutil.copytree(REPOSITORY / "conf", folder / "conf")
    shutil.copy(REPOSITORY / "dvc.yaml", folder / "dvc.yaml")
    (folder / "data").mkdir()
    (folder / "data/ratings.jsonl").touch()
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
    run = runner(folder)
    for command in ("git init -q -b main", "dvc init -q", "dvc add -q data"):
        assert run(*command.split()).returncode == 0
    with started_ui(folder) as address:
        yield folder, run, address


def push(run: Command, address: str) -> dict[str, Any]:
    done = run("nudge", "rate", "push", "--pairs", "pairs.jsonl", "--url", address, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def pull(run: Command, *options: str) -> dict[str, Any]:
    done = run("nudge", "rate", "pull", "--json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def shown(page: Page, before: set[str]) -> dict[str, str]:
    """Read the pair that the page shows, as a person would, when those that were answered are gone."""
    for pair in PAIRS:
        if pair["pair"] in before:
            expect(page.get_by_text(pair["prompt"])).to_have_count(0)
    expect(page.get_by_text('"prompt": ').first).to_be_visible()
    text = page.locator("body").inner_text()
    found = [pair for pair in PAIRS if all(json.dumps(pair[key]) in text for key in ("prompt", "A", "B"))]
    assert len(found) == 1, text
    return found[0]


def choose(page: Page, question: str, option: str) -> None:
    """Open the list under a question and take an option."""
    order = {"better": 0, "why": 1}  # the choice is asked first
    page.get_by_role("combobox").nth(order[question]).click()
    page.get_by_role("option", name=option, exact=True).click()


def test_a_person_rates_two_pairs_and_leaves_a_tie(served: Served, page: Page, tmp_path: Path) -> None:
    folder, run, address = served
    pushed = push(run, address)
    assert (pushed["new"], pushed["known"]) == (3, 0)
    began = datetime.now(UTC)

    page.goto(pushed["page"])
    expect(page.get_by_text("Needs review (3)")).to_be_visible()
    page.get_by_role("button", name="Start review").click()
    answers = {"p1": ("B", "polite"), "p2": ("B", "right"), "p3": ("tie", "other")}
    rated: set[str] = set()
    for number in range(3):
        expect(page.get_by_text(f"{number} of 3 reviewed")).to_be_visible()
        pair = shown(page, rated)
        rated.add(pair["pair"])
        choice, why = answers[pair["pair"]]
        choose(page, "better", choice)
        choose(page, "why", why)
        if pair["pair"] == "p1":
            page.get_by_placeholder("Rationale (optional)").fill("a kind word")
            page.set_viewport_size({"width": 1280, "height": 540})  # the pair and the questions, and no more
            picture(page, tmp_path, "rating")
        page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text("Completed (3)")).to_be_visible()

    before = (folder / "data.dvc").read_text()
    pulled = pull(run, "--rater", "ada", "--dvc")
    assert {key: pulled[key] for key in ("new", "total", "ties", "unfinished")} == {
        "new": 2,
        "total": 2,
        "ties": 1,
        "unfinished": 0,
    }
    rows = {row["pair"]: row for row in map(json.loads, (folder / "data/ratings.jsonl").read_text().splitlines())}
    assert sorted(rows) == ["p1", "p2"]
    for pair in PAIRS[:2]:
        row = rows[pair["pair"]]
        assert {key: row[key] for key in pair} == pair
        assert (row["rater"], row["simulated"], row["flip_rate"]) == ("ada", False, None)
        # Milliseconds are cut off.
        assert began - timedelta(seconds=1) <= datetime.fromisoformat(row["time"]) <= datetime.now(UTC)
    assert (rows["p1"]["choice"], rows["p1"]["why"]) == ("B", "polite: a kind word")
    assert (rows["p2"]["choice"], rows["p2"]["why"]) == ("B", "right")
    # DVC pins another content, which is what makes the stages that read it run again.
    assert (folder / "data.dvc").read_text() != before


def test_pushing_and_pulling_again_adds_nothing(served: Served) -> None:
    folder, run, address = served
    assert {key: push(run, address)[key] for key in ("new", "known")} == {"new": 0, "known": 3}
    before = (folder / "data/ratings.jsonl").read_bytes()
    # Another name for the same person: their answers are the same ones.
    again = pull(run, "--rater", "bob")
    assert (again["new"], again["total"]) == (0, 2)
    assert (folder / "data/ratings.jsonl").read_bytes() == before


def test_who_changes_their_mind_has_one_rating(served: Served, page: Page) -> None:
    folder, run, address = served
    page.goto(push(run, address)["page"])
    page.get_by_text(PAIRS[1]["prompt"]).click()
    expect(page.get_by_role("combobox").first).to_contain_text("B")
    choose(page, "better", "A")
    page.get_by_role("button", name="Save changes").click()
    expect(page.get_by_text("Changes saved").first).to_be_visible()
    assert {key: pull(run, "--rater", "ada")[key] for key in ("new", "total")} == {"new": 0, "total": 2}
    rows = {row["pair"]: row for row in map(json.loads, (folder / "data/ratings.jsonl").read_text().splitlines())}
    assert rows["p2"]["choice"] == "A"
