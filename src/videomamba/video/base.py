"""The interface of an open video: `info`, `timestamps` and `frames(indices)`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from operator import index as as_index
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from videomamba.schema import Frames, VideoInfo


class Video(ABC):
    """An open video. Use it in a `with` statement, or call `close`.

    `timestamps` (num_frames,) float64 holds the seconds of every picture from the first one, in presentation order:
    `numpy.searchsorted` turns a span of seconds into a span of indices.
    """

    info: VideoInfo
    timestamps: NDArray[np.float64]

    def frames(self, indices: Sequence[int]) -> Frames:
        """The pictures at `indices` (presentation order), in the given order; (len(indices), h, w, 3) uint8.

        Indices may repeat and need not be sorted: each picture is decoded once, in one pass through the file. So one call
        for all clips of a video is faster than one call for each clip.

        Raises ValueError for an index outside [0, num_frames); VideoError when one of these pictures cannot be decoded.
        """
        wanted = tuple(as_index(i) for i in indices)
        outside = [i for i in wanted if not 0 <= i < self.info.num_frames]
        if outside:
            raise ValueError(f"{self.info.path}: frame {outside[0]} of a video with {self.info.num_frames} frames")
        data = torch.empty((len(wanted), self.info.height, self.info.width, 3), dtype=torch.uint8)
        rows: dict[int, int] = {}
        repeated = [(row, index) for row, index in enumerate(wanted) if rows.setdefault(index, row) != row]
        self._read(rows, data)
        for row, index in repeated:
            data[row] = data[rows[index]]
        return Frames(data, wanted, tuple(float(self.timestamps[i]) for i in wanted), self.info.path)

    @property
    def restarts(self) -> NDArray[np.int64]:
        """The indices, ascending, of pictures that can be read without decoding any before them; none where that is unknown."""
        return np.empty(0, np.int64)

    @abstractmethod
    def _read(self, rows: dict[int, int], data: torch.Tensor) -> None:
        """Write each picture `index` of `rows` into row `rows[index]` of `data` (t, h, w, 3)."""

    @abstractmethod
    def close(self) -> None:
        """Release the file; closing twice is harmless."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
