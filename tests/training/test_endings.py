"""Every way to die: a true status, a non-zero exit code, no orphans, and a next start that ends as if nothing was.

docs/reliability.md shows these as a table.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from mlflow.entities import Run

from nudge.training.tracking import store
from tests.training.processes import STEPS, Training
from tests.training.test_resume import history

ENDED = "ended.reason"


@pytest.fixture(scope="module")
def uninterrupted(small_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train to the end once; return the run's folder."""
    run = Training(small_project, tmp_path_factory.mktemp("whole") / "run")
    assert run.end() == 0, run.output()
    return run.run_dir


def in_store(project: Path, run: Training) -> Run:
    return store.MlflowClient(f"sqlite:///{project}/mlflow.db").get_run(run.record()["run_id"])


def last(folder: Path) -> dict[str, torch.Tensor]:
    content = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    weights: dict[str, torch.Tensor] = content["state_dict"]
    assert content["global_step"] == STEPS
    return weights


def assert_goes_on(project: Path, run: Training, uninterrupted: Path, *overrides: str) -> int:
    """Start the same command again, and compare its end with the run that never stopped; return where it began."""
    first = run.record()["run_id"]
    again = Training(project, run.run_dir, *overrides)
    assert again.end() == 0, again.output()
    record = again.record()
    assert record["run_id"] == first
    assert in_store(project, again).info.status == "FINISHED"
    assert history(run.run_dir) == history(uninterrupted), "the history has a gap, a step twice, or other values"
    mlflow = store.MlflowClient(f"sqlite:///{project}/mlflow.db")
    for name in ("train/loss", "lr", "grad/norm"):
        steps = [point.step for point in mlflow.get_metric_history(first, name)]
        assert sorted(steps) == list(range(1, STEPS + 1)), name
    whole = last(uninterrupted)
    for name, weight in last(run.run_dir).items():
        assert torch.equal(weight, whole[name]), name
    step: int = record["resumed"][-1]
    return step


@pytest.mark.parametrize(
    ("signum", "code", "said"),
    [(signal.SIGTERM, 143, "SIGTERM"), (signal.SIGINT, 130, "Ctrl-C"), (signal.SIGHUP, 129, "SIGHUP")],
)
def test_a_signal_ends_the_run_after_a_checkpoint(
    small_project: Path, tmp_path: Path, uninterrupted: Path, signum: int, code: int, said: str
) -> None:
    # SIGTERM ended training with no checkpoint (PL #1455); Ctrl-C left no callback to close the run (hydra #3078).
    run = Training(small_project, tmp_path / "run").reach(90)
    assert run.kill(signum) == code, run.output()
    record = run.record()
    assert record["status"] == "KILLED"
    assert record["step"] == run.step(), "no step is lost"
    assert f"nudge: stopped by {said} after step {record['step']}" in run.output()
    assert "Traceback" not in run.output()
    found = in_store(small_project, run)
    assert found.info.status == "KILLED"
    assert found.info.end_time is not None
    assert found.data.tags[ENDED] == f"stopped by {said} after step {record['step']}"
    assert assert_goes_on(small_project, run, uninterrupted) == record["step"]


def test_a_killed_run_is_closed_by_the_next_start_and_goes_on(
    small_project: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    run = Training(small_project, tmp_path / "run").reach(90)
    assert run.kill(signal.SIGKILL) == 137
    assert in_store(small_project, run).info.status == "RUNNING", "nobody was left to say how it ended"
    assert run.record()["step"] in (80, 100, 120)
    other = Training(small_project, tmp_path / "other", "trainer.max_steps=4")
    assert other.end() == 0, other.output()
    found = in_store(small_project, run)
    assert found.info.status == "KILLED"
    assert found.info.end_time is not None
    assert "gone without a word" in found.data.tags[ENDED]
    assert f"closed run {found.info.run_id}" in other.output()
    assert assert_goes_on(small_project, run, uninterrupted) in (80, 100, 120)


def test_a_run_that_is_alive_is_not_closed_and_its_folder_not_shared(small_project: Path, tmp_path: Path) -> None:
    alive = Training(small_project, tmp_path / "run", "trainer.max_steps=100000").reach(10)  # longer than all this
    same = Training(small_project, tmp_path / "run")
    assert same.end() == 2
    assert f"process {alive.process.pid} on {os.uname().nodename} is training there" in same.output()
    other = Training(small_project, tmp_path / "other", "trainer.max_steps=4")
    assert other.end() == 0, other.output()
    assert in_store(small_project, alive).info.status == "RUNNING"
    assert alive.kill(signal.SIGTERM) == 143
    assert in_store(small_project, alive).info.status == "KILLED"


@pytest.mark.parametrize(
    ("broken", "code", "reason"),
    [
        ("exception@95", 1, "ValueError: a bad batch"),
        ("exit@95", 3, "SystemExit: 3"),  # an early exit was marked FINISHED (mlflow #3932)
        ("leave@95", 1, "something called sys.exit() in step 95"),  # and this one ended with 0
        ("memory@95", 1, "out of memory in step 95"),
    ],
)
def test_an_error_fails_the_run_with_its_reason(
    small_project: Path, tmp_path: Path, uninterrupted: Path, broken: str, code: int, reason: str
) -> None:
    run = Training(small_project, tmp_path / "run", broken=broken)
    assert run.end() == code, run.output()
    found = in_store(small_project, run)
    assert found.info.status == "FAILED"
    assert found.data.tags[ENDED].startswith(reason)
    files = {
        file.path
        for file in store.MlflowClient(f"sqlite:///{small_project}/mlflow.db").list_artifacts(found.info.run_id)
    }
    assert ("error.txt" in files) == (not broken.startswith(("memory", "leave"))), "a known cause needs no traceback"
    assert {"checkpoints", "samples.json"} <= files
    assert assert_goes_on(small_project, run, uninterrupted) == 80


def test_a_loss_that_is_no_number_stops_the_run_and_says_where(small_project: Path, tmp_path: Path) -> None:
    run = Training(small_project, tmp_path / "run", "optimizer=sgd", "optimizer.lr=1e25", "trainer.gradient_clip=0",
                   "callbacks.checkpoint.every_n_steps=1")  # fmt: skip
    assert run.end() == 1
    reason = in_store(small_project, run).data.tags[ENDED]
    assert "the loss is " in reason
    assert "batch: documents " in reason
    assert "the first gradient to break was " in reason
    assert in_store(small_project, run).info.status == "FAILED"
    assert "nudge: " + reason.split(";")[0] in run.output()
    for path in (run.run_dir / "checkpoints").glob("*.ckpt"):
        content = torch.load(path, weights_only=True)
        assert f"step {content['global_step'] + 1}:" in reason, "it stopped before the weights took the step"


def test_a_loader_worker_that_is_killed_fails_the_run(small_project: Path, tmp_path: Path, uninterrupted: Path) -> None:
    run = Training(small_project, tmp_path / "run", "trainer.num_workers=2").reach(90)
    run.children()[0].kill()
    assert run.end() == 1, run.output()
    found = in_store(small_project, run)
    assert found.info.status == "FAILED"
    assert "a loader worker died in step" in found.data.tags[ENDED]
    assert_goes_on(small_project, run, uninterrupted, "trainer.num_workers=2")


@pytest.mark.parametrize(("signum", "code", "name"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")])
def test_a_signal_that_reaches_all_processes_ends_the_run_well(
    signum: int, code: int, name: str, small_project: Path, tmp_path: Path
) -> None:
    # The loader workers died of it first, and the run failed for want of them.
    run = Training(small_project, tmp_path / "run", "trainer.num_workers=2").reach(90)
    os.killpg(run.process.pid, signum)
    assert run.end() == code, run.output()
    assert in_store(small_project, run).info.status == "KILLED"
    assert f"stopped by {name} after step" in run.output()


STUCK = """
import multiprocessing
from torch.utils.data import IterableDataset
from nudge.training.batches import loader
lock = multiprocessing.Lock()
class Stuck(IterableDataset):
    def __iter__(self):
        yield 1
        lock.acquire()
lock.acquire()
batches = iter(loader(Stuck(), 1, pin=False))
next(batches)
raise SystemExit("failed")
"""


def test_a_worker_that_waits_for_ever_keeps_no_failed_run_alive() -> None:
    # Of two workers the one that was killed held a lock that the other then waited for: it ignored the SIGTERM with
    # which Python ends its children, and the run hung after its last line.
    ended = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 1
    assert ended.stderr.strip() == "failed"


def test_killed_with_workers_it_leaves_none_and_goes_on_at_once(
    small_project: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    run = Training(small_project, tmp_path / "run", "trainer.num_workers=2").reach(90)
    run.process.kill()
    run.process.wait()
    assert_goes_on(small_project, run, uninterrupted, "trainer.num_workers=2")
    assert not run.orphans()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "nudge", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    filler = folder / "filler"
    file = os.open(filler, os.O_WRONLY | os.O_CREAT)
    with suppress(OSError):
        while os.write(file, bytes(4096)):
            pass
    os.close(file)
    return filler


def test_a_full_disk_fails_the_run_and_room_lets_it_go_on(
    small_project: Path, tmp_path: Path, small_disk: Path, uninterrupted: Path
) -> None:
    run = Training(small_project, small_disk / "run").reach(61)  # a step on: the checkpoint of step 60 is whole
    filler = fill(small_disk)
    assert run.end() == 1, run.output()
    assert "no space left in step" in run.output()
    found = in_store(small_project, run)
    assert found.info.status == "FAILED"
    assert "no space left in step" in found.data.tags[ENDED]
    filler.unlink()
    assert assert_goes_on(small_project, run, uninterrupted) >= 60


def test_a_folder_that_is_gone_fails_the_run(small_project: Path, tmp_path: Path) -> None:
    run = Training(small_project, tmp_path / "run").reach(60)
    run.process.send_signal(signal.SIGSTOP)  # or it may save in between, and make the folder again
    os.waitpid(run.process.pid, os.WUNTRACED)
    (run.run_dir / "checkpoints").rename(tmp_path / "checkpoints")
    (run.run_dir / "checkpoints").write_text("no folder any more")
    run.process.send_signal(signal.SIGCONT)
    assert run.end() == 1, run.output()
    assert "can't write in step" in in_store(small_project, run).data.tags[ENDED]


def test_a_step_that_never_ends_is_left_when_the_grace_period_is_over(
    small_project: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    run = Training(small_project, tmp_path / "run", "trainer.grace_seconds=1", broken="hang@95").reach(94)
    assert run.kill(signal.SIGTERM) == 143
    found = in_store(small_project, run)
    assert found.info.status == "KILLED"
    assert "the step was not done within trainer.grace_seconds=1" in found.data.tags[ENDED]
    # grace_seconds is another value than the uninterrupted run had, and changes nothing of what is computed.
    assert assert_goes_on(small_project, run, uninterrupted, "trainer.grace_seconds=1") == 80


def test_damaged_checkpoints_are_passed_over(small_project: Path, tmp_path: Path, uninterrupted: Path) -> None:
    # A kill during the save left an unreadable checkpoint (PL #19970).
    run = Training(small_project, tmp_path / "run").reach(130)
    run.kill(signal.SIGKILL)
    path = run.run_dir / "checkpoints/last.ckpt"
    content = bytearray(path.read_bytes())
    middle = slice(len(content) // 2, len(content) // 2 + 100)
    content[middle] = bytes(byte ^ 1 for byte in content[middle])  # torch itself would not notice
    path.write_bytes(content)
    (run.run_dir / "checkpoints/.last.ckpt.12345-678").write_bytes(content[:100])  # what a kill leaves of a save
    assert assert_goes_on(small_project, run, uninterrupted) in (50, 100)  # best.ckpt
    assert "last.ckpt: damaged checkpoint (checksum of" in run.output()
    assert "passed over" in run.output()
    assert sorted(path.name for path in (run.run_dir / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


@pytest.mark.parametrize(
    ("who", "signum", "status", "code"),
    [("rank 0", signal.SIGTERM, "KILLED", 143), ("rank 1", signal.SIGTERM, "KILLED", 143),
     ("rank 1", signal.SIGKILL, "FAILED", 1), ("rank 0", signal.SIGKILL, "RUNNING", 137)],
)  # fmt: skip
def test_many_processes_end_together(
    small_project: Path, tmp_path: Path, who: str, signum: int, status: str, code: int
) -> None:
    run = Training(small_project, tmp_path / "run", "trainer=ddp_cpu").reach(60)
    rank_1 = next(child.pid for child in run.children() if "--config" in child.cmdline())
    os.kill(run.process.pid if who == "rank 0" else rank_1, signum)
    assert run.end() == code, run.output()
    assert in_store(small_project, run).info.status == status
    again = Training(small_project, run.run_dir, "trainer=ddp_cpu")
    assert again.end() == 0, again.output()
    record = again.record()
    assert len(record["resumed"]) == 1
    assert in_store(small_project, again).info.status == "FINISHED"
    assert len([key for key in history(run.run_dir) if key[0] == "train/loss"]) == STEPS
