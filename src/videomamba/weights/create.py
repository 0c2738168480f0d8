"""A network by name, with fresh or given weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from videomamba.models.registry import build_config
from videomamba.models.videomamba import VideoMamba
from videomamba.weights.load import load_weights


def create_model(
    name: str, *, weights: str | Path | Mapping[str, Tensor] | None = None, **overrides: object
) -> VideoMamba:
    """The network called `name`, in training mode, with fresh weights or `weights`.

    `overrides` are fields of VideoMambaConfig (num_classes, num_frames, image_size, scan_order, drop_path, ...). Fresh
    weights are drawn from PyTorch's global generator; with `weights` (a path, a zoo name or a state dict) nothing is drawn.
    A head whose number of classes is not `num_classes` is an error; `load_weights(model, weights, head="replace")` starts a
    new head.

    Raises ValueError for an unknown name or field, WeightsError when the weights do not fit.
    """
    config = build_config(name, overrides)
    if weights is None:
        return VideoMamba(config)
    model = VideoMamba.without_weights(config)
    load_weights(model, weights)
    return model
