"""A CLIP as transformers saves it, in a folder here or on the Hugging Face Hub."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from videomamba.models.clip import CLIP_MEAN, CLIP_STD, ClipVision
from videomamba.schema import WeightsError
from videomamba.weights.hub_folder import fetch_folder, read_config, read_json, read_tensors, section

_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
_STATISTICS = ("image_mean", "image_std")
_KINDS = ("clip", "clip_vision_model")
_ADVICE = "give a CLIPModel or CLIPVisionModelWithProjection of transformers"
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class ClipFiles:
    """What a folder says of a vision tower. `tensors` have the names of `CLIPVisionModelWithProjection`, mean and std are those
    of its pictures, and `notes` say what is assumed."""

    config: ClipVision
    tensors: Mapping[str, Tensor]
    mean: Triple
    std: Triple
    notes: tuple[str, ...] = ()


def read_clip_folder(folder: Path) -> ClipFiles:
    """Reads the vision tower; the text tower of a complete CLIP is not used. No code of the folder runs.

    Mean and std that preprocessor_config.json does not give are OpenAI's. Raises WeightsError, one line, for a folder without
    config or weights, of another kind of model, and for files that are damaged.
    """
    config = read_config(folder, kinds=_KINDS, what="a CLIP with a vision tower", advice=_ADVICE)
    tensors = {
        key: value
        for key, value in read_tensors(folder, advice=_ADVICE).items()
        if key.startswith(("vision_model.", "visual_projection.")) and not key.endswith(".position_ids")
    }
    if "visual_projection.weight" not in tensors:
        raise WeightsError(f"{folder}: has no visual_projection.weight; {_ADVICE}")
    projection = tuple(tensors["visual_projection.weight"].shape)
    if len(projection) != 2:
        raise WeightsError(f"{folder}: visual_projection.weight has shape {projection}, expected 2 dimensions")
    fields = (
        {**section(config, "vision_config"), **section(config, "vision_config_dict")}
        if config["model_type"] == "clip"
        else config
    )
    try:
        found = ClipVision.model_validate({**fields, "projection_dim": projection[0]})
    except ValidationError as error:
        first = error.errors()[0]
        reason = ": ".join([*map(str, first["loc"]), first["msg"].removeprefix("Value error, ")])
        raise WeightsError(f"{folder / 'config.json'}: {reason}") from None
    return ClipFiles(found, tensors, *_statistics(folder))


def fetch_clip(name: str) -> Path:
    """The folder of the hub's repository `name`, see `hub_folder.fetch_folder`."""
    return fetch_folder(name, beside=_PROCESSORS, advice=_ADVICE)


def _statistics(folder: Path) -> tuple[Triple, Triple, tuple[str, ...]]:
    """(mean, std, notes) of pixels in 0..1, by the folder's image processor. Raises WeightsError for other pixels."""
    path, found = _processor(folder)
    if found.get("do_rescale") is False:
        raise WeightsError(
            f"{path}: do_rescale false: pixels of 0 to 255 are not supported; give a CLIP for pixels of 0 to 1"
        )
    if found.get("do_normalize") is False:
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), ()
    given = {key: _triple(path, key, found[key]) for key in _STATISTICS if found.get(key) is not None}
    if min(given.get("image_std", CLIP_STD)) <= 0:
        raise WeightsError(f"{path}: image_std must be positive, got {list(given['image_std'])}")
    absent = [key for key in _STATISTICS if key not in given]
    if not absent:
        notes: tuple[str, ...] = ()
    elif path == folder:
        notes = (f"{folder}: has no preprocessor_config.json; assuming the mean and std of OpenAI's CLIP",)
    else:
        notes = (f"{path}: has no {' and no '.join(absent)}; assuming those of OpenAI's CLIP",)
    return given.get("image_mean", CLIP_MEAN), given.get("image_std", CLIP_STD), notes


def _processor(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The first file about mean and std, with its settings of pictures; else any image processor, or the folder and none."""
    read = []
    for path in (folder / name for name in _PROCESSORS):
        if path.is_file():
            content = read_json(path)
            read.append((path, section(content, "image_processor") or content))
    telling = [one for one in read if not one[1].keys().isdisjoint((*_STATISTICS, "do_normalize"))]
    return next(iter(telling + read), (folder, {}))


def _triple(path: Path, key: str, value: object) -> Triple:
    if isinstance(value, list) and len(value) == 3 and all(map(_is_number, value)):
        return float(value[0]), float(value[1]), float(value[2])
    raise WeightsError(f"{path}: {key} must be three finite numbers, got {reprlib.repr(value)}")


def _is_number(value: object) -> bool:
    """Whether it is a number of JSON that a float holds; Python reads NaN and Infinity too."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False
