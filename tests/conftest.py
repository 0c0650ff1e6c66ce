"""Projects to test in: a small one for single parts, and a fresh clone with the whole default pipeline run."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Tests run side by side: two threads of one would wait for those of the other at every product.
    os.environ["OMP_NUM_THREADS"] = "1"

from nudge import project
from nudge.config.composition import compose
from nudge.config.schema import Config
from nudge.data.curate import curate
from nudge.data.generate import generate
from nudge.data.tokenize import tokenize

REPOSITORY = Path(__file__).resolve().parents[1]

# One layer and a few steps: what a test of the plumbing needs.
TINY = (
    "trainer.max_steps=8",
    "trainer.val_every_n_steps=4",
    "trainer.batch_size=64",
    "model.width=16",
    "model.layers=1",
    "model.heads=2",
    "model.kv_heads=2",
    "model.mlp_width=32",
    "schedule.warmup_steps=2",
)


# Groups of tests that take minutes: begun last, one would go on alone while the other processes have nothing to do.
LONGEST = (
    "pipeline",
    "tests/training/test_endings.py",
    "tests/sweeps/test_grid.py",
    "tests/training/test_server.py",
    "assistant_chain",
    "tests/cli/test_commands.py",
    "tests/training/test_ranks.py",
    "tests/sweeps/test_search.py",
    "tests/studies/test_curation.py",
    "tests/studies/test_running.py",
    "tests/studies/test_scaling.py",
    "tests/studies/test_worked_steps.py",
)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep what shares an expensive fixture in one process: a file's tests, and all that look at one of the chains.

    What takes longest comes first.
    """
    places: dict[pytest.Item, int] = {}
    for item in items:
        used = getattr(item, "fixturenames", ())
        shared = next((name for name in ("pipeline", "assistant_chain") if name in used), None)
        group = shared or item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))
        places[item] = LONGEST.index(group) if group in LONGEST else len(LONGEST)
    items.sort(key=places.__getitem__)


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment without what would lead a command to another project or store."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("MLFLOW_", "NUDGE_", "DVC_", "MAKE", "MFLAGS"))
        and key not in ("LOCAL_RANK", "HYDRA_FULL_ERROR")
    }
    return kept | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | more


Command = Callable[..., subprocess.CompletedProcess[str]]
Pipeline = tuple[Path, Command, str]


def runner(folder: Path) -> Command:
    """Return a function that runs a command in a folder and returns what it printed, whatever its exit code."""

    def run(*command: str, cwd: Path = folder, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=cwd, env=environment(**more), capture_output=True, text=True, timeout=2700, check=False
        )

    return run


@pytest.fixture(scope="session")
def small_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a project with its corpus, and no model; for tests that only read it."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("conf", "data"):
        shutil.copytree(REPOSITORY / name, folder / name)
    for name in ("dvc.yaml", "data.dvc"):
        shutil.copy(REPOSITORY / name, folder / name)
    config = compose()
    generate(config.data, folder, folder / "corpus" / "raw")
    curate(config.data, folder / "corpus/raw", folder / "corpus/curated", folder / "reports/curation.json")
    tokenize(config.tokenizer, folder / "corpus/curated", folder / "corpus/tokens")
    return folder


@pytest.fixture
def in_project(small_project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in the small project."""
    monkeypatch.setenv("NUDGE_PROJECT", str(small_project))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    project.root.cache_clear()
    project.home.cache_clear()
    yield small_project
    project.root.cache_clear()
    project.home.cache_clear()


@pytest.fixture
def tiny(in_project: Path, tmp_path: Path) -> Callable[..., Config]:
    """Return a function that composes a tiny run in a folder of its own."""
    count = iter(range(100))

    def make(*overrides: str) -> Config:
        folder = tmp_path / f"run{next(count)}"
        return compose([*TINY, f"run_dir={folder}", f"export_dir={folder}/model", *overrides])

    return make


@pytest.fixture(scope="session")
def assistant_chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a project with a tiny model of each stage from raw text to an assistant; for tests that only read it."""
    from tests import chain  # imports torch, Lightning and MLflow

    return chain.make(tmp_path_factory.mktemp("assistant"))


@pytest.fixture
def in_chain(assistant_chain: Path) -> Iterator[Path]:
    """Work in that project; runs of a test's own belong into its own folder."""
    from tests import chain

    with chain.working_in(assistant_chain):
        yield assistant_chain


def clone(folder: Path) -> Command:
    """Clone this repository, with uncommitted changes, into `folder`; fetch its data."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, names):
        if (REPOSITORY / name).is_file():  # deleted files are still listed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)
    run = runner(folder)
    for command in (
        "git init -q -b main",
        "git config user.name test",
        "git config user.email test@example.org",
        "git add -A",
        "git commit -q -m clone",
        "dvc pull -q data.dvc",
    ):
        done = run(*command.split())
        assert done.returncode == 0, done.stderr
    return run


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Run the default pipeline in a fresh clone, as `make repro` does; return clone, runner, and what was printed."""
    folder = tmp_path_factory.mktemp("clone")
    run = clone(folder)
    done = run("make", "pipeline", "FORCE=--force", PYTHONPATH=str(folder / "src"))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, run, done.stdout + done.stderr


@pytest.fixture(scope="session")
def written(pipeline: Pipeline) -> dict[Path, bytes]:
    """Return what the default run wrote of the files that a changed configuration rewrites."""
    folder, _, _ = pipeline
    return {path: path.read_bytes() for path in (folder / "params.yaml", folder / "dvc.lock")}


@pytest.fixture
def restored(pipeline: Pipeline, written: dict[Path, bytes]) -> Pipeline:
    """Give the clone as it was after the default run, whatever another test did to it."""
    folder, run, output = pipeline
    assert run("git", "checkout", "-q", "--", "conf", "dvc.yaml").returncode == 0
    for path, content in written.items():
        path.write_bytes(content)
    if run("dvc", "status", "--quiet").returncode != 0:
        again = run("dvc", "repro")
        assert again.returncode == 0, again.stdout + again.stderr
    return folder, run, output


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text())


__all__ = ["TINY", "Command", "Pipeline", "clone", "environment", "read_json", "runner"]
