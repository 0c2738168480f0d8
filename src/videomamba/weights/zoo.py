"""Released weights by name: their entries, files, preprocessing and class names.

Importing this reads nothing and needs neither PyTorch nor the hub's client.
"""

from __future__ import annotations

import os
import stat
import urllib.error
import urllib.request
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from videomamba.schema import Preprocess, WeightsError, nearest_name
from videomamba.weights.released import ZooEntry, entries

if TYPE_CHECKING:
    from videomamba.weights.bundle import BundleMetadata

REPO = "OpenGVLab/VideoMamba"
FOLDER_VARIABLE = "VIDEOMAMBA_WEIGHTS"
"""Environment variable: a folder of weights files under their released names, searched first."""
CONNECT_SECONDS = 5.0

_ASSETS = Path(__file__).parents[1] / "assets"


@cache
def _entries() -> Mapping[str, ZooEntry]:
    return {entry.name: entry for entry in entries()}


def zoo_names() -> list[str]:
    """All names, the packaged one first."""
    return list(_entries())


def zoo_entry(name: str) -> ZooEntry:
    """The entry called `name`. Raises WeightsError with the nearest name."""
    known = _entries()
    if name not in known:
        advice = nearest_name(name, known, otherwise="`videomamba zoo` lists them")
        raise WeightsError(f"{name}: no such file and no released weights of that name; {advice}")
    return known[name]


def entry_for_file(path: str | Path) -> ZooEntry | None:
    """The entry whose file has the name of `path`, in any folder; None when there is none."""
    name = Path(path).name
    return next((entry for entry in _entries().values() if entry.file == name), None)


def labels_of(entry: ZooEntry) -> tuple[str, ...]:
    """Its class names in index order, () where they are not known. ImageNet names that occur twice get their synset."""
    if entry.packaged:
        return _packaged(entry).labels
    if entry.labels is None:
        return ()
    lines = (_ASSETS / "labels" / f"{entry.labels}.txt").read_text(encoding="utf-8").splitlines()
    if entry.labels != "imagenet1k":
        return tuple(lines)
    pairs = [line.split(" ", 1) for line in lines]
    names = [name for _, name in pairs]
    return tuple(f"{name} ({synset})" if names.count(name) > 1 else name for synset, name in pairs)


def preprocess_of(entry: ZooEntry) -> Preprocess:
    """The preprocessing of its videos; for the packaged weights that of their file."""
    return _packaged(entry).preprocess if entry.preprocess is None else entry.preprocess


def architecture_of(entry: ZooEntry) -> str:
    """The network of its weights, as "videomamba_micro with depth 5, ...": name and whatever is not that of the name."""
    given = ("num_classes", "num_frames", "image_size")  # of its data
    different = [f"{field} {value}" for field, value in entry.config.items() if field not in given]
    return entry.architecture + (f" with {', '.join(different)}" if different else "")


def _packaged(entry: ZooEntry) -> BundleMetadata:
    from videomamba.weights.bundle import read_bundle_metadata

    return read_bundle_metadata(resolve_weights(entry.name))


def resolve_weights(name_or_path: str | Path) -> Path:
    """The weights file: `name_or_path` itself if it exists, else the file of that zoo name.

    A released file is searched in the folder that VIDEOMAMBA_WEIGHTS names and in the hub's cache, else downloaded. Without
    a connection it stops after a few seconds. Raises WeightsError that says which file to put where.
    """
    path, is_file = look(name_or_path)
    if is_file:
        return path
    if path.is_dir() and str(name_or_path) not in _entries():
        raise WeightsError(f"{path}: is a folder; give the weights file inside it")
    if len(path.parts) > 1 or path.suffix in (".pth", ".pt", ".bin", ".ckpt", ".safetensors"):
        raise WeightsError(f"{path}: no such file")
    entry = zoo_entry(str(name_or_path))
    here = find_weights(entry.name)
    if here is not None:
        return here
    if entry.packaged:
        absent = _ASSETS / "weights" / entry.file
        raise WeightsError(f"{entry.name}: {absent} is absent; reinstall videomamba or put it in ${FOLDER_VARIABLE}")
    return _from_hub(entry)


def find_weights(name: str) -> Path | None:
    """The file of the zoo's weights `name` if it is on this machine, None if it would have to be downloaded."""
    entry = zoo_entry(name)
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        found, is_file = look(Path(folder) / entry.file)
        if is_file:
            return found
    if entry.packaged:
        found = _ASSETS / "weights" / entry.file
        return found if found.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(REPO, entry.file)
    return Path(cached) if isinstance(cached, str) else None


def look(path: str | Path) -> tuple[Path, bool]:
    """`path` with ~ expanded, and whether that is a file. Raises WeightsError where the system does not allow the check."""
    try:
        expanded = Path(path).expanduser()
        try:
            return expanded, stat.S_ISREG(expanded.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return expanded, False
    except (OSError, RuntimeError) as error:  # a long name, a folder that may not be entered; a ~name without a home
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise WeightsError(f"{path}: cannot be opened ({reason}); check its name and its permissions") from None


def _from_hub(entry: ZooEntry) -> Path:
    from huggingface_hub import constants, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    advice = (
        f"download {entry.file} from {REPO} on the Hugging Face Hub "
        f"and put it in a folder that the environment variable {FOLDER_VARIABLE} names"
    )
    if constants.HF_HUB_OFFLINE or not reachable(hf_hub_url(REPO, entry.file)):
        raise WeightsError(f"{entry.name}: not on this machine and the hub cannot be reached; {advice}")
    try:
        return Path(hf_hub_download(REPO, entry.file, etag_timeout=CONNECT_SECONDS))
    except (EntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise WeightsError(f"{entry.name}: could not be downloaded ({reason}); {advice}") from None


def reachable(url: str) -> bool:
    """Whether anything answers at `url`; a single request, because the hub's client would try for half a minute."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=CONNECT_SECONDS):
            return True
    except urllib.error.HTTPError as answer:
        answer.close()
        return True
    except OSError:
        return False
