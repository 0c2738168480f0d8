"""Video files to read, made once a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data.clips import RECIPES, encode


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """clip(name) is the file of RECIPES[name], made once a session."""
    folder = tmp_path_factory.mktemp("clips")

    def make(name: str) -> Path:
        path = folder / f"{name.replace('.', '_')}{RECIPES[name].suffix}"
        return path if path.exists() else encode(path, RECIPES[name])

    return make


@pytest.fixture(scope="session")
def real_videos() -> Path:
    """The folder of real clips beside the repository."""
    folder = Path(__file__).resolve().parents[2].parent / "shared" / "videos"
    if not folder.is_dir():
        pytest.skip("the folder of real clips is not here")
    return folder
