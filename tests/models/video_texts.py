"""Small video-text models with every tensor random, and their inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from videomamba.models.config import VideoMambaConfig
from videomamba.models.text import TextConfig
from videomamba.models.video_text import VideoText, VideoTextConfig

PLACES = 4
"""Patches of a frame of `VIDEO`."""
WORDS = 40
VIDEO = {"num_classes": 0, "depth": 2, "dim": 32, "num_frames": 4, "image_size": 32, "init": "fan_in"}
TEXT = {"vocab_size": WORDS, "dim": 24, "depth": 3, "heads": 4, "hidden_dim": 40, "fusion_from": 2, "max_positions": 16}


def video_config(**fields: object) -> VideoMambaConfig:
    return VideoMambaConfig.model_validate({**VIDEO, **fields})


def text_config(**fields: object) -> TextConfig:
    return TextConfig.model_validate({**TEXT, "dropout": 0.0, **fields})


def build_video_text(seed: int = 0, *, video: dict[str, object] | None = None, **fields: object) -> VideoText:
    config = VideoTextConfig.model_validate(
        {"video": video_config(**(video or {})), "text": text_config(), "embed_dim": 20, **fields}
    )
    return disturbed(VideoText(config), seed)


def disturbed(model: nn.Module, seed: int = 0) -> nn.Module:
    """`model` with noise on all its tensors, so that none can be right because it was left as it started."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name != "temp":
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


def clips(count: int = 2, frames: int = 4, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, frames, 32, 32, generator=torch.Generator().manual_seed(seed))


def texts(lengths: tuple[int, ...] = (7, 4, 1), seed: int = 2) -> tuple[Tensor, Tensor]:
    """(ids, mask) of texts of these lengths; the padding has any numbers."""
    ids = torch.randint(0, WORDS, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(seed))
    return ids, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
