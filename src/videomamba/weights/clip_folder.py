"""A CLIP as transformers saves it: a folder with config.json and weights, here or on the Hugging Face Hub."""

from __future__ import annotations

import json
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
from videomamba.weights.read import read_weights
from videomamba.weights.zoo import CONNECT_SECONDS, reachable

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""In the order of the search; instead of each there may be its parts and an index of them."""
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
    config = _json(folder / "config.json") if (folder / "config.json").is_file() else None
    if config is None:
        raise WeightsError(f"{folder}: has no config.json; {_ADVICE}")
    kind = config.get("model_type")
    if kind not in _KINDS:
        raise WeightsError(f"{folder}: is a model of type {kind!r}, not a CLIP with a vision tower; {_ADVICE}")
    tensors = {
        key: value
        for key, value in _tensors(folder).items()
        if key.startswith(("vision_model.", "visual_projection.")) and not key.endswith(".position_ids")
    }
    if "visual_projection.weight" not in tensors:
        raise WeightsError(f"{folder}: has no visual_projection.weight; {_ADVICE}")
    projection = tuple(tensors["visual_projection.weight"].shape)
    if len(projection) != 2:
        raise WeightsError(f"{folder}: visual_projection.weight has shape {projection}, expected 2 dimensions")
    fields = (
        {**_section(config, "vision_config"), **_section(config, "vision_config_dict")} if kind == "clip" else config
    )
    try:
        found = ClipVision.model_validate({**fields, "projection_dim": projection[0]})
    except ValidationError as error:
        first = error.errors()[0]
        reason = ": ".join([*map(str, first["loc"]), first["msg"].removeprefix("Value error, ")])
        raise WeightsError(f"{folder / 'config.json'}: {reason}") from None
    return ClipFiles(found, tensors, *_statistics(folder))


def fetch_clip(name: str) -> Path:
    """The folder of the hub's repository `name` ("openai/clip-vit-base-patch16"), from the hub's cache or downloaded.

    Without a connection it stops after a few seconds. Raises WeightsError that says what to put where.
    """
    from huggingface_hub import constants, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    cached = try_to_load_from_cache(name, "config.json")
    if isinstance(cached, str) and _is_complete(Path(cached).parent):
        return Path(cached).parent
    advice = f"download config.json, preprocessor_config.json and the weights of {name} into a folder and give that"
    if constants.HF_HUB_OFFLINE or not reachable(hf_hub_url(name, "config.json")):
        reason = "no such file or folder, not in the hub's cache, and the hub cannot be reached"
        raise WeightsError(f"{name}: {reason}; {advice}")
    try:
        return _downloaded(name)
    except RepositoryNotFoundError:
        raise WeightsError(f"{name}: no such file or folder, and no such model on the Hugging Face Hub") from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise WeightsError(f"{name}: could not be downloaded ({reason}); {advice}") from None


def _downloaded(name: str) -> Path:
    """The folder of the hub's cache with config, image processor and weights, as far as the repository has them."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    def get(file: str) -> Path | None:
        try:
            return Path(hf_hub_download(name, file, etag_timeout=CONNECT_SECONDS))
        except LocalEntryNotFoundError:  # no connection
            raise
        except EntryNotFoundError:
            return None

    config = get("config.json")
    if config is None:
        raise WeightsError(f"{name}: has no config.json; {_ADVICE}")
    for file in _PROCESSORS:
        get(file)
    for file in _WEIGHTS:
        if get(file):
            break
        index = get(_index(file))
        if index is not None:
            for part in _parts(index):
                get(part)
            break
    return config.parent


def _is_complete(folder: Path) -> bool:
    """Whether weights, all parts of them, are in `folder`."""
    for file in _WEIGHTS:
        if (folder / file).is_file():
            return True
        if (folder / _index(file)).is_file():
            return all((folder / part).is_file() for part in _parts(folder / _index(file)))
    return False


def _tensors(folder: Path) -> dict[str, Tensor]:
    for file in _WEIGHTS:
        if (folder / file).is_file():
            return dict(read_weights(folder / file).tensors)
        if (folder / _index(file)).is_file():
            parts = [read_weights(folder / part).tensors for part in _parts(folder / _index(file))]
            return {key: value for tensors in parts for key, value in tensors.items()}
    raise WeightsError(f"{folder}: has no weights ({' or '.join(_WEIGHTS)}); {_ADVICE}")


def _index(file: str) -> str:
    """The list of the parts of weights that are not one file."""
    return f"{file}.index.json"


def _parts(index: Path) -> list[str]:
    """The names of the files that `index` lists, all in its folder."""
    parts = sorted({str(part) for part in _section(_json(index), "weight_map").values()})
    if not parts or any(Path(part).name != part or part in ("", "..") or not part.isprintable() for part in parts):
        raise WeightsError(f"{index}: does not list files of its folder; download it again")
    return parts


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
            content = _json(path)
            read.append((path, _section(content, "image_processor") or content))
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


def _section(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = content.get(key)
    return found if isinstance(found, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "it is not JSON"
        raise WeightsError(f"{path}: cannot be read ({reason}); download it again") from None
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: must be an object of JSON; download it again")
    return content
