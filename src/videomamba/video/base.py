"""What every source of pictures promises: an open video answers `info`, `timestamps` and `frames(indices)`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from operator import index as as_index
from types import TracebackType
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from videomamba.schema import Frames, VideoInfo


class Video(ABC):
    """An open video. Use it in a `with` statement, or call `close`.

    `timestamps` (num_frames,) float64 holds the time of every picture in seconds from the first one, in presentation
    order, so that a span of seconds becomes a span of indices with `numpy.searchsorted`.
    """

    info: VideoInfo
    timestamps: NDArray[np.float64]

    def frames(self, indices: Sequence[int]) -> Frames:
        """The pictures at `indices`, places in presentation order, in the order asked; (len(indices), h, w, 3) uint8.

        Indices may repeat and need not be sorted: each picture is decoded once, in one walk through the file. Asking
        for all clips of a video in one call therefore costs one walk, where a call for each clip costs one each.

        Raises ValueError for an index outside [0, num_frames); VideoError when one of these pictures cannot be decoded.
        """
        wanted = tuple(as_index(i) for i in indices)
        outside = [i for i in wanted if not 0 <= i < self.info.num_frames]
        if outside:
            raise ValueError(f"{self.info.path}: frame {outside[0]} of a video with {self.info.num_frames} frames")
        data = torch.empty((len(wanted), self.info.height, self.info.width, 3), dtype=torch.uint8)
        rows: dict[int, list[int]] = {}
        for row, index in enumerate(wanted):
            rows.setdefault(index, []).append(row)
        self._read(rows, data)
        return Frames(data, wanted, tuple(float(self.timestamps[i]) for i in wanted), self.info.path)

    @abstractmethod
    def _read(self, rows: dict[int, list[int]], data: torch.Tensor) -> None:
        """Write picture `index` into every row of `rows[index]` of `data` (t, h, w, 3)."""

    @abstractmethod
    def close(self) -> None:
        """Release the file; closing twice is harmless."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
