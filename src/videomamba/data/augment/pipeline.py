"""From decoded frames to a training clip, with all random values from one generator.

Order: auto-augment (at the video's own size, or after the symmetries), crop and resize, symmetries, colour jitter,
normalise, erase. Pixels are uint8 until they are normalised. Source of the order: the original's fine-tuning.
"""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from videomamba.data.augment import ops
from videomamba.data.augment.policy import parse_policy
from videomamba.data.augment.spatial import allowed_turns, crop, erase
from videomamba.data.clips.sampling import Indices, evaluation_clips, train_clip
from videomamba.data.clips.transforms import normalise
from videomamba.data.settings import Augmentation
from videomamba.schema import Clip, Frames, Preprocess, Symmetries, VideoMambaError, VideoSet

_GREY = (128, 128, 128)


def choose_frames(
    num_frames: int,
    preprocess: Preprocess,
    augmentation: Augmentation,
    generator: np.random.Generator,
    *,
    spacing: float = 0.0,
) -> Indices:
    """The frames of a training clip of a video with `num_frames` frames, `spacing` seconds apart; "middle" draws nothing."""
    if augmentation.frames == "middle":
        return evaluation_clips(preprocess, num_frames, spacing=spacing)[0]
    return train_clip(preprocess, num_frames, generator, spacing=spacing)


def augment_clip(
    frames: Frames,
    label: int | None,
    preprocess: Preprocess,
    augmentation: Augmentation,
    symmetries: Symmetries,
    generator: np.random.Generator,
) -> tuple[Clip, int | None]:
    """The augmented clip, data (3, t, h, w) float32 contiguous, and its label, which a symmetry may change.

    `frames` is not changed. `generator` draws each value once for all pictures; only the noise of the erased box differs
    between pictures. Raises ValueError for no frames, VideoMambaError for settings that `check_augmentation` refuses.
    """
    if len(frames) == 0:
        raise ValueError(f"{frames.path}: no frames to make a clip from")
    turns = allowed_turns(augmentation, symmetries)
    policy = parse_policy(augmentation.auto_augment)
    steps = policy.draw(generator) if policy else ()
    # As in the original: mid-grey in videos, the mean colour in images.
    mean = tuple(round(255 * channel) for channel in preprocess.mean)
    fill = _GREY if len(frames) > 1 else (mean[0], mean[1], mean[2])
    pictures, indices = frames.data.contiguous(), frames.indices

    if policy and augmentation.before_crop:
        pictures = policy.apply(pictures, steps, fill)
    pictures = crop(pictures, preprocess, augmentation, generator)
    for turn in turns:
        if generator.random() < 0.5:
            pictures = pictures.flip(turn.dimension)
            indices = indices[::-1] if turn.dimension == 0 else indices
            label = None if label is None else turn.labels[label]
    if policy and not augmentation.before_crop:
        pictures = policy.apply(pictures, steps, fill)
    if augmentation.color_jitter:
        pictures = color_jitter(pictures, augmentation.color_jitter, generator)
    data = normalise(pictures.permute(0, 3, 1, 2), preprocess)
    if generator.random() < augmentation.erase:
        erase(data, generator)
    return Clip(data, indices, frames.path), label


def color_jitter(pictures: Tensor, strength: float, generator: np.random.Generator) -> Tensor:
    """Brightness, contrast and saturation in a random order, each by a factor in 1 - strength .. 1 + strength, at least 0."""
    changes = (ops.brightness, ops.contrast, ops.color)
    factors = generator.uniform(max(0.0, 1 - strength), 1 + strength, size=len(changes))
    for i in generator.permutation(len(changes)):
        pictures = changes[i](pictures, float(factors[i]))
    return pictures


def check_augmentation(augmentation: Augmentation, video_set: VideoSet) -> None:
    """Raises VideoMambaError for settings that are impossible on this data, before any video is read."""
    parse_policy(augmentation.auto_augment)
    for turn in allowed_turns(augmentation, video_set.symmetries):
        number = len(video_set.labels)
        if len(turn.labels) != number or not all(0 <= label < number for label in turn.labels):
            raise VideoMambaError(
                f"{video_set.name}: the changed classes {turn.labels} do not fit its {number} classes"
            )
    for name, top, bound in (("crop_area", 1.0, " <= 1"), ("crop_aspect", math.inf, "")):
        low, high = getattr(augmentation, name)
        if not 0 < low <= high <= top:
            raise VideoMambaError(f"augment.{name}: got {low} {high}; give two numbers, 0 < low <= high{bound}")
    if video_set.task != "classification":
        for name in ("mixup", "cutmix", "label_smoothing"):
            if getattr(augmentation, name):
                raise VideoMambaError(f"augment.{name}: {video_set.name} has no classes to mix; set it to 0")
