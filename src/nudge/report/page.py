"""Chapters → one HTML file that needs nothing but itself."""

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from nudge.report import style
from nudge.report.chapter import Chapter, Missing
from nudge.report.provenance import Source

# Gives the page one function and keeps everything else to itself.
SNIPPET = "window.vegaEmbed = vegaEmbed;"
VEGA_LITE = "6.4"  # the version that altair 6 writes


def render(chapters: Sequence[Chapter], made: Mapping[str, Source], title: str, lead: dict[str, Any]) -> str:
    """Return the page.

    Args:
        chapters: in the order in which they are told.
        made: what the numbers rest on, by the names that chapters and figures use.
        title: of the page.
        lead: values for its first lines.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nudge.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "percent": percent,
        "json": as_json,
        "cell": cell,
        "measured": measured,
    }
    environment.tests["missing"] = lambda value: isinstance(value, Missing)
    return environment.get_template("page.html").render(
        chapters=chapters,
        made=made,
        title=title,
        lead=lead,
        charts={
            chart.name: chart.spec
            for chapter in chapters
            for figure in chapter.figures.values()
            if not isinstance(figure, Missing)
            for chart in figure.charts
        },
        theme=style.CONFIG,
        vega=Markup(_vega()),
    )


@cache
def _vega() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script, as it may stand in HTML."""
    script: str = vl_convert.javascript_bundle(SNIPPET, vl_version=VEGA_LITE)
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def as_json(value: Any) -> Markup:
    """Write a value as JSON that may stand in a script element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))


def number(value: float | None, digits: int = 2) -> str:
    """Write a number for a sentence: thousands apart, a few digits after the point."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """Write a share for a sentence."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}%}"


def measured(value: float | None, unit: str) -> str:
    """Write a finding's figure with its unit: shares in percent."""
    return percent(value).replace("-", "−") if unit == "share" else f"{cell(value)} {unit}".strip()


def cell(value: Any) -> str:
    """Write a value for a table: numbers to three significant digits."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        text = "–" if not math.isfinite(value) else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
        return text.replace("-", "−")
    return str(value)
