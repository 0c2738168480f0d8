"""A network by name, with fresh or given weights; one from a weights file; and a network back to a file."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from videomamba.models.config import VideoMambaConfig
from videomamba.models.registry import build_config, list_models
from videomamba.models.videomamba import VideoMamba
from videomamba.schema import Preprocess, nearest_name
from videomamba.weights.bundle import save_bundle
from videomamba.weights.load import load_weights
from videomamba.weights.plan import HeadPolicy
from videomamba.weights.pretrained import open_pretrained
from videomamba.weights.zoo import zoo_entry, zoo_names


def create_model(
    name: str,
    *,
    weights: str | Path | Mapping[str, Tensor] | None = None,
    head: HeadPolicy = "keep",
    **overrides: object,
) -> VideoMamba:
    """The network called `name`, in training mode, with fresh weights or `weights`.

    `name` is one of `list_models()`, or a name of the zoo: the network of those weights, without the weights. `overrides`
    are fields of VideoMambaConfig (num_classes, num_frames, image_size, scan_order, drop_path, ...). Fresh weights are drawn
    from PyTorch's global generator; with `weights` (a path, a zoo name or a state dict) nothing is drawn but, with
    `head="replace"`, a new head. Otherwise a head whose number of classes is not `num_classes` is an error.

    Raises ValueError for an unknown name or field, WeightsError when the weights do not fit.
    """
    config = _config(name, overrides)
    if weights is None:
        return VideoMamba(config)
    model = VideoMamba.without_weights(config)
    load_weights(model, weights, head=head)
    return model


def from_pretrained(
    name_or_path: str | Path,
    *,
    num_classes: int | None = None,
    num_frames: int | None = None,
    image_size: int | tuple[int, int] | None = None,
) -> VideoMamba:
    """The network of a zoo name or weights file, with its weights, in evaluation mode.

    `num_classes`: another number than the file's gives a new random head, 0 removes the head; None keeps it, so that a file
    without one gives the features (b, d). `num_frames` and `image_size` (pixels, or height and width) resize the positions.
    A file without settings gives a UserWarning that says what is assumed. Input must be normalised as
    `Predictor.from_pretrained(name_or_path).preprocess` says. Raises WeightsError for a file that is absent, damaged or
    incomplete, ValueError for a negative `num_classes`.
    """
    opened = open_pretrained(name_or_path, num_frames=num_frames, image_size=image_size, needs_head=False)
    if opened.assumed:
        warnings.warn(opened.assumed, stacklevel=2)
    if num_classes not in (None, opened.model.config.num_classes):
        opened.model.reset_classifier(num_classes)
    return opened.model.eval()


def save(model: VideoMamba, path: str | Path, *, preprocess: Preprocess, labels: Sequence[str] = ()) -> Path:
    """Writes `model` to `path`, which ends in .safetensors, with all that is needed to use it; returns the path.

    `preprocess` says how its clips were made, `labels` are its class names in index order, or empty. `Predictor`, `Embedder`,
    `from_pretrained`, `load_weights` and every command read the file. After a failure an old file is unchanged. Raises
    WeightsError when the file cannot be written, VideoMambaError for another number of labels, ValueError where the clips of
    `preprocess` do not fit the model.
    """
    return save_bundle(path, model, preprocess, labels)


def _config(name: str, overrides: Mapping[str, object]) -> VideoMambaConfig:
    architectures, released = list_models(), zoo_names()
    if name in released:
        entry = zoo_entry(name)
        return build_config(entry.architecture, {**entry.config, **overrides})
    if name not in architectures:
        known = ", ".join(architectures)
        advice = nearest_name(name, [*architectures, *released], otherwise=f"known: {known}, and the names of the zoo")
        raise ValueError(f"unknown model {name!r}; {advice}")
    return build_config(name, overrides)
