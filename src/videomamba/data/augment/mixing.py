"""Mixup (arXiv 1710.09412), cutmix (1905.04899) and label smoothing of a batch, with soft targets.

Shape letters: n clips, t frames, h height, w width, r repeats (clips of one video).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from videomamba.data.augment.spatial import Box
from videomamba.data.settings import Augmentation


def mix(
    video: Tensor,
    labels: Tensor,
    *,
    num_classes: int,
    repeats: int,
    augmentation: Augmentation,
    generator: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """(n, 3, t, h, w) and (n,) int64 -> the mixed clips and (n, num_classes) float32 targets whose rows sum to 1.

    One share and one box for the complete batch; `partners(n, repeats)` pairs the clips. The given clips are not changed;
    they are returned when nothing is mixed. Processes that share a batch pass equal generators.

    Raises ValueError when n is not a multiple of `repeats`, or the number of labels is not n.
    """
    n, height, width = len(video), video.shape[-2], video.shape[-1]
    if labels.shape != (n,):
        raise ValueError(f"labels must be ({n},), got {tuple(labels.shape)}")
    other = partners(n, repeats).to(video.device)
    smoothing = augmentation.label_smoothing
    targets = torch.full((n, num_classes), smoothing / num_classes, device=labels.device)
    targets.scatter_(1, labels[:, None], 1 - smoothing + smoothing / num_classes)
    how = _choose(augmentation, generator)
    if how is None:
        return video, targets
    share = float(generator.beta(*(2 * [getattr(augmentation, how)])))
    if how == "mixup":
        video = torch.lerp(video[other], video, share)
    else:
        box = cut_box((height, width), share, generator)
        share = 1 - box.height * box.width / (height * width)
        inside = ..., slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
        given, video = video, video.clone()
        video[inside] = given[inside][other]
    return video, torch.lerp(targets[other.to(targets.device)], targets, share)


def partners(n: int, repeats: int) -> Tensor:
    """(n,) int64: the partner of each clip, for batches that hold the r clips of a video next to each other.

    Neighbouring videos are paired, copy j with copy j: pairs stay together when a batch is split between processes at even
    places. If the number of videos is odd, the last three form a ring; the clips of a single video are mixed with each
    other. (The original mixes with the reversed batch, so that the video in the middle is mixed with itself.)
    """
    if repeats < 1 or n % repeats:
        raise ValueError(f"{n} clips are not a multiple of {repeats} repeats")
    videos = n // repeats
    if videos == 1:
        return (torch.arange(n) + 1) % n
    other = torch.arange(videos) ^ 1
    if videos % 2:
        other[-3:] = torch.tensor([videos - 2, videos - 1, videos - 3])
    return (other[:, None] * repeats + torch.arange(repeats)).flatten()


def cut_box(size: tuple[int, int], share: float, generator: np.random.Generator) -> Box:
    """The box taken from the partner: sides sqrt(1 - share) of (height, width), centred anywhere, cut at the edges."""
    sides = [int(side * math.sqrt(1 - share)) for side in size]
    centres = [int(generator.integers(side)) for side in size]
    low = [max(c - s // 2, 0) for c, s in zip(centres, sides, strict=True)]
    high = [min(c + s // 2, end) for c, s, end in zip(centres, sides, size, strict=True)]
    return Box(low[0], low[1], high[0] - low[0], high[1] - low[1])


def _choose(augmentation: Augmentation, generator: np.random.Generator) -> str | None:
    mixing = [name for name in ("mixup", "cutmix") if getattr(augmentation, name) > 0]
    if not mixing or generator.random() >= augmentation.mix_probability:
        return None
    if len(mixing) == 1:
        return mixing[0]
    return "cutmix" if generator.random() < augmentation.mix_switch else "mixup"
