"""What docs/reliability.md claims, measured with real kills: `python -m benchmarks.reliability [kills] [outage] …`."""

import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests
import torch
from mlflow.tracking import MlflowClient

from nudge.training.tracking import record
from nudge.training.tracking.journal import entries

STEPS = 300
SMALL = (
    f"trainer.max_steps={STEPS}", "trainer.val_every_n_steps=50", "trainer.batch_size=64", "schedule.warmup_steps=10",
    "model.width=16", "model.layers=1", "model.heads=2", "model.kv_heads=2", "model.mlp_width=32", "model.dropout=0.1",
)  # fmt: skip
KILLS, AT_ONCE = 50, 2
TOGETHER, ROUNDS = 8, 5
PAIRS = 2


def start(run_dir: Path, store: str, *overrides: str) -> subprocess.Popen[bytes]:
    """Start a run in a process of its own, with its output beside its folder."""
    command = [sys.executable, "-m", "nudge", "train", *SMALL, f"run_dir={run_dir}", *overrides]
    with run_dir.with_suffix(".log").open("ab") as log:
        # One thread each: several processes share two cores here, and such a small model gains nothing from more.
        environment = {"OMP_NUM_THREADS": "1", **os.environ, "MLFLOW_TRACKING_URI": store}
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def step(run_dir: Path) -> int:
    """Return the last step that a run has told."""
    told = [entry["step"] for entry, _ in entries(run_dir / "journal.jsonl") if "metrics" in entry]
    return max(told, default=-1)


def reach(process: subprocess.Popen[bytes], run_dir: Path, wanted: int) -> None:
    """Wait until a run has told a step, or has ended."""
    while step(run_dir) < wanted and process.poll() is None:
        time.sleep(0.005)


def history(run_dir: Path) -> dict[tuple[str, int], list[float]]:
    """Return all points that a run has told, but speeds."""
    points: dict[tuple[str, int], list[float]] = {}
    for entry, _ in entries(run_dir / "journal.jsonl"):
        for key, value in entry.get("metrics", {}).items():
            if not key.startswith("throughput/"):
                points.setdefault((key, entry["step"]), []).append(value)
    return points


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    """Return the weights of a run's last checkpoint."""
    content: dict[str, Any] = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    return content["state_dict"]


def kills(folder: Path) -> str:
    """Kill -9 runs at random moments, saves included, and let each go on to its end."""
    store = f"sqlite:///{folder}/mlflow.db"
    whole = folder / "whole"
    assert start(whole, store).wait() == 0
    expected, points = weights(whole), history(whole)
    chance = random.Random(0)
    moments = [(chance.randint(1, STEPS - 1), chance.random() * 0.02, chance.choice([1, 7, 20])) for _ in range(KILLS)]

    def one(number: int) -> tuple[bool, bool, int]:
        wanted, delay, every = moments[number]
        run_dir = folder / f"run{number}"
        saves = f"callbacks.checkpoint.every_n_steps={every}"
        process = start(run_dir, store, saves)
        reach(process, run_dir, wanted)
        time.sleep(delay)
        process.kill()
        killed = process.wait() == -signal.SIGKILL
        got_to = step(run_dir)
        assert start(run_dir, store, saves).wait() == 0, run_dir.with_suffix(".log").read_text()
        same = all(torch.equal(value, expected[name]) for name, value in weights(run_dir).items())
        found = record.read(run_dir)
        assert found is not None
        lost = got_to - (found.resumed or [got_to])[0]
        return killed, same and history(run_dir) == points, lost

    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(one, range(KILLS)))
    client = MlflowClient(store)
    runs = client.search_runs(["1"], max_results=1000)
    finished = [run for run in runs if run.info.status == "FINISHED"]
    losses = [len(client.get_metric_history(run.info.run_id, "train/loss")) for run in finished]
    lost = sorted(lost for _, _, lost in results)
    return (
        f"kills: {sum(killed for killed, _, _ in results)} of {KILLS} killed while running; "
        f"{sum(same for _, same, _ in results)} of {KILLS} ended with the weights and the history of the run that "
        f"never stopped; {len(finished)} of {len(runs)} MLflow runs FINISHED, "
        f"{sum(count == STEPS for count in losses)} of them with exactly {STEPS} losses; "
        f"steps done again: median {statistics.median(lost):.0f}, at most {lost[-1]}"
    )


def together(folder: Path) -> str:
    """Start several runs at the same moment on a store that isn't there yet."""
    good = 0
    for number in range(ROUNDS):
        place = folder / f"round{number}"
        place.mkdir()
        store = f"sqlite:///{place}/mlflow.db"
        few = ("trainer.max_steps=20", "trainer.val_every_n_steps=10")
        processes = [start(place / f"run{n}", store, f"seed={n}", *few) for n in range(TOGETHER)]
        codes = [process.wait() for process in processes]
        client = MlflowClient(store)
        experiments = [found for found in client.search_experiments() if found.name == "nudge"]
        assert len(experiments) == 1, experiments
        for run in client.search_runs([experiments[0].experiment_id]):
            told = len(client.get_metric_history(run.info.run_id, "train/loss"))
            good += run.info.status == "FINISHED" and told == 20 and "val/exact_match" in run.data.metrics
        assert codes == [0] * TOGETHER, codes
    return f"together: {good} of {TOGETHER * ROUNDS} runs FINISHED with all their metrics"


class Server:
    """A real `mlflow server` on loopback."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.uri = f"http://127.0.0.1:{probe.getsockname()[1]}"

    def start(self) -> None:
        """Start, and wait until it answers."""
        command = [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            self.uri.rpartition(":")[2],
        ]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/server.db", "--workers", "1"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True)
        while not self._answers():
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.uri}/health", timeout=1).ok
        except requests.RequestException:
            return False

    def kill(self) -> None:
        """Kill it with its workers."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def outage(folder: Path) -> str:
    """Kill the server at a third of a run; start it again at two thirds, or never. Compare times and histories."""
    server = Server(folder)
    server.start()
    # The default model, so that a step takes its usual time, and validations that are a small part of it.
    steps = 300
    usual = (f"trainer.max_steps={steps}", "trainer.batch_size=512", "trainer.val_every_n_steps=150", "model.width=64",
             "model.layers=2", "model.mlp_width=176", "model.dropout=0", "seed=1")  # fmt: skip

    def seconds(run_dir: Path) -> float:
        times = {entry["step"]: entry["time"] for entry, _ in entries(run_dir / "journal.jsonl") if "metrics" in entry}
        return (times[steps - 1] - times[10]) / 1000

    def run(name: str, dies: bool, returns: bool) -> float:
        run_dir = folder / name
        process = start(run_dir, server.uri, *usual)
        if dies:
            reach(process, run_dir, steps // 3)
            server.kill()
        if returns:
            reach(process, run_dir, 2 * steps // 3)
            server.start()
        assert process.wait() == 0, run_dir.with_suffix(".log").read_text()
        if dies and not returns:
            server.start()
            subprocess.run([sys.executable, "-m", "nudge", "sync", str(run_dir)], check=True, capture_output=True)
        return seconds(run_dir)

    def told(name: str) -> dict[str, list[tuple[int, float]]]:
        client, found = MlflowClient(server.uri), record.read(folder / name)
        assert found is not None
        assert found.run_id is not None
        metrics = client.get_run(found.run_id).data.metrics
        return {
            key: [(point.step, point.value) for point in client.get_metric_history(found.run_id, key)]
            for key in metrics
            if not key.startswith("throughput/")
        }

    back, never = [], []
    for number in range(PAIRS):
        calm = run(f"calm{number}", dies=False, returns=False)
        # While it starts again, the server needs a processor for some seconds of its own.
        back.append(run(f"back{number}", dies=True, returns=True) / calm)
        never.append(run(f"never{number}", dies=True, returns=False) / calm)
        same = told(f"calm{number}") == told(f"back{number}") == told(f"never{number}")
        assert same, "the histories differ"
    server.kill()
    return (
        "outage: server killed at a third: time, against an undisturbed run, "
        f"{statistics.median(back):.3f} when it comes back at two thirds, {statistics.median(never):.3f} when it never "
        f"does (median of {PAIRS} pairs); histories identical in all"
    )


def processes(folder: Path) -> str:
    """Compare two ranks with one process on the same global batches."""
    store = f"sqlite:///{folder}/mlflow.db"
    lines = ["processes: largest relative difference over 100 steps, two ranks against one process"]
    for optimizer in ("sgd", "adamw", "muon"):
        few = ("trainer.max_steps=100", "model.dropout=0", f"optimizer={optimizer}")
        assert start(folder / f"{optimizer}-one", store, *few).wait() == 0
        one = history(folder / f"{optimizer}-one")
        for trainer in ("ddp_cpu", "fsdp_cpu"):
            run_dir = folder / f"{optimizer}-{trainer}"
            assert start(run_dir, store, *few, f"trainer={trainer}").wait() == 0
            two = history(run_dir)
            assert one.keys() == two.keys()

            def largest(name: str, one: Any = one, two: Any = two, first: int = 10**9) -> float:
                found = [k for k in one if k[0] == name and k[1] <= first]
                return max(abs(one[k][0] - two[k][0]) / abs(one[k][0]) for k in found)

            exact = max(abs(one[k][0] - two[k][0]) for k in one if k[0].startswith("val/exact_match"))
            lines.append(
                f"  {optimizer:5} {trainer:8}  first gradient {largest('grad/norm', first=1):.1e}  "
                f"train/loss {largest('train/loss'):.1e}  grad/norm {largest('grad/norm'):.1e}  "
                f"val/loss {largest('val/loss'):.1e}  val/exact_match {exact:.1e} (absolute)"
            )
    return "\n".join(lines)


def main() -> None:
    """Run what is named, or all."""
    for measure in (kills, together, outage, processes):
        if len(sys.argv) == 1 or measure.__name__ in sys.argv[1:]:
            with tempfile.TemporaryDirectory() as folder:
                print(measure(Path(folder)), flush=True)


if __name__ == "__main__":
    main()
