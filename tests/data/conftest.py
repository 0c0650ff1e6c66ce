"""A project for corpora that a whole file of tests looks at."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from nudge import project


@pytest.fixture(scope="module")
def in_project_module(small_project: Path) -> Iterator[Path]:
    """Work in the small project for all of a file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUDGE_PROJECT", str(small_project))
        project.root.cache_clear()
        project.home.cache_clear()
        yield small_project
    project.root.cache_clear()
    project.home.cache_clear()
