"""Small films with known cuts and fades, and a predictor that knows them: what a perfect network would answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from videomamba.schema import Clip, Preprocess
from videomamba.video.encode import write_video

FPS = 25
LABELS = ("static", "pan_left", "zoom_in", "cut", "fade")

Change = tuple[str, float, float]  # "cut" or "fade", start and end in seconds


def shot(seed: int, frames: int, *, speed: float = 1 / 3, height: int = 48, width: int = 64) -> NDArray[np.float32]:
    """(frames, h, w, 3): smooth blobs of colour that move by `speed` pixels a frame."""
    rng = np.random.default_rng(seed)
    coarse = torch.tensor(rng.uniform(20, 235, (1, 3, 6, 12)), dtype=torch.float32)
    wide = torch.nn.functional.interpolate(coarse, (height, 4 * width), mode="bicubic")[0].permute(1, 2, 0).numpy()
    lefts = [int(i * speed) % (3 * width) for i in range(frames)]
    return np.stack([wide[:, left : left + width] for left in lefts]).clip(0, 255)


def film(path: Path, seconds: float, changes: Sequence[Change], *, black: bool = False, speed: float = 1 / 3) -> Path:
    """A film whose shots, each of other blobs, change at `changes`; with `black` fades go through black."""
    total = round(seconds * FPS)
    pictures = shot(0, total, speed=speed)
    times = np.arange(total) / FPS
    for number, (_, start, end) in enumerate(changes, 1):
        share = np.clip((times - start) / max(end - start, 1e-9), 0, 1)
        if end == start:
            share = (times >= start - 1e-9).astype(np.float64)
        share = share[:, None, None, None].astype(np.float32)
        after = shot(number, total, speed=speed)
        if black and end > start:
            pictures = np.clip(1 - 2 * share, 0, 1) * pictures + np.clip(2 * share - 1, 0, 1) * after
        else:
            pictures = (1 - share) * pictures + share * after
    write_video(path, pictures.round().astype(np.uint8), fps=FPS)
    return path


class Knows:
    """Answers as a perfect network would. `motion` (seconds from, label, probability) tell the motion from then on."""

    name = "knows"
    labels = LABELS
    preprocess = Preprocess(num_frames=16, image_size=(32, 40), clip_seconds=1.5)

    def __init__(
        self,
        changes: Sequence[Change] = (),
        *,
        motions: Sequence[tuple[float, str, float]] = ((0.0, "static", 0.9),),
        fps: float = FPS,
    ) -> None:
        self._changes, self._motions, self._fps = changes, motions, fps

    def logits(self, clips: Sequence[Clip]) -> Tensor:
        return torch.stack([self._scores(clip.indices[0] / self._fps, clip.indices[-1] / self._fps) for clip in clips])

    def _scores(self, start: float, end: float) -> Tensor:
        inside = {kind: min(b, end) - max(a, start) for kind, a, b in self._changes if a <= end and b > start}
        _, label, score = [motion for motion in self._motions if motion[0] <= (start + end) / 2][-1]
        if inside and (max(inside.values()) > 0.1 or "cut" in inside):
            label, score = max(inside, key=lambda kind: (kind == "cut", inside[kind])), 0.94
        probabilities = torch.full((len(LABELS),), (1 - score) / (len(LABELS) - 1))
        probabilities[LABELS.index(label)] = score
        return probabilities.log()


class Errs(Knows):
    """Overlooks half of the cuts within 0.1 s of an end of a window, and says cut with 0.6 in a tenth of all windows."""

    def __init__(self, changes: Sequence[Change], *, seed: int) -> None:
        super().__init__(changes)
        self._random = np.random.default_rng(seed)

    def _scores(self, start: float, end: float) -> Tensor:
        all_changes = self._changes
        near = [c for c in all_changes if c[0] == "cut" and min(abs(c[1] - start), abs(c[1] - end)) < 0.1]
        if near and self._random.random() < 0.5:
            self._changes = [change for change in all_changes if change not in near]
        scores = super()._scores(start, end)
        self._changes = all_changes
        if self._random.random() < 0.1:
            scores = torch.full((len(LABELS),), 0.1)
            scores[LABELS.index("cut")] = 0.6
            scores = scores.log()
        return scores
