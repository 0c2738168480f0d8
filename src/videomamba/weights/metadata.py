"""The strings in the header of our weights files, the bundles, and the writing of such a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from videomamba.files import write_atomically
from videomamba.schema import WeightsError
from videomamba.weights.kind import unreadable

FORMAT_FAMILY = "videomamba-"
"""The beginning of the metadata "format" of every bundle."""

_Record = TypeVar("_Record", bound=BaseModel)


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], info: Mapping[str, object] | None
) -> Path:
    """Writes `tensors` with `metadata` and, as JSON, `info` to `path`; after a failure an old file is unchanged.

    Raises WeightsError when the file cannot be written or its name does not end in .safetensors, ValueError when `info` is
    not JSON.
    """
    check_name(path)
    try:
        facts = json.dumps(dict(info or {}), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"info must be JSON: {error}") from None
    dense = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    write_atomically(
        path,
        lambda target: save_file(dense, target, metadata={**metadata, "info": facts}),
        error=WeightsError,
        refusals=(SafetensorError,),
    )
    return path


def check_name(path: Path) -> None:
    """Raises WeightsError for the name of another kind of file."""
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path}: a bundle is a safetensors file; end its name in .safetensors")


def read_header(path: str | Path) -> tuple[list[str], dict[str, str]]:
    """(names of the tensors, metadata) of a safetensors file; its tensors are not read. Raises WeightsError."""
    try:
        with safe_open(path, framework="numpy") as file:
            return list(file.keys()), file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise unreadable(path) from error


def decoded(path: str | Path, metadata: Mapping[str, str], key: str) -> object:
    """The JSON under `key`. Raises WeightsError where it is absent or none."""
    if key not in metadata:
        raise WeightsError(f"{path}: metadata {key!r} is absent; save the file again")
    try:
        return json.loads(metadata[key], parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: metadata {key!r} is not JSON ({error}); save the file again") from None


def record(path: str | Path, metadata: Mapping[str, str], key: str, kind: type[_Record]) -> _Record:
    """The record of that `kind` under `key`. Raises WeightsError that names its first wrong field."""
    try:
        return kind.model_validate(decoded(path, metadata, key))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in (key, *first["loc"]))
        raise WeightsError(f"{path}: metadata {where!r}: {first['msg']}; save the file again or upgrade") from None


def info_of(path: str | Path, metadata: Mapping[str, str]) -> Mapping[str, object]:
    """The open part; empty where it is absent."""
    info = decoded(path, metadata, "info") if "info" in metadata else {}
    if not isinstance(info, dict):
        raise WeightsError(f"{path}: metadata 'info' must be an object; save the file again")
    return info


def _no_number(name: str) -> object:
    raise ValueError(f"{name} is no number")
