"""MLflow's review queue as the place where people rate: pairs go in as traces, choices come back as ratings."""

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

# First: it keeps MLflow from reporting anything to anybody.
from nudge.training.tracking import store  # isort: split

import mlflow
from mlflow.entities import Assessment, AssessmentSourceType, Trace
from mlflow.exceptions import MlflowException
from mlflow.genai import label_schemas, review_queues
from mlflow.genai.label_schemas import InputCategorical
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.tracking import MlflowClient

from nudge.data.ratings import REASONS, Pair, Rating
from nudge.errors import RunError

EXPERIMENT = "preferences"
QUEUE = "which answer is better"
PAIR = "nudge.pair"  # tag of a trace: the name of the pair that it shows
BETTER, WHY = "better", "why"  # the two questions of the queue
TIE = "tie"
# MLflow shows an experiment of this kind with its pages for traces, the review queue among them.
KIND = {"mlflow.experimentKind": "genai_development"}
# MLflow shows the question that was made last first.
QUESTIONS = {
    WHY: ("What decided? Right; in the form that was asked for; short; polite.", list(REASONS)),
    BETTER: ("Which answer would you rather get? A tie is left out.", ["A", "B", TIE]),
}
PAGE = 100  # traces or items that are asked for at once

logging.getLogger("mlflow.tracing").setLevel(logging.ERROR)


class Pushed(NamedTuple):
    """What pushing did: how many pairs are new in the queue, how many were there already, and the queue's page."""

    new: int
    known: int
    page: str


class Pulled(NamedTuple):
    """What people said: ratings, and how many pairs were left out because of a tie or because they are unfinished."""

    ratings: list[Rating]
    ties: int
    unfinished: int


def push(pairs: Sequence[Pair]) -> Pushed:
    """Put pairs into the review queue of the store that runs go to; those that are there already stay as they are.

    Raises:
        RunError: the store did not keep a pair.
    """
    client = _client()
    experiment = store.experiment_id(client, EXPERIMENT, kind=KIND)
    queue = _queue(experiment)
    before = {trace.info.tags[PAIR]: trace.info.trace_id for trace in _traces(client, experiment, whole=False)}
    new = list({one.pair: one for one in pairs if one.pair not in before}.values())
    for one in new:
        span = mlflow.start_span_no_context(
            f"{one.prompt} [{one.pair}]",
            inputs={"prompt": one.prompt},
            tags={PAIR: one.pair},
            experiment_id=experiment,
        )
        span.set_outputs({"A": one.A, "B": one.B})
        span.end()
    mlflow.flush_trace_async_logging()
    # MLflow logs what goes wrong when it writes a trace, and goes on.
    traces = {trace.info.tags[PAIR]: trace.info.trace_id for trace in _traces(client, experiment, whole=False)}
    if lost := [one.pair for one in new if one.pair not in traces]:
        raise RunError(f"MLflow store {store.shown(store.uri())}: kept all but {len(lost)} pairs; push them again")
    items = [traces[one.pair] for one in pairs]
    for start in range(0, len(items), PAGE):
        review_queues.add_items_to_review_queue(queue, item_ids=items[start : start + PAGE])
    page = f"/#/experiments/{experiment}/review-queue?workflowType=genai&selectedQueueId={queue}"
    return Pushed(len(new), len({one.pair for one in pairs}) - len(new), page)


def pull(rater: str | None = None) -> Pulled:
    """Read what people answered in the queue.

    Args:
        rater: what to call people whom a server without accounts knows as "default".
    """
    client = _client()
    found = client.get_experiment_by_name(EXPERIMENT)
    ratings: list[Rating] = []
    ties = unfinished = 0
    for trace in _traces(client, found.experiment_id, whole=True) if found is not None else ():
        for source, answers in _by_person(trace).items():
            choice, why = answers.get(BETTER), answers.get(WHY)
            if choice is None:
                unfinished += 1
            elif choice.feedback.value == TIE:
                ties += 1
            else:
                ratings.append(_rating(trace, rater if rater and source == "default" else source, choice, why))
    return Pulled(ratings, ties, unfinished)


def _client() -> MlflowClient:
    client = store.client()
    mlflow.set_tracking_uri(store.uri())  # for the functions that take no client
    return client


def _queue(experiment: str) -> str:
    """Return the id of the queue, making it and its questions if they are not there."""
    try:
        return review_queues.get_review_queue(name=QUEUE, experiment_id=experiment).queue_id
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise
    schemas = [_schema(experiment, name, *question) for name, question in QUESTIONS.items()]
    return review_queues.create_review_queue(
        QUEUE, queue_type="custom", schema_ids=schemas, experiment_id=experiment
    ).queue_id


def _schema(experiment: str, name: str, instruction: str, options: list[str]) -> str:
    there = {one.name: one for one in label_schemas.list_label_schemas(experiment)}
    if name not in there:
        there[name] = label_schemas.create_label_schema(
            name=name,
            type="feedback",
            instruction=instruction,
            input=InputCategorical(options=options),
            enable_comment=name == WHY,
            experiment_id=experiment,
        )
    schema_id = there[name].schema_id
    assert schema_id is not None
    return schema_id


def _traces(client: MlflowClient, experiment: str, whole: bool) -> Iterator[Trace]:
    """Yield the traces that show pairs, with their content if `whole`."""
    token = None
    while True:
        page = client.search_traces(
            locations=[experiment], max_results=PAGE, include_spans=whole, page_token=token, order_by=["timestamp ASC"]
        )
        yield from (trace for trace in page if PAIR in trace.info.tags)
        if not (token := page.token):
            return


def _by_person(trace: Trace) -> dict[str, dict[str, Assessment]]:
    """Return the newest answer of each person to each question."""
    answers: dict[str, dict[str, Assessment]] = {}
    said = [
        one
        for one in trace.info.assessments
        if one.name in QUESTIONS
        and one.source.source_type == AssessmentSourceType.HUMAN
        and one.feedback is not None
        and one.valid is not False  # taken back, or replaced by another
    ]
    for one in sorted(said, key=lambda one: one.last_update_time_ms or 0):
        answers.setdefault(one.source.source_id or "default", {})[one.name] = one
    return answers


def _rating(trace: Trace, rater: str, choice: Assessment, why: Assessment | None) -> Rating:
    span = trace.data.spans[0]
    content: dict[str, Any] = {"prompt": span.inputs["prompt"], "A": span.outputs["A"], "B": span.outputs["B"]}
    reason = [] if why is None else [str(why.feedback.value)]
    # What a person adds in their own words, at either question.
    reason += [one.rationale for one in (choice, why) if one is not None and one.rationale]
    assert choice.last_update_time_ms is not None
    return Rating(
        pair=trace.info.tags[PAIR],
        **content,
        rater=rater,
        simulated=False,
        flip_rate=None,
        time=datetime.fromtimestamp(choice.last_update_time_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        choice=choice.feedback.value,
        why=": ".join(reason),
    )
