"""A model as transformers saves it: a folder with config.json and weights, here or on the hub. No code of it runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from videomamba.schema import WeightsError
from videomamba.weights.read import read_weights
from videomamba.weights.zoo import CONNECT_SECONDS, reachable

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""In the order of the search; instead of each there may be its parts and an index of them."""


def read_config(folder: Path, *, kinds: Sequence[str], what: str, advice: str) -> dict[str, Any]:
    """config.json of `folder`, of a model whose type is one of `kinds`. Raises WeightsError, one line that ends in `advice`,
    where it is absent, damaged or of another model than `what`."""
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else None
    if config is None:
        raise WeightsError(f"{folder}: has no config.json; {advice}")
    kind = config.get("model_type")
    if kind not in kinds:
        raise WeightsError(f"{folder}: is a model of type {kind!r}, not {what}; {advice}")
    return config


def read_tensors(folder: Path, *, advice: str) -> dict[str, Tensor]:
    """All tensors of the weights in `folder`, in one file or in parts. Raises WeightsError where there are none."""
    for file in _WEIGHTS:
        if (folder / file).is_file():
            return dict(read_weights(folder / file).tensors)
        if (folder / _index(file)).is_file():
            parts = [read_weights(folder / part).tensors for part in _parts(folder / _index(file))]
            return {key: value for tensors in parts for key, value in tensors.items()}
    raise WeightsError(f"{folder}: has no weights ({' or '.join(_WEIGHTS)}); {advice}")


def fetch_folder(name: str, *, beside: Sequence[str], advice: str) -> Path:
    """The folder of the hub's repository `name` ("openai/clip-vit-base-patch16"), from the hub's cache or downloaded.

    It has config and weights and, as far as the repository has them, the files `beside`. Without a connection it stops after
    a few seconds. Raises WeightsError that says what to put where, or ends in `advice` for a repository without a config.
    """
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(name, "config.json")
    if isinstance(cached, str) and _is_complete(Path(cached).parent):
        return Path(cached).parent
    by_hand = f"download config.json, {beside[0]} and the weights of {name} into a folder and give that"
    return _fetched(name, partial(_downloaded, name, beside, advice), by_hand)


def fetch_file(name: str, file: str) -> Path:
    """`file` of the hub's repository `name`, from the hub's cache or downloaded, as `fetch_folder` does it."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    cached = try_to_load_from_cache(name, file)
    if isinstance(cached, str):
        return Path(cached)

    def download() -> Path:
        try:
            return Path(hf_hub_download(name, file, etag_timeout=CONNECT_SECONDS))
        except LocalEntryNotFoundError:  # no connection
            raise
        except EntryNotFoundError:
            raise WeightsError(f"{name}: has no {file}; give a file or folder of your own") from None

    return _fetched(name, download, f"download {file} of {name} and give that file or its folder")


def _fetched(name: str, download: Callable[[], Path], by_hand: str) -> Path:
    """What `download` returns. Raises WeightsError, one line, where the hub cannot be reached, refuses or has no `name`."""
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    if constants.HF_HUB_OFFLINE or not reachable(hf_hub_url(name, "config.json")):
        reason = "no such file or folder, not in the hub's cache, and the hub cannot be reached"
        raise WeightsError(f"{name}: {reason}; {by_hand}")
    try:
        return download()
    except RepositoryNotFoundError:
        raise WeightsError(f"{name}: no such file or folder, and no such model on the Hugging Face Hub") from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise WeightsError(f"{name}: could not be downloaded ({reason}); {by_hand}") from None


def read_json(path: Path) -> dict[str, Any]:
    """The object of JSON in `path`. Raises WeightsError where it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "it is not JSON"
        raise WeightsError(f"{path}: cannot be read ({reason}); download it again") from None
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: must be an object of JSON; download it again")
    return content


def section(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The object under `key`, empty where there is none."""
    found = content.get(key)
    return found if isinstance(found, dict) else {}


def _downloaded(name: str, beside: Sequence[str], advice: str) -> Path:
    """The folder of the hub's cache with config, weights and the files `beside`, as far as the repository has them."""
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
        raise WeightsError(f"{name}: has no config.json; {advice}")
    for file in beside:
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


def _index(file: str) -> str:
    """The list of the parts of weights that are not one file."""
    return f"{file}.index.json"


def _parts(index: Path) -> list[str]:
    """The names of the files that `index` lists, all in its folder."""
    parts = sorted({str(part) for part in section(read_json(index), "weight_map").values()})
    if not parts or any(Path(part).name != part or part in ("", "..") or not part.isprintable() for part in parts):
        raise WeightsError(f"{index}: does not list files of its folder; download it again")
    return parts
