"""How charts look: one colour a thing all through the page, and colours that follow the page's light or dark.

Colours are CSS variables of `templates/page.css`: Vega writes them into its SVG as they are, so the browser resolves
them, and a change of theme redraws nothing. Intensities are opacities of one colour, which read alike on both grounds.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from nudge.data.arithmetic import OPERATIONS
from nudge.model.decoder import PARTS

INK, MUTED, RULE, ACCENT = "var(--ink)", "var(--muted)", "var(--rule)", "var(--accent)"
BEFORE, AFTER = "var(--before)", "var(--accent)"
SPLITS = ("train", "validation", "test")
SERIES = [f"var(--series-{number})" for number in range(1, 8)]

STAGES = ("base", "fine-tuned", "preferred")
# The asked form in blue and green, bare ones in between, rudeness in red.
FORMS = {
    "sentence": SERIES[0],
    "kind": SERIES[2],
    "thanks": SERIES[5],
    "bare": SERIES[4],
    "equation": SERIES[1],
    "thinking": SERIES[3],
    "rude": "var(--no)",
    "refusal": SERIES[6],
    "none": "var(--rule)",
    "other": "var(--rule)",
}

# Vega measures words before it draws them, so it must know the font that `templates/page.css` has for the page.
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif'

CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": FONT,
    "padding": {"left": 2, "right": 6, "top": 6, "bottom": 2},
    "view": {"stroke": None},
    # The browser would read out thousands of marks; the chart's description says what they show together.
    "mark": {"aria": False},
    "axis": {
        "aria": False,
        "labelColor": MUTED,
        "titleColor": MUTED,
        "gridColor": RULE,
        "domainColor": RULE,
        "tickColor": RULE,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "labelLimit": 220,
        "tickCount": 5,
    },
    "legend": {
        "aria": False,
        "labelColor": INK,
        "titleColor": MUTED,
        "orient": "top",
        "labelFontSize": 12,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "symbolStrokeWidth": 2,
        "labelLimit": 260,
        # Two columns, and one legend below the other, fit a phone's width.
        "columns": 2,
        "layout": {"top": {"direction": "vertical", "anchor": "start"}},
    },
    "title": {"color": INK},
    "text": {"color": INK},
    "rule": {"color": MUTED},
    "line": {"strokeWidth": 2, "strokeCap": "round"},
    "bar": {"color": ACCENT},
    "point": {"color": ACCENT, "filled": True},
    "range": {"category": SERIES},
}


def operations() -> alt.Scale:
    """Return the colours of the four operations."""
    return alt.Scale(domain=list(OPERATIONS), range=[f"var(--op-{name.split()[0]})" for name in OPERATIONS])


def parts() -> alt.Scale:
    """Return the colours of the network's parts."""
    return alt.Scale(domain=list(PARTS), range=[f"var(--part-{name})" for name in PARTS])


def before_after() -> alt.Scale:
    """Return the colours of a measure before and after training."""
    return alt.Scale(domain=["before training", "after training"], range=[BEFORE, AFTER])


def splits() -> alt.Scale:
    """Return the colours of the splits of the data."""
    return alt.Scale(domain=list(SPLITS), range=[f"var(--split-{name})" for name in SPLITS])


def stages() -> alt.Scale:
    """Return the colours of the assistant's stages, by what they are called."""
    return alt.Scale(domain=list(STAGES), range=[f"var(--stage-{name.split('-')[0]})" for name in STAGES])


def sources(names: Sequence[str]) -> alt.Scale:
    """Return the colours of the kinds of text; the first six differ."""
    return alt.Scale(domain=list(names), range=[SERIES[place % len(SERIES)] for place in range(len(names))])


def forms(names: Sequence[str]) -> alt.Scale:
    """Return the colours of the forms that an answer can have; one that nobody named takes the colour of its place."""
    own = [FORMS.get(name, SERIES[place % len(SERIES)]) for place, name in enumerate(names)]
    return alt.Scale(domain=list(names), range=own)


def finish(chart: Any, description: str, height: int = 220) -> dict[str, Any]:
    """Return a chart's Vega-Lite: as wide as its place in the page, with its text alternative, without its theme.

    The page holds the theme once, for all charts.
    """
    sized = chart.properties(width="container", height=height, description=description)
    spec: dict[str, Any] = sized.to_dict()
    for key in ("config", "$schema"):
        spec.pop(key, None)
    stable: dict[str, Any] = json.loads(_renamed(spec))
    return stable


def _renamed(spec: Mapping[str, Any]) -> str:
    """Inline named datasets and number generated names anew, so that a chart doesn't depend on which came before it."""
    text = json.dumps(spec)
    for count, name in enumerate(sorted(_generated(spec))):
        text = text.replace(f'"{name}"', f'"n{count}"')
    return text


def _generated(node: Any) -> set[str]:
    """Find the names that altair counts up through a process: of views and of parameters."""
    if isinstance(node, Mapping):
        own = {str(node["name"])} if str(node.get("name", "")).startswith(("view_", "param_")) else set()
        return own.union(*(_generated(value) for value in node.values()))
    if isinstance(node, list):
        return set().union(*(_generated(value) for value in node))
    return set()


def rows(columns: Mapping[str, Sequence[Any]], digits: int = 4) -> alt.InlineData:
    """Return columns as the rows that a chart reads, numbers rounded to `digits` significant digits."""
    return data(
        [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)],
        digits,
    )


def data(records: Sequence[Mapping[Any, Any]], digits: int = 4, name: str | None = None) -> alt.InlineData:
    """Return rows for a chart, numbers rounded to `digits` significant digits: more can't be seen, and weigh."""
    values = [{key: plain(value, digits) for key, value in record.items()} for record in records]
    return alt.InlineData(values=values, name=name) if name else alt.InlineData(values=values)


def plain(value: Any, digits: int = 4) -> Any:
    """Return a value as JSON holds it: rounded; no number at all becomes null."""
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(one, digits) for one in value]
    if isinstance(value, np.integer | bool | int):
        return value if isinstance(value, bool) else int(value)
    if isinstance(value, float | np.floating):
        return None if not np.isfinite(value) else float(f"{float(value):.{digits}g}")
    return value


def labels(words: Sequence[str]) -> list[str]:
    """Make equal words distinct for an axis, without a visible change: a zero-width space for each that came before."""
    return [word + "\u200b" * words[:place].count(word) for place, word in enumerate(words)]
