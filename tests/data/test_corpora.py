"""A run trains on the corpus that its configuration describes, whatever the pipeline has left in `corpus/`."""

import json
import multiprocessing
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nudge import project
from nudge.config.composition import compose
from nudge.config.schema import Config
from nudge.data import documents, tokenizer
from nudge.data.corpora import prepare
from nudge.data.tokens import Tokens
from tests.conftest import TINY, runner

SMALL = "data.sources.calculator.max_operand=9"


@pytest.fixture
def own_project(small_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a copy of the small project, to change what is in it."""
    folder = tmp_path / "project"
    shutil.copytree(small_project, folder, ignore=shutil.ignore_patterns("outputs", "mlflow.db*", "mlartifacts"))
    monkeypatch.setenv("NUDGE_PROJECT", str(folder))
    project.root.cache_clear()
    project.home.cache_clear()
    yield folder
    project.root.cache_clear()
    project.home.cache_clear()


def prepared(*overrides: str) -> Path:
    config = compose(overrides)
    return prepare(config.data, config.tokenizer)


def train_texts(corpus: Path) -> list[str]:
    words, tokens = tokenizer.load(corpus / "tokens/tokenizer.json"), Tokens.open(corpus / "tokens/train")
    return [words.decode(tokens.ids[a:b].tolist()) for a, b in zip(tokens.starts, tokens.starts[1:], strict=False)]


def test_the_pipelines_corpus_serves_the_configuration_that_made_it(own_project: Path) -> None:
    assert prepared() == own_project / "corpus"
    assert prepared("seed=5", "model.width=32") == own_project / "corpus"
    assert not (own_project / "outputs").exists()


@pytest.mark.parametrize("override", ["data.seed=5", "tokenizer.max_vocabulary=1000", SMALL])
def test_other_settings_get_a_corpus_of_their_own_once(own_project: Path, override: str) -> None:
    made = prepared(override)
    assert made.parent == own_project / "outputs/corpora"
    assert sorted(path.name for path in made.iterdir()) == [
        "curated",
        "curation.json",
        "dropped.parquet",
        "raw",
        "tokens",
    ]
    before = (made / "tokens/train/ids.npy").stat().st_mtime_ns
    assert prepared(override) == made
    assert (made / "tokens/train/ids.npy").stat().st_mtime_ns == before
    rows = documents.read(made / "curated/train.parquet").to_pylist()
    assert train_texts(made) == [row["text"] for row in rows]


def test_a_corpus_of_which_only_a_part_is_newer_serves_nobody(own_project: Path) -> None:
    # `dvc repro` killed between `curate` and `tokenize` leaves new documents beside old tokens.
    made = prepared("data.seed=5")
    shutil.rmtree(own_project / "corpus/curated")
    shutil.copytree(made / "curated", own_project / "corpus/curated")
    assert prepared("data.seed=5") == made
    assert prepared().parent == own_project / "outputs/corpora"


def test_changed_writing_of_people_gives_another_corpus(own_project: Path) -> None:
    first = prepared(SMALL)
    path = own_project / "data/phrasings.yaml"
    path.write_text(path.read_text().replace("equals", "is"))
    second = prepared(SMALL)
    assert first != second
    assert "is" in train_texts(second)[0].split()


def test_a_new_rating_gives_no_other_corpus(own_project: Path) -> None:
    # All of data/ was hashed, so each rating would have made every corpus anew.
    first = prepared(SMALL)
    with (own_project / "data/ratings.jsonl").open("a") as file:
        file.write("{}\n")
    assert prepared(SMALL) == first


MIXTURE = (
    "data=mixture",
    "tokenizer=chat",
    "data.curation.filters=[exact_duplicates]",
    *(
        f"data.sources.{name}.max_operand=19"
        for name in ("book", "code", "conversation", "encyclopedia", "paper", "web")
    ),
)


def test_the_pipelines_mixture_serves_the_configuration_that_made_it(own_project: Path) -> None:
    made = prepared(*MIXTURE)
    assert made.parent == own_project / "outputs/corpora"
    files = ["curated", "curation.json", "dropped.parquet", "labels.parquet", "raw", "tokens"]
    assert sorted(path.name for path in made.iterdir()) == files
    shutil.copytree(made, own_project / "corpus/mixture")
    assert prepared(*MIXTURE) == own_project / "corpus/mixture"
    assert prepared() == own_project / "corpus"
    assert prepared(*MIXTURE, "data.problems.spam=0.0") not in (made, own_project / "corpus/mixture")


@pytest.mark.parametrize("file", ["registers/web.yaml", "problems.yaml"])
def test_what_people_wrote_for_a_mixture_gives_another(own_project: Path, file: str) -> None:
    first = prepared(*MIXTURE)
    path = own_project / "data" / file
    path.write_text(path.read_text() + "# changed\n")
    assert prepared(*MIXTURE) != first


def test_a_damaged_corpus_is_made_again(own_project: Path) -> None:
    made = prepared(SMALL)
    path = made / "tokens/train/ids.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    assert prepared(SMALL) == made
    assert path.read_bytes() == whole


def _prepare(root: str) -> str:
    import os

    os.environ["NUDGE_PROJECT"] = root
    project.root.cache_clear()
    project.home.cache_clear()
    return str(prepared(SMALL))


def test_processes_that_ask_at_once_get_one_corpus(own_project: Path) -> None:
    # Jobs of a sweep start together: the second must not replace what the first has begun to read.
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        places = pool.map(_prepare, [str(own_project)] * 4)
    assert len(set(places)) == 1
    assert [path.name for path in (own_project / "outputs/corpora").iterdir() if path.is_dir()] == [
        Path(places[0]).name
    ]


def test_nudge_train_trains_on_the_data_that_it_is_told_to(own_project: Path) -> None:
    # `nudge train data.seed=5` used to train on corpus/, whose split is that of seed 0, and to record seed 5.
    nudge = runner(own_project)
    run = nudge("nudge", "train", *TINY, "data.seed=5", "run_dir=run", "trainer.max_steps=2", OMP_NUM_THREADS="1")
    assert run.returncode == 0, run.stderr
    begun = [json.loads(line) for line in (own_project / "run/journal.jsonl").read_text().splitlines()]
    dataset = next(entry["dataset"] for entry in begun if "dataset" in entry)
    where = own_project / json.loads(dataset["source"])["uri"]
    assert where.parent == prepared("data.seed=5")
    assert where.parent != own_project / "corpus"
    # The tokens that it read are of that corpus too: a changed one is noticed.
    (where.parent / "tokens/train/ids.npy").unlink()
    again = nudge("nudge", "train", *TINY, "data.seed=5", "run_dir=again", "trainer.max_steps=2", OMP_NUM_THREADS="1")
    assert again.returncode == 0, again.stderr
    assert "made, for these settings" in again.stderr


def test_a_probe_of_params_yaml_has_its_own_data(own_project: Path) -> None:
    from nudge.config import params

    (own_project / "params.yaml").write_text(params.compose_all())
    stage: Config = params.stage(own_project / "params.yaml", "pretrain")
    probe = params.stage(own_project / "params.yaml", "planted")
    assert stage.data == compose().data
    assert probe.data == compose(["experiment=planted"]).data != stage.data
    assert (probe.run_dir, probe.export_dir) == ("outputs/pipeline/planted", "models/probes/planted")
    assert params.stage(own_project / "params.yaml", "shuffled").data.sources["calculator"].answers == "shuffled"  # type: ignore[union-attr]


def test_a_new_rating_makes_no_other_corpus(own_project: Path) -> None:
    # The ratings lie in data/ too: each pull would have made fine-tuning's corpus again, and so all that follows.
    before = prepared(SMALL)
    (own_project / "data/ratings.jsonl").write_text("a rating")
    assert prepared(SMALL) == before
