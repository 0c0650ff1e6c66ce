"""Snapshots are the run's own weights at their steps, whatever interrupts it, with the blame of its own gradients."""

import csv
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback, Trainer

from nudge.config.schema import Config
from nudge.errors import UserError
from nudge.model import saved, snapshots
from nudge.training.callbacks.snapshots import log_spaced
from nudge.training.run_folder import branch, claimed
from nudge.training.tracking import store
from nudge.training.train import train
from tests.training.test_run import history, newest

Make = Callable[..., Config]


@pytest.mark.parametrize(("count", "last"), [(20, 1000), (20, 8), (2, 50), (40, 20_000)])
def test_steps_are_log_spaced_from_the_first_to_the_last(count: int, last: int) -> None:
    steps = log_spaced(count, last)
    assert steps[0] == 0
    assert steps[-1] == last
    assert steps == sorted(set(steps))
    assert min(count, last + 1) <= len(steps) <= count + 2
    if last >= 1000:
        ratios = [after / before for before, after in itertools.pairwise(steps) if before >= 20]
        assert max(ratios) < 1.25 * min(ratios)


def test_none_are_kept_where_none_are_wanted_or_fit(tiny: Make) -> None:
    for setting in ("callbacks.snapshots.count=0", "callbacks.snapshots.megabytes=0.001"):
        folder = train(tiny(setting))
        assert not (folder / "snapshots").exists()
        with pytest.raises(UserError, match="no snapshots"):
            next(snapshots.load_all(folder))


def test_they_are_the_weights_of_their_steps_and_artifacts_of_the_run(tiny: Make, in_project: Path) -> None:
    config = tiny("callbacks.checkpoint.every_n_steps=8")
    folder = train(config)
    film = dict(snapshots.load_all(folder))
    assert list(film) == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    last = saved.load(Path(config.run_dir) / "checkpoints/last.ckpt").model.state_dict()
    assert all(torch.equal(value, film[8].model.state_dict()[name]) for name, value in last.items())
    moved = [not torch.equal(value, film[0].model.state_dict()[name]) for name, value in last.items()]
    assert all(moved), "a weight that never moved, or one snapshot under two names"
    client = store.client()
    run = newest(client)
    kept = {file.path for file in client.list_artifacts(run.info.run_id, "snapshots")}
    assert kept == {f"snapshots/{snapshots.file_name(step)}" for step in film}

    rows = snapshots.blame(folder)
    parts = history(client, run, "blame/attention")
    heads = history(client, run, "blame/head/0.1")
    for step in range(8):
        shares = {
            by: {row["name"]: float(row["share"]) for row in rows if row["by"] == by and int(row["step"]) == step}
            for by in ("part", "layer", "head")
        }
        assert all(sum(found.values()) == pytest.approx(1) for found in shares.values())
        # The gradient at the weights after `step` steps is that of the next one.
        assert shares["part"]["attention"] == pytest.approx(parts[step + 1], rel=1e-4)
        assert shares["head"]["0.1"] == heads[step + 1]


def test_a_run_that_was_cut_short_ends_with_the_same_snapshots(tiny: Make) -> None:
    whole = train(tiny())
    config = tiny("callbacks.checkpoint.every_n_steps=3")

    class CutError(Exception):
        pass

    class CutAt(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
            if trainer.global_step == 5:
                raise CutError

    with pytest.raises(CutError):
        train(config, watchers=[CutAt()])
    again = train(config)
    for path in sorted((whole / "snapshots").iterdir()):
        assert path.read_bytes() == (again / "snapshots" / path.name).read_bytes(), path.name
    assert len(list((again / "snapshots").iterdir())) == len(list((whole / "snapshots").iterdir())) == 10


def test_a_branch_has_the_snapshots_of_the_run_it_left(tiny: Make) -> None:
    source = tiny("trainer.max_steps=4")
    train(source)
    config = tiny(f"resume={source.run_dir}/checkpoints/last.ckpt", "trainer.max_steps=6")
    steps = [step for step, _ in snapshots.load_all(train(config))]
    assert steps == [0, 1, 2, 3, 4, 5, 6]


def test_a_branch_leaves_a_reader_of_older_snapshots_what_it_reads(tiny: Make, tmp_path: Path) -> None:
    # Copied in place, a file that another process reads, or a kill leaves behind, was half the one and half the other.
    source = tiny("trainer.max_steps=4")
    train(source)
    target = tmp_path / "branch/snapshots" / snapshots.file_name(2)
    target.parent.mkdir(parents=True)
    target.write_bytes(b"older")
    with target.open("rb") as reader:
        branch(Path(source.run_dir), tmp_path / "branch", Path(source.run_dir) / "checkpoints/last.ckpt")
        assert reader.read() == b"older"
    assert target.read_bytes() == (Path(source.run_dir) / "snapshots" / target.name).read_bytes()
    assert [path.name for path in target.parent.iterdir() if path.name.startswith(".")] == []


def test_what_a_kill_left_half_written_is_removed(tiny: Make) -> None:
    config = tiny()
    train(config)
    torn = Path(config.run_dir) / "snapshots" / f".{snapshots.file_name(4)}.123-456"
    torn.write_bytes(b"half")
    with claimed(Path(config.run_dir)):
        assert not torn.exists()


def test_damage_is_named(tiny: Make) -> None:
    folder = train(tiny())
    path = folder / "snapshots" / snapshots.file_name(4)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match=r"step-000004.safetensors: damaged snapshot"):
        list(snapshots.load_all(folder))
    with (folder / "snapshots/blame.csv").open() as file:
        assert next(csv.reader(file)) == ["step", "by", "name", "share"]
