"""A few small pictures of a video in a row, as bytes for a page."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from videomamba.schema import VideoError
from videomamba.video.open import open_video
from videomamba.video.picture import encode_jpeg

HEIGHT = 64
PICTURES = 3
_WIDEST = 2 * HEIGHT  # of one picture: a panorama is squeezed


def thumbnails(path: str, span: tuple[float, float] | None = None) -> bytes | None:
    """A JPEG with PICTURES moments of the video at `path`, evenly spread over it or over `span` in seconds.

    The pictures are HEIGHT pixels high. A single image is shown once. None for a video that cannot be read.
    """
    try:
        with open_video(path, threads=1) as video:
            start, end = span or (0.0, video.info.duration)
            moments = start + (np.arange(PICTURES) + 0.5) / PICTURES * (end - start)
            places = np.searchsorted(video.timestamps, moments, side="right") - 1
            indices = sorted(set(places.clip(0, video.info.num_frames - 1).tolist()))
            pictures = video.frames(indices).data
    except VideoError:
        return None
    height, width = pictures.shape[1:3]
    size = HEIGHT, min(max(round(width * HEIGHT / height / 2) * 2, 2), _WIDEST)
    small = F.interpolate(pictures.permute(0, 3, 1, 2).float(), size, mode="area").round().to(torch.uint8)
    return encode_jpeg(small.permute(2, 0, 3, 1).reshape(HEIGHT, -1, 3))
