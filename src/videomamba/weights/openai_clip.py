"""The vision tower in OpenAI's names, as the original saves its teacher, in the names of transformers.

Pure functions on dictionaries of tensors. Shapes: d width, m width inside the MLP, c projection, n positions, s patch side.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from videomamba.models.clip import ClipVision
from videomamba.schema import WeightsError
from videomamba.weights.convert import square_grid, strip_prefix

PREFIXES = ("clip_teacher.", "visual.", "")
"""In a released file of video and text; in OpenAI's state dict beside the text tower; alone, as the original saves it."""

_NAMES = {
    "class_embedding": "embeddings.class_embedding",
    "positional_embedding": "embeddings.position_embedding.weight",
    "conv1": "embeddings.patch_embedding",
    "ln_pre": "pre_layrnorm",
    "ln_post": "post_layernorm",
}
_LAYER_NAMES = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_LAYER = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)")
_HEAD_WIDTH = 64
"""Of all of OpenAI's vision towers: B/32, B/16, L/14, L/14@336."""


def is_openai_clip(keys: Iterable[str]) -> bool:
    """Whether a vision tower in OpenAI's names is among the tensors."""
    return _prefix(map(strip_prefix, keys)) is not None


def from_openai(weights: Mapping[str, Tensor], *, source: str) -> tuple[ClipVision, dict[str, Tensor]]:
    """(config, tensors in the names of `CLIPVisionModelWithProjection`) of the tower among `weights`.

    The config follows from the shapes: heads are 64 wide, the activation is OpenAI's. conv1.weight is (d, 3, s, s) or, as the
    original inflates it, (d, 3, 1, s, s). Raises WeightsError that names the tensor that is absent or has another shape.
    """
    stripped = {strip_prefix(key): value for key, value in weights.items()}
    prefix = _prefix(stripped)
    if prefix is None:
        raise WeightsError(f"{source}: has no vision tower of a CLIP; give its folder, or a file in OpenAI's names")
    tower = {key.removeprefix(prefix): value for key, value in stripped.items() if key.startswith(prefix)}
    kernel = _tensor(tower, "conv1.weight", source)
    if kernel.ndim == 5 and kernel.shape[2] == 1:
        tower["conv1.weight"] = kernel = kernel.squeeze(2)
    if kernel.ndim != 4:
        raise WeightsError(f"{source}: conv1.weight has shape {tuple(kernel.shape)}, not patches of one frame")
    places = len(_tensor(tower, "positional_embedding", source)) - 1
    square = square_grid(places) if places > 0 else None
    if square is None:
        raise WeightsError(f"{source}: positional_embedding has {places} patches, not a square")
    projection = _tensor(tower, "proj", source)
    if projection.ndim != 2:
        raise WeightsError(f"{source}: proj has shape {tuple(projection.shape)}, expected 2 dimensions")
    width, layers = kernel.shape[0], {match[1] for key in tower if (match := _LAYER.match(key))}
    missing = next((i for i in range(len(layers)) if str(i) not in layers), None)
    if missing is not None:
        raise WeightsError(
            f"{source}: has {len(layers)} layers, but no transformer.resblocks.{missing}; the CLIP is incomplete"
        )
    config = ClipVision(
        hidden_size=width,
        intermediate_size=len(_tensor(tower, "transformer.resblocks.0.mlp.c_fc.weight", source)),
        projection_dim=projection.shape[-1],
        num_hidden_layers=len(layers),
        num_attention_heads=max(width // _HEAD_WIDTH, 1),
        image_size=square[0] * kernel.shape[-1],
        patch_size=kernel.shape[-1],
    )
    return config, dict(_renamed(tower, width, source))


def _prefix(keys: Iterable[str]) -> str | None:
    found = set(keys)
    return next((p for p in PREFIXES if {f"{p}conv1.weight", f"{p}class_embedding"} <= found), None)


def _tensor(tower: Mapping[str, Tensor], key: str, source: str) -> Tensor:
    if key not in tower:
        raise WeightsError(f"{source}: has no {key}; the CLIP is incomplete")
    value = tower[key]
    if not value.ndim or not value.numel():
        raise WeightsError(f"{source}: {key} has shape {tuple(value.shape)}, which no CLIP has; the file is damaged")
    return value


def _renamed(tower: Mapping[str, Tensor], width: int, source: str) -> Iterable[tuple[str, Tensor]]:
    for key, value in tower.items():
        if key == "proj":
            yield "visual_projection.weight", value.T
        elif match := _LAYER.match(key):
            layer, name = f"vision_model.encoder.layers.{match[1]}", match[2]
            if name in ("attn.in_proj_weight", "attn.in_proj_bias"):
                if value.shape[:1] != (3 * width,):
                    raise WeightsError(f"{source}: {key} has shape {tuple(value.shape)}, expected {3 * width} rows")
                for part, rows in zip("qkv", value.chunk(3), strict=True):
                    yield f"{layer}.self_attn.{part}_proj.{name.removeprefix('attn.in_proj_')}", rows
            else:
                yield f"{layer}.{_replaced(name, _LAYER_NAMES)}", value
        else:
            yield f"vision_model.{_replaced(key, _NAMES)}", value


def _replaced(name: str, names: Mapping[str, str]) -> str:
    """`name` with its module, or itself, renamed; one that is not known stays, for the error that names it."""
    if name in names:
        return names[name]
    module, dot, kind = name.rpartition(".")
    return names.get(module, module) + dot + kind
