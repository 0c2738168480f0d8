"""Our own weights file, the bundle: one .safetensors with the weights and everything needed to use them.

The metadata are strings: "format" = "videomamba-1", and as JSON "config" (VideoMambaConfig), "preprocess" (Preprocess),
"info" (an open object: task, preset, steps, licence, ...) and, only where the outputs have known names, "labels" (class
names in index order; older files may have an empty list).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from videomamba.models.config import VideoMambaConfig
from videomamba.models.videomamba import VideoMamba
from videomamba.schema import Preprocess, WeightsError, check_labels
from videomamba.weights.convert import infer_config
from videomamba.weights.kind import unreadable
from videomamba.weights.metadata import (
    FORMAT_FAMILY,
    check_name,
    decoded,
    info_of,
    read_header,
    record,
    write_tensors,
)
from videomamba.weights.text_bundle import TEXT_FORMATS, TextBundle, parse_text_bundle

FORMAT = FORMAT_FAMILY + "1"


@dataclass(frozen=True)
class BundleMetadata:
    """The contents of a bundle without its tensors. `labels` is () where the outputs have no known names; `info` is open.

    `text` is that of a bundle of video and text, whose video tower the rest describes.
    """

    config: VideoMambaConfig
    preprocess: Preprocess
    labels: tuple[str, ...] = ()
    info: Mapping[str, object] = field(default_factory=dict)
    text: TextBundle | None = None


def save_bundle(
    path: str | Path,
    model: VideoMamba,
    preprocess: Preprocess,
    labels: Sequence[str] = (),
    info: Mapping[str, object] | None = None,
) -> Path:
    """Writes `model` with its preprocessing, class names and `info` to `path`.

    After a failure an old file at `path` is unchanged. `labels` is empty or has one name per class. Raises WeightsError when
    the file cannot be written, VideoMambaError for another number of labels, ValueError when `info` is not JSON or the clips
    of `preprocess` do not fit the model.
    """
    path = Path(path)
    check_name(path)
    config = model.config
    if (preprocess.num_frames, preprocess.image_size) != (config.num_frames, config.image_size):
        raise ValueError(f"the clips of {preprocess!r} do not fit the model: {config!r}")
    metadata = {"format": FORMAT, "config": config.model_dump_json(), "preprocess": preprocess.model_dump_json()}
    if labels:
        metadata["labels"] = json.dumps(check_labels(labels, config.num_classes, str(path)))
    return write_tensors(path, model.state_dict(), metadata, info)


def read_bundle_metadata(path: str | Path) -> BundleMetadata:
    """The metadata of a bundle; its tensors are not read. Raises WeightsError naming the file and the wrong key."""
    return _parse(path, read_header(path)[1])


def check_bundle(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> BundleMetadata:
    """The parsed `metadata` of a bundle. Raises WeightsError when they are malformed or do not fit the tensors."""
    bundle = _parse(path, metadata)
    expected = bundle.config.model_dump()
    for name, value in infer_config(tensors, grid=bundle.config.grid[1:], source=str(path)).items():
        if value != expected[name]:
            raise WeightsError(
                f"{path}: metadata 'config' says {name} = {expected[name]}, the tensors say {value}; save it again"
            )
    return bundle


def read_safetensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors on the CPU, metadata) of any safetensors file. Raises WeightsError when it cannot be read."""
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise unreadable(path) from error


def _parse(path: str | Path, metadata: Mapping[str, str]) -> BundleMetadata:
    found = metadata.get("format")
    if found in TEXT_FORMATS:
        return _tower(parse_text_bundle(path, metadata))
    if found != FORMAT:
        wrong = f"is {found!r}" if found else "is absent"
        raise WeightsError(f"{path}: metadata 'format' {wrong}, this version reads {FORMAT!r}; convert it or upgrade")
    config = record(path, metadata, "config", VideoMambaConfig)
    labels = decoded(path, metadata, "labels") if "labels" in metadata else []
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise WeightsError(f"{path}: metadata 'labels' must be a list of class names; save the file again")
    if labels and len(labels) != config.num_classes:
        raise WeightsError(
            f"{path}: metadata 'labels' has {len(labels)} names for {config.num_classes} classes; save it again"
        )
    info = info_of(path, metadata)
    return BundleMetadata(config, record(path, metadata, "preprocess", Preprocess), tuple(labels), info)


def _tower(text: TextBundle) -> BundleMetadata:
    """What a bundle of video and text says of its video tower, which is a network without a head."""
    return BundleMetadata(text.config.video, text.preprocess, info=text.info, text=text)
