"""Small pictures for shots that are found only when all frames have passed by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from videomamba.schema import Frames
from videomamba.serving.shots.records import Shot
from videomamba.video.picture import decode_jpeg, encode_jpeg, shrunk

_EVERY = 1.5  # seconds from one kept picture to the next, about 2 KB each


class ShotAlbum:
    """Keeps a small JPEG of every 1.5 seconds of the frames that pass by; with `number` 0 none."""

    def __init__(self, number: int, *, height: int) -> None:
        self._number, self._height = number, height
        self._times: list[float] = []
        self._pictures: list[bytes] = []

    def look(self, frames: Frames) -> None:
        for place, time in enumerate(frames.timestamps):
            if self._number > 0 and (not self._times or time >= self._times[-1] + _EVERY):
                every = max(
                    1, frames.data.shape[1] // (2 * self._height)
                )  # averaging all pixels takes ten times longer
                picture = shrunk(frames.data[place, ::every, ::every], height=self._height)
                even = picture[: max(len(picture) // 2 * 2, 1), : max(picture.shape[1] // 2 * 2, 1)]
                self._times.append(time)
                self._pictures.append(encode_jpeg(even))

    def of(self, shots: Sequence[Shot]) -> list[tuple[float, NDArray[np.uint8]]]:
        """At most `number` pictures with their times, in order: one of each shot, or of the longest; more of long ones."""
        times = np.array(self._times)
        chosen: set[int] = set()
        for shot, count in zip(shots, _shares([shot.end - shot.start for shot in shots], self._number), strict=True):
            inside = np.flatnonzero((times >= shot.start) & (times < shot.end))
            for part in range(count if len(inside) else 0):
                moment = shot.start + (part + 0.5) / count * (shot.end - shot.start)
                chosen.add(int(inside[np.abs(times[inside] - moment).argmin()]))
        return [(self._times[place], decode_jpeg(self._pictures[place]).numpy()) for place in sorted(chosen)]


def _shares(lengths: Sequence[float], number: int) -> list[int]:
    """How many of `number` pictures each shot gets: one, the longest first, then more where a picture has the most time."""
    shares = [0] * len(lengths)
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place])[:number]:
        shares[place] = 1
    for _ in range(max(0, number - len(lengths))):
        shares[max(range(len(lengths)), key=lambda place: lengths[place] / shares[place])] += 1
    return shares
