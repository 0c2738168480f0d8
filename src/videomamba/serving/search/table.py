"""The table of an index: windows of videos with their vectors, in LanceDB. The one file that imports lancedb.

An index is one folder, a LanceDB database with the table `windows`; object storage (s3://, gs://, az://) works too. A row is
one window: its video (`path`, `duration`, and the facts of the file: `size`, `mtime`, `sha256`), its `place` in the video
from 0, `start` and `end` in seconds, its `vector` of length 1 and a small JPEG as `thumbnail`. A video that cannot be read
is one row without a vector, with the `error`. The schema's metadata has the settings of the index, which never change; the
metadata of the column `path` has its state.

Every change is one commit, so that a killed process leaves all of it or nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from videomamba.schema import VideoMambaError
from videomamba.serving.search.facts import FileFacts

try:
    import lancedb
    import pyarrow as pa
    from lancedb.index import IvfSq
except ModuleNotFoundError as error:
    raise VideoMambaError("an index of videos needs LanceDB; pip install 'videomamba[search]'") from error

ANN_FROM = 50_000
"""Windows from which on an approximate index answers; below it, all vectors are compared."""
_PARTITIONS_PROBED = 32  # of about sqrt(windows)
_REFINE = 4  # this many times the wanted windows are compared again by their complete vectors
_COMPACT_EVERY = 100  # appends: each adds a small file, and a version lists all files
_KEEP_VERSIONS = timedelta(hours=1)  # for a search that runs while the index is written

_TABLE = "windows"
_FOLDER = f"{_TABLE}.lance"  # of the table in that of the index
_SETTINGS = b"videomamba-index"
_PATHS_AT_ONCE = 500  # in one condition
_MERGED_AT_ONCE = 64  # videos whose rows are rewritten in one commit
_FACTS = ["path", "size", "mtime", "sha256", "error"]


class KnownVideo(NamedTuple):
    """What an index knows of the file of a video; `error` is the reason why it cannot be read, None if it was read."""

    facts: FileFacts
    sha256: bytes
    error: str | None


@dataclass(frozen=True, eq=False, repr=False)
class VideoWindows:
    """The k windows of one video: `spans` (k, 2) start and end in seconds, `vectors` (k, d) fp32, `thumbnails` JPEG.

    A video that cannot be read has no windows and an `error`.
    """

    path: str
    facts: FileFacts
    sha256: bytes
    duration: float = 0.0
    spans: NDArray[np.float64] | None = None
    vectors: NDArray[np.float32] | None = None
    thumbnails: tuple[bytes, ...] = ()
    error: str | None = None

    def __len__(self) -> int:
        return len(self.thumbnails)


class Hit(NamedTuple):
    """A window that answers a query. `score` is the cosine of the angle between both vectors, 1 the best."""

    path: str
    start: float
    end: float
    score: float
    duration: float
    thumbnail: bytes


class WindowTable:
    """An opened index at `address`, a folder or the URL of one. Raises VideoMambaError where it cannot be read or written."""

    def __init__(self, address: str, table: Any) -> None:
        self.address, self._table, self._appends = address, table, 0

    @classmethod
    def create(cls, address: str, settings: str, dim: int) -> WindowTable:
        """A new index of vectors of width `dim` without windows; `settings` is kept with it."""
        with _writing(address):
            database = lancedb.connect(address)
            return cls(address, database.create_table(_TABLE, schema=_schema(dim, settings)))

    @classmethod
    def open(cls, address: str) -> WindowTable | None:
        """The index at `address`; None where there is none yet: no folder, an empty one, or the run that began it was killed
        before the table was complete. Raises VideoMambaError for a folder with other files and for a damaged index."""
        with _reading(address):
            if "://" not in address:
                folder = Path(address)
                if folder.exists() and not folder.is_dir():
                    raise VideoMambaError(f"{address}: is a file, not an index; give the folder of an index")
                if not folder.is_dir():
                    return None
                if not (folder / _FOLDER).is_dir():
                    others = sorted(path.name for path in folder.iterdir() if path.name != "lock")
                    if others:
                        raise VideoMambaError(
                            f"{address}: is a folder with other files ({others[0]}), no index of videos"
                        )
                    return None
            try:
                table = lancedb.connect(address).open_table(_TABLE)
            except ValueError as error:
                if "was not found" in str(error):
                    return None
                raise
            if _SETTINGS not in (table.schema.metadata or {}):
                raise VideoMambaError(f"{address}: is a LanceDB table of another program, no index of videos")
        return cls(address, table)

    @property
    def settings(self) -> str:
        return str(self._table.schema.metadata[_SETTINGS], "utf-8")

    @property
    def state(self) -> Mapping[str, str]:
        found = self._table.schema.field("path").metadata or {}
        return {str(key, "utf-8"): str(value, "utf-8") for key, value in found.items()}

    def set_state(self, **state: str) -> None:
        """Changes these entries; equal ones are not written again."""
        if not state.items() <= self.state.items():
            with _writing(self.address):
                self._table.update_field_metadata({"path": "path", "metadata": state})

    def known(self) -> dict[str, KnownVideo]:
        """Every video of the index by its path."""
        rows = self._rows("place = 0", _FACTS)
        return {
            row["path"]: KnownVideo(FileFacts(row["size"], row["mtime"]), row["sha256"], row["error"]) for row in rows
        }

    def windows(self) -> int:
        """The number of windows."""
        with _reading(self.address):
            return int(self._table.count_rows("error IS NULL"))

    def vectors_of(self, path: str) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """The spans (k, 2) and vectors (k, d) of one video in order; k is 0 for a video without windows."""
        rows = sorted(
            self._rows(f"path = {_text(path)} AND error IS NULL", ["place", "start", "end", "vector"]),
            key=lambda row: int(row["place"]),
        )
        spans = np.array([(row["start"], row["end"]) for row in rows], np.float64).reshape(-1, 2)
        return spans, np.array([row["vector"] for row in rows], np.float32)

    def has(self, path: str) -> bool:
        """Whether the index has this video, also one that cannot be read."""
        return bool(self._rows(f"path = {_text(path)} AND place = 0", ["path"]))

    def drop(self, paths: Iterable[str]) -> None:
        """Removes these videos."""
        for some in _in_parts(paths, _PATHS_AT_ONCE):
            with _writing(self.address):
                self._table.delete(_one_of(some))

    def append(self, videos: Sequence[VideoWindows]) -> None:
        """Adds these videos, all of them or none."""
        with _writing(self.address):
            schema = self._table.schema
            self._table.add(pa.concat_tables([_columns(video, schema) for video in videos]))
            self._appends += 1
            if self._appends % _COMPACT_EVERY == 0:
                self._table.optimize(cleanup_older_than=_KEEP_VERSIONS)

    def touch(self, times: Mapping[str, int]) -> None:
        """Changes the `mtime` of these videos, whose content is still the same."""
        for paths in _in_parts(times, _MERGED_AT_ONCE):
            with _writing(self.address):
                rows = self._table.search().where(_one_of(paths)).limit(self._table.count_rows()).to_arrow()
                changed = pa.array([times[path] for path in rows["path"].to_pylist()], pa.int64())
                rows = rows.set_column(rows.schema.get_field_index("mtime"), "mtime", changed)
                self._table.merge_insert(["path", "place"]).when_matched_update_all().execute(rows)

    def settle(self) -> None:
        """Compacts what many appends left, removes versions that nobody reads, and brings the approximate index up to date.

        It is made when there are ANN_FROM windows, and again when more windows are outside of it than in it.
        """
        with _writing(self.address):
            rows = self._table.count_rows()
            found = self._table.list_indices()
            if rows >= ANN_FROM and (not found or found[0].num_unindexed_rows > found[0].num_indexed_rows):
                # Vectors of unit length: the order of the dot product is that of the angle.
                training = IvfSq(
                    distance_type="dot", num_partitions=round(rows**0.5), max_iterations=20, sample_rate=64
                )
                self._table.create_index("vector", config=training, replace=True)
            self._table.optimize(cleanup_older_than=_KEEP_VERSIONS)

    @property
    def approximate(self) -> bool:
        """Whether `nearest` answers by the approximate index."""
        with _reading(self.address):
            return bool(self._table.list_indices())

    def nearest(
        self, vector: NDArray[np.float32], limit: int, *, where: str | None = None, exact: bool = False
    ) -> list[Hit]:
        """The `limit` windows nearest to `vector` (d,), best first, of those that fulfil the condition `where`.

        `exact` compares all vectors. So does a search by the approximate index that finds too few.
        """
        exact = exact or not self.approximate
        found = self._nearest(vector, limit, where=where, exact=exact)
        if len(found) < limit and not exact:
            found = self._nearest(vector, limit, where=where, exact=True)
        return found

    def _nearest(self, vector: NDArray[np.float32], limit: int, *, where: str | None, exact: bool) -> list[Hit]:
        with _reading(self.address):
            query = self._table.search(vector, vector_column_name="vector").distance_type("dot")
            query = query.bypass_vector_index() if exact else query.nprobes(_PARTITIONS_PROBED).refine_factor(_REFINE)
            columns = ["path", "start", "end", "duration", "thumbnail", "_distance"]
            if where:
                query = query.where(where)
            most = min(limit, max(self._table.count_rows(), 1))  # LanceDB refuses numbers beyond 32 bits
            rows = query.select(columns).limit(most).to_arrow().to_pylist()  # without rows that have no vector
        hits = [
            Hit(
                row["path"], row["start"], row["end"], min(1 - row["_distance"], 1.0), row["duration"], row["thumbnail"]
            )
            for row in rows
        ]
        return sorted(hits, key=lambda hit: (-hit.score, hit.path, hit.start))

    def _rows(self, where: str, columns: list[str]) -> list[dict[str, Any]]:
        with _reading(self.address):
            rows = self._table.search().where(where).select(columns).limit(max(self._table.count_rows(), 1))
            found: list[dict[str, Any]] = rows.to_arrow().to_pylist()
        return found


def in_index(path: Path) -> bool:
    """Whether this file belongs to an index."""
    return _FOLDER in path.parts


def path_condition(pattern: str) -> str:
    """The condition that a path fits `pattern`: * is any text, also with "/", ? one character, [ab] one of these.

    Raises VideoMambaError for a range that is not ascending, such as [z-a].
    """
    pieces = re.split(r"(\*|\?|\[(?!!\])[^]]+\])", pattern)
    plain = {"*": ".*", "?": "."}
    expression = "".join(
        plain.get(piece, _set_of(piece) if place % 2 else re.escape(piece)) for place, piece in enumerate(pieces)
    )
    return f"regexp_like(path, {_text(f'^(?s:{expression})$')})"


def duration_condition(least: float | None, most: float | None) -> list[str]:
    """The conditions that a video lasts at least and at most so many seconds."""
    parts = (("duration >=", least), ("duration <=", most))
    return [f"{condition} {seconds!r}" for condition, seconds in parts if seconds is not None]


def _set_of(piece: str) -> str:
    inside = piece[1:-1]
    no, inside = ("^", inside[1:]) if inside.startswith("!") else ("", inside)
    ranges = re.findall(r"(.)-(.)|(.)", inside, re.DOTALL)
    for first, last, _ in ranges:
        if first > last:
            raise VideoMambaError(f"path {piece}: {first}-{last} is no ascending range; write {last}-{first}")
    escaped = (f"{re.escape(first)}-{re.escape(last)}" if first else re.escape(one) for first, last, one in ranges)
    return f"[{no}{''.join(escaped)}]"


def _schema(dim: int, settings: str) -> Any:
    fields = [
        pa.field("path", pa.string(), nullable=False),
        pa.field("place", pa.int32(), nullable=False),
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("vector", pa.list_(pa.float32(), dim)),
        ("thumbnail", pa.binary()),
        ("duration", pa.float64()),
        ("size", pa.int64()),
        ("mtime", pa.int64()),
        ("sha256", pa.binary()),
        ("error", pa.string()),
    ]
    return pa.schema(fields, metadata={_SETTINGS: settings.encode()})


def _columns(video: VideoWindows, schema: Any) -> Any:
    """The rows of one video: one a window, or the one with its error."""
    number = max(len(video), 1)
    dim = schema.field("vector").type.list_size
    vectors: Any
    pictures: Sequence[bytes | None]
    if video.spans is None or video.vectors is None:
        starts = ends = pa.nulls(1, pa.float64())
        vectors, pictures = pa.nulls(1, schema.field("vector").type), [None]
    else:
        starts, ends = pa.array(video.spans[:, 0]), pa.array(video.spans[:, 1])
        vectors, pictures = (
            pa.FixedSizeListArray.from_arrays(pa.array(video.vectors.reshape(-1)), dim),
            video.thumbnails,
        )
    columns = {
        "path": [video.path] * number,
        "place": pa.array(range(number), pa.int32()),
        "start": starts,
        "end": ends,
        "vector": vectors,
        "thumbnail": pa.array(pictures, pa.binary()),
        "duration": [video.duration] * number,
        "size": [video.facts.size] * number,
        "mtime": [video.facts.mtime] * number,
        "sha256": pa.array([video.sha256] * number, pa.binary()),
        "error": pa.array([video.error] * number, pa.string()),
    }
    return pa.table(columns, schema=schema)


def _in_parts(paths: Iterable[str], size: int) -> Iterator[list[str]]:
    every = list(paths)
    for first in range(0, len(every), size):
        yield every[first : first + size]


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _one_of(paths: Iterable[str]) -> str:
    return f"path IN ({', '.join(map(_text, paths))})"


@contextmanager
def _reading(address: str) -> Iterator[None]:
    with _refused(address, "cannot be read", "delete it and index the videos again"):
        yield


@contextmanager
def _writing(address: str) -> Iterator[None]:
    with _refused(address, "cannot be written", "free space or choose another place; the same command resumes"):
        yield


@contextmanager
def _refused(address: str, what: str, advice: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, RuntimeError, OSError, pa.ArrowException) as error:
        line = next(iter(str(error).splitlines()), type(error).__name__)
        reason = re.sub(r",? ?/\S+\.rs:\d+:\d+.*$", "", line).removeprefix(
            "lance error: "
        )  # its place in LanceDB's source
        if "ermission denied" in reason:
            advice = "check its permissions"
        elif "://" in address:
            advice = "check the address and your access to it"
        raise VideoMambaError(f"{address}: {what} ({reason}); {advice}") from None
