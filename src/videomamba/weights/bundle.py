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
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from videomamba.files import write_atomically
from videomamba.models.config import VideoMambaConfig
from videomamba.models.videomamba import VideoMamba
from videomamba.schema import Preprocess, WeightsError, check_labels
from videomamba.weights.convert import infer_config
from videomamba.weights.kind import unreadable

FORMAT_FAMILY = "videomamba-"
FORMAT = FORMAT_FAMILY + "1"
_Record = TypeVar("_Record", bound=BaseModel)


@dataclass(frozen=True)
class BundleMetadata:
    """The contents of a bundle without its tensors. `labels` is () where the outputs have no known names; `info` is open."""

    config: VideoMambaConfig
    preprocess: Preprocess
    labels: tuple[str, ...] = ()
    info: Mapping[str, object] = field(default_factory=dict)


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
    config = model.config
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path}: a bundle is a safetensors file; end its name in .safetensors")
    if (preprocess.num_frames, preprocess.image_size) != (config.num_frames, config.image_size):
        raise ValueError(f"the clips of {preprocess!r} do not fit the model: {config!r}")
    metadata = {"format": FORMAT, "config": config.model_dump_json(), "preprocess": preprocess.model_dump_json()}
    try:
        metadata["info"] = json.dumps(dict(info or {}), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"info must be JSON: {error}") from None
    if labels:
        metadata["labels"] = json.dumps(check_labels(labels, config.num_classes, str(path)))
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    write_atomically(
        path,
        lambda target: save_file(tensors, target, metadata=metadata),
        error=WeightsError,
        refusals=(SafetensorError,),
    )
    return path


def read_bundle_metadata(path: str | Path) -> BundleMetadata:
    """The metadata of a bundle; its tensors are not read. Raises WeightsError naming the file and the wrong key."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise unreadable(path) from error
    return _parse(path, metadata)


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
    if found != FORMAT:
        wrong = f"is {found!r}" if found else "is absent"
        raise WeightsError(f"{path}: metadata 'format' {wrong}, this version reads {FORMAT!r}; convert it or upgrade")
    config = _model(path, metadata, "config", VideoMambaConfig)
    labels = _decoded(path, metadata, "labels") if "labels" in metadata else []
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise WeightsError(f"{path}: metadata 'labels' must be a list of class names; save the file again")
    if labels and len(labels) != config.num_classes:
        raise WeightsError(
            f"{path}: metadata 'labels' has {len(labels)} names for {config.num_classes} classes; save it again"
        )
    info = _decoded(path, metadata, "info") if "info" in metadata else {}
    if not isinstance(info, dict):
        raise WeightsError(f"{path}: metadata 'info' must be an object; save the file again")
    return BundleMetadata(config, _model(path, metadata, "preprocess", Preprocess), tuple(labels), info)


def _decoded(path: str | Path, metadata: Mapping[str, str], key: str) -> object:
    if key not in metadata:
        raise WeightsError(f"{path}: metadata {key!r} is absent; save the file again")
    try:
        return json.loads(metadata[key], parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: metadata {key!r} is not JSON ({error}); save the file again") from None


def _no_number(name: str) -> object:
    raise ValueError(f"{name} is no number")


def _model(path: str | Path, metadata: Mapping[str, str], key: str, kind: type[_Record]) -> _Record:
    try:
        return kind.model_validate(_decoded(path, metadata, key))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in (key, *first["loc"]))
        raise WeightsError(f"{path}: metadata {where!r}: {first['msg']}; save the file again or upgrade") from None
