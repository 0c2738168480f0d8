"""A CLIP as transformers saves it: a folder with config.json and weights, here or on the Hugging Face Hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from videomamba.models.clip import CLIP_MEAN, CLIP_STD, ClipVision
from videomamba.schema import WeightsError
from videomamba.weights.read import read_weights
from videomamba.weights.zoo import reachable

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""In the order of the search. Of a file in parts there is an index beside them, <name>.index.json."""
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

    Without preprocessor_config.json, mean and std are OpenAI's. Raises WeightsError, one line, for a folder without config or
    weights, of another kind of model, and for files that are damaged.
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
    fields = (
        {**_section(config, "vision_config"), **_section(config, "vision_config_dict")} if kind == "clip" else config
    )
    try:
        found = ClipVision.model_validate({**fields, "projection_dim": tensors["visual_projection.weight"].shape[0]})
    except ValidationError as error:
        first = error.errors()[0]
        raise WeightsError(f"{folder / 'config.json'}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    statistics = _statistics(folder)
    notes = (
        ()
        if statistics
        else (f"{folder}: has no preprocessor_config.json; assuming the mean and std of OpenAI's CLIP",)
    )
    mean, std = statistics or (CLIP_MEAN, CLIP_STD)
    return ClipFiles(found, tensors, mean, std, notes)


def fetch_clip(name: str) -> Path:
    """The folder of the hub's repository `name` ("openai/clip-vit-base-patch16"), from the hub's cache or downloaded.

    Without a connection it stops after a few seconds. Raises WeightsError that says what to put where.
    """
    from huggingface_hub import HfApi, constants, hf_hub_url, snapshot_download, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    cached = try_to_load_from_cache(name, "config.json")
    if isinstance(cached, str) and _weights_in({path.name for path in Path(cached).parent.iterdir()}):
        return Path(cached).parent
    advice = f"download config.json, preprocessor_config.json and the weights of {name} into a folder and give that"
    if constants.HF_HUB_OFFLINE or not reachable(hf_hub_url(name, "config.json")):
        raise WeightsError(
            f"{name}: no such file or folder, not in the hub's cache, and the hub cannot be reached; {advice}"
        )
    try:
        there = set(HfApi().list_repo_files(name))
        weights = _weights_in(there)
        wanted = ["config.json", "preprocessor_config.json", "processor_config.json"]
        if weights is not None:
            wanted += [f"{Path(weights).stem}*{Path(weights).suffix}", f"{weights}.index.json"]
        return Path(snapshot_download(name, allow_patterns=wanted))
    except RepositoryNotFoundError:
        raise WeightsError(f"{name}: no such file or folder, and no such model on the Hugging Face Hub") from None
    except (HfHubHTTPError, OSError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise WeightsError(f"{name}: could not be downloaded ({reason}); {advice}") from None


def _weights_in(names: set[str]) -> str | None:
    """The weights among these file names: safetensors first. None where there are none."""
    return next((name for name in _WEIGHTS if name in names or f"{name}.index.json" in names), None)


def _tensors(folder: Path) -> dict[str, Tensor]:
    name = _weights_in({path.name for path in folder.iterdir()})
    if name is None:
        raise WeightsError(f"{folder}: has no weights ({' or '.join(_WEIGHTS)}); {_ADVICE}")
    if (folder / name).is_file():
        return dict(read_weights(folder / name).tensors)
    index = folder / f"{name}.index.json"
    parts = {str(part) for part in _section(_json(index), "weight_map").values()}
    outside = next((part for part in parts if Path(part).name != part), None)
    if outside is not None or not parts:
        raise WeightsError(f"{index}: does not name files of its folder; download it again")
    return {key: value for part in sorted(parts) for key, value in read_weights(folder / part).tensors.items()}


def _statistics(folder: Path) -> tuple[Triple, Triple] | None:
    """(mean, std) of the folder's image processor, None without one."""
    for name, section in (("preprocessor_config.json", None), ("processor_config.json", "image_processor")):
        path = folder / name
        if not path.is_file():
            continue
        content = _json(path)
        found = content if section is None else _section(content, section)
        if "image_mean" not in found or "image_std" not in found:
            continue
        mean, std = (_triple(path, key, found[key]) for key in ("image_mean", "image_std"))
        if min(std) <= 0:
            raise WeightsError(f"{path}: image_std must be positive, got {list(std)}")
        return mean, std
    return None


def _triple(path: Path, key: str, value: object) -> Triple:
    if isinstance(value, list) and len(value) == 3 and all(isinstance(v, int | float) for v in value):
        return float(value[0]), float(value[1]), float(value[2])
    raise WeightsError(f"{path}: {key} must be three numbers, got {value!r}")


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
