"""Shares with their intervals, drawn as points on lines: one row of the picture for each thing that was measured."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from nudge.report import style

PERCENT = alt.Axis(format="%")


def spans(
    rows: Sequence[Mapping[str, Any]],
    by: str,
    title: str,
    lowest: float = 0.0,
    apart: str | None = None,
    scale: alt.Scale | None = None,
) -> alt.LayerChart:
    """Draw rows that have `share`, `low`, `high` and `count`.

    Args:
        rows: what was measured.
        by: the column that says of what.
        title: of the axis of shares.
        lowest: where that axis begins; an interval that begins before it is cut there.
        apart: a column that tells rows of one thing apart, by colour and place.
        scale: its colours.
    """
    base = alt.Chart(style.data(rows)).encode(
        y=alt.Y(f"{by}:N", sort=None, title=None, axis=alt.Axis(labelFontSize=12, labelColor=style.INK, labelLimit=170))
    )
    tooltips = [f"{by}:N", alt.Tooltip("share:Q", format=".1%"), alt.Tooltip("count:Q", title="of", format=",")]
    if apart is not None:
        base = base.encode(
            yOffset=alt.YOffset(f"{apart}:N", sort=None),
            color=alt.Color(f"{apart}:N", title=None, sort=None, scale=scale or alt.Undefined),
        )
        tooltips.insert(1, f"{apart}:N")
    shares = alt.Scale(domain=[lowest, 1], clamp=True)
    lines = base.mark_rule(strokeWidth=2, color=style.ACCENT if apart is None else alt.Undefined).encode(
        x=alt.X("low:Q", title=title, axis=PERCENT, scale=shares), x2="high:Q"
    )
    points = base.mark_point(size=70).encode(
        x=alt.X("share:Q", title=title, axis=PERCENT, scale=shares), tooltip=tooltips
    )
    return lines + points
