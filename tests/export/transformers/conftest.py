"""Folders that the command has written."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("transformers")

from videomamba.export.transformers.convert import convert_to_folder


@pytest.fixture(scope="session")
def folder(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small random model of `bundle`."""
    out = tmp_path_factory.mktemp("transformers") / "small"
    convert_to_folder(bundle, out)
    return out
