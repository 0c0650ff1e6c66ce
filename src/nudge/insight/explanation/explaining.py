"""Everything that can be said about one text and one model: surprise, blame, one nudge, attention, and the film."""

from dataclasses import dataclass
from pathlib import Path

from nudge import project
from nudge.config.data import DataConfig
from nudge.config.parsing import parse
from nudge.data import tokenizer
from nudge.data.steps import phrases_of
from nudge.errors import UserError
from nudge.insight.explanation import equations, filming, looking, nudging, surprise
from nudge.insight.explanation.equations import Equation
from nudge.insight.explanation.filming import Frame, Given
from nudge.insight.explanation.looking import Head
from nudge.insight.explanation.nudging import Blame, Nudge
from nudge.insight.explanation.surprise import Reading
from nudge.model import saved, snapshots
from nudge.model.generation import greedy
from nudge.model.saved import Saved, untrained


@dataclass(frozen=True)
class Explanation:
    """What a model made of one text.

    Attributes:
        text: the words.
        model: where the model is.
        inputs: the tokens that the model reads: the begin token and the words.
        equation: what the text says, if it is one of those that the model was trained on.
        given: what the model puts after the question; None if the text has none.
        surprising: the place, in `surprise.tokens`, of the token that surprises: in a wrong equation the first that
            is wrong, else the one with the largest surprisal.
        surprise, untrained: how the model reads it, and how it did before training.
        loss: what training would log for this text.
        counted_from: the place, in `surprise.tokens`, of the first token that training counts: 0, or the answer's.
        blame, nudge, attention: of the trained model.
        steps: the example at the run's snapshots; None if not asked for.
    """

    text: str
    model: str
    inputs: list[str]
    equation: Equation | None
    given: Given | None
    surprising: int
    surprise: Reading
    untrained: Reading
    loss: float
    counted_from: int
    blame: Blame
    nudge: Nudge
    attention: list[Head]
    steps: list[Frame] | None


def explain(text: str, place: Path, top: int, with_steps: bool) -> Explanation:
    """Explain what a model makes of a text.

    A text that asks without answering ("two plus three equals") is no whole document: its end is not predicted. One
    that asks for steps is explained with the steps that the model says.

    Args:
        text: words.
        place: a model folder, or a checkpoint.
        top: how many alternatives to name for each token.
        with_steps: whether to go through the snapshots in the model's folder.

    Raises:
        UserError: no such model, a text that it can't read, or no snapshots.
    """
    model = saved.load(place)
    text = _worked_out(text, model)
    equation = equations.read(text, model.config)
    ids = surprise.encode(text, model, whole=equation is None or equation.stated is not None)
    reading = surprise.read(model, ids, top)
    first = _first_target(model, equation)
    gradients, inputs_TD = nudging.gradients_of(model.model, ids, first)
    # The end token is predicted, never read.
    read = [token for token in ids if token != tokenizer.END_ID]
    nudge = nudging.nudge(model, ids, gradients, first)
    return Explanation(
        text=" ".join(text.split()),
        model=str(place),
        inputs=[surprise.name(model, token) for token in read],
        equation=equation,
        given=filming.answer(model, equation.question) if equation is not None else None,
        surprising=_surprising(reading, equation),
        surprise=reading,
        untrained=surprise.read(untrained(model), ids, top),
        loss=nudge.loss["before"],
        counted_from=first - 1,
        blame=nudging.blame_of(model, ids, gradients, inputs_TD),
        nudge=nudge,
        attention=looking.look(model, read),
        steps=_film(text, place, equation, model) if with_steps else None,
    )


def _worked_out(text: str, model: Saved) -> str:
    """Put the model's own steps after a question that asks for some."""
    phrases = phrases_of(parse(DataConfig, model.config["data"]), project.root())
    if phrases is None or not phrases.asks(text):
        return text
    prompt = tokenizer.prompt_ids(model.tokenizer, text)
    said = greedy(model.model, [prompt], tokenizer.END_ID)[0]
    return f"{text} {model.tokenizer.decode(list(said.ids))}" if said.ended else text


def _first_target(model: Saved, equation: Equation | None) -> int:
    """Return the first token that this model's training counts: of a fact, some runs count the answer alone."""
    on_answer = model.config["stage"].get("loss_on") == "answer"
    if not on_answer or equation is None or equation.stated is None:
        return 1
    return 1 + len(equation.question.split())


def _surprising(reading: Reading, equation: Equation | None) -> int:
    if equation is not None and equation.stated is not None and equation.right is not None and equation.is_wrong:
        stated, right = [*equation.stated.split(), ""], [*equation.right.split(), ""]
        agree = next(place for place, words in enumerate(zip(stated, right, strict=False)) if words[0] != words[1])
        return len(equation.question.split()) + agree
    surprisals = [token.surprisal for token in reading.tokens]
    return surprisals.index(max(surprisals))


def _film(text: str, place: Path, equation: Equation | None, model: Saved) -> list[Frame]:
    """Ask each snapshot for the right answer, else for the text's own; without a question, that is its last word."""
    if place.is_file():
        raise UserError(f"{place}: a checkpoint has no snapshots; name the model folder of its run, which holds them")
    question, _, expected = " ".join(text.split()).rpartition(" ")
    if equation is not None:
        question, expected = equation.question, equation.right or equation.stated or ""
    sayable = expected and model.tokenizer.get_vocab().keys() >= set(expected.split())
    return list(filming.film(snapshots.load_all(place), question, expected if sayable else None))
