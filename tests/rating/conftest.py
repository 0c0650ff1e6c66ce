"""A small assistant that has learned to answer in some form, and no arithmetic: all that a rater needs to read."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import torch

from nudge import project
from nudge.config.composition import compose
from nudge.data import tokenizer
from nudge.data.sources import chat
from nudge.model import saved
from nudge.model.decoder import Decoder
from nudge.model.saved import Saved
from nudge.training.pretraining import cross_entropy_sum
from tests.conftest import REPOSITORY

SHAPE = ["model.width=32", "model.layers=1", "model.heads=2", "model.kv_heads=2", "model.mlp_width=64"]


@pytest.fixture
def rated_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a project of its own, with what people wrote, no rating, and a store of its own."""
    folder = tmp_path / "project"
    for name in ("conf", "data"):
        shutil.copytree(REPOSITORY / name, folder / name)
    shutil.copy(REPOSITORY / "dvc.yaml", folder / "dvc.yaml")
    (folder / "data/ratings.jsonl").write_text("")
    monkeypatch.setenv("NUDGE_PROJECT", str(folder))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for cached in (project.root, project.home):
        cached.cache_clear()
    yield folder
    mlflow.set_tracking_uri(None)  # what pushing and pulling set
    for cached in (project.root, project.home):
        cached.cache_clear()


@pytest.fixture(scope="session")
def assistant_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fit a model to some of the assistant's documents, and save it as fine-tuning would."""
    config = compose(["data=chat", "tokenizer=chat", "model=assistant", *SHAPE])
    texts = [row["text"] for row in chat.documents(config.data, "assistant", REPOSITORY / "data")]
    words = tokenizer.train(texts, config.tokenizer)
    model = Decoder(config.model, words.get_vocab_size())
    model.initialise(torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    rows = [torch.tensor(encoding.ids) for encoding in words.encode_batch(texts[::60])]
    tokens_BT = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=tokenizer.PAD_ID)
    for _ in range(60):
        optimizer.zero_grad()
        (cross_entropy_sum(model(tokens_BT[:, :-1]), tokens_BT[:, 1:]) / len(rows)).backward()
        optimizer.step()
    folder = tmp_path_factory.mktemp("assistant") / "finetune"
    saved.save(Saved(model.eval(), words, config.model_dump(mode="json")), folder)
    return folder
