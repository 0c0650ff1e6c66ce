"""Chapter: where the model is still wrong."""

import altair as alt

from nudge.data.arithmetic import OPERATIONS
from nudge.report import style
from nudge.report.all_facts import AllFacts
from nudge.report.chapter import Chapter, Chart, Figure, Missing, Table
from nudge.report.evidence import Evidence

MOST_ROWS = 60  # wrong answers that are listed


def chapter(evidence: Evidence) -> Chapter:
    """Show every test question on a map of its two numbers, and list the wrong answers."""
    answered = evidence.answered
    missing = Missing("not drawn: the corpus states no arithmetic facts.")
    return Chapter(
        "Mistakes: where it fails",
        "mistakes",
        {"map": missing if answered is None else _map(answered)},
        {
            "wrong": 0 if answered is None else len(_wrong(answered)),
            "count": 0 if answered is None else _tested(answered),
        },
    )


def _tested(answered: AllFacts) -> int:
    return sum(row["split"] == "test" for row in answered.questions.rows)


def _wrong(answered: AllFacts) -> list[int]:
    rows = answered.questions.rows
    return [n for n, row in enumerate(rows) if row["split"] == "test" and not answered.right_N[n]]


def _map(answered: AllFacts) -> Figure:
    rows = answered.questions.rows
    charts = []
    for operation in OPERATIONS:
        asked = [
            {
                "left": row["left"],
                "right": row["right"],
                "answer": "right" if answered.right_N[n] else "wrong",
                "given": answered.given[n],
            }
            for n, row in enumerate(rows)
            if row["split"] == "test" and row["operation"] == operation
        ]
        if not asked:
            continue
        # The wrong ones are drawn last, on top.
        asked.sort(key=lambda one: str(one["answer"]))
        points = (
            alt.Chart(style.data(asked))
            .mark_point(opacity=0.9)
            .encode(
                x=alt.X("left:Q", title="first number"),
                y=alt.Y("right:Q", title="second number"),
                color=alt.Color(
                    "answer:N",
                    title=None,
                    sort=["right", "wrong"],
                    scale=alt.Scale(domain=["right", "wrong"], range=["var(--before)", "var(--no)"]),
                ),
                shape=alt.Shape(
                    "answer:N", title=None, scale=alt.Scale(domain=["right", "wrong"], range=["circle", "diamond"])
                ),
                size=alt.condition("datum.answer === 'wrong'", alt.value(70), alt.value(14)),
                tooltip=["left:Q", "right:Q", "given:N"],
            )
        )
        wrong = sum(one["answer"] == "wrong" for one in asked)
        says = f"Test questions of {operation} by their two numbers: {wrong} of {len(asked)} are answered wrongly."
        title = f"{operation}: {wrong} of {len(asked)} wrong"
        charts.append(Chart(f"mistakes-{operation.split()[0]}", style.finish(points, says, 260), title))
    wrong_ones = _wrong(answered)
    listed = [
        [
            rows[n]["prompt"],
            str(rows[n]["text"]).removeprefix(rows[n]["prompt"]).strip(),
            answered.given[n],
            float(answered.probability_N[n]),
        ]
        for n in wrong_ones[:MOST_ROWS]
    ]
    return Figure(
        charts,
        "Each point is a question of the test by its two numbers; the large ones were answered wrongly.",
        "Greedy decoding of every test question; an answer counts only if every word is right.",
        table=Table(["question", "right answer", "given", "its probability"], listed) if listed else None,
        narrow=260,
    )
