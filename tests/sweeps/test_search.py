"""Searches with Optuna, through the real command: pruning, failures, cuts, and what is kept."""

import signal
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from nudge.sweeps import outcome
from nudge.training import study
from tests.sweeps.conftest import Sweeps

# Half of the combinations have a wrong shape or are no numbers after a step.
SPACE = ("optimizer.lr=tag(log,interval(0.0001,0.1))", "optimizer.weight_decay=1.0,1e30", "model.heads=2,3")
LOSS = ("callbacks.checkpoint.monitor=val/loss", "callbacks.checkpoint.mode=min")
SEARCH = ("-m", "hydra/sweeper=optuna", "hydra.sweeper.pruner_startup_trials=1", *LOSS)


def trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(storage=f"sqlite:///{folder}/study.db", study_name=folder.name).trials


def test_a_search_prunes_survives_failures_and_goes_on_after_a_cut(sweeps: Sweeps) -> None:
    # Resuming counted jobs from 0 again, and wrote over what was there (hydra #1407).
    overrides = [*SEARCH, *SPACE, "tracking.experiment=search", "callbacks.progress.every_n_steps=1"]
    seen = sweeps.cut("^job 4: optimizer", signal.SIGKILL, *overrides, "hydra.sweeper.n_trials=7")
    folder = sweeps.sweep()
    before = trials(folder)
    assert [trial.state for trial in before].count(TrialState.RUNNING) == 1, seen
    over = {number: (folder / str(number) / "run.json").stat().st_mtime_ns for number in (2, 3)}
    done = sweeps.train(*overrides, "hydra.sweeper.n_trials=7")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    after = trials(folder)
    assert len(after) == 7
    for old, new in zip(before, after, strict=False):
        assert old.params == new.params
        assert old.state in (new.state, TrialState.RUNNING)
    assert all((folder / str(number) / "run.json").stat().st_mtime_ns == time for number, time in over.items())
    states = [trial.state for trial in after]
    assert {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL} == set(states)
    for trial in after:
        ended = outcome.read(folder / str(trial.number))
        if trial.params["model.heads"] == "3":
            assert (trial.state, ended.status) == (TrialState.FAIL, "waiting"), "never started"
        elif trial.params["optimizer.weight_decay"] == "1e+30":
            assert (trial.state, ended.status) == (TrialState.FAIL, "failed")
        elif trial.state == TrialState.PRUNED:
            assert ended.status == "pruned"
        else:
            assert trial.value == ended.score == min(trial.intermediate_values.values())
    failed = [str(trial.number) for trial in after if trial.state == TrialState.FAIL]
    assert done.stderr.splitlines()[-1].startswith(f"nudge: {len(failed)} of 7 jobs failed: {', '.join(failed)};")
    (parent,), children = sweeps.runs("search")
    assert parent.info.status == "FAILED"
    pruned = [run for run in children if run.data.tags.get("ended.reason", "").startswith("pruned: val/loss")]
    assert len(pruned) == states.count(TrialState.PRUNED)
    assert {run.info.status for run in pruned} == {"KILLED"}
    assert {run.info.status for run in children} == {"FINISHED", "FAILED", "KILLED"}
    # More trials of the same search: the ones that are there stay.
    done = sweeps.train(*overrides, "hydra.sweeper.n_trials=8")
    assert f"going on in {folder}" in done.stderr
    assert [trial.params for trial in trials(folder)][:7] == [trial.params for trial in after]
    assert len(trials(folder)) == 8


def test_a_grid_is_searched_by_several_processes_and_once(sweeps: Sweeps) -> None:
    overrides = [*SEARCH, "hydra.sweeper.sampler=grid", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    overrides += ["hydra.sweeper.pruner=none", "seed=range(0,3)", "tracking.experiment=grid"]
    done = sweeps.train(*overrides)
    assert done.returncode == 0, done.stderr
    found = trials(sweeps.sweep())
    assert sorted(trial.params["seed"] for trial in found) == [0, 1, 2]
    assert {trial.state for trial in found} == {TrialState.COMPLETE}
    (parent,), children = sweeps.runs("grid")
    assert [run.info.status for run in (parent, *children)] == ["FINISHED"] * 4
    assert parent.data.metrics["best/val/loss"] == min(trial.value for trial in found if trial.value is not None)


def test_a_trial_depends_on_the_trials_before_and_not_on_cuts() -> None:
    # A sampler with one seed for the whole search drew the same values again after each resume.
    space: dict[str, optuna.distributions.BaseDistribution] = {
        "lr": optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True)
    }

    def search(cuts: set[int]) -> list[float]:
        values = []
        found = optuna.create_study()
        for number in range(8):
            if number in cuts:
                again = optuna.create_study()
                again.add_trials(found.trials)
                found = again
            found.sampler = study.sampler(0, number, startup_trials=3)
            trial = found.ask(space)
            found.tell(trial, (trial.params["lr"] - 0.01) ** 2)
            values.append(trial.params["lr"])
        return values

    assert search(set()) == search({2, 5})
    assert len(set(search(set()))) == 8


@pytest.mark.parametrize("preset", ["learning_rates", "model_sizes", "optimizers"])
def test_presets_are_sweeps_without_any_option(sweeps: Sweeps, preset: str) -> None:
    # What is wrong in all jobs ends a sweep before it begins, so this tells that the jobs are composed.
    done = sweeps.train(f"sweep={preset}", "model.context=1", "seed=1,2")
    assert done.returncode == 2, done.stderr
    assert done.stderr == "nudge: model.context = 1: input should be greater than or equal to 2\n"
