"""How much the picture changes from one decoded frame to the next: a cheap signal, collected while the frames pass by.

A network says that a window contains a cut, but hardly where; this signal says where the picture changes, but not why.

Shape letters: f decoded frames, t frames of a part of the video, h height, w width.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from videomamba.schema import Preprocess

SIDE = 16  # of the small grey pictures: coarse enough that a moving camera changes them little from frame to frame
PRINT_SIDE = 8  # of the small pictures in colour that are kept: coarser, because a fade takes longer than a cut
_SAMPLES = 28  # about so many rows and columns are counted in the histograms of colours
_BINS = 16  # of each colour
_GREY = (0.299, 0.587, 0.114)


class FrameSignal:
    """What is kept of each frame that passes: 192 bytes and its difference from the frame before.

    After the walk, `prints` is (f, 3, 64) uint8, pictures of 8x8 in RGB; `changes` is (f - 1,), the difference between
    neighbours: twice the mean absolute difference of small grey pictures plus the distance of the histograms of colours,
    between 0 and 3.
    """

    def __init__(self) -> None:
        self._prints: list[NDArray[np.uint8]] = []
        self._changes: list[NDArray[np.float32]] = []
        self._last: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    def see(self, pixels: Tensor, preprocess: Preprocess) -> None:
        """The next frames of the walk, as the network sees them: (3, t, h, w), normalised by `preprocess`."""
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (preprocess.mean, preprocess.std))
        pictures = pixels.transpose(0, 1)
        h, w = pictures.shape[2:]
        cells = F.avg_pool2d(pictures, (max(1, h // SIDE), max(1, w // SIDE)))[:, :, :SIDE, :SIDE] * std + mean
        small = torch.einsum("tchw,c->thw", cells, torch.tensor(_GREY)).clamp(0, 1).flatten(1).numpy()  # (t, 256)
        samples = pictures[:, :, :: max(1, h // _SAMPLES), :: max(1, w // _SAMPLES)] * std + mean
        counts = _histograms(samples.numpy())  # (t, 3 bins)
        prints = F.adaptive_avg_pool2d(cells, PRINT_SIDE).clamp(0, 1).flatten(2).numpy()  # (t, 3, 64)
        self._prints.append((255 * prints).round().astype(np.uint8))
        if self._last is not None:
            small, counts = (
                np.concatenate([old[None], new]) for old, new in zip(self._last, (small, counts), strict=True)
            )
        self._last = small[-1], counts[-1]
        apart = np.abs(np.diff(counts, axis=0)).sum(1) / 2 / 3  # the mean over colours of the total variation distance
        self._changes.append((2 * np.abs(np.diff(small, axis=0)).mean(1) + apart).astype(np.float32))

    @property
    def prints(self) -> NDArray[np.uint8]:
        return np.concatenate(self._prints) if self._prints else np.empty((0, 3, PRINT_SIDE**2), np.uint8)

    @property
    def changes(self) -> NDArray[np.float32]:
        return np.concatenate(self._changes) if self._changes else np.empty(0, np.float32)


def _histograms(colours: NDArray[np.float32]) -> NDArray[np.float32]:
    """(t, 3, h, w) in 0..1 -> (t, 3 bins): the share of the pixels of each colour in each bin."""
    t = len(colours)
    bins = (np.clip(colours, 0, 0.9999) * _BINS).astype(np.int64).reshape(t * 3, -1)
    counts = np.bincount((bins + _BINS * np.arange(t * 3)[:, None]).ravel(), minlength=t * 3 * _BINS)
    return (counts.reshape(t, -1) / bins.shape[1]).astype(np.float32)


def prominence(changes: NDArray[np.float32], times: NDArray[np.float64], *, around: float = 1.0) -> NDArray[np.float64]:
    """(f - 1,) how many times larger each change is than the usual one within `around` seconds of it.

    `times` (f,) are those of the frames. The change itself does not count. Where half of a change beside it is larger than the
    usual one, that counts instead: a fade is many large changes, a cut is one. A hundredth is added, so that the noise of a
    still picture is not divided by nothing.
    """
    middles = (times[1:] + times[:-1]) / 2
    firsts, lasts = np.searchsorted(middles, middles - around), np.searchsorted(middles, middles + around, side="right")
    beside = np.concatenate([[0.0], changes, [0.0]])
    usual = np.maximum(beside[:-2], beside[2:]) / 2
    for i, (first, last) in enumerate(zip(firsts.tolist(), lasts.tolist(), strict=True)):
        others = np.concatenate([changes[first:i], changes[i + 1 : last]])
        if len(others):
            usual[i] = max(usual[i], float(np.median(others)))
    return np.asarray(changes / (usual + 0.01), np.float64)
