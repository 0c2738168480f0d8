"""Arrays of a shard as a Parquet file, a row a video. The one file that imports pyarrow.

Columns: path (string); features, a fixed-size list of d float32; or, with a vector for each moment, features as a list of t
such lists and timestamps as a list of t float64 in seconds. The schema's metadata has the same "shard" as a safetensors file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from videomamba.corpus.features import Arrays
from videomamba.files import write_atomically
from videomamba.schema import VideoMambaError

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError as error:
    raise VideoMambaError("--format parquet needs pyarrow; pip install 'videomamba[parquet]'") from error


def write(path: Path, arrays: Arrays, names: Sequence[str], header: str) -> None:
    """Writes `path`, completely or not at all. Raises VideoMambaError when it cannot be written."""
    # File names need not be valid text, Parquet's strings must be.
    texts = [name.encode("utf-8", "backslashreplace").decode() for name in names]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(arrays["features"].reshape(-1)), arrays["features"].shape[1])
    columns = {"path": pa.array(texts, pa.string()), "features": vectors}
    if "offsets" in arrays:
        offsets = pa.array(arrays["offsets"], pa.int32())
        columns["features"] = pa.ListArray.from_arrays(offsets, vectors)
        columns["timestamps"] = pa.ListArray.from_arrays(offsets, pa.array(arrays["timestamps"]))
    table = pa.table(columns).replace_schema_metadata({"shard": header})
    # A dictionary helps only where values repeat; floats do not.
    write_atomically(
        path, lambda target: pq.write_table(table, target, use_dictionary=False), refusals=(pa.ArrowException,)
    )


def read_header(path: Path) -> str:
    """Its metadata "shard". Raises ValueError, KeyError or OSError when the file is damaged."""
    try:
        return str(pq.read_schema(path).metadata[b"shard"], "utf-8")
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error


def read(path: Path) -> Arrays:
    """The arrays of the shard. Raises ValueError or OSError when the file is damaged."""
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error
    features = table.column("features").combine_chunks()
    if "timestamps" not in table.column_names:
        return {"features": _rows(features)}
    times = table.column("timestamps").combine_chunks()
    return {
        "features": _rows(features.values),
        "timestamps": times.values.to_numpy(),
        "offsets": features.offsets.to_numpy().astype(np.int64),
    }


def _rows(vectors: pa.FixedSizeListArray) -> NDArray[np.float32]:
    rows: NDArray[np.float32] = vectors.values.to_numpy().reshape(-1, vectors.type.list_size)
    return rows
