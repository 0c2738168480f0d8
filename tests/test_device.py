"""The device is chosen alike by training and by the commands that answer."""

from __future__ import annotations

import pytest
import torch

from videomamba.cli.model_options import ModelOptions, NetworkOptions
from videomamba.cli.output import usable_device
from videomamba.device import find_device
from videomamba.schema import VideoMambaError
from videomamba.training.distributed import Processes
from videomamba.training.settings import Run


def test_the_best_device_is_the_default_of_training_and_answers() -> None:
    assert Run().device == NetworkOptions().device == ModelOptions().device == "auto"
    assert Processes(device="auto").device == find_device("auto") == torch.device(usable_device("auto"))


def test_auto_is_the_accelerator_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: torch.device("meta"))
    with pytest.raises(VideoMambaError, match=r"^--device auto: not usable here \(.*\); try --device cpu$"):
        usable_device("auto")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: None)
    assert usable_device("auto") == usable_device("cpu") == "cpu"
