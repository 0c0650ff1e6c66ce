"""What several runs that begin at the same moment write into one store."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from mlflow.entities import Dataset, DatasetInput

from nudge.training.tracking import store


def test_runs_that_begin_together_name_the_same_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # All but one failed with IntegrityError; a job of a parallel sweep was lost now and then.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    client = store.client()
    experiment = store.experiment_id(client, "together")
    for digest in ("one", "two", "three", "four", "five", "six", "seven", "eight"):
        runs = [client.create_run(experiment).info.run_id for _ in range(4)]
        used = DatasetInput(Dataset("corpus", digest, "local", "{}"))
        together = Barrier(len(runs))

        def log(run: str, used: DatasetInput = used, together: Barrier = together) -> None:
            together.wait()
            store.log_dataset(client, run, used)

        with ThreadPoolExecutor(len(runs)) as threads:
            list(threads.map(log, runs))
        for run in runs:
            [found] = client.get_run(run).inputs.dataset_inputs
            assert found.dataset.digest == digest
