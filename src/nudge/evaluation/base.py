"""What a base model makes of questions: which kind of text it goes on with, and whether examples help it to answer."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import Pipeline, make_pipeline

from nudge.data import chat, numbers
from nudge.data.chat import Assistant
from nudge.data.split import uniform
from nudge.data.tokenizer import END_ID, prompt_ids
from nudge.evaluation import intervals
from nudge.model import sampling
from nudge.model.sampling import greedy
from nudge.model.saved import Saved

SHOTS = (0, 1, 3)  # worked examples before the question; more leave no room for an answer
QUESTIONS = 200  # the interval of a share is then at most ±7 points
LONGEST = 24  # tokens of an answer

Row = dict[str, Any]


def first_number(text: str) -> int | None:
    """Return the first whole number that a text says: its first run of number words; None if that run is no number."""
    run: list[str] = []
    for word in text.split():
        if word in numbers.NUMBER_WORDS:
            run.append(word)
        elif run:
            break
    return numbers.parse(" ".join(run)) if run else None


def asked(saved: Saved, assistant: Assistant, rows: Sequence[Row], examples: Sequence[Row], seed: int = 0) -> list[Row]:
    """Ask questions of facts with more and more worked examples before them, in plain words and in chat form.

    Args:
        rows: facts to ask; the first `QUESTIONS` in an order that the seed draws.
        examples: facts of training.

    Returns:
        for each form of question and count of examples `{"question", "shots", "count", "right", "share", "low",
        "high"}`: whether the first number that follows is the right one. Left out is what has no room in the context.
    """
    chosen = _drawn(rows, f"{seed}:asked")[:QUESTIONS]
    shown = _drawn(examples, f"{seed}:shown")
    table = []
    for template in (*assistant.questions, chat.prompt_of(assistant.questions[0])):
        for shots in SHOTS:
            prompts = []
            for number, row in enumerate(chosen):
                before = [shown[(number * max(SHOTS) + shot) % len(shown)] for shot in range(shots)]
                worked = [f"{assistant.say(template, one)} {numbers.words(one['answer'])} ." for one in before]
                prompts.append(" ".join([*worked, assistant.say(template, row)]))
            if max(len(prompt_ids(saved.tokenizer, prompt)) for prompt in prompts) > saved.model.config.context:
                continue
            right = sum(
                first_number(text) == row["answer"]
                for text, row in zip(_continued(saved, prompts), chosen, strict=True)
            )
            table.append({"question": template, "shots": shots, **intervals.share(right, len(chosen))})
    return table


def styles(saved: Saved, documents: Sequence[Row], rows: Sequence[Row], seed: int = 0) -> Row:
    """Say which kinds of text a model goes on with after the bare words of a question, "two plus three".

    The kind is told by a naive Bayes classifier of words, trained on the documents of the corpus.

    Args:
        documents: of training, with their sources.
        rows: facts to begin with.

    Returns:
        `{"classifier": share of documents that it tells right, "share": {source: share}, "entropy": in nats}`.
    """
    told = _drawn(documents, f"{seed}:told")[:6000]
    half = len(told) // 2
    classifier = _classifier(told[:half])
    right = classifier.predict([row["text"] for row in told[half:]]) == [row["source"] for row in told[half:]]
    chosen = _drawn(rows, f"{seed}:styles")[:QUESTIONS]
    beginnings = [f"{numbers.words(row['left'])} {row['operation']} {numbers.words(row['right'])}" for row in chosen]
    prompts = [prompt_ids(saved.tokenizer, text) for text in beginnings]
    uniform_BN = sampling.uniform(len(prompts), LONGEST, torch.Generator().manual_seed(seed))
    found = sampling.sample(saved.model, prompts, END_ID, uniform_BN).answers(END_ID)
    texts = [f"{text} {saved.tokenizer.decode(ids)}" for text, ids in zip(beginnings, found, strict=True)]
    kinds, counts = np.unique(classifier.predict(texts), return_counts=True)
    share = counts / counts.sum()
    return {
        "classifier": intervals.share(int(right.sum()), len(right)),
        "share": dict(zip(kinds.tolist(), share.tolist(), strict=True)),
        "entropy": float(-(share * np.log(share)).sum()),
        "examples": texts[:12],
    }


def _classifier(told: Sequence[Row]) -> Pipeline:
    words = CountVectorizer(token_pattern=r"\S+", ngram_range=(1, 2), binary=True)
    return make_pipeline(words, MultinomialNB()).fit([row["text"] for row in told], [row["source"] for row in told])


def _continued(saved: Saved, prompts: list[str]) -> list[str]:
    found = greedy(saved.model, [prompt_ids(saved.tokenizer, prompt) for prompt in prompts], END_ID, LONGEST)
    return [re.sub(r"\s+", " ", saved.tokenizer.decode(list(one.ids))) for one in found]


def _drawn(rows: Sequence[Row], key: str) -> list[Row]:
    return sorted(rows, key=lambda row: uniform(f"{key}:{row['text']}"))
