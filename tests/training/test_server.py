"""An MLflow server that is not there, dies, or comes back: training goes on, nothing is lost, nothing told twice."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from nudge.training.tracking import store
from nudge.training.tracking.journal import entries
from tests.conftest import environment, runner
from tests.training.processes import STEPS, Training, until
from tests.training.test_resume import history


class Server:
    """A real `mlflow server` on loopback, with a store of its own, that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Server":
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/server.db", "--workers", "1"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment(MLFLOW_DISABLE_TELEMETRY="true"), stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        until(self.answers, "the server")
        return self

    def answers(self) -> bool:
        try:
            return requests.get(f"{self.uri}/health", timeout=1).ok
        except requests.RequestException:
            return False

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "server").mkdir()
    made = Server(tmp_path / "server")
    yield made
    made.kill()


def assert_told(uri: str, run: Training) -> None:
    """Compare what a store has of a run with the run's own journal, point by point, in order."""
    client = store.MlflowClient(uri)
    run_id = run.record()["run_id"]
    own: dict[str, list[tuple[int, float, int]]] = {}
    for entry, _ in entries(run.run_dir / "journal.jsonl"):
        for key, value in entry.get("metrics", {}).items():
            own.setdefault(key, []).append((entry["step"], value, entry["time"]))
    for key in ("train/loss", "lr", "grad/norm", "blame/mlp", "throughput/tokens_per_second", "val/loss"):
        points = client.get_metric_history(run_id, key)
        assert [(point.step, point.value, point.timestamp) for point in points] == own[key], key
    found = client.get_run(run_id)
    assert set(found.data.metrics) == set(own)
    assert found.info.status == "FINISHED"
    files = {file.path for file in client.list_artifacts(run_id, "checkpoints")}
    assert files == {"checkpoints/best.ckpt", "checkpoints/last.ckpt"}


def test_a_server_that_dies_and_comes_back_has_everything(small_project: Path, tmp_path: Path, server: Server) -> None:
    uri = server.start().uri
    run = Training(small_project, tmp_path / "run", "trainer.max_steps=4000", MLFLOW_TRACKING_URI=uri).reach(100)
    server.kill()
    until(lambda: "does not answer" in run.output(), "a line that says so")
    step = run.step()
    server.start()
    assert run.step() > step, "training waited for the server"
    assert run.end() == 0, run.output()
    assert_told(uri, run)
    assert len([key for key in history(run.run_dir) if key[0] == "train/loss"]) == 4000
    sent = (run.run_dir / "journal.sent").read_text()
    assert int(sent) == (run.run_dir / "journal.jsonl").stat().st_size
    synced = runner(small_project)("nudge", "sync", str(tmp_path))
    assert (synced.returncode, synced.stderr) == (0, ""), "there was nothing left to send"


def test_a_server_that_never_comes_back_gets_all_by_sync(small_project: Path, tmp_path: Path, server: Server) -> None:
    uri = server.start().uri
    run = Training(small_project, tmp_path / "run", MLFLOW_TRACKING_URI=uri).reach(100)
    server.kill()
    assert run.end() == 0, run.output()
    assert run.step() == STEPS
    assert f"`nudge sync {run.run_dir}` sends it" in run.output()
    nudge = runner(small_project)
    failed = nudge("nudge", "sync", str(run.run_dir))
    assert failed.returncode == 1
    assert "does not take it" in failed.stderr
    server.start()
    synced = nudge("nudge", "sync", str(run.run_dir))
    assert synced.returncode == 0, synced.stderr
    assert f"sent to {uri}" in synced.stderr
    assert_told(uri, run)
    # As after a kill between a request and its note: what is sent again is there once.
    (run.run_dir / "journal.sent").unlink()
    assert nudge("nudge", "sync", str(run.run_dir)).returncode == 0
    assert_told(uri, run)


def test_no_server_at_the_start_is_one_line_within_seconds_or_no_obstacle(
    small_project: Path, tmp_path: Path, server: Server
) -> None:
    stopped = Training(small_project, tmp_path / "stopped", MLFLOW_TRACKING_URI=server.uri)
    assert stopped.end(30) == 1
    lines = stopped.output().strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"nudge: MLflow store {server.uri}: no answer")
    assert "tracking.unreachable=go_on" in lines[0]
    assert not (tmp_path / "stopped/run.json").exists(), "nothing was begun"
    run = Training(small_project, tmp_path / "run", "tracking.unreachable=go_on", MLFLOW_TRACKING_URI=server.uri)
    assert run.end() == 0, run.output()
    server.start()
    synced = runner(small_project)("nudge", "sync", str(tmp_path / "run"))
    assert synced.returncode == 0, synced.stderr
    assert_told(server.uri, run)


def test_a_server_that_takes_requests_and_never_answers_holds_nothing_up(small_project: Path, tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(50)
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        run = Training(
            small_project, tmp_path / "run", "tracking.unreachable=go_on",
            MLFLOW_TRACKING_URI=uri, MLFLOW_HTTP_REQUEST_TIMEOUT="2",
        )  # fmt: skip
        assert run.end() == 0, run.output()
    assert run.step() == STEPS
