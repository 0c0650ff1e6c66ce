"""The report in a real browser: opened from disk, it draws everything and answers to its reader."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from nudge.report.report import report
from tests.chain import working_in
from tests.conftest import Pipeline
from tests.report import studies
from tests.report.chain import make_chain
from tests.report.project import make, measure
from tests.ui.conftest import CHROMIUM, FLAGS

WIDTHS = (390, 1280)  # px: a phone, a desktop
MARKS = "svg .mark-rect path, svg .mark-symbol path, svg .mark-line path, svg .mark-area path, svg .mark-rule line"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write the report of a small model that was looked into, and of a small assistant."""
    folder = make(tmp_path_factory.mktemp("shown"))
    measure(folder)
    make_chain(folder)
    studies.write(folder / "reports", folder / "work")
    with working_in(folder):
        report(folder / "models", folder / "corpus", folder / "reports")
    return (folder / "reports/nudge.html").as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium."""
    assert CHROMIUM, "chromium is not installed: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Opened:
    """A page with everything that it complained of or asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


def opened(browser: Browser, address: str, width: int, scheme: str) -> Opened:
    """Open the report and wait until it is drawn."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce")
    it = Opened(page)
    page.on("console", lambda message: it.said.append(message.text))
    page.on("pageerror", lambda error: it.said.append(str(error)))
    page.on("request", lambda request: it.asked.append(request.url))
    page.goto(address)
    page.wait_for_selector("html[data-drawn=all]", timeout=60_000)
    return it


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """Open the report at a desktop's width."""
    it = opened(browser, address, 1280, "light")
    yield it.page
    it.page.close()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_draws_everything_from_disk_and_asks_nobody(
    browser: Browser, address: str, width: int, scheme: str, tmp_path: Path
) -> None:
    it = opened(browser, address, width, scheme)
    assert it.said == []
    assert [url for url in it.asked if not url.startswith(("data:", "blob:"))] == [address]
    charts = it.page.locator("[data-chart]")
    assert charts.count() > 80
    marks = {
        chart.get_attribute("data-chart"): chart.evaluate(
            """(place, marks) => [...place.querySelectorAll(marks)].filter((mark) => {
                const box = mark.getBBox();
                return box.width + box.height > 0;
            }).length""",
            MARKS,
        )
        for chart in charts.all()
    }
    assert [name for name, count in marks.items() if not count] == [], "charts without drawn marks"
    wide = it.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0, f"the page scrolls sideways by {wide} px"
    over = it.page.evaluate(
        """[...document.querySelectorAll('[data-chart]')].filter((place) => {
            const svg = place.querySelector('svg');
            return svg.getBoundingClientRect().width > place.getBoundingClientRect().width + 1;
        }).map((place) => place.dataset.chart)"""
    )
    assert over == [], "charts wider than their place"
    it.page.close()


def test_every_chart_can_be_read_out(page: Page) -> None:
    for chart in page.locator("[data-chart]").all():
        assert len(chart.get_attribute("aria-label") or "") > 20
    assert page.locator("figure:not(:has(figcaption))").count() == 0


def lightness(page: Page, selector: str, name: str) -> float:
    """Return how light the computed colour of an element is, from 0 to 255."""
    rgb = page.locator(selector).first.evaluate(
        f"element => getComputedStyle(element).{name}.match(/\\d+/g).slice(0, 3)"
    )
    return sum(map(int, rgb)) / 3


def test_light_and_dark_follow_the_system_and_the_button(browser: Browser, address: str, page: Page) -> None:
    dark = opened(browser, address, 1280, "dark").page
    label = "#chart-loss svg .role-axis-label text"
    assert lightness(page, "body", "backgroundColor") > 200 > 100 > lightness(dark, "body", "backgroundColor")
    assert lightness(page, label, "fill") < lightness(dark, label, "fill"), "the charts' words must follow too"
    button = page.get_by_role("button", name="Colours")
    button.click()
    button.click()
    expect(button).to_have_accessible_name("Colours: dark")
    assert lightness(page, "body", "backgroundColor") < 100
    assert lightness(page, label, "fill") == lightness(dark, label, "fill")
    dark.close()


def drawn(page: Page, chart: str) -> str:
    return str(page.locator(f"#chart-{chart} svg").inner_html())


def test_the_slider_changes_what_is_shown_by_keyboard_alone(page: Page) -> None:
    names = ("film-prediction", "film-surprise", "film-attention-0-0", "film-map")
    before = {name: drawn(page, name) for name in names}
    slider = page.get_by_role("slider")
    slider.focus()
    page.keyboard.press("End")
    expect(page.locator("#film-step")).to_have_text("step 60")
    page.wait_for_function(
        "before => Object.entries(before).every(([name, was]) =>"
        " document.querySelector(`#chart-${name} svg`).innerHTML !== was)",
        arg=before,
    )
    assert slider.get_attribute("aria-valuetext") == "after 60 steps"
    expect(page.locator("#film-says")).to_contain_text("after 60 steps")
    page.keyboard.press("Home")
    expect(page.locator("#film-step")).to_have_text("step 0")
    # What was drawn at the first snapshot is drawn again: the plane of the map has not moved.
    page.wait_for_function(
        "was => document.querySelector('#chart-film-map svg .mark-symbol').outerHTML === was",
        arg=page.evaluate(
            "html => new DOMParser().parseFromString(`<svg>${html}</svg>`, 'text/html')"
            ".querySelector('.mark-symbol').outerHTML",
            before["film-map"],
        ),
    )


def test_the_play_button_runs_to_the_end_or_stops(page: Page) -> None:
    play = page.locator("#play")
    play.click()
    expect(play).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#film-step")).not_to_have_text("step 0")
    play.click()
    expect(play).to_have_attribute("aria-pressed", "false")


def test_the_picker_answers_and_is_honest_about_the_rest(page: Page) -> None:
    answer, charts = page.locator("#ask-answer"), page.locator("#ask-charts")
    before = drawn(page, "ask-attention")
    page.locator("#ask-left").fill("21")
    page.locator("#ask-right").fill("13")
    expect(answer).to_contain_text("twenty one plus thirteen equals")
    expect(answer).to_contain_text("probability")
    page.wait_for_function("was => document.querySelector('#chart-ask-attention svg').innerHTML !== was", arg=before)
    # In the order in which they stand; in the document marks that were there before come first.
    words = page.evaluate(
        """[...document.querySelectorAll('#chart-ask-surprise svg .role-axis-label text')]
            .filter((text) => isNaN(text.textContent))
            .sort((a, b) => a.getBoundingClientRect().right - b.getBoundingClientRect().right)
            .map((text) => text.textContent.replaceAll('\u200b', ''))"""
    )
    assert words == [
        "twenty",
        "one",
        "plus",
        "thirteen",
        "equals",
        "thirty",
        "four",
        "</s>",
    ]
    for operation, left, right, says in (
        ("divided by", "7", "2", "leaves a rest"),
        ("divided by", "7", "0", "divided by zero"),
        ("minus", "2", "5", "no numbers below zero"),
        ("times", "29", "29", "no products above 29"),
        ("plus", "30", "1", "from 0 to 29"),
        ("plus", "", "1", "from 0 to 29"),
    ):
        page.locator("#ask-operation").select_option(operation)
        page.locator("#ask-left").fill(left)
        page.locator("#ask-right").fill(right)
        expect(answer).to_contain_text(says)
        expect(charts).to_be_hidden()
    page.get_by_role("button", name="one it gets wrong").click()
    expect(answer).to_contain_text("✗ wrong: it is")
    expect(charts).to_be_visible()


def test_a_question_that_is_picked_is_answered_by_each_model(page: Page) -> None:
    answer, question = page.locator("#talk-answer"), page.locator("#talk-question")
    expect(answer.locator("dt")).to_have_text(["base", "fine-tuned", "preferred"])
    packed = page.evaluate("JSON.parse(document.getElementById('packed-talk').textContent)")
    refused = next(n for n, it in enumerate(packed["questions"]) if it["expected"] is None)
    before = drawn(page, "said-forms")
    question.focus()
    question.select_option(str(refused))
    expect(answer.locator("dd .aside").first).to_contain_text("nothing to be right or wrong")
    expect(answer.locator("dd .text").nth(1)).to_contain_text(packed["questions"][refused]["said"][1][0])
    page.wait_for_function("was => document.querySelector('#chart-said-forms svg').innerHTML !== was", arg=before)
    page.get_by_role("button", name="one they answer differently").click()
    fine_tuned, preferred = (answer.locator("dd .text").nth(place).inner_text() for place in (1, 2))
    assert fine_tuned != preferred


def test_what_is_simulated_can_be_seen_to_be(page: Page) -> None:
    for chapter in ("preferences", "question", "overoptimisation"):
        mark = page.locator(f"#{chapter} .simulated").first
        expect(mark).to_be_visible()
        expect(mark).to_contain_text("simulated")


def test_the_keyboard_reaches_everything_that_can_be_used(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the story")
    wanted = {"theme", "play", "film", "ask-left", "ask-operation", "ask-right", "ask-random"}
    wanted |= {"talk-question", "talk-random"}
    reached: set[str] = set()
    for _ in range(600):
        page.keyboard.press("Tab")
        at = page.evaluate("[document.activeElement.id, getComputedStyle(document.activeElement).outlineStyle]")
        if at[0] in wanted:
            assert at[1] != "none", f"no visible focus on #{at[0]}"
            reached.add(at[0])
        if reached == wanted:
            break
    assert reached == wanted


def test_the_page_of_the_default_run(browser: Browser, pipeline: Pipeline, tmp_path: Path) -> None:
    # The other tests here open the page of a small model, whose findings are made up.
    folder, _, _ = pipeline
    it = opened(browser, (folder / "reports/nudge.html").as_uri(), 1280, "light")
    assert it.said == []
    for name in ("learned", "watch", "ask", "memory", "sources", "assistant", "preferences"):
        expect(it.page.locator(f"#{name}")).to_be_visible()
    # Studies take hours, and are no part of the pipeline.
    assert "run `dvc repro" not in it.page.locator("main").inner_text()
    it.page.locator("#watch").scroll_into_view_if_needed()
    it.page.locator("#watch input[type=range]").focus()
    it.page.keyboard.press("End")
    expect(it.page.locator("#watch")).to_contain_text("five")
    pictures = Path(os.environ.get("NUDGE_PICTURES", tmp_path))
    it.page.locator("#watch").evaluate("chapter => window.scrollTo(0, chapter.offsetTop)")
    it.page.screenshot(path=pictures / "report-watch.png")
    it.page.add_style_tag(content=".top { display: none }")  # it would hide a line of what is pictured
    for place, name in (("#learned", "learned"), ("figure:has([data-chart=canaries])", "canaries")):
        it.page.locator(place).screenshot(path=pictures / f"report-{name}.png")
    it.page.locator("figure:has([data-chart=filters])").screenshot(path=pictures / "report-curation.png")
    it.page.locator("#talk").screenshot(path=pictures / "report-assistant.png")
    it.page.close()
