"""One index of a few videos, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving.search.made import write_folder, write_text_model
from videomamba.serving.search.index import build_index


@pytest.fixture(scope="session")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text_model(tmp_path_factory.mktemp("weights") / "text.safetensors")


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="session")
def index(videos: Path, text_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of `videos` by `text_model`: windows of 1 s, one every 0.5 s."""
    out = tmp_path_factory.mktemp("index") / "x.lance"
    build_index(videos, out, model=str(text_model))
    return out
