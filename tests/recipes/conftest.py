"""Videos to train on, and the runs that were never interrupted, made once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recipes.runs import RECIPES, RecipeRuns, make_run, tiny, write_videos
from videomamba.recipes.classify import train


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_videos(tmp_path_factory.mktemp("classes") / "videos")


@pytest.fixture(scope="session", params=list(RECIPES))
def recipe(request: pytest.FixtureRequest) -> RecipeRuns:
    """Each recipe in turn."""
    return RECIPES[request.param]


@pytest.fixture(scope="session")
def uninterrupted(recipe: RecipeRuns, videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run of `recipe.tiny`."""
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    make_run(recipe.tiny(videos, out))
    return out


@pytest.fixture(scope="session")
def reference(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run of `tiny`."""
    out = tmp_path_factory.mktemp("reference") / "run"
    train(tiny(videos, out))
    return out
