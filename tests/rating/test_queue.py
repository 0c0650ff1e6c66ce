"""What several people answer in MLflow's review queue becomes one rating for each person and pair."""

import json
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import AssessmentSource

from nudge.data import ratings
from nudge.data.ratings import Pair
from nudge.errors import UserError
from nudge.rating import queue
from nudge.rating.collecting import Collected, collect
from nudge.training.tracking import store
from tests.conftest import runner

PAIRS = [Pair(pair=f"p{n}", prompt=f"question {n} ?", A="five", B=f"the answer is {n} .") for n in range(3)]


def traces() -> dict[str, str]:
    """Return the trace of each pair."""
    client = store.client()
    experiment = client.get_experiment_by_name(queue.EXPERIMENT)
    assert experiment is not None
    found = client.search_traces(locations=[experiment.experiment_id], include_spans=False)
    return {trace.info.tags[queue.PAIR]: trace.info.trace_id for trace in found}


def answer(pair: str, question: str, value: str, person: str = "ada", kind: str = "HUMAN") -> str:
    """Answer as the page does, and return the answer's id."""
    source = AssessmentSource(source_type=kind, source_id=person)
    made = mlflow.log_feedback(trace_id=traces()[pair], name=question, value=value, source=source)
    return made.assessment_id


def test_each_pair_is_pushed_once(rated_project: Path) -> None:
    assert queue.push(PAIRS[:2])[:2] == (2, 0)
    pushed = queue.push([*PAIRS, PAIRS[0]])
    assert pushed[:2] == (1, 2)
    assert sorted(traces()) == ["p0", "p1", "p2"]
    queue_id = pushed.page.split("selectedQueueId=")[1]
    items = mlflow.genai.review_queues.list_review_queue_items(queue_id)
    assert sorted(item.item_id for item in items) == sorted(traces().values())


def test_two_people_and_what_is_left_out(rated_project: Path) -> None:
    queue.push(PAIRS)
    path = rated_project / "data/ratings.jsonl"
    for person, choice in (("ada", "A"), ("bob", "B")):
        answer("p0", "better", choice, person)
        answer("p0", "why", "short", person)
    answer("p1", "better", "tie")
    answer("p2", "why", "right")  # a reason without a choice
    answer("p2", "better", "A", kind="LLM_JUDGE")  # nobody's
    assert collect(path) == Collected(new=2, total=2, ties=1, unfinished=1)
    assert {(one.rater, one.pair, one.choice, one.why) for one in ratings.read(path)} == {
        ("ada", "p0", "A", "short"),
        ("bob", "p0", "B", "short"),
    }
    answer("p2", "better", "B")
    assert collect(path) == Collected(new=1, total=3, ties=1, unfinished=0)
    assert collect(path) == Collected(new=0, total=3, ties=1, unfinished=0)


def test_what_stands_in_the_file_already_stays(rated_project: Path) -> None:
    # A second machine's ratings are in the file that was pulled by DVC, and in no store here.
    path = rated_project / "data/ratings.jsonl"
    queue.push(PAIRS)
    answer("p0", "better", "A", "default")
    assert collect(path, rater="ada").new == 1
    elsewhere = ratings.read(path)[0].model_copy(update={"pair": "p9", "prompt": "another ?"})
    ratings.add([elsewhere], path)
    assert collect(path, rater="bob") == Collected(new=0, total=2, ties=0, unfinished=0)
    assert [(one.pair, one.rater) for one in ratings.read(path)] == [("p0", "ada"), ("p9", "ada")]


def test_a_damaged_file_is_said_before_anything_is_pulled(rated_project: Path) -> None:
    path = rated_project / "data/ratings.jsonl"
    path.write_text('{"pair": "p0", "ra')
    queue.push(PAIRS)
    answer("p0", "better", "A")
    with pytest.raises(UserError, match="half a line"):
        collect(path)
    assert path.read_text() == '{"pair": "p0", "ra'


def test_the_commands_end_with_one_line_where_something_is_wrong(rated_project: Path) -> None:
    run = runner(rated_project)
    done = run("nudge", "rate", "push")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "models/finetune" in done.stderr
    (rated_project / "pairs.jsonl").write_text(json.dumps(PAIRS[0].model_dump() | {"B": "five"}) + "\n")
    done = run("nudge", "rate", "push", "--pairs", "pairs.jsonl")
    assert (done.returncode, done.stderr) == (
        2,
        "nudge: pairs.jsonl:1: A and B are the same answer; a pair needs two\n",
    )
    done = run("nudge", "rate", "agreement")
    assert (done.returncode, done.stdout) == (0, "")
    done = run("nudge", "rate", "pull", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "no answer" in done.stderr
