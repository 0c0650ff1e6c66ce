"""What a person types: `nudge COMMAND`. Libraries are imported by the command that needs them, to start quickly."""

import io
import os
import sys
from pathlib import Path

import click

from nudge.errors import RunError, Stopped, UserError
from nudge.orphans import end_with_parent
from nudge.process import quick_imports


def run() -> None:
    """Run the command line; exit with 0 done, 1 failed, 2 wrong request, 130 interrupted, 143 told to stop."""
    end_with_parent()
    _speak_utf8()
    try:
        main(standalone_mode=False)
    except UserError as error:
        _leave(f"nudge: {error}", 2)
    except RunError as error:
        _leave(f"nudge: {error}", 1)
    except Stopped as stopped:
        _leave(f"nudge: {stopped.line}", 128 + stopped.signum)
    except click.ClickException as error:
        _leave(f"nudge: {error.format_message()}", 2)
    except (KeyboardInterrupt, click.Abort):
        _leave("nudge: interrupted", 130)


def _speak_utf8() -> None:
    """Take what was typed for UTF-8 whatever the locale is, and print what a terminal can't show as escapes."""
    sys.argv = [os.fsencode(argument).decode("utf-8", "surrogateescape") for argument in sys.argv]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _leave(line: str, code: int) -> None:
    print(" ".join(line.split("\n")), file=sys.stderr)
    sys.exit(code)


BEYOND = "When the context is full: end there, or go on from its newer half."


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="nudge")
def main() -> None:
    """Train a language model from random weights and keep the whole story of it."""


@main.command(
    add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def train(arguments: tuple[str, ...]) -> None:
    """Train one model: `nudge train [HYDRA OVERRIDES…]`, for example `nudge train optimizer=adamw seed=3`.

    With `--params FILE STAGE`, train what that file says for a stage of the pipeline; with `--config FILE`, what the
    `config.yaml` of another run says.
    """
    from nudge.cli import train as command

    command.train(list(arguments))


@main.command()
@click.argument("prompt")
@click.option("--model", "reference", help="Model folder, checkpoint, runs:/… or models:/…; default: models/pretrain.")
@click.option("--stage", "stages", multiple=True, help="base, finetuned, rlhf or pretrain; repeat it to compare.")
@click.option("--top", default=3, show_default=True, type=click.IntRange(1, 100), help="How many answers to show.")
@click.option("--steps", "with_steps", is_flag=True, help="Have the answer worked out, step by step.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def ask(prompt: str, reference: str | None, stages: tuple[str, ...], top: int, with_steps: bool, as_json: bool) -> None:
    """Answer a question: `nudge ask "two plus three equals"`.

    Side by side: `nudge ask "what is two plus three ?" --stage base --stage finetuned --stage rlhf`.
    """
    with quick_imports():
        from nudge.cli import ask as command
        from nudge.cli import working

    if with_steps:
        if stages:
            raise UserError("--steps shows one model's answer, and --stage several; name the model with --model")
        working.work_out(prompt, reference, as_json)
        return
    command.ask(prompt, reference, list(stages), top, as_json)


@main.command()
@click.argument("prompts", metavar="PROMPT…", nargs=-1)
@click.option("--model", "reference", help="Model folder, checkpoint, runs:/… or models:/…; default: the newest model.")
@click.option("--file", "file", type=click.Path(path_type=Path), help="More prompts, one a line.")
@click.option("--max-new", default=256, show_default=True, type=click.IntRange(1), help="Tokens of a text at most.")
@click.option("--temperature", default=1.0, show_default=True, help="Below 1 surer, above 1 bolder, 0 most probable.")
@click.option("--top-k", type=click.IntRange(1), help="Draw among the K most probable tokens.")
@click.option("--top-p", default=1.0, show_default=True, help="Draw among the fewest that have probability P together.")
@click.option("--min-p", default=0.0, show_default=True, help="Draw among those with P times the best's probability.")
@click.option("--repetition-penalty", default=1.0, show_default=True, help="Above 1: rather new tokens.")
@click.option("--stop", "stops", multiple=True, help="End before this text; may be repeated.")
@click.option("--beyond", default="stop", show_default=True, type=click.Choice(["stop", "slide"]), help=BEYOND)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Another one draws other texts.")
@click.option("--count", default=1, show_default=True, type=click.IntRange(1), help="Texts of each prompt.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def generate(
    prompts: tuple[str, ...],
    reference: str | None,
    file: Path | None,
    max_new: int,
    temperature: float,
    top_k: int | None,
    top_p: float,
    min_p: float,
    repetition_penalty: float,
    stops: tuple[str, ...],
    beyond: str,
    seed: int,
    count: int,
    as_json: bool,
) -> None:
    """Go on with text: `nudge generate "forty two plus"`; a PROMPT of - is read from stdin."""
    from nudge.cli import generate as command
    from nudge.model.filtering import Settings
    from nudge.model.writing import Limits

    settings = Settings(temperature, top_k, top_p, min_p, repetition_penalty)
    limits = Limits(max_new, stops, beyond == "slide")
    command.generate(list(prompts), file, reference, settings, limits, seed, count, as_json)


@main.command()
@click.argument("text")
@click.option("--model", "reference", help="Model folder, checkpoint, runs:/… or models:/…; default: the newest model.")
@click.option("--top", default=3, show_default=True, type=click.IntRange(1, 100), help="How many alternatives to show.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--steps", "with_steps", is_flag=True, help="Show the same text at the snapshots of the run.")
def explain(text: str, reference: str | None, top: int, as_json: bool, with_steps: bool) -> None:
    """Show surprise, blame, one nudge and attention: `nudge explain "two plus three equals five"`."""
    with quick_imports():
        from nudge.cli import explain as command

    command.explain(text, reference, top, as_json, with_steps)


@main.command()
@click.argument("reference", metavar="MODEL")
@click.option("--into", type=click.Path(path_type=Path, file_okay=False), help="Folder to write; default: reports/.")
def grokking(reference: str, into: Path | None) -> None:
    """Follow a model of `experiment=grokking` from learning by heart to understanding: a table and a picture."""
    with quick_imports():
        from nudge.cli import grokking as command

    command.grokking(reference, into)


@main.command()
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="Default: 5000, or a free one if that is taken.")
def ui(port: int) -> None:
    """Open the MLflow UI over the project's own store, on this machine alone."""
    from nudge.cli import ui as command

    command.ui(port)


@main.command()
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
def sync(folders: tuple[Path, ...]) -> None:
    """Send what runs could not send to MLflow: `nudge sync [RUN_DIR…]`; default: all under outputs/."""
    with quick_imports():
        from nudge.cli import sync as command

    command.sync(list(folders))


@main.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def lineage(path: Path, as_json: bool) -> None:
    """Name the run that made a file: `nudge lineage models/pretrain`."""
    with quick_imports():
        from nudge.cli import lineage as command

    command.lineage(path, as_json)


@main.command()
@click.argument("overrides", nargs=-1)
@click.option(
    "--measure/--no-measure", default=True, help="Train for some seconds, to say how long the run takes here."
)
@click.option("--on", "names", default="a100,h100,h200", show_default=True, help="Accelerators, with commas between.")
@click.option("--mfu", default=0.4, show_default=True, help="Share of an accelerator's peak that training reaches.")
@click.option("--price", default=2.0, show_default=True, help="Assumed dollars for an hour of one accelerator.")
@click.option("--carbon", default=400.0, show_default=True, help="Assumed grams of CO2 for a kilowatt-hour.")
@click.option("--compare", "model", help="A published model by the same formula: gpt3, palm, llama, … or all.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def compute(
    overrides: tuple[str, ...],
    measure: bool,
    names: str,
    mfu: float,
    price: float,
    carbon: float,
    model: str | None,
    as_json: bool,
) -> None:
    """Say what a run costs before it: `nudge compute [HYDRA OVERRIDES…]`, the same as for `nudge train`.

    With --compare: what published models took instead, by the same formula and as their papers say.
    """
    from nudge.cli import compute as command

    if model is not None:
        command.compare(model, list(overrides), as_json)
    else:
        command.compute(list(overrides), measure, names, (mfu, price, carbon), as_json)


@main.command()
@click.argument("name")
@click.option("--seeds", help="As in 0,1,2; default: the study's own.")
@click.option("--quick", is_flag=True, help="Tiny models, a few steps: does everything run? The figures say nothing.")
@click.option("--jobs", default=2, show_default=True, type=click.IntRange(1, 64), help="Runs at a time, a core each.")
def study(name: str, seeds: str | None, quick: bool, jobs: int) -> None:
    """Run many runs for one question: `nudge study rlhf_question`; what is done is not done again."""
    from nudge.cli import study as command

    command.study(name, seeds, quick, jobs)


@main.group()
def rate() -> None:
    """Let people say which of two answers is better: push pairs, rate them in MLflow's UI, pull the ratings."""


@rate.command()
@click.option("--count", default=20, show_default=True, type=click.IntRange(1, 1000), help="How many pairs to sample.")
@click.option("--model", "reference", help="Model folder, checkpoint, runs:/… or models:/…; default: models/finetune.")
@click.option("--pairs", type=click.Path(path_type=Path), help="File of pairs to push instead of sampling them.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Another one samples other pairs.")
@click.option("--url", help="Address of the MLflow server, as `nudge ui` prints it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def push(count: int, reference: str | None, pairs: Path | None, seed: int, url: str | None, as_json: bool) -> None:
    """Put pairs of answers into the review queue of MLflow's UI."""
    with quick_imports():
        from nudge.cli import rate as command

    command.push(count, reference, pairs, seed, url, as_json)


@rate.command()
@click.option("--rater", help="Your name, for a server without accounts; it calls everybody 'default'.")
@click.option("--dvc", "with_dvc", is_flag=True, help="Pin the ratings with `dvc add data`.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def pull(rater: str | None, with_dvc: bool, as_json: bool) -> None:
    """Bring what people answered in the review queue into data/ratings.jsonl."""
    with quick_imports():
        from nudge.cli import rate as command

    command.pull(rater, with_dvc, as_json)


@rate.command()
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def agreement(path: Path | None, as_json: bool) -> None:
    """Compare each two raters of a file, by default of all ratings that the pipeline has."""
    with quick_imports():
        from nudge.cli import rate as command

    command.agreement(path, as_json)


CORPUS = click.argument("name", metavar="[CORPUS]", required=False)  # "mixture"; none is the calculator's


@main.command(short_help="Pipeline stage: conf/ → params.yaml.")
def compose() -> None:
    """Write the effective configuration of each stage to params.yaml."""
    from nudge.cli import stages

    stages.compose()


@main.command(short_help="Pipeline stage: data/ → corpus/raw.")
@CORPUS
def documents(name: str | None) -> None:
    """Write each source's documents."""
    from nudge.cli import stages

    stages.documents(name)


@main.command(short_help="Pipeline stage: corpus/raw → corpus/curated.")
@CORPUS
def curate(name: str | None) -> None:
    """Check the documents, drop duplicates, and split them by family."""
    from nudge.cli import stages

    stages.curate(name)


@main.command(short_help="Pipeline stage: corpus/curated → corpus/tokens.")
@CORPUS
def tokenize(name: str | None) -> None:
    """Learn the tokenizer and encode the documents."""
    from nudge.cli import stages

    stages.tokenize(name)


@main.command(short_help="Pipeline stage: corpus/mixture → reports/curation_mixture.json.")
def curation() -> None:
    """Measure how much of what was planted the filters found."""
    from nudge.cli import stages

    stages.curation()


@main.command(short_help="Pipeline stage: models/ → reports/.")
def evaluate() -> None:
    """Score the models on documents that they have and have not seen."""
    from nudge.cli import stages

    stages.evaluate()


@main.command(short_help="Pipeline stage: models/ → reports/memory.json.")
def memory() -> None:
    """Measure what was understood and what was learned by heart."""
    from nudge.cli import stages

    stages.memory()


@main.command(short_help="Pipeline stage: models/pretrain → reports/insight.json.")
@click.option("--model", "reference", help="Model folder, runs:/… or models:/…; default: models/pretrain.")
@click.option("--into", type=click.Path(path_type=Path, file_okay=False), help="Folder to write; default: reports/.")
def insight(reference: str | None, into: Path | None) -> None:
    """Test four hypotheses on what a model learned, with interventions and controls."""
    from nudge.cli import stages

    stages.insight(reference, into)


@main.command(short_help="Pipeline stage: models/finetune → corpus/preferences.")
def preferences() -> None:
    """Sample pairs of answers, and rate them by simulated raters and by people."""
    from nudge.cli import stages

    stages.preferences()


@main.command(short_help="Pipeline stage: reports/ → reports/nudge.html.")
def report() -> None:
    """Tell the whole story on one page."""
    from nudge.cli import stages

    stages.report()


if __name__ == "__main__":
    run()
