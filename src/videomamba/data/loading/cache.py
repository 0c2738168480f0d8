"""Decoded frames on disk: every video is decoded once, later epochs read pixels.

Clips of a kept video are sampled among its kept frames. That is an approximation: of a video with more frames than are
kept, an evenly spread part can be seen, never the pictures between, and "every r-th frame" then means every r-th kept one.
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
from videomamba.files import write_atomically
from videomamba.schema import Frames, Preprocess, VideoError, VideoMambaError, VideoRecord

_LAYOUT = 1
"""Of the files. It is part of their names, so that files of another layout are not taken for these."""

AT_ONCE = 64
"""Frames decoded before they are made small: bounds the memory of keeping many frames of a large video."""


@dataclass(frozen=True)
class KeptFrames:
    """The kept frames of one record, used like an open one; `rows` has one entry (index, time, picture) a frame."""

    path: str
    rows: NDArray[np.void]

    @property
    def num_frames(self) -> int:
        return len(self.rows)

    def frames(self, indices: Sequence[int]) -> Frames:
        """The kept pictures at `indices` (copied); `Frames.indices` are their places in the video."""
        chosen = np.asarray(indices, dtype=np.int64)
        places, times = self.rows["index"][chosen].tolist(), self.rows["time"][chosen].tolist()
        return Frames(torch.from_numpy(self.rows["picture"][chosen]), tuple(places), tuple(times), self.path)


class FrameCache:
    """Keeps `num_frames` evenly spread frames of every record in `folder`, their short side at most `size` pixels.

    One file a record, named after its path, span, date, size and these settings: a video that was changed is decoded
    again (of a folder of frames: when files came or went), as is one whose kept file is damaged. Processes may share a
    folder.
    """

    def __init__(self, folder: str | Path, *, num_frames: int, size: int) -> None:
        self.folder = Path(folder)
        self.num_frames = num_frames
        self.size = size

    @contextmanager
    def open(self, record: VideoRecord, *, threads: int | None = None) -> Iterator[FrameSource]:
        """The kept frames of a record, decoded and written first where they are not there.

        Raises VideoError when the video cannot be read; VideoMambaError when the folder cannot be written.
        """
        file = self._file(record)
        rows = _read(file)
        if rows is None:
            with open_record(record, threads=threads) as opened:
                rows = self._rows(opened)
            self._write(file, rows)
        yield KeptFrames(record.path, rows)

    def _file(self, record: VideoRecord) -> Path:
        try:
            status = Path(record.path).stat()
        except OSError as error:
            raise VideoError(record.path, f"cannot be opened ({error.strerror}); check the list and the root") from None
        what = (_LAYOUT, record.path, record.span, record.num_frames, record.frame_name)
        name = repr((*what, status.st_mtime_ns, status.st_size, self.num_frames, self.size))
        digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
        # By their first two letters, because some file systems are slow with a million files in one folder.
        return self.folder / digest[:2] / f"{digest}.npy"

    def _rows(self, opened: OpenRecord) -> NDArray[np.void]:
        count = min(self.num_frames, opened.num_frames)
        # The middles of `count` equal parts, all frames if there are no more.
        chosen = [(2 * i + 1) * opened.num_frames // (2 * count) for i in range(count)]
        rows: NDArray[np.void] | None = None
        for start in range(0, count, AT_ONCE):
            part = self._small(opened.frames(chosen[start : start + AT_ONCE]))
            if rows is None:
                shape = tuple(part.data.shape[1:])
                rows = np.empty(count, [("index", "<i8"), ("time", "<f8"), ("picture", "u1", shape)])
            mine = rows[start : start + len(part)]
            mine["index"], mine["time"], mine["picture"] = part.indices, part.timestamps, part.data.numpy()
        assert rows is not None
        return rows

    def _small(self, frames: Frames) -> Frames:
        if min(frames.data.shape[1:3]) <= self.size:
            return frames
        return covering(frames, Preprocess(image_size=(self.size, self.size)))

    def _write(self, file: Path, rows: NDArray[np.void]) -> None:
        content = io.BytesIO()  # NumPy's own writing to a file does not say why it failed
        np.save(content, rows)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise VideoMambaError(
                f"{self.folder}: decoded frames cannot be kept here ({error.strerror}); choose another folder (data.cache)"
            ) from error
        write_atomically(file, lambda temporary: temporary.write_bytes(content.getvalue()))


def _read(file: Path) -> NDArray[np.void] | None:
    """The entries of a kept file, mapped into memory; None where there is none, or one that is damaged."""
    try:
        rows: NDArray[np.void] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    names = None if rows.dtype.names is None else tuple(rows.dtype.names)
    return rows if names == ("index", "time", "picture") and rows.ndim == 1 and len(rows) > 0 else None
