"""The very frame with which a new shot begins: the frames between the two decoded ones around a cut are decoded as well.

Encoders start anew at a cut. So if decoding can begin at a frame between the two, no frame before it is decoded: that would
take all since the start before, in an edited film about as many as the shot has.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from videomamba.data.clips.transforms import to_clip
from videomamba.schema import Preprocess, VideoError
from videomamba.serving.shots.records import CUT, Transition
from videomamba.serving.shots.signal import FrameSignal
from videomamba.video.base import Video

_MOST = 8  # frames decoded for one cut


def exact_cuts(
    transitions: Sequence[Transition],
    video: Video,
    preprocess: Preprocess,
    *,
    signal: FrameSignal,
    needed: NDArray[np.int64],
) -> list[Transition]:
    """The transitions, each cut at the frame of the `video` that begins the new shot; `signal` has seen the frames `needed`."""
    prints = dict(zip(needed.tolist(), signal.prints, strict=True))
    return [_exact(cut, video, preprocess, prints) if cut.kind == CUT else cut for cut in transitions]


def _exact(cut: Transition, video: Video, preprocess: Preprocess, prints: dict[int, NDArray[np.uint8]]) -> Transition:
    """The cut at the largest step from frame to frame; as it was where these are neighbours or cannot be decoded."""
    before, after = (int(index) for index in np.searchsorted(video.timestamps, [cut.start, cut.end]))
    if after - before < 2:
        return cut
    restarts = video.restarts[(video.restarts > before) & (video.restarts <= after)]
    first = int(restarts[-1]) if len(restarts) else before + 1
    between = np.linspace(first, after - 1, min(after - first, _MOST)).round().astype(np.int64).tolist()
    seen = FrameSignal()
    try:
        if between:
            seen.see(to_clip(video.frames(between), preprocess).data, preprocess)
    except VideoError:  # no window needed them: they may be damaged
        return cut
    indices = [before, *between, after]
    pictures = np.stack([prints[before], *seen.prints, prints[after]]).astype(np.float64)
    place = int(np.abs(np.diff(pictures, axis=0)).mean(axis=(1, 2)).argmax())
    old, new = indices[place : place + 2]
    begins = new if new in restarts else old + (new - old + 1) // 2
    start, end, time = (float(video.timestamps[index]) for index in (old, new, begins))
    return Transition(CUT, start, end, time, cut.score)
