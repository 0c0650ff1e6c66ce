"""The stage's report is JSON that every reader takes: no NaN in it, wherever a measure had nothing to measure."""

import json

from nudge.insight.insight import without_nan


def test_what_is_no_number_becomes_null_everywhere() -> None:
    # The timeline of a sample without pairs of plus and minus is NaN, which is no JSON.
    report = {"findings": [{"value": float("nan"), "n": 0}], "timeline": {"points": [{"step": 1, "x": float("inf")}]}}
    assert json.loads(json.dumps(without_nan(report), allow_nan=False)) == {
        "findings": [{"value": None, "n": 0}],
        "timeline": {"points": [{"step": 1, "x": None}]},
    }
