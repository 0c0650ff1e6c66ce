"""The data stages: deterministic, honest about the split, and clear about damage."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from nudge.config.composition import compose
from nudge.config.data import DataConfig
from nudge.data import curate, documents, files, tokenizer
from nudge.data.generate import generate
from nudge.data.split import assign
from nudge.data.tokenize import tokenize
from nudge.data.tokens import Tokens
from nudge.errors import UserError


@pytest.fixture
def data() -> DataConfig:
    return compose().data


def test_the_same_seed_gives_the_same_bytes(small_project: Path, data: DataConfig, tmp_path: Path) -> None:
    generate(data, small_project, tmp_path / "raw")
    curate.curate(data, tmp_path / "raw", tmp_path / "curated", tmp_path / "report.json")
    tokenize(compose().tokenizer, tmp_path / "curated", tmp_path / "tokens")
    for folder in ("raw", "curated", "tokens"):
        # The manifest holds the hash of every file.
        assert (tmp_path / folder / "manifest.json").read_bytes() == (
            small_project / "corpus" / folder / "manifest.json"
        ).read_bytes()


def test_another_data_seed_gives_another_split(data: DataConfig) -> None:
    families = {f"{a}+{b}": "sum" for a in range(50) for b in range(a, 50)}
    other = assign(families, data.model_copy(update={"seed": 1}))
    assert sum(other[name] != split for name, split in assign(families, data).items()) > 100


def test_each_stratum_is_divided_80_10_10(small_project: Path) -> None:
    # A plain draw held out 24 of the 142 hard products instead of 14, and the test score followed the draw.
    counts = {
        name: pq.read_table(small_project / f"corpus/curated/{name}.parquet").to_pandas() for name in documents.SPLITS
    }
    for stratum in ("sum", "product", "trivial product"):
        families = {name: table[table.stratum == stratum].family.nunique() for name, table in counts.items()}
        total = sum(families.values())
        for name, share in {"train": 0.8, "validation": 0.1, "test": 0.1}.items():
            assert families[name] == pytest.approx(share * total, abs=1)


def test_documents_without_a_stratum_keep_their_split_when_others_come(data: DataConfig) -> None:
    few = assign({f"text {n}": None for n in range(500)}, data)
    many = assign({f"text {n}": None for n in range(1000)}, data)
    assert all(many[name] == split for name, split in few.items())
    assert 30 < sum(split == "test" for split in few.values()) < 75


FACT = {
    "text": "two plus three equals five",
    "source": "calculator",
    "prompt": "two plus three equals",
    "family": "2+3",
    "operation": "plus",
    "left": 2,
    "right": 3,
    "answer": 5,
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"answer": 6}, "says 2 plus 3 = 6; right would be 5"),
        ({"text": "two plus three equals six"}, "ends in 'six', but its answer is 5"),
        ({"family": "9+9"}, r"family is '9\+9'"),
        ({"operation": "power"}, "unknown operation 'power'"),
        ({"operation": "divided by", "right": 0}, "right would be None"),
    ],
)
def test_a_false_fact_is_refused(change: dict[str, object], expected: str) -> None:
    curate.check_fact(FACT)
    with pytest.raises(UserError, match=expected):
        curate.check_fact(FACT | change)


def test_a_false_fact_in_a_raw_file_stops_curation_and_keeps_what_was_there(
    small_project: Path, data: DataConfig, tmp_path: Path
) -> None:
    shutil.copytree(small_project / "corpus", tmp_path / "corpus")
    raw, curated = tmp_path / "corpus/raw", tmp_path / "corpus/curated"
    before = (curated / "test.parquet").read_bytes()
    rows = documents.read(raw / "calculator.parquet").to_pylist()
    rows[17]["answer"] += 1
    documents.write(documents.table(rows), raw / "calculator.parquet")
    with pytest.raises(UserError, match=r"calculator.parquet: .*stage 'generate' wrote"):
        curate.curate(data, raw, curated, tmp_path / "report.json")
    files.seal(raw)  # as a source that errs would have left it
    with pytest.raises(UserError, match="right would be"):
        curate.curate(data, raw, curated, tmp_path / "report.json")
    assert (curated / "test.parquet").read_bytes() == before
    assert not list(tmp_path.glob("corpus/.*"))


@pytest.mark.parametrize("damage", ["truncate", "flip", "delete"])
@pytest.mark.parametrize("name", ["curated/test.parquet", "tokens/train/ids.npy", "tokens/tokenizer.json"])
def test_damage_of_a_corpus_file_is_named(small_project: Path, tmp_path: Path, name: str, damage: str) -> None:
    shutil.copytree(small_project / "corpus", tmp_path / "corpus")
    path = tmp_path / "corpus" / name
    content = path.read_bytes()
    if damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        path.unlink()
    folder = tmp_path / "corpus" / name.split("/")[0]
    with pytest.raises(UserError) as caught:
        files.check_seal(folder, "tokenize")
    assert str(path) in str(caught.value)
    assert "dvc repro --force tokenize" in str(caught.value)


def test_truncated_files_are_errors_of_the_user_even_without_a_manifest(small_project: Path, tmp_path: Path) -> None:
    shutil.copytree(small_project / "corpus", tmp_path / "corpus")
    for path in (tmp_path / "corpus/curated/test.parquet", tmp_path / "corpus/tokens/train/ids.npy"):
        path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match="damaged parquet"):
        documents.read(tmp_path / "corpus/curated/test.parquet")
    with pytest.raises(UserError, match="damaged"):
        Tokens.open(tmp_path / "corpus/tokens/train")


def test_tokens_are_mapped_and_give_the_text_back(small_project: Path) -> None:
    tokens = Tokens.open(small_project / "corpus/tokens/validation")
    words = tokenizer.load(small_project / "corpus/tokens/tokenizer.json")
    table = documents.read(small_project / "corpus/curated/validation.parquet").to_pylist()
    assert isinstance(tokens.ids, np.memmap)
    assert len(tokens) == len(table)
    for number, row in enumerate(table):
        ids = tokens.ids[tokens.starts[number] : tokens.starts[number + 1]].tolist()
        assert ids[0] == tokenizer.BEGIN_ID
        assert ids[-1] == tokenizer.END_ID
        assert words.decode(ids) == row["text"]
        answer = words.decode(ids[tokens.answers[number] :])
        assert f"{row['prompt']} {answer}" == row["text"]


def test_the_vocabulary_is_38_tokens(small_project: Path) -> None:
    words = tokenizer.load(small_project / "corpus/tokens/tokenizer.json")
    assert words.get_vocab_size() == 38
    assert [words.id_to_token(number) for number in range(3)] == ["<pad>", "<s>", "</s>"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("statement: '{left} {operation} {right}'\noperations: {plus: plus}", "must use {answer} once"),
        ("statement: '{answer} is {left} {operation} {right}'\noperations: {plus: plus}", "must end with {answer}"),
        ("statement: '{lfet} {answer}'\noperations: {plus: plus}", "did you mean 'left'"),
        ("statement: '{left} {operation} {right} = {answer}'\noperations: {plus: plus}", "lacks a phrase for 'minus'"),
        ("statment: x", "unknown key 'statment'"),
        ("statement: [", "not readable as YAML"),
        ("", "holds no keys"),
    ],
)
def test_wrong_phrasings_are_named(data: DataConfig, tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/phrasings.yaml").write_text(text)
    with pytest.raises(UserError, match=expected):
        generate(data, tmp_path, tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


def test_missing_data_says_how_to_get_it(data: DataConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dvc pull"):
        generate(data, tmp_path, tmp_path / "raw")


def test_an_unknown_word_gets_the_nearest_known_one(small_project: Path) -> None:
    words = tokenizer.load(small_project / "corpus/tokens/tokenizer.json")
    with pytest.raises(UserError, match=r"'fourty': unknown word .*did you mean 'forty'"):
        tokenizer.check_known(words, "fourty plus two equals")
    with pytest.raises(UserError, match="unknown word"):
        tokenizer.check_known(words, "two 😀 three")
