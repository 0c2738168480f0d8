"""AdamW: which parameters decay, which layers learn slower, and the linear scaling rule.

"legacy" are the rules of the released weights; the others are what those rules were meant to be.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from videomamba.training.settings import Optimisation

_LAYER = re.compile(r"layers\.(\d+)\.")
_TOKENS = ("cls_token", "pos_embed", "temporal_pos_embedding", "register_tokens")
_LEGACY_TOKENS = ("cls_token", "pos_embed")
_DECAY_RATES = (".A_log", ".A_b_log")
_EMBEDDINGS = "_embeddings.weight"
"""Those of words, their places and their types, in the names of BERT."""
_FUSED_DEVICES = ("cpu", "cuda", "mps")


@dataclass(frozen=True)
class Rates:
    """Learning rates after scaling, of a layer whose scale is 1."""

    peak: float
    minimum: float
    warmup: float


def scaled_rates(settings: Optimisation, repeats: int) -> Rates:
    """The rates of a step that holds `settings.batch_size` videos, each `repeats` times. Source: arXiv 1706.02677."""
    factor = settings.batch_size * repeats / settings.lr_reference if settings.lr_reference else 1.0
    others = factor if settings.scale_all else 1.0
    return Rates(settings.lr * factor, settings.min_lr * others, settings.warmup_lr * others)


def layer_id(name: str, *, depth: int, mode: Literal["true", "legacy"]) -> int:
    """The place of a parameter from 0, the input, to depth + 1, after the blocks.

    "true" puts block i at i + 1. "legacy" is the original's result, where the line for the blocks is commented out and the
    name of the temporal embedding misspelt: the input of the image network at 0, all else at depth + 1.
    """
    tokens = _TOKENS if mode == "true" else _LEGACY_TOKENS
    if name in tokens or name.startswith("patch_embed."):
        return 0
    block = _LAYER.match(name)
    if block and int(block[1]) >= depth:
        raise ValueError(f"{name}: the network has {depth} blocks")
    return int(block[1]) + 1 if block and mode == "true" else depth + 1


def is_decayed(name: str, parameter: nn.Parameter, mode: Literal["mamba", "legacy"]) -> bool:
    """Whether weight decay pulls the parameter to 0: not vectors, biases, tokens, positions; in "mamba" nor A and words."""
    if parameter.ndim <= 1 or name.endswith(".bias") or name.rpartition(".")[2] in _TOKENS:
        return False
    return mode == "legacy" or not name.endswith((*_DECAY_RATES, _EMBEDDINGS))


def parameter_groups(
    named_parameters: Iterable[tuple[str, nn.Parameter]], settings: Optimisation, *, depth: int
) -> list[dict[str, Any]]:
    """Groups for an optimiser, from input to output, each with `name`, `params`, `lr_scale` and `weight_decay`.

    `named_parameters` has the names of a VideoMamba of `depth` blocks, without any wrapper's prefix; those that need no
    gradient are skipped. `lr_scale` is layer_decay^(depth + 1 - id); without layer decay all parameters share one id.
    """
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in named_parameters:
        if not parameter.requires_grad:
            continue
        place = layer_id(name, depth=depth, mode=settings.layer_decay_mode) if settings.layer_decay < 1 else depth + 1
        decayed = is_decayed(name, parameter, settings.no_decay)
        key = (place, decayed)
        if key not in groups:
            groups[key] = {
                "name": f"layer_{place}_{'decay' if decayed else 'no_decay'}",
                "params": [],
                "lr_scale": settings.layer_decay ** (depth + 1 - place),
                "weight_decay": settings.weight_decay if decayed else 0.0,
            }
        groups[key]["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]


def make_optimizer(
    named_parameters: Iterable[tuple[str, nn.Parameter]], settings: Optimisation, *, depth: int
) -> torch.optim.AdamW:
    """AdamW over `parameter_groups`. Its rates are 0 until `schedule.apply` sets them.

    Fused if PyTorch supports it: for VideoMamba-Ti on one CPU core a step takes 10 ms, with `foreach` 32 ms.
    """
    named = list(named_parameters)
    fused = all(parameter.device.type in _FUSED_DEVICES for _, parameter in named)
    groups = parameter_groups(named, settings, depth=depth)
    return torch.optim.AdamW(groups, lr=0.0, betas=settings.betas, eps=settings.eps, fused=fused, foreach=not fused)
