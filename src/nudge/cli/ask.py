"""`nudge ask`: one question, the answer, how sure the model is, and what else it considered."""

import json
import math
import re
from typing import Any

from rich.console import Console
from rich.table import Table

from nudge.data import numbers, tokenizer
from nudge.data.arithmetic import OPERATIONS
from nudge.errors import UserError
from nudge.model import saved
from nudge.model.generation import greedy, most_probable
from nudge.training.reference import find


def ask(prompt: str, reference: str | None, top: int, as_json: bool) -> None:
    """Print the answers to a prompt.

    Raises:
        UserError: the model isn't there, or the prompt is empty, too long, or has words that the model doesn't know.
    """
    place = find(reference)
    model = saved.load(place)
    ids = encode(prompt, model)
    first = greedy(model.model, [ids], tokenizer.END_ID)[0]
    others = [answer for answer in most_probable(model.model, ids, top, tokenizer.END_ID) if answer.ids != first.ids]
    answers = [
        {"text": model.tokenizer.decode(list(answer.ids)), "probability": math.exp(answer.log_probability)}
        for answer in [first, *others][:top]
    ]
    if as_json:
        print(json.dumps({"prompt": prompt, "model": str(place), "answer": answers[0]["text"], "answers": answers}))
        return
    table = Table("answer", "probability", box=None, header_style="dim")
    for number, answer in enumerate(answers):
        table.add_row(str(answer["text"]), f"{answer['probability']:.2%}", style="bold" if number == 0 else "")
    Console().print(table)


def encode(prompt: str, model: saved.Saved) -> list[int]:
    """Turn a prompt into token ids that leave room for an answer.

    Raises:
        UserError: it is empty, too long, has unknown words, or operands that the model was not trained on.
    """
    if not prompt.strip():
        raise UserError('the prompt is empty; ask for example "two plus three equals"')
    tokenizer.check_known(model.tokenizer, prompt)
    _check_operands(prompt, model.config)
    ids = tokenizer.prompt_ids(model.tokenizer, prompt)
    if len(ids) >= (context := model.model.config.context):
        raise UserError(f"the prompt has {len(ids)} tokens; at most {context - 1} leave room for an answer")
    return ids


def _check_operands(prompt: str, made_by: dict[str, Any]) -> None:
    """Refuse sums beyond what a calculator was trained on: its answer would look like one and mean nothing."""
    limits = [source["max_operand"] for source in made_by["data"]["sources"].values() if source["kind"] == "facts"]
    asked = re.fullmatch(rf"(.+) (?:{'|'.join(OPERATIONS)}) (.+) equals", " ".join(prompt.split()))
    if not limits or asked is None:
        return
    for spoken in asked.groups():
        number = numbers.parse(spoken)
        if number is not None and number > max(limits):
            raise UserError(f"'{spoken}' is {number}; this model was trained on operands from 0 to {max(limits)}")
