"""Processes that start at once, and networks of few layers: what is measured here is nobody's result."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from multiprocessing import get_context

import pytest

from videomamba.bench import process, run
from videomamba.models.config import VideoMambaConfig


@pytest.fixture(autouse=True)
def little_to_collect() -> Iterator[None]:
    """Each round of a measurement collects garbage: not among all that pytest holds."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def quick_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured calls get a copy of one process that has imported PyTorch, instead of a process that does so itself."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["videomamba.bench.process", "videomamba.data.loading.loader"])
    monkeypatch.setattr(process, "get_context", lambda _: context)


@pytest.fixture
def two_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the bench command measures has two layers."""
    build: Callable[..., VideoMambaConfig] = run.build_config
    monkeypatch.setattr(run, "build_config", lambda name, overrides: build(name, {**overrides, "depth": 2}))
