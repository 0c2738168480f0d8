"""The config of the network that some tensors belong to, and conversions between the formats for images and videos.

Pure functions on dictionaries of tensors: nothing here opens a file or uses a module.

Shape letters: D width, E inner width, N states, K taps, R rank of delta, T temporal slots, t frames in a tubelet,
p pixels in a patch side, gh, gw patches along height and width, n = gh * gw patches in a frame.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Literal

from torch import Tensor

from videomamba.schema import WeightsError

Inflation = Literal["center", "average"]

WRAPPERS = ("model", "module", "state_dict", "model_state_dict", "net", "network")
"""The keys under which training scripts save the weights, in the order of the search."""

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.", "encoder.", "vision_encoder.")
"""Prefixes of other programs (DDP, torch.compile, Lightning, ...) before the names of the trunk, in any number and order."""

UNSEEN = ("scan_order", "merge", "discretization", "pool", "norm_eps")
"""Fields of VideoMambaConfig that change the result and do not show in the tensors."""

OTHER_PARTS = (
    "distill_head.*",
    "clip_decoder.*",
    "pool_norm.*",
    "text_encoder.*",
    "text_decoder.*",
    "vision_proj.*",
    "text_proj.*",
    "itm_head.*",
    "clip_teacher.*",
    "temp",
)
"""Parts of released weights files that a VideoMamba does not have: heads of distillation and masked pretraining, the text
tower of the video-text models. As `fnmatch` patterns on names without prefix."""

_LAYER = re.compile(r"layers\.(\d+)\.")


def unwrap(content: object, *, source: str = "state dict") -> dict[str, Tensor]:
    """The weights inside a loaded file: those under one of WRAPPERS, also one inside another, else the dictionary itself.

    Tensors are returned detached, in their own dtype. Raises WeightsError when there is no dictionary of tensors.
    """
    weights = content
    while isinstance(weights, Mapping):
        inner = next((weights[key] for key in WRAPPERS if isinstance(weights.get(key), Mapping)), None)
        if inner is None:
            break
        weights = inner
    if not isinstance(weights, Mapping) or not weights:
        raise WeightsError(
            f"{source}: expected a dictionary of tensors, found {type(weights).__name__}; give a weights file"
        )
    for key, value in weights.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            found = type(value).__name__
            raise WeightsError(f"{source}: {key} is a {found}, not a tensor; give a state dict, alone or under 'model'")
    return {key: value.detach() for key, value in weights.items()}


def strip_prefix(key: str) -> str:
    """`key` without PREFIXES, e.g. "module.backbone.cls_token" -> "cls_token"."""
    while prefix := next((p for p in PREFIXES if key.startswith(p)), ""):
        key = key.removeprefix(prefix)
    return key


def trunk_names(keys: Iterable[str], *, source: str = "state dict") -> dict[str, str]:
    """{name in a VideoMamba: key in the file}. Where no name is that of a trunk without PREFIXES, the only other prefix
    before one is removed too, e.g. "student.". Raises WeightsError when two keys give the same name, and for two networks."""
    names: dict[str, str] = {}
    keys = list(keys)
    prefix = _other_prefix(keys, source)
    for key in keys:
        name = strip_prefix(strip_prefix(key).removeprefix(prefix))
        if name in names:
            raise WeightsError(f"{source}: {names[name]} and {key} are both {name}; keep only one of the two models")
        names[name] = key
    return names


_FIRST = "patch_embed.proj.weight"


def _other_prefix(keys: Iterable[str], source: str) -> str:
    """The prefix that is not one of PREFIXES and stands before the names of the only network, "" where there is none."""
    found = sorted({name.removesuffix(_FIRST) for key in keys if (name := strip_prefix(key)).endswith(_FIRST)})
    if "" in found or not found:
        return ""
    if len(found) > 1:
        listed = " and ".join(found)
        raise WeightsError(f"{source}: holds {len(found)} networks, whose keys begin with {listed}; keep one of them")
    return found[0] if found[0].endswith(".") else ""


def square_grid(positions: int) -> tuple[int, int] | None:
    """(g, g) when `positions` is g * g, else None."""
    side = math.isqrt(positions)
    return (side, side) if side * side == positions else None


def infer_config(
    state_dict: Mapping[str, object],
    *,
    grid: tuple[int, int] | None = None,
    image_size: tuple[int, int] | None = None,
    source: str = "state dict",
) -> dict[str, int | tuple[int, int]]:
    """The fields of VideoMambaConfig that follow from the shapes of any released or trained weights, wrapped or bare.

    The position table does not show how the patches of a frame are arranged: `grid` is (gh, gw), by default a square, or
    that of `image_size` (height, width) in pixels where they cannot make a square. Weights without temporal embedding are
    a model of one time step; with a 4-D patch kernel that is one frame, an image. Scan order, merge, discretization and
    pool do not show in the tensors and stay at their defaults. Raises WeightsError that names the key that is absent or
    malformed.
    """
    weights = unwrap(state_dict, source=source)
    names = trunk_names(weights, source=source)

    def shape(name: str, *dims: int) -> tuple[int, ...]:
        if name not in names:
            raise WeightsError(f"{source}: no {name}; these are not weights of a VideoMamba")
        found = tuple(weights[names[name]].shape)
        if len(found) not in dims:
            wanted = " or ".join(map(str, dims))
            raise WeightsError(f"{source}: {names[name]} has shape {found}, expected {wanted} dimensions")
        return found

    _, positions, dim = shape("pos_embed", 3)
    kernel = shape("patch_embed.proj.weight", 4, 5)
    tubelet = kernel[2] if len(kernel) == 5 else 1
    slots = shape("temporal_pos_embedding", 3)[1] if "temporal_pos_embedding" in names else 1
    if kernel[-1] != kernel[-2]:
        raise WeightsError(f"{source}: {names['patch_embed.proj.weight']} has patches {kernel[-2:]}, not squares")
    if grid is None:
        grid = square_grid(positions - 1)
        if grid is None and image_size is not None:
            grid = (image_size[0] // kernel[-1], image_size[1] // kernel[-1])
        if grid is None:
            raise WeightsError(
                f"{source}: pos_embed has {positions - 1} patches, not a square; "
                "give the height and width of the images that they came from"
            )
    if grid[0] * grid[1] != positions - 1:
        raise WeightsError(f"{source}: pos_embed has {positions - 1} patches, not the grid {grid[0]}x{grid[1]}")

    layers = sorted({int(match[1]) for name in names if (match := _LAYER.match(name))})
    if layers != list(range(len(layers))):
        absent = next(i for i, layer in enumerate(layers) if i != layer)
        raise WeightsError(f"{source}: no layers.{absent}; the weights are incomplete")
    inner = shape("layers.0.mixer.in_proj.weight", 2)[0] // 2
    states = shape("layers.0.mixer.A_log", 2)[1]
    taps = shape("layers.0.mixer.conv1d.weight", 3)[2]
    shape("layers.0.mixer.A_b_log", 2)  # a one-directional Mamba is another model
    if inner % dim:
        raise WeightsError(f"{source}: layers.0.mixer has {inner} channels, not a multiple of the width {dim}")

    return {
        "num_classes": shape("head.weight", 2)[0] if "head.weight" in names else 0,
        "num_frames": slots * tubelet,
        "image_size": (grid[0] * kernel[-1], grid[1] * kernel[-1]),
        "patch_size": kernel[-1],
        "tubelet_size": tubelet,
        "depth": len(layers),
        "dim": dim,
        "expand": inner // dim,
        "d_state": states,
        "d_conv": taps,
        "num_registers": shape("register_tokens", 3)[1] if "register_tokens" in names else 0,
    }


def inflate_patch(kernel: Tensor, tubelet: int, mode: Inflation = "center") -> Tensor:
    """(D, 3, p, p) -> (D, 3, t, p, p): a still clip has the result of its image.

    "center" puts the kernel at temporal index t // 2 and zeros elsewhere, as the original does; "average" repeats it t
    times and divides by t.
    """
    if mode == "average":
        return kernel.unsqueeze(2).repeat(1, 1, tubelet, 1, 1) / tubelet
    inflated = kernel.new_zeros(*kernel.shape[:2], tubelet, *kernel.shape[2:])
    inflated[:, :, tubelet // 2] = kernel
    return inflated


def to_image_format(state_dict: Mapping[str, Tensor], *, source: str = "model") -> dict[str, Tensor]:
    """The weights of a one-frame model as the original's image code shapes them: a patch kernel of (D, 3, p, p).

    Raises WeightsError for a model of several frames, which would lose its temporal embedding or part of its kernel.
    """
    kernel = state_dict["patch_embed.proj.weight"]
    if kernel.shape[2] != 1 or "temporal_pos_embedding" in state_dict:
        raise WeightsError(f"{source}: a model of several frames is no image model; save it with kind='video'")
    return {**state_dict, "patch_embed.proj.weight": kernel.squeeze(2)}


def to_video_format(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights as the original's video code expects them: with a temporal embedding, zeros for one time step."""
    absent = state_dict["cls_token"].new_zeros(1, 1, state_dict["cls_token"].shape[-1])
    return {"temporal_pos_embedding": absent, **state_dict}
