"""A small random model in our own format, and real clips that the tests write."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
import torch
from torch import Tensor

from tests.models.networks import build_model, released_format
from tests.video.clips import RECIPES, encode
from videomamba import create_model
from videomamba.models.videomamba import VideoMamba
from videomamba.schema import Preprocess
from videomamba.synthetic.actions import ACTIONS
from videomamba.synthetic.dataset import render_clip
from videomamba.video.encode import write_video
from videomamba.weights.bundle import save_bundle


def pytest_configure() -> None:
    """Tests start alike, whoever starts them: here, and in programs of theirs, an interrupt that a shell ignores is one."""
    hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no fault of the code
    hypothesis.settings.load_profile("untimed")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if "PYTEST_XDIST_WORKER" in os.environ:  # one worker per core: more threads would only wait for one another
        torch.set_num_threads(1)
        os.environ["OMP_NUM_THREADS"] = (
            "1"  # also of the processes that tests start, whose results must be the same bits
        )


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
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "videos"
    if not folder.is_dir():
        pytest.skip("the folder of real clips is not here")
    return folder


@pytest.fixture
def build() -> Callable[..., VideoMamba]:
    return build_model


@pytest.fixture
def released() -> Callable[[VideoMamba, str], dict[str, object]]:
    return released_format


@pytest.fixture
def weights_of() -> Callable[[VideoMamba], dict[str, Tensor]]:
    """A copy of a model's tensors, to compare with later."""
    return lambda model: {key: value.clone() for key, value in model.state_dict().items()}
