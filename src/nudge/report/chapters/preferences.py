"""Chapter: what raters prefer, a model of their taste, and an assistant that learns to please that model."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from nudge.data.raters import COIN, SLIP
from nudge.data.ratings import Rating
from nudge.report import style
from nudge.report.chain import Chain
from nudge.report.chapter import Chapter, Chart, Figure, Missing, Table
from nudge.report.chapters import reinforcement
from nudge.report.evidence import Evidence
from nudge.report.spans import PERCENT, spans

EXAMPLES = 2  # rated pairs that are shown
WHY = {
    "right": "that answer is right, the other is not",
    "form": "it has the asked form",
    "short": "it is shorter",
    "polite": "it is more polite",
    SLIP: "a slip: this rater says the opposite of its rubric as often as it is told",
    COIN: "neither is better by the rubric; it tossed a coin",
}


def chapter(evidence: Evidence) -> Chapter:
    """Show raters' choices and agreement, the reward model against its ceiling, and the run that it steered."""
    chain = evidence.chain
    return Chapter(
        "Preferences: what raters like",
        "preferences",
        {
            "raters": _raters(chain),
            "agreement": _agreement(chain),
            "reward": _reward(chain),
            "calibration": _calibration(chain),
            "ceilings": chain.of_study("reward_ceiling", _ceilings),
            **reinforcement.curves(chain),
        },
        {
            "examples": _examples(chain),
            "pairs": None if chain.preferences is None else chain.preferences["pairs"].get("train"),
            "people": _people(chain),
            "algorithm": reinforcement.algorithm(chain),
        },
        made_by=[name for name in ("finetune", "reward", "rlhf", "reward_ceiling") if name in evidence.made],
    )


def _people(chain: Chain) -> list[str]:
    rows = [] if chain.preferences is None else chain.preferences["raters"]
    return sorted({row["rater"] for row in rows if row["kind"] == "person"})


def _examples(chain: Chain) -> list[dict[str, Any]]:
    """Return rated pairs: people's first, then a simulated rating for each of several reasons."""
    shown: list[Rating] = []
    for one in chain.rated:
        if one.pair not in [other.pair for other in shown] and one.why not in [COIN, *(other.why for other in shown)]:
            shown.append(one)
        if len(shown) == EXAMPLES:
            break
    return [{**one.model_dump(), "says": WHY.get(one.why, one.why) if one.simulated else one.why} for one in shown]


def _raters(chain: Chain) -> Figure | Missing:
    """Tell who rated how much, and why they chose."""
    told = chain.preferences
    if told is None:
        return Missing(chain.why["preferences"])
    rows = [row for row in told["raters"] if row["split"] == "train"] or told["raters"]
    whys = [name for name in (*WHY, "other") if any(name in row["why"] for row in rows)]
    whys += sorted({name for row in rows for name in row["why"]} - set(whys))
    records = [
        {"rater": row["rater"], "why": name, "share": row["why"].get(name, 0) / row["count"], "rank": rank}
        for row in rows
        for rank, name in enumerate(whys)
    ]
    colours = {SLIP: "var(--no)", COIN: style.SERIES[6]}
    scale = alt.Scale(
        domain=whys, range=[colours.get(name, style.SERIES[place % 6]) for place, name in enumerate(whys)]
    )
    bars = (
        alt.Chart(style.data(records))
        .mark_bar(height={"band": 0.7})
        .encode(
            y=alt.Y("rater:N", sort=None, title=None, axis=alt.Axis(labelFontSize=12, labelColor=style.INK)),
            x=alt.X("share:Q", title="of the choices", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
            color=alt.Color("why:N", title="decided by", scale=scale, legend=alt.Legend(columns=3)),
            order="rank:Q",
            tooltip=["rater:N", "why:N", alt.Tooltip("share:Q", format=".1%")],
        )
    )
    simulated = [row for row in rows if row["kind"] == "simulated"]
    people = [row for row in rows if row["kind"] == "person"]
    counts = f"{sum(row['count'] for row in simulated):,} ratings are by {len(simulated)} simulated raters"
    counts += (
        f", {sum(row['count'] for row in people):,} by {len(people)} people."
        if people
        else "; nobody has rated a pair yet (“nudge rate push” asks a person)."
    )
    table = [
        [row["rater"], row["kind"], row["flip_rate"], row["split"], row["count"], row["ceiling"]]
        for row in told["raters"]
    ]
    return Figure(
        [Chart("raters", style.finish(bars, f"Why each rater chose. {counts}", 110 + 26 * len(rows)))],
        f"{counts} Simulated raters choose by the written rubric and slip at a known rate.",
        "Counted in corpus/preferences/ratings.jsonl, where each row says whether it is simulated.",
        made_by="finetune",
        table=Table(["rater", "kind", "flip rate", "split", "ratings", "at most foreseeable"], table),
    )


def _agreement(chain: Chain) -> Figure | Missing:
    """Tell how often two raters choose the same."""
    told = chain.preferences
    if told is None:
        return Missing(chain.why["preferences"])
    rows = told["agreement"]
    if not rows:
        return Missing("not measured: no two raters have rated the same pair.")
    records = [
        {"two": _two(row["one"], row["other"]), **{k: row[k] for k in ("share", "low", "high", "count")}}
        for row in rows
    ]
    best = max(rows, key=lambda row: row["share"])
    worst = min(rows, key=lambda row: row["share"])
    both = f"{best['one']} and {best['other']} say the same in {best['share']:.0%} of pairs"
    if best is not worst:
        both += f", {worst['one']} and {worst['other']} in {worst['share']:.0%}"
    chart = spans(records, "two", "same choice", 0.5)
    columns = ["one", "other", "share", "low", "high", "kappa", "count"]
    return Figure(
        [Chart("agreement", style.finish(chart, f"Agreement of each two raters: {both}.", 60 + 34 * len(rows)))],
        f"Nobody can foresee what raters do not agree on: {both}.",
        "The share of pairs that both rated alike, with Wilson's 95 % interval; kappa is agreement above chance.",
        made_by="finetune",
        table=Table(
            ["one", "other", "agree", "from", "to", "kappa", "pairs"], [[row[k] for k in columns] for row in rows]
        ),
    )


def _two(one: str, other: str) -> str:
    """Name two raters in little room."""
    prefix = "simulated-"
    both = one.startswith(prefix) and other.startswith(prefix)
    return f"{one} and {other.removeprefix(prefix)}" if both else f"{one} and {other}"


def _reward(chain: Chain) -> Figure | Missing:
    """Draw the reward model's accuracy on held-out pairs beside what can be reached."""
    test = chain.test("reward")
    if test is None:
        return Missing(chain.lacks("reward"))
    rows = [row for row in test["raters"] if row["share"] is not None]
    if not rows:
        return Missing("not measured: the reward model's ratings have no held-out pairs.")
    chart = _beside_ceilings(rows)
    said = "; ".join(
        f"{row['rater']} {row['share']:.1%}"
        + (f", {row['of_ceiling']:.1%} of its ceiling" if row["of_ceiling"] is not None else "")
        for row in rows
    )
    return Figure(
        [
            Chart(
                "reward",
                style.finish(chart, f"The reward model's accuracy: {said}.", 60 + 40 * len(rows)),
            )
        ],
        f"The reward model learned from {_learned_from(chain)}, and is compared with each: {said}. The red "
        "tick is the ceiling: nobody can foresee a slip or a coin.",
        "Pairs to questions of held-out families; Wilson's 95 % intervals. People have no known ceiling.",
        made_by="reward",
        table=Table(
            ["rater", "flip rate", "chosen alike", "from", "to", "ceiling", "of the ceiling", "pairs"],
            [
                [row[k] for k in ("rater", "flip_rate", "share", "low", "high", "ceiling", "of_ceiling", "count")]
                for row in rows
            ],
        ),
    )


def _beside_ceilings(rows: Sequence[Mapping[str, Any]]) -> alt.LayerChart:
    """Draw how often each `rater`'s choice was foretold, with a tick where nobody could do better."""
    columns = ("rater", "share", "low", "high", "count")
    chart = spans([{key: row[key] for key in columns} for row in rows], "rater", "chooses as the rater does", 0.4)
    known = [{"rater": row["rater"], "ceiling": row["ceiling"]} for row in rows if row["ceiling"] is not None]
    if known:
        chart += (
            alt.Chart(style.data(known))
            .mark_tick(thickness=3, size=22, color="var(--no)")
            .encode(
                y=alt.Y("rater:N", sort=None),
                x=alt.X("ceiling:Q", title="chooses as the rater does"),
                tooltip=["rater:N", alt.Tooltip("ceiling:Q", format=".1%")],
            )
        )
    return chart


def _ceilings(told: Mapping[str, Any]) -> Figure:
    """Draw how near reward models come to their ceilings, one for each rate of slips."""
    rows = told["flip_rates"]
    chart = _beside_ceilings([row["own"] | {"rater": row["trained_on"]} for row in rows])
    said = "; ".join(
        f"{row['flip_rate']:.0%} slips: {row['own']['of_ceiling']['mean']:.1%} of the ceiling, and "
        f"{row['without_slips']['share']:.1%} of the choices of a rater who never slips"
        for row in rows
    )
    return Figure(
        [Chart("ceilings", style.finish(chart, f"Part of the ceiling by rate of slips: {said}.", 60 + 40 * len(rows)))],
        f"Trained on one rater each, {len(told['seeds'])} seeds: {said}.",
        "Each is compared with its own rater, on held-out pairs of all seeds; more than the ceiling is luck. Wilson's "
        "95 % intervals.",
        made_by="reward_ceiling",
        table=Table(
            [
                "trained on",
                "chosen alike",
                "ceiling",
                "of the ceiling",
                "from",
                "to",
                "alike with who never slips",
                "pairs",
            ],
            [
                [
                    row["trained_on"],
                    row["own"]["share"],
                    row["own"]["ceiling"],
                    *(row["own"]["of_ceiling"][key] for key in ("mean", "low", "high")),
                    row["without_slips"]["share"],
                    row["own"]["count"],
                ]
                for row in rows
            ],
        ),
    )


def _learned_from(chain: Chain) -> str:
    names = (chain.reward_config or {}).get("stage", {}).get("raters", [])
    return " and ".join(names) or "its raters"


def _calibration(chain: Chain) -> Figure | Missing:
    """Draw how often the reward model's favourite is chosen, by how sure it is."""
    test = chain.test("reward")
    if test is None:
        return Missing(chain.lacks("reward"))
    told: Sequence[Mapping[str, Any]] = test["calibration"]
    if not told:
        return Missing("not measured: the reward model's ratings have no held-out pairs.")
    half = alt.Scale(domain=[0.5, 1])
    diagonal = alt.Chart(style.data([{"at": 0.5}, {"at": 1}])).mark_line(strokeDash=[4, 4], color=style.MUTED)
    points = (
        alt.Chart(style.data(told))
        .mark_point()
        .encode(
            x=alt.X("predicted:Q", title="how sure it is", axis=PERCENT, scale=half),
            y=alt.Y("chosen:Q", title="chosen indeed", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
            size=alt.Size("count:Q", title="pairs", legend=None, scale=alt.Scale(range=[30, 400])),
            tooltip=[alt.Tooltip("predicted:Q", format=".1%"), alt.Tooltip("chosen:Q", format=".1%"), "count:Q"],
        )
    )
    most = max(told, key=lambda row: row["predicted"])
    says = f"Where it is {most['predicted']:.0%} sure, its favourite is chosen in {most['chosen']:.0%} of pairs."
    return Figure(
        [
            Chart(
                "calibration",
                style.finish(
                    diagonal.encode(x="at:Q", y="at:Q") + points, f"Calibration of the reward model. {says}", 230
                ),
            )
        ],
        f"{says} On the dashed line it would be exactly as sure as it should.",
        "The chance that it gives to the answer it prefers, σ of the difference of the scores, against how often its "
        "rater chose that; the larger a point, the more pairs.",
        made_by="reward",
        table=Table(
            ["from", "to", "pairs", "how sure", "chosen"],
            [[row[k] for k in ("from", "to", "count", "predicted", "chosen")] for row in told],
        ),
    )
