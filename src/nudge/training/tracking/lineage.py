"""What a run was made from: code, configuration and data, as tags and as an MLflow dataset."""

import getpass
import json
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import yaml
from dvc_data.hashfile.build import build
from dvc_data.hashfile.db import HashFileDB
from dvc_objects.fs.local import LocalFileSystem
from dvc_objects.fs.memory import MemoryFileSystem
from mlflow.entities import Dataset, DatasetInput, InputTag

from nudge import project
from nudge.config.composition import config_hash
from nudge.config.schema import Config


def tags(config: Config) -> dict[str, str]:
    """Return the tags that lead from a run back to its code, data and configuration."""
    commit = _git("rev-parse", "HEAD")
    return {
        "stage": config.stage.name,
        "seed": str(config.seed),
        "config.hash": config_hash(config),
        "git.commit": commit or "unknown",
        "git.dirty": str(bool(_git("status", "--porcelain", "--untracked-files=no"))).lower() if commit else "unknown",
        "dvc.data": _written_data_hash(),
        "mlflow.source.name": f"nudge train stage={config.stage.name}",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": getpass.getuser(),
    } | ({"mlflow.source.git.commit": commit} if commit else {})


def dataset(curated: Path) -> DatasetInput:
    """Describe the curated corpus as an input of a run; its digest is the hash that DVC has for the folder."""
    schema = pq.read_schema(curated / "train.parquet")
    rows = {path.stem: pq.read_metadata(path).num_rows for path in sorted(curated.glob("*.parquet"))}
    columns = [{"name": field.name, "type": str(field.type), "required": not field.nullable} for field in schema]
    where = curated.relative_to(project.root()).as_posix()
    return DatasetInput(
        Dataset(
            name="curated",
            digest=dvc_hash(curated),
            source_type="local",
            source=json.dumps({"uri": where}),
            schema=json.dumps({"mlflow_colspec": columns}),
            profile=json.dumps({"num_rows": sum(rows.values()), **{f"num_rows_{name}": n for name, n in rows.items()}}),
        ),
        [InputTag("mlflow.data.context", "training")],
    )


def dvc_hash(path: Path) -> str:
    """Compute the hash under which DVC knows a file or folder, from its content now."""
    _, _, built = build(HashFileDB(MemoryFileSystem(), "/"), str(path), LocalFileSystem(), "md5", dry_run=True)
    return str(built.hash_info.value)


def _written_data_hash() -> str:
    """Return what data.dvc pins: the hash of what people wrote."""
    pin = project.root() / "data.dvc"
    return str(yaml.safe_load(pin.read_text())["outs"][0]["md5"]) if pin.is_file() else "unknown"


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=project.root(), capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # no git, or no repository: an unpacked archive
        return ""
    return done.stdout.strip()
