"""Decoded frames on disk: every video is decoded once, later epochs read pixels.

Clips are sampled from the cached frames. That is an approximation: of a longer video only evenly spread frames are cached,
never the frames between them, and "every r-th frame" then means every r-th cached frame.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from videomamba.data.clips.transforms import covering
from videomamba.data.loading.record_video import FrameSource, OpenRecord, open_record
from videomamba.files import make_folder, write_atomically
from videomamba.schema import Frames, Preprocess, VideoRecord
from videomamba.video.open import date_and_size

_LAYOUT = 1
"""The layout of the files. Part of their names, so that files of another layout are not read."""

AT_ONCE = 64
"""Frames decoded before they are resized: bounds the memory for many frames of a large video."""


@dataclass(frozen=True)
class CachedFrames:
    """The cached frames of one record, a `FrameSource`; `rows` has one entry (index, time, picture) per frame."""

    path: str
    rows: NDArray[np.void]

    @property
    def num_frames(self) -> int:
        return len(self.rows)

    @property
    def spacing(self) -> float:
        times = self.rows["time"]
        return float(times[-1] - times[0]) / max(len(times) - 1, 1)

    def frames(self, indices: Sequence[int]) -> Frames:
        """The cached pictures at `indices` (copied); `Frames.indices` are their places in the video."""
        chosen = np.asarray(indices, dtype=np.int64)
        places, times = self.rows["index"][chosen].tolist(), self.rows["time"][chosen].tolist()
        return Frames(torch.from_numpy(self.rows["picture"][chosen]), tuple(places), tuple(times), self.path)


class FrameCache:
    """Stores `num_frames` evenly spread frames of every record in `folder`, with a short side of at most `size` pixels.

    One file per record, named after its path, span, date, size and these settings: a changed video is decoded again (a
    folder of frames: when files were added or removed), as is a video with a damaged cache file. Processes may share a
    folder.
    """

    def __init__(self, folder: str | Path, *, num_frames: int, size: int) -> None:
        self.folder = Path(folder)
        self.num_frames = num_frames
        self.size = size

    @contextmanager
    def open(self, record: VideoRecord, *, threads: int | None = None) -> Iterator[FrameSource]:
        """The cached frames of a record, decoded and written first if they are missing.

        Raises VideoError when the video cannot be read; VideoMambaError when the folder cannot be written.
        """
        file = self._file(record)
        rows = _read(file)
        if rows is None:
            with open_record(record, threads=threads) as opened:
                rows = self._rows(opened)
            content = io.BytesIO()  # np.save to a file does not report the reason of a failure
            np.save(content, rows)
            make_folder(file.parent, option="data.cache")
            write_atomically(file, lambda temporary: temporary.write_bytes(content.getvalue()))
        yield CachedFrames(record.path, rows)

    def _file(self, record: VideoRecord) -> Path:
        what = (_LAYOUT, record.path, record.span, record.num_frames, record.frame_name)
        name = repr((*what, *date_and_size(record.path), self.num_frames, self.size))
        digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
        # In folders by the first two letters: some file systems are slow with a million files in one folder.
        return self.folder / digest[:2] / f"{digest}.npy"

    def _rows(self, opened: OpenRecord) -> NDArray[np.void]:
        count = min(self.num_frames, opened.num_frames)
        # The middles of `count` equal parts.
        chosen = [(2 * i + 1) * opened.num_frames // (2 * count) for i in range(count)]
        rows: NDArray[np.void] | None = None
        for start in range(0, count, AT_ONCE):
            part = opened.frames(chosen[start : start + AT_ONCE])
            if min(part.data.shape[1:3]) > self.size:
                part = covering(part, Preprocess(image_size=(self.size, self.size)))
            if rows is None:
                shape = tuple(part.data.shape[1:])
                rows = np.empty(count, [("index", "<i8"), ("time", "<f8"), ("picture", "u1", shape)])
            mine = rows[start : start + len(part)]
            mine["index"], mine["time"], mine["picture"] = part.indices, part.timestamps, part.data.numpy()
        assert rows is not None
        return rows


def _read(file: Path) -> NDArray[np.void] | None:
    """The entries of a cache file, mapped into memory; None if it is missing or damaged."""
    try:
        rows: NDArray[np.void] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return rows if rows.dtype.names == ("index", "time", "picture") and rows.ndim == 1 and len(rows) > 0 else None
