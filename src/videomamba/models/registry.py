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


def name_of_size(dim: int, depth: int) -> str | None:
    """The architecture of this width and number of blocks, None where there is none."""
    return next((name for name, size in ARCHITECTURES.items() if (size["dim"], size["depth"]) == (dim, depth)), None)


def build_config(name: str | None, overrides: Mapping[str, object]) -> VideoMambaConfig:
    """The config of architecture `name` with `overrides`; without a name, of the `overrides`, which must have dim and depth.

    Raises ValueError, with the nearest name, for an unknown one.
    """
    if name is not None and name not in ARCHITECTURES:
        raise ValueError(f"unknown model {name!r}; {_advice(name, ARCHITECTURES)}")
    if name is None and not {"dim", "depth"} <= overrides.keys():
        raise ValueError("a network without a name needs dim and depth")
    fields = list(VideoMambaConfig.model_fields)
    for key in overrides:
        if key not in fields:
            raise ValueError(f"unknown option {key!r}{f' for {name}' if name else ''}; {_advice(key, fields)}")
    try:
        return make_config({**(ARCHITECTURES[name] if name else {}), **overrides})
    except ValueError as error:
        raise ValueError(f"{name}: {error}" if name else str(error)) from None


def _advice(name: str, known: Collection[str]) -> str:
    return nearest_name(name, known, otherwise=f"known: {', '.join(known)}")
