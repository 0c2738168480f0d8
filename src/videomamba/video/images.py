"""A folder of images as a video, and a single image as a video of one frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from videomamba.schema import VideoError, VideoInfo
from videomamba.video.base import Video
from videomamba.video.rgb import RgbWriter, read_image
from videomamba.video.shards import Media


class ImageVideo(Video):
    """`images` in presentation order, `fps` of them per second. Only the first is read on opening.

    Raises VideoError for an image that cannot be read or that differs in size from the first; ValueError for fps <= 0.
    """

    def __init__(self, path: Media, images: Sequence[Media], *, fps: float) -> None:
        if fps <= 0:
            raise ValueError(f"fps must be positive, got {fps}")
        self._images = tuple(images)
        self._rgb = RgbWriter()
        frame, orientation = read_image(self._images[0])
        height, width = orientation.size(frame)
        count, moves = len(self._images), len(self._images) > 1
        self.timestamps = np.arange(count, dtype=np.float64) / fps
        self.info = VideoInfo(
            path=str(path),
            num_frames=count,
            fps=fps if moves else 0.0,
            duration=count / fps if moves else 0.0,
            height=height,
            width=width,
            rotation=orientation.rotation,
            codec=self._images[0].suffix.lower().removeprefix("."),
        )

    @property
    def restarts(self) -> NDArray[np.int64]:
        return np.arange(len(self._images))

    def _read(self, rows: dict[int, int], data: torch.Tensor) -> None:
        for index, row in rows.items():
            frame, orientation = read_image(self._images[index])
            height, width = orientation.size(frame)
            if (height, width) != (self.info.height, self.info.width):
                expected = f"{self._images[0].name} is {self.info.width}x{self.info.height}"
                raise VideoError(self._images[index], f"is {width}x{height} but {expected}; make all images one size")
            self._rgb.write(frame, orientation, data[row])

    def close(self) -> None:
        """Nothing stays open between reads."""
