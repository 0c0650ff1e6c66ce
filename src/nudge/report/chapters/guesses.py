"""Chapter: what random weights say."""

import math
from typing import Any

import altair as alt
import torch

from nudge.data.tokenizer import END_ID, check_known, prompt_ids
from nudge.errors import UserError
from nudge.model.generation import greedy
from nudge.model.saved import Saved
from nudge.report import style
from nudge.report.chapter import Chapter, Chart, Figure, Missing, Table
from nudge.report.evidence import Evidence

LONGEST_ANSWER = 8  # tokens: an untrained model doesn't stop by itself
SHOWN = 40  # words of the distribution


def chapter(evidence: Evidence) -> Chapter:
    """Show the first guesses, how even they are, and what became of them."""
    vocabulary = evidence.untrained.model.vocabulary
    loss = (evidence.metrics or {}).get("before", {}).get("loss")
    return Chapter(
        "Random guesses: before anything is learned",
        "guesses",
        {"samples": _samples(evidence), "first": _first(evidence)},
        {
            "vocabulary": vocabulary,
            "uniform": math.log(vocabulary),
            "loss": loss,
            "weights": sum(weight.numel() for weight in evidence.saved.model.parameters()),
            "before": _share(evidence, "before"),
            "after": _share(evidence, "test"),
        },
    )


def _share(evidence: Evidence, which: str) -> float | None:
    share: float | None = (evidence.metrics or {}).get(which, {}).get("exact_match")
    return share


def _samples(evidence: Evidence) -> Figure | Missing:
    """Answer the sample prompts before, in the middle of, and after training."""
    prompts = [
        prompt for prompt in evidence.saved.config["callbacks"]["samples"]["prompts"] if _known(evidence, prompt)
    ]
    if not prompts:
        return Missing("not shown: no sample prompt (callbacks.samples.prompts) can be said in the model's words.")
    stages = [(0, evidence.untrained), *_middle(evidence.snapshots), (None, evidence.saved)]
    columns = ["before training", *(f"after {step:,} steps" for step, _ in stages[1:-1]), "after training"]
    answers = [_answers(model, prompts) for _, model in stages]
    return Figure(
        [],
        "The same questions, asked of random weights and of trained ones.",
        "Greedy decoding: the most probable word, one after the other, until the model ends the sentence or has said "
        f"{LONGEST_ANSWER} words.",
        table=Table(["question", *columns], [list(row) for row in zip(prompts, *answers, strict=True)]),
    )


def _known(evidence: Evidence, prompt: str) -> bool:
    try:
        check_known(evidence.saved.tokenizer, prompt)
    except UserError:
        return False
    return True


def _middle(snapshots: list[tuple[int, Saved]]) -> list[tuple[int, Saved]]:
    """Pick two snapshots between the first and the last: at a half and at three quarters of the film."""
    inner = snapshots[1:-1]
    return [inner[len(inner) // 2], inner[3 * len(inner) // 4]] if len(inner) > 3 else []


def _answers(model: Saved, prompts: list[str]) -> list[str]:
    given = greedy(model.model, [prompt_ids(model.tokenizer, one) for one in prompts], END_ID, LONGEST_ANSWER)
    said = [model.tokenizer.decode(list(answer.ids), skip_special_tokens=False) for answer in given]
    return [
        (text if answer.ended else text + " …") if text else "(nothing)"
        for text, answer in zip(said, given, strict=True)
    ]


@torch.inference_mode()
def _first(evidence: Evidence) -> Figure | Missing:
    """Show the distribution over the word after the example's question, before and after training."""
    if evidence.example is None:
        return Missing("not drawn: the corpus asks no questions.")
    prompt = str(evidence.facts.loc[evidence.facts["text"] == evidence.example, "prompt"].iloc[0])
    tokens_BT = torch.tensor([prompt_ids(evidence.saved.tokenizer, prompt)])
    rows: list[dict[str, Any]] = []
    tops = {}
    for when, model in (("before training", evidence.untrained), ("after training", evidence.saved)):
        p_V = model.model(tokens_BT)[0, -1].softmax(-1)
        words = [model.tokenizer.id_to_token(number) for number in range(len(p_V))]
        rows += [{"word": word, "p": p, "when": when} for word, p in zip(words, p_V.tolist(), strict=True)]
        tops[when] = (words[int(p_V.argmax())], float(p_V.max()))
    rows = [row for row in rows if row["word"] in words[:SHOWN]]
    even = 1 / evidence.saved.model.vocabulary
    charts = []
    for when, (word, p) in tops.items():
        base = alt.Chart(style.data([row for row in rows if row["when"] == when], 3))
        bars = base.mark_bar(color=style.BEFORE if when.startswith("before") else style.AFTER).encode(
            x=alt.X("word:N", sort=None, title=None, axis=alt.Axis(labelAngle=-60, labelOverlap=True)),
            y=alt.Y("p:Q", title="probability", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%")),
            tooltip=["word:N", alt.Tooltip("p:Q", format=".3%")],
        )
        line = alt.Chart(style.data([{"even": even}])).mark_rule(strokeDash=[4, 4]).encode(y="even:Q")
        said = f"Probability of each word after “{prompt}”, {when}: highest is “{word}” with {p:.1%}."
        charts.append(Chart(f"first-{when.split()[0]}", style.finish(bars + line, said, 210), when))
    before, after = tops["before training"], tops["after training"]
    return Figure(
        charts,
        f"Before training no word after “{prompt}” stands out (the best, “{before[0]}”, has {before[1]:.1%}; an even "
        f"guess would be {even:.1%}, the dashed line); after it “{after[0]}” has {after[1]:.1%}.",
        "The model's own probabilities for the next word, from the weights before the first and after the last step.",
        narrow=340,
    )
