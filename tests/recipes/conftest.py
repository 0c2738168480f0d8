"""Videos to train on, and the run that was never interrupted, made once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recipes.runs import tiny, write_videos
from videomamba.recipes.classify import train


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_videos(tmp_path_factory.mktemp("classes") / "videos")


@pytest.fixture(scope="session")
def reference(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run of `tiny`."""
    out = tmp_path_factory.mktemp("reference") / "run"
    train(tiny(videos, out))
    return out
