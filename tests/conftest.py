"""A small random model in our own format, and real clips that the tests write."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from videomamba import create_model
from videomamba.data.encode import write_video
from videomamba.data.synthetic import ACTIONS, render_clip
from videomamba.models.bundle import save_bundle
from videomamba.schema import Preprocess


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = create_model("videomamba_micro", depth=2, dim=32, num_frames=4, image_size=(32, 48), num_classes=16)
    torch.nn.init.normal_(model.head.weight, std=0.5)
    preprocess = Preprocess(num_frames=4, image_size=(32, 48))
    return save_bundle(tmp_path_factory.mktemp("weights") / "small.safetensors", model, preprocess, ACTIONS)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three videos and a file that only claims to be one."""
    folder = tmp_path_factory.mktemp("clips")
    for i in range(3):
        write_video(folder / f"clip{i}.mp4", render_clip(i, i, num_frames=12, height=64, width=80), fps=8)
    (folder / "notes.mp4").write_text("not a video")
    return folder
