"""Hydra's sweep syntax in Optuna's words, and pictures of whatever varied."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from nudge.errors import UserError
from nudge.sweeps import pictures, space


def distribution(text: str) -> BaseDistribution:
    override = OverridesParser.create().parse_override(f"key={text}")
    return space.distributions({"key": override})["key"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("interval(0.1,0.2)", FloatDistribution(0.1, 0.2)),
        ("interval(1,4)", FloatDistribution(1.0, 4.0)),
        ("int(interval(1,4))", IntDistribution(1, 4)),
        ("tag(log,interval(0.001,0.1))", FloatDistribution(0.001, 0.1, log=True)),
        ("tag(log,int(interval(1,64)))", IntDistribution(1, 64, log=True)),
        ("range(1,9,4)", IntDistribution(1, 5, step=4)),  # Hydra leaves the end out
        ("range(0,1,0.5)", CategoricalDistribution(["0.0", "0.5"])),
        ("1,2", CategoricalDistribution(["1", "2"])),
        ("choice(true,'a b')", CategoricalDistribution(["True", r"a\ b"])),
        ("[1,2],[3]", CategoricalDistribution(["[1,2]", "[3]"])),
    ],
)
def test_sweeps_become_distributions(text: str, expected: BaseDistribution) -> None:
    assert distribution(text) == expected


def test_impossible_spaces_are_named() -> None:
    with pytest.raises(UserError, match=r"key=interval\(2.0,1.0\)"):
        distribution("interval(2.0,1.0)")
    with pytest.raises(UserError, match="sampler=grid needs single values"):
        space.grid({"key": FloatDistribution(0, 1)})


def test_pictures_of_numbers_and_names(tmp_path: Path) -> None:
    rows = [({"lr": lr, "optimizer": name}, float(lr)) for lr in ("0.001", "0.1") for name in ("muon", "adamw")]
    files = pictures.save(rows, "val/loss", "min", tmp_path)
    assert [file.name for file in files] == ["parallel_coordinates.png", "importances.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


@pytest.mark.parametrize(
    "rows", [[], [({"seed": "1"}, 1.0)], [({"seed": "1"}, 1.0), ({"seed": "1"}, 2.0)], [({}, 1.0), ({}, 2.0)]]
)
def test_nothing_to_draw_is_no_error(rows: list[pictures.Row], tmp_path: Path) -> None:
    assert pictures.save(rows, "val/loss", "min", tmp_path) == []
    assert list(tmp_path.iterdir()) == []
