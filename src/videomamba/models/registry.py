"""Models by name: the sizes of the paper, and the small one that the package carries weights for."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from videomamba.models.config import VideoMambaConfig, make_config
from videomamba.schema import nearest_name

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


def build_config(name: str, overrides: Mapping[str, object]) -> VideoMambaConfig:
    """The config of architecture `name` with `overrides`. Raises ValueError, with the nearest name, for an unknown one."""
    if name not in ARCHITECTURES:
        raise ValueError(f"unknown model {name!r}; {_advice(name, ARCHITECTURES)}")
    fields = list(VideoMambaConfig.model_fields)
    for key in overrides:
        if key not in fields:
            raise ValueError(f"unknown option {key!r} for {name}; {_advice(key, fields)}")
    try:
        return make_config({**ARCHITECTURES[name], **overrides})
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _advice(name: str, known: Collection[str]) -> str:
    return nearest_name(name, known, otherwise=f"known: {', '.join(known)}")
