"""Models by name: the sizes of the paper, and the small one that the package carries weights for."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from videomamba.models.config import VideoMambaConfig, make_config

ARCHITECTURES: Mapping[str, Mapping[str, object]] = {
    "videomamba_tiny": {"dim": 192, "depth": 24},
    "videomamba_small": {"dim": 384, "depth": 24},
    "videomamba_middle": {"dim": 576, "depth": 32},
    "videomamba_base": {"dim": 768, "depth": 24},
    "videomamba_micro": {"dim": 128, "depth": 6, "image_size": 96, "num_classes": 16},
}
"""Fields of VideoMambaConfig that each name fixes; everything else is the config's default."""


def list_models() -> list[str]:
    """The names that `create_model` knows."""
    return list(ARCHITECTURES)


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


def build_config(name: str, overrides: Mapping[str, object]) -> VideoMambaConfig:
    """The config of architecture `name` with `overrides`; ValueError names an unknown field's nearest neighbour."""
    if name not in ARCHITECTURES:
        raise ValueError(f"unknown model {name!r}; {_nearest(name, list_models())}")
    fields = list(VideoMambaConfig.model_fields)
    for key in overrides:
        if key not in fields:
            raise ValueError(f"unknown option {key!r} for {name}; {_nearest(key, fields)}")
    try:
        return make_config({**ARCHITECTURES[name], **overrides})
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
