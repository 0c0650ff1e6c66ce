"""`nudge ask --steps`: the steps to an answer, each shown as soon as it is said, then the answer."""

import json
import math

from nudge import project
from nudge.cli.ask import encode
from nudge.config.data import DataConfig
from nudge.config.parsing import parse
from nudge.data import numbers, steps
from nudge.errors import UserError
from nudge.model import saved
from nudge.model.filtering import Settings
from nudge.model.writing import Limits, write
from nudge.training.reference import find


def work_out(question: str, reference: str | None, as_json: bool) -> None:
    """Print the steps that a model says, and the number that they come to.

    Args:
        question: "six times eight", "six times eight equals", or the whole question with its "step by step".
        reference: the model; None: the newest.
        as_json: one JSON document in place of lines.

    Raises:
        UserError: no such model, one that was trained without steps, or a question that it can't read.
    """
    place = find(reference)
    model = saved.load(place)
    phrases = steps.phrases_of(parse(DataConfig, model.config["data"]), project.root())
    if phrases is None:
        raise UserError(f"{place} was trained without steps; `nudge train experiment=worked_steps` trains with them")
    prompt = phrases.as_question(question)
    ids = encode(prompt, model)
    said = ""

    def hear(number: int, piece: str, is_over: bool) -> None:
        nonlocal said
        before, said = len(phrases.parts(said)), said + piece
        parts = phrases.parts(said)
        # A step is whole when the next one begins.
        for part in parts[max(before - 1, 0) : len(parts) if is_over else len(parts) - 1]:
            print(part, flush=True)

    limits = Limits(max_new=model.model.config.context + 1 - len(ids))
    text = write(
        model.model, model.tokenizer, [ids], Settings(temperature=0.0), limits, hear=None if as_json else hear
    )[0]
    answer = steps.final(text.text) if text.ended == "end" else None
    if as_json:
        told = {
            "prompt": prompt,
            "model": str(place),
            "answer": None if answer is None else numbers.words(answer),
            "steps": phrases.parts(text.text),
            "ended": text.ended,
            "probability": math.exp(text.log_probability),
        }
        print(json.dumps(told))
    elif answer is None:
        print("no answer: the model came to no end")
    else:
        print(f"= {numbers.words(answer)}")
