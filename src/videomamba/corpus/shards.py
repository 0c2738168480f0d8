"""A finished shard: the features of consecutive videos of a list in one safetensors file. And the writer of such files.

Tensors: "features" (n, d) float32; or, an embedding a frame, "features" (sum of t, d) float32, "timestamps" (sum of t)
float64 in seconds, and "offsets" (n + 1) int64: video i has rows offsets[i] to offsets[i + 1]. Metadata, as JSON: "paths" of
the n videos in this order, and "failures", [position in the list, path, reason] of each that is not among them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from videomamba.corpus.journal import Failure, Features, Outcome
from videomamba.files import write_atomically
from videomamba.schema import VideoMambaError

FORMAT = "videomamba-features-1"
_NAMES = {"<f4": "F32", "<f8": "F64", "<i8": "I64"}


@dataclass(frozen=True)
class FailedVideo:
    position: int
    path: str
    reason: str


@dataclass(frozen=True)
class Contents:
    """What a shard holds, its features unread. `frames` counts the embeddings, one a video where not `per_frame`."""

    paths: tuple[str, ...]
    failures: tuple[FailedVideo, ...]
    frames: int


@dataclass(frozen=True)
class Shard:
    """A shard to be written. `paths[i]` is the video at position `first` + i of the list, `outcomes()` what came of each.

    `outcomes` is called several times, so that no more than one video's features are ever in memory.
    """

    first: int
    paths: tuple[str, ...]
    dim: int
    per_frame: bool
    outcomes: Callable[[], Iterator[Outcome]]

    def features(self) -> Iterator[Features]:
        return (outcome for outcome in self.outcomes() if isinstance(outcome, Features))

    def contents(self) -> Contents:
        paths, failures, frames = [], [], 0
        for i, (path, outcome) in enumerate(zip(self.paths, self.outcomes(), strict=True)):
            if isinstance(outcome, Failure):
                failures.append(FailedVideo(self.first + i, path, outcome.reason))
            else:
                paths.append(path)
                frames += len(outcome.data) if self.per_frame else 1
        return Contents(tuple(paths), tuple(failures), frames)


@dataclass(frozen=True)
class Blocks:
    """A tensor to be written, that need not fit in memory: `dtype` is "<f4", "<f8" or "<i8", `blocks` its rows in order."""

    dtype: str
    shape: tuple[int, ...]
    blocks: Iterable[NDArray[np.generic]]


def write_shard(path: Path, shard: Shard) -> None:
    """Writes `shard` to `path`, whole or not at all. Raises VideoMambaError when the disk refuses."""
    contents = shard.contents()
    metadata = {
        "format": FORMAT,
        "paths": json.dumps(contents.paths),
        "failures": failures_to_json(contents.failures),
    }
    tensors: dict[str, Blocks] = {}
    if shard.per_frame:
        lengths = np.fromiter((len(f.data) for f in shard.features()), np.int64, len(contents.paths))
        offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))
        times = (f.timestamps for f in shard.features() if f.timestamps is not None)
        tensors["offsets"] = Blocks("<i8", offsets.shape, [offsets])
        tensors["timestamps"] = Blocks("<f8", (contents.frames,), times)
    tensors["features"] = Blocks("<f4", (contents.frames, shard.dim), (f.data for f in shard.features()))
    write_safetensors(path, tensors, metadata)


def write_safetensors(path: Path, tensors: Mapping[str, Blocks], metadata: Mapping[str, str]) -> None:
    """Writes a safetensors file, whole or not at all, with no more than a block in memory. Equal content: equal bytes.

    The library's own writer wants every tensor in memory, and shuffles the metadata from one process to the next. The
    format: 8 bytes length of the header, the header (JSON, padded with spaces to whole 8 bytes), the numbers in order.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + np.dtype(tensor.dtype).itemsize * prod(tensor.shape)
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": tensor.shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)

    def write(target: Path) -> None:
        with target.open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for tensor in tensors.values():
                for block in tensor.blocks:
                    file.write(block.astype(tensor.dtype).tobytes())
            if file.tell() != 8 + len(text) + end:
                raise ValueError(f"{path}: the blocks of {', '.join(tensors)} do not make up their shapes")

    write_atomically(path, write)


def read_contents(path: Path) -> Contents:
    """What the shard at `path` holds. Raises VideoMambaError when it is damaged."""
    try:
        with safe_open(path, "np") as file:
            metadata = file.metadata()
            failures = failures_from_json(metadata["failures"])
            frames, _ = file.get_slice("features").get_shape()
            return Contents(tuple(json.loads(metadata["paths"])), failures, frames)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(path) from error


def read_features(path: Path) -> Iterator[Features]:
    """The features of its videos, one at a time, in the order of `read_contents`. Raises VideoMambaError when damaged."""
    try:
        with safe_open(path, "np") as file:
            features = file.get_slice("features")
            if "offsets" not in file.keys():  # noqa: SIM118 the open file is no mapping
                for i in range(features.get_shape()[0]):
                    yield Features(features[i])
                return
            times, offsets = file.get_slice("timestamps"), file.get_tensor("offsets").tolist()
            for begin, end in pairwise(offsets):
                yield Features(features[begin:end], times[begin:end])
    except (SafetensorError, OSError) as error:
        raise damaged(path) from error


def failures_to_json(failures: Iterable[FailedVideo]) -> str:
    return json.dumps([[f.position, f.path, f.reason] for f in failures])


def failures_from_json(text: str) -> tuple[FailedVideo, ...]:
    return tuple(FailedVideo(position, path, reason) for position, path, reason in json.loads(text))


def damaged(path: Path) -> VideoMambaError:
    return VideoMambaError(
        f"{path}: is damaged, or no shard of features; remove it, and the same command makes it again"
    )
