"""A shard: the features of a few dozen videos in one safetensors or Parquet file, written completely or not at all.

Arrays: "features" (n, d) float32; or, with a vector for each moment, "features" (rows, d) float32, "timestamps" (rows,)
float64 in seconds and "offsets" (n + 1,) int64: video i has rows offsets[i] to offsets[i + 1].

The key "shard" of the file's metadata is JSON: "format"; "paths" of these n videos in order; "frames", the number of vectors;
and "failures", [position in the shard, path, reason] of each other video. It is one key because the order in which the
safetensors library writes several keys differs between processes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from videomamba.corpus.features import Arrays, Features, Outcome
from videomamba.files import write_atomically
from videomamba.schema import VideoError, VideoMambaError

FORMAT = "videomamba-features-2"


@dataclass(frozen=True)
class Contents:
    """The contents of a shard without the features. `failures` has (position in the shard, path, reason)."""

    paths: tuple[str, ...]
    failures: tuple[tuple[int, str, str], ...]
    frames: int

    @property
    def names(self) -> list[str]:
        """Of all videos, those that failed too, in the order of the shard."""
        names = list(self.paths)
        for position, name, _ in self.failures:
            names.insert(position, name)
        return names


def write_shard(path: Path, names: Sequence[str], outcomes: Sequence[Outcome], *, dim: int, per_frame: bool) -> None:
    """Writes the `outcomes` of the videos called `names` to `path`, whose ending gives the format.

    `dim` is d, `per_frame` whether a video has a vector for each moment. Equal arguments give equal bytes. Raises
    VideoMambaError when the file cannot be written.
    """
    paths, failures, rows, times = [], [], [np.empty((0, dim), np.float32)], [np.empty(0)]
    for i, (name, outcome) in enumerate(zip(names, outcomes, strict=True)):
        if isinstance(outcome, VideoError):
            failures.append((i, name, outcome.reason))
            continue
        paths.append(name)
        rows.append(np.atleast_2d(outcome.data))
        if outcome.timestamps is not None:
            times.append(outcome.timestamps)
    arrays: Arrays = {"features": np.concatenate(rows)}
    if per_frame:
        arrays["timestamps"] = np.concatenate(times)
        arrays["offsets"] = np.cumsum([len(each) for each in rows], dtype=np.int64)
    frames = len(arrays["features"])
    header = json.dumps({"format": FORMAT, "paths": paths, "frames": frames, "failures": failures})
    if path.suffix == ".parquet":
        from videomamba.corpus import parquet

        parquet.write(path, arrays, paths, header)
    else:
        write_safetensors(path, arrays, {"shard": header})


def read_contents(path: Path) -> Contents:
    """The contents of the shard at `path`. Raises VideoMambaError when it is damaged."""
    try:
        if path.suffix == ".parquet":
            from videomamba.corpus import parquet

            header = parquet.read_header(path)
        else:
            with safe_open(path, "np") as file:
                header = file.metadata()["shard"]
        about = json.loads(header)
        failures = tuple((position, name, reason) for position, name, reason in about["failures"])
        return Contents(tuple(about["paths"]), failures, about["frames"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path) from error


def read_shard(path: Path) -> list[Features | None]:
    """The features of every video of the shard at `path`, in its order. Raises VideoMambaError when it is damaged."""
    contents = read_contents(path)
    try:
        if path.suffix == ".parquet":
            from videomamba.corpus import parquet

            arrays = parquet.read(path)
        else:
            arrays = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path) from error
    if "offsets" in arrays:
        ends = arrays["offsets"][1:-1]
        found = map(Features, np.split(arrays["features"], ends), np.split(arrays["timestamps"], ends))
    else:
        found = map(Features, arrays["features"])
    failed = {position for position, _, _ in contents.failures}
    return [None if i in failed else next(found) for i in range(len(contents.paths) + len(failed))]


def write_safetensors(path: Path, arrays: Arrays, metadata: dict[str, str]) -> None:
    """Writes a safetensors file, completely or not at all. Raises VideoMambaError when it cannot be written."""
    write_atomically(path, lambda target: save_file(arrays, target, metadata), refusals=(SafetensorError,))


def save_features(path: Path, features: Features, metadata: dict[str, str]) -> None:
    """Writes the features of one video to a .safetensors file, or to .npy with the times in .timestamps.npy.

    Raises VideoMambaError for another ending and when a file cannot be written.
    """
    data, times = features.data, features.timestamps
    if path.suffix == ".safetensors":
        write_safetensors(path, {"features": data} | ({} if times is None else {"timestamps": times}), metadata)
    elif path.suffix == ".npy":
        if times is not None:
            write_atomically(path.with_suffix(".timestamps.npy"), lambda target: np.save(target, times))
        write_atomically(path, lambda target: np.save(target, data))
    else:
        raise VideoMambaError(f"{path}: the features of one video go to a .safetensors or .npy file")


def _damaged(path: Path) -> VideoMambaError:
    return VideoMambaError(f"{path}: is damaged, or not a shard of features; remove it and run the same command again")
