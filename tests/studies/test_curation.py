"""What curation is worth, by the real command on a tiny corpus: every process, and the report that others read."""

import json
import subprocess
from pathlib import Path

from nudge.config.composition import compose
from nudge.studies import curation
from nudge.studies.running import Scope
from tests.studies.quick import run_study


def test_the_command_trains_and_measures_raw_and_curated_on_as_many_tokens(tmp_path: Path) -> None:
    report, _ = run_study(tmp_path, "curation")
    arms = {arm["arm"]: arm for arm in report["arms"]}
    assert list(arms) == ["curated", "raw"]
    for arm in arms.values():
        assert {name.partition("/")[0] for name in arm["measures"]} == set(report["measures"])
        (one,) = arm["runs"]
        assert one["seed"] == 0
        assert one["run"]
        assert len(one["model"]) == 64
    raw, curated = arms["raw"], arms["curated"]
    assert raw["corpus"]["vocabulary"] > curated["corpus"]["vocabulary"]
    assert all(one["left"] == one["of"] for one in raw["corpus"]["planted_left_in"].values())
    assert curated["corpus"]["planted_left_in"]["personal_data"]["left"] == 0
    assert raw["measures"]["exact_match"]["count"] == curated["measures"]["exact_match"]["count"]  # the same questions
    assert raw["measures"]["canary_exposure"]["mean"] is not None
    assert curated["measures"]["canary_exposure"]["mean"] is None  # it has no words for them
    assert raw["against_curated"]["loss"]["low"] < raw["against_curated"]["loss"]["high"]
    # A run is as long as the tokens ask for, to the nearest step.
    counts = [one["runs"][0] for one in arms.values()]
    assert max(one["tokens"] for one in counts) - min(one["tokens"] for one in counts) < counts[0]["tokens"] / 12


def test_each_filter_is_left_out_once(tmp_path: Path) -> None:
    """An arm that left out none, or two, would be compared all the same."""
    arms = {arm.name: arm for arm in curation.arms(Scope(tmp_path, (0, 1, 2)))}
    filters = compose(arms["curated"].overrides).data.curation.filters
    assert compose(arms["raw"].overrides).data.curation.filters == []
    assert len(filters) == 11
    for name in filters:
        arm = arms.pop(f"without_{name}")
        assert compose(arm.overrides).data.curation.filters == [other for other in filters if other != name]
        assert arm.seeds == (0,)
    assert {name: arm.seeds for name, arm in arms.items()} == {"curated": (0, 1, 2), "raw": (0, 1, 2)}


def test_a_filter_that_others_make_up_for_costs_no_run(tmp_path: Path) -> None:
    """Of the same corpus and seed comes the same model: three of eleven runs would be done for nothing."""
    for name, digest in (("own", "a"), ("curated", "a"), ("other", "b")):
        (tmp_path / name).mkdir()
        told = {"digest": digest, "steps": 10, "tokens_a_step": 20.0 if digest == "a" else 40.0}
        (tmp_path / name / "result.json").write_text(json.dumps(told))
    (tmp_path / "base/model").mkdir(parents=True)
    (tmp_path / "base/model/weights").write_text("w")
    (tmp_path / "base/log.txt").write_text("its own")
    same = curation.AsManyTokens("same", ("seed=0",), ("own", "curated", "base"))
    subprocess.run(same.command(tmp_path, None), check=True)
    assert (tmp_path / "same/model/weights").read_text() == "w"
    assert not (tmp_path / "same/log.txt").exists()
    other = curation.AsManyTokens("other", ("seed=0",), ("other", "curated", "base")).command(tmp_path, None)
    assert "trainer.max_steps=5" in other
