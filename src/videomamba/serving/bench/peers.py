"""Networks of others to compare with. The one file that needs transformers, the extra `peers`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import torch

ABSENCE = "transformers is not installed: pip install 'videomamba[peers]'"


def available() -> bool:
    """Whether transformers is installed; nothing is imported."""
    return importlib.util.find_spec("transformers") is not None


def timesformer_inference(*, frames: int, size: int, dtype: torch.dtype) -> Callable[[], object]:
    """TimeSformer-B with divided attention and random weights on one clip of `frames` frames of `size` pixels."""
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    config = TimesformerConfig(image_size=size, num_frames=frames)
    model: torch.nn.Module = TimesformerForVideoClassification(config)
    model.eval().to(dtype)
    clip = torch.randn(1, frames, 3, size, size, dtype=dtype)

    def call() -> object:
        with torch.inference_mode():
            return model(clip).logits

    return call
