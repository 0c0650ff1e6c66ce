"""A search whose trials are in a PostgreSQL database."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from tests.sweeps.conftest import Sweeps


@pytest.fixture
def database(tmp_path: Path) -> Iterator[str]:
    """Run a server on loopback, if PostgreSQL is installed; give the address of a database."""
    pytest.importorskip("psycopg", reason="pip install 'nudge[postgres]'")
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs or os.geteuid() != 0 or not shutil.which("runuser"):
        pytest.skip("needs Debian's package postgresql, and root to run it as its own user")
    folder = Path("/tmp") / f"nudge-postgres-{os.getpid()}"  # its user can't look into pytest's folders
    folder.mkdir()
    shutil.chown(folder, "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    as_user = ["runuser", "-u", "postgres", "--"]
    make = [*as_user, str(programs[-1] / "initdb"), "-D", str(folder / "data"), "--auth=trust", "--encoding=UTF8"]
    serve = [*as_user, str(programs[-1] / "postgres"), "-D", str(folder / "data"), "-k", str(folder)]
    try:
        subprocess.run(make, check=True, capture_output=True, cwd=folder)
        with subprocess.Popen(
            [*serve, "-h", "127.0.0.1", "-p", str(port)], cwd=folder, stderr=subprocess.DEVNULL
        ) as server:
            try:
                deadline = time.monotonic() + 30
                while subprocess.run([str(programs[-1] / "pg_isready"), "-h", "127.0.0.1", "-p", str(port)],
                                     capture_output=True, check=False).returncode:  # fmt: skip
                    assert time.monotonic() < deadline
                yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
            finally:
                server.terminate()
    finally:
        shutil.rmtree(folder)


def test_a_search_keeps_its_trials_on_a_server(sweeps: Sweeps, database: str) -> None:
    overrides = ["-m", "hydra/sweeper=optuna", f"hydra.sweeper.storage={database}", "hydra/launcher=joblib"]
    overrides += ["hydra.sweeper.n_trials=2", "optimizer.lr=interval(0.01,0.02)", "hydra.launcher.n_jobs=2"]
    done = sweeps.train(*overrides)
    assert done.returncode == 0, done.stderr
    (trials,) = [optuna.load_study(study_name=name, storage=database).trials
                 for name in optuna.get_all_study_names(database)]  # fmt: skip
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 2
    assert all(set(trial.intermediate_values) == {4, 8} for trial in trials)
    assert not (sweeps.sweep() / "study.db").exists()
