"""Chapter: the same questions to the base model, the fine-tuned one and the preferred one."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from nudge.report import style, talking
from nudge.report.chain import CALLED, NOT_THERE, TALKING
from nudge.report.chapter import Chapter, Chart, Figure, Missing
from nudge.report.chapters import base, behaviour
from nudge.report.evidence import Evidence
from nudge.report.talking import Asked

ORDER = alt.EncodingSortField("place", op="min", order="ascending")


def chapter(evidence: Evidence) -> Chapter:
    """Ask the three models the same, and show what each stage changed of what they do, can do and have forgotten."""
    chain = evidence.chain
    asked = talking.ask(chain)
    names = _names(asked)
    return Chapter(
        "Base, fine-tuned, preferred",
        "assistant",
        {
            "said": _said(asked, names) if asked else Missing(NOT_THERE.format("finetune")),
            "asked": base.asked(chain),
            "styles": base.styles(chain),
            "behaviour": behaviour.shares(chain),
            "forms": behaviour.forms(chain),
            "passes": behaviour.passes(chain),
            "forgotten": behaviour.forgotten(chain),
        },
        {
            "packed": _packed(asked, names) if asked else None,
            "first": asked[0] if asked else None,
            "asked": asked,
            "called": CALLED,
            "stages": [stage for stage in TALKING if stage in chain.models],
            "missing": [stage for stage in TALKING if stage not in chain.models],
            "refusal": chain.phrases.refusal if chain.phrases else None,
            "win_rate": behaviour.win_rate(chain),
        },
        made_by=[stage for stage in TALKING if stage in evidence.made],
    )


def _names(asked: Sequence[Asked]) -> list[str]:
    """Return the forms of answers, those that are asked for first."""
    named = dict.fromkeys(name for one in asked for answer in one.said.values() for name in answer.forms)
    return sorted(
        named, key=lambda name: list(style.FORMS).index(name) if name in style.FORMS else len(style.FORMS) / 2
    )


def _records(one: Asked, names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"stage": CALLED[stage], "form": name, "p": answer.forms.get(name, 0.0), "place": place, "rank": rank}
        for place, (stage, answer) in enumerate(one.said.items())
        for rank, name in enumerate(names)
    ]


def _said(asked: Sequence[Asked], names: Sequence[str]) -> Figure:
    stages = [CALLED[stage] for stage in asked[0].said]
    bars = (
        alt.Chart(style.data(_records(asked[0], names), 3, name="picked_forms"))
        .mark_bar(height={"band": 0.7})
        .encode(
            y=alt.Y("stage:N", sort=ORDER, title=None, axis=alt.Axis(labelFontSize=13, labelColor=style.INK)),
            x=alt.X("p:Q", title="probability", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
            color=alt.Color("form:N", title=None, scale=style.forms(names), legend=alt.Legend(columns=3)),
            order="rank:Q",
            tooltip=["stage:N", "form:N", alt.Tooltip("p:Q", format=".1%")],
        )
    )
    says = f"Probability of the right answer in each form, for {', '.join(stages)}, of the question that was picked."
    return Figure(
        [Chart("said-forms", style.finish(bars, says, 150))],
        "How probable the right number is in each form; grey is the refusal, and pale everything else, wrong numbers "
        "among it. Fine-tuning teaches the forms; preferences move them.",
        "Exact, by scoring each right answer, its end included; nothing is sampled.",
        made_by=next(stage for stage in reversed(TALKING) if stage in asked[0].said),
    )


def _packed(asked: Sequence[Asked], names: Sequence[str]) -> dict[str, Any]:
    """Return everything that the picker shows, as the page's script reads it."""
    return {
        "forms": names,
        "called": [CALLED[stage] for stage in asked[0].said],
        "questions": [
            {
                "question": one.question,
                "expected": one.expected,
                "said": [
                    [answer.text, style.plain(answer.probability), answer.ended, answer.right, answer.formed]
                    for answer in one.said.values()
                ],
                "p": [[style.plain(answer.forms.get(name, 0.0), 3) for name in names] for answer in one.said.values()],
            }
            for one in asked
        ],
    }
