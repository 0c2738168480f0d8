"""A finished shard as a Parquet file, a row a video. The one file that knows pyarrow.

Columns: path (string); features, a fixed-size list of d float32; or, an embedding a frame, features as a list of t such lists
and timestamps as a list of t float64 in seconds. The schema's metadata has "failures" as a safetensors shard has.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from videomamba.corpus.journal import Features
from videomamba.corpus.shards import FORMAT, Contents, Shard, damaged, failures_from_json, failures_to_json
from videomamba.files import write_atomically
from videomamba.schema import VideoMambaError

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError as error:
    raise VideoMambaError("--format parquet needs pyarrow; pip install 'videomamba[parquet]'") from error

_GROUP_BYTES = 64 * 2**20
"""Of a row group: what is in memory when a shard is written or read."""


def write_shard(path: Path, shard: Shard) -> None:
    """Writes `shard` to `path`, whole or not at all. Raises VideoMambaError when the disk refuses."""
    contents = shard.contents()
    vector = pa.list_(pa.float32(), shard.dim)
    fields = [pa.field("path", pa.string()), pa.field("features", pa.list_(vector) if shard.per_frame else vector)]
    if shard.per_frame:
        fields.append(pa.field("timestamps", pa.list_(pa.float64())))
    metadata = {"format": FORMAT, "failures": failures_to_json(contents.failures), "frames": str(contents.frames)}
    schema = pa.schema(fields, metadata)

    def write(target: Path) -> None:
        # A dictionary of values is of use where they repeat; floats do not.
        with pq.ParquetWriter(target, schema, use_dictionary=False) as file:
            for names, group in _groups(contents.paths, shard.features()):
                file.write_table(_table(names, group, shard, schema))

    write_atomically(path, write, refusals=(pa.ArrowException,))


def _groups(paths: tuple[str, ...], features: Iterator[Features]) -> Iterator[tuple[list[str], list[Features]]]:
    names: list[str] = []
    group: list[Features] = []
    size = 0
    for path, each in zip(paths, features, strict=True):
        names.append(path)
        group.append(each)
        size += each.data.nbytes
        if size >= _GROUP_BYTES:
            yield names, group
            names, group, size = [], [], 0
    if group:
        yield names, group


def _table(names: list[str], group: list[Features], shard: Shard, schema: pa.Schema) -> pa.Table:
    values = np.concatenate([f.data.reshape(-1) for f in group])
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(values), shard.dim)
    # Names of files need not be text, but Parquet's strings must be.
    columns = [pa.array([name.encode("utf-8", "backslashreplace").decode() for name in names], pa.string()), vectors]
    if shard.per_frame:
        offsets = pa.array(np.cumsum([0, *(len(f.data) for f in group)]), pa.int32())
        times = np.concatenate([f.timestamps for f in group if f.timestamps is not None])
        columns[1] = pa.ListArray.from_arrays(offsets, vectors)
        columns.append(pa.ListArray.from_arrays(offsets, pa.array(times)))
    return pa.Table.from_arrays(columns, schema=schema)


def read_contents(path: Path) -> Contents:
    """What the shard at `path` holds. Raises VideoMambaError when it is damaged."""
    try:
        with pq.ParquetFile(path) as file:
            metadata = file.schema_arrow.metadata
            failures = failures_from_json(metadata[b"failures"].decode())
            paths = file.read(columns=["path"]).column("path").to_pylist()
            return Contents(tuple(paths), failures, int(metadata[b"frames"]))
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(path) from error


def read_features(path: Path) -> Iterator[Features]:
    """The features of its videos, one at a time, in the order of `read_contents`. Raises VideoMambaError when damaged."""
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1):
                row = batch.slice(0, 1)
                if "timestamps" not in batch.schema.names:
                    yield Features(row.column("features").flatten().to_numpy())
                    continue
                times = row.column("timestamps").flatten().to_numpy()
                data = row.column("features").flatten().flatten().to_numpy()
                yield Features(data.reshape(len(times), -1), times)
    except (pa.ArrowException, OSError) as error:
        raise damaged(path) from error
