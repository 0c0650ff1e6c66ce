"""What a reward on the answer alone makes of steps, by the real command on a tiny corpus: every process, every arm."""

import json
from pathlib import Path

import numpy as np
import pytest

from nudge.studies import worked_rl
from tests.studies.quick import run_study


def test_the_command_learns_from_rewards_and_from_lessons(tmp_path: Path) -> None:
    report, done = run_study(tmp_path, "worked_rl")
    assert "does not answer" not in done.stderr, "MLflow refuses names with an @"
    arms = {arm["arm"]: arm for arm in report["arms"]}
    assert list(arms) == ["few", "rl", "random", "own", "taught"]
    for name, arm in arms.items():
        assert set(arm["measures"]) == set(report["measures"])
        assert set(arm["gains"]) == (set() if name == "few" else set(report["measures"]))
    models = {name: arm["runs"][0]["model"] for name, arm in arms.items()}
    assert len({models[name] for name in ("few", "random", "own", "taught")}) == 4, "each trains a network of its own"
    lessons = (tmp_path / "outputs/studies-quick/worked_rl/seed0/lessons/examples.jsonl").read_text().splitlines()
    assert all(" step by step " in json.loads(line)["text"] for line in lessons)


@pytest.mark.parametrize(("right", "tries", "expected"), [(0, 4, 0), (8, 1, 1), (2, 1, 0.25), (1, 4, 0.5), (7, 2, 1)])
def test_one_of_some_tries_is_right_as_often_as_can_be_counted(right: int, tries: int, expected: float) -> None:
    # 1 − (1 − p)^k of an estimated p is too low for few draws (Chen et al. 2021).
    [found] = worked_rl._passes(np.array([float(right)]), 8, tries)
    assert found == pytest.approx(expected)
