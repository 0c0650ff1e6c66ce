"""Sweeps: what two jobs at a time gain on one machine, and whether twenty jobs in one process pile up memory."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

JOBS, STEPS = 8, 100
MANY = 20
SMALL = ("experiment=smoke", "trainer.max_steps=20")


def _sweep(*overrides: str) -> tuple[float, list[int]]:
    """Run a sweep in a store of its own; return its seconds, and the bytes in memory after each job."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        command = [str(Path(sys.executable).with_name("nudge")), "train", "-m", f"hydra.sweep.dir={folder}/sweep"]
        begin, memory = time.perf_counter(), []
        with subprocess.Popen(
            [*command, *overrides], env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if re.match(r"job \d+: finished", line):
                    memory.append(psutil.Process(process.pid).memory_info().rss)
        statuses = [json.loads(path.read_text())["status"] for path in Path(folder).glob("sweep/*/run.json")]
        assert process.returncode == 0
        assert set(statuses) == {"FINISHED"}
        return time.perf_counter() - begin, memory


def in_parallel() -> list[dict[str, Any]]:
    """Compare jobs two at a time, one thread each, to one after the other with all threads."""
    jobs = (f"trainer.max_steps={STEPS}", f"seed=range({JOBS})")
    alone, _ = _sweep(*jobs)
    together, _ = _sweep(*jobs, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    return [
        {
            "what": f"sweep of {JOBS} jobs, two at a time / one after the other",
            "value": together / alone,
            "aim": "< 1",
            "detail": f"{together:.0f} s / {alone:.0f} s; {STEPS} steps of the default model; {os.cpu_count()} cores",
        }
    ]


def memory() -> list[dict[str, Any]]:
    """Compare the memory of a process after its twentieth job to that after its third."""
    _, after = _sweep(*SMALL, f"seed=range({MANY})")
    return [
        {
            "what": f"memory after job {MANY} / after job 3, in one process",
            "value": after[-1] / after[2],
            "aim": "≤ 1.10",
            "detail": f"{after[-1] / 2**20:.0f} MiB / {after[2] / 2**20:.0f} MiB",
        }
    ]
