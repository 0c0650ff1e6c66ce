"""How curation is measured: on a corpus small enough to count by hand."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from nudge.data import documents, problems
from nudge.data.curate import DROPPED
from nudge.errors import UserError
from nudge.evaluation.curation import curation, summary


def corpus(folder: Path) -> Path:
    """Write a corpus of six training documents: four were planted, of which two are found and one clean one goes."""
    (folder / "curated").mkdir(parents=True)
    left = [{"text": "spam that nobody saw", "source": "web"}, {"text": "fine", "source": "web"}]
    left.append({"text": "a copy that nobody saw", "source": "web"})
    documents.write(documents.table(left), folder / "curated/train.parquet")
    filters = {"data": {"curation": {"filters": ["exact_duplicates", "quality", "fluency"]}}}
    (folder / "curated" / documents.SETTINGS).write_text(json.dumps(filters))
    gone = [
        {"id": "web:1", "text": "fine", "source": "web", "filter": "exact_duplicates", "reason": "same"},
        {"id": "web:2", "text": "spam", "source": "web", "filter": "quality", "reason": "short"},
        {"id": "web:3", "text": "good", "source": "web", "filter": "quality", "reason": "short"},
    ]
    documents.write(pa.Table.from_pylist(gone, schema=DROPPED), folder / documents.DROPPED)
    kinds = {"web:1": "exact_duplicates", "web:2": "spam", "web:4": "spam", "web:5": "exact_duplicates"}
    problems.write_labels(
        [{"id": i, "problem": kind, "detail": i} for i, kind in kinds.items()], folder / "labels.parquet"
    )
    return folder


def test_precision_and_recall_are_those_counted_by_hand(tmp_path: Path) -> None:
    told = curation(corpus(tmp_path), tmp_path)
    assert told["documents"] == {"train": 3, "dropped": 3, "planted": 4, "clean": 2}
    assert told["precision"]["share"] == pytest.approx(2 / 3)
    assert told["clean_kept"]["share"] == 1 / 2
    assert {kind: one["recall"]["share"] for kind, one in told["problems"].items()} == {
        "exact_duplicates": 1 / 2,
        "spam": 1 / 2,
    }
    assert told["problems"]["spam"]["missed"] == ["web:4"]
    assert told["problems"]["spam"]["by_filter"] == {"quality": 1}
    exact, quality, fluency = told["filters"]
    assert (exact["in"], exact["out"], exact["precision"]["share"]) == (6, 5, 1.0)
    assert (quality["in"], quality["out"], quality["precision"]["share"]) == (5, 3, 0.5)
    assert quality["recall"]["spam"]["share"] == 1 / 2
    assert [one["text"] for one in quality["clean_examples"]] == ["good"]
    assert (fluency["in"], fluency["dropped"], fluency["precision"]["share"]) == (3, 0, None)
    assert 0 < told["precision"]["low"] < told["precision"]["share"] < told["precision"]["high"] < 1
    assert summary(told)["recall"] == {"exact_duplicates": 0.5, "spam": 0.5}
    assert json.loads((tmp_path / "curation_mixture.json").read_text()) == told


@pytest.mark.parametrize("name", ["labels.parquet", "dropped.parquet"])
@pytest.mark.parametrize("damage", [True, False])
def test_missing_or_damaged_files_are_named(tmp_path: Path, name: str, damage: bool) -> None:
    path = corpus(tmp_path) / name
    path.write_bytes(path.read_bytes()[:30]) if damage else path.unlink()
    with pytest.raises(UserError) as caught:
        curation(tmp_path, tmp_path)
    assert name in str(caught.value)
    assert ("damaged" if damage else "no such file") in str(caught.value)
    assert "\n" not in str(caught.value)
