"""What worked steps buy, by the real command on a tiny corpus: every process, and arms that differ in what they say."""

import json
from pathlib import Path

import pytest

from nudge.config.composition import compose
from nudge.config.data import PracticeSource, WorkedSource
from nudge.data import arithmetic
from nudge.studies import worked_steps
from nudge.studies.running import Scope
from tests.studies.quick import run_study


def test_the_command_trains_and_measures_ways_of_working(tmp_path: Path) -> None:
    report, _ = run_study(tmp_path, "worked_steps")
    arms = {arm["arm"]: arm for arm in report["arms"]}
    assert list(arms) == ["practised", "at_once", "at_once_flops", "brief", "multiples"]
    assert {name: arm["against"] for name, arm in arms.items()} == {
        name: "brief" if name in ("brief", "multiples") else "practised" for name in arms
    }
    assert {name for name, arm in arms.items() if not arm["differences"]} == {"practised", "brief"}
    main = arms["practised"]
    assert {name.partition("/")[0] for name in main["measures"]} == set(report["measures"])
    assert set(arms["at_once"]["measures"]) == {"at_once", *(f"at_once/{name}" for name in arithmetic.OPERATIONS)}
    assert "right/times" in arms["multiples"]["measures"]
    assert "changed_follows" not in arms["multiples"]["measures"], "its steps can't be gone on with in the same way"
    for arm in arms.values():
        assert [one["seed"] for one in arm["runs"]] == [0]
        assert arm["measures"]["at_once"]["count"] == main["measures"]["at_once"]["count"]  # the same questions
    assert set(report["aim"]["missed"]) == set(arithmetic.OPERATIONS), "nobody learns in a dozen steps"
    assert not report["aim"]["reached"]


def test_arms_of_equal_flop_have_it(tmp_path: Path) -> None:
    # Documents with steps are several times as long: with as many steps of training, short ones would be shortchanged.
    for name, flops in (("own", 10.0), ("other", 35.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(json.dumps({"steps": 100, "flops_a_step": flops}))
    command = worked_steps.AsMuchFlop("run", ("seed=0",), ("own", "other")).command(tmp_path, None)
    assert "trainer.max_steps=350" in command


def test_each_arm_differs_from_the_main_one_in_what_its_name_says(tmp_path: Path) -> None:
    composed = {arm.name: compose(arm.overrides) for arm in worked_steps.arms(Scope(tmp_path, (0,)))}
    arms = {name: config.data for name, config in composed.items()}

    def practised(name: str) -> set[str]:
        return {source.of for source in arms[name].sources.values() if isinstance(source, PracticeSource)}

    def styles(name: str) -> set[str]:
        return {source.style for source in arms[name].sources.values() if isinstance(source, WorkedSource)}

    assert {name: practised(name) for name in arms if practised(name)} == {
        "practised": {"adding", "sharing", "comparing"},
        "brief": {"adding", "sharing", "comparing"},
        "adding": {"adding"},
    }
    assert {name: styles(name) for name in arms if styles(name) != {"down"}} == {
        "at_once": set(),
        "at_once_flops": set(),
        "multiples": {"multiples"},
        "up": {"up"},
    }
    # Asked for samples in words that its tokenizer lacks, an arm without steps would not start.
    asked = {name: any("step" in prompt for prompt in composed[name].callbacks.samples.prompts) for name in arms}
    assert asked == {name: bool(styles(name)) for name in arms}


@pytest.mark.parametrize(("last", "missed"), [(0.98, ["times"]), (0.99, [])])
def test_the_aim_is_that_of_each_seed_and_not_of_their_mean(last: float, missed: list[str]) -> None:
    class Figure:
        def __init__(self, by_seed: list[float]) -> None:
            self.by_seed = by_seed

    main = {f"right/{name}": Figure([1.0, 1.0, last if name == "times" else 1.0]) for name in arithmetic.OPERATIONS}
    found = worked_steps._aim(main)  # type: ignore[arg-type]
    assert (found["missed"], found["reached"]) == (missed, not missed)
