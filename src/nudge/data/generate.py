"""Stage `generate`: each source's documents → `corpus/raw/<source>.parquet`."""

from pathlib import Path

from nudge.config.schema import DataConfig
from nudge.data import documents, files
from nudge.data.sources import KINDS
from nudge.errors import UserError


def generate(config: DataConfig, project: Path, raw: Path) -> dict[str, int]:
    """Write every configured source's documents and return how many each gave.

    Args:
        config: which sources, and their settings.
        project: the folder that `data.path` is relative to.
        raw: the folder to write; it is replaced whole.
    """
    written = project / config.path
    if not written.is_dir():
        raise UserError(f"{written}: no such folder; `dvc pull` fetches what data.dvc names (data.path={config.path})")
    counts = {}
    with files.replacing_folder(raw) as folder:
        for name, source in sorted(config.sources.items()):
            rows = list(KINDS[source.kind].documents(config, name, written))
            documents.write(documents.table(rows), folder / f"{name}.parquet")
            counts[name] = len(rows)
        files.seal(folder)
    return counts
