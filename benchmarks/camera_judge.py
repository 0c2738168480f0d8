"""Whether a model of camera motion agrees with an independent judge on real footage, for which nobody has written the answers.

    python benchmarks/camera_judge.py FILE_OR_FOLDER... [--model NAME] [--json]

The judge follows corners of the picture from one sampled frame to the next with OpenCV (pyramidal Lucas-Kanade, forwards and
backwards), fits a shift, a zoom and a turn to them with RANSAC, and puts the steps of a window together. It names a motion only
where it is sure, and of the windows where it is not nothing is counted. Both look at the same frames of the same windows. The
model's answer is its best class: "cut", "fade" and "shake", which the judge never says, are disagreements.

Without --model the windows of which the judge is sure are listed. Needs opencv-python-headless.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videomamba import Predictor
from videomamba.cli.output import counter, print_table
from videomamba.data.clips.windows import Windows
from videomamba.schema import VideoError, VideoMambaError
from videomamba.serving.timeline import timeline
from videomamba.serving.window_walk import WindowWalk
from videomamba.synthetic.camera.motions import MOTIONS
from videomamba.video.find import search_videos
from videomamba.video.open import open_video

WINDOW, STRIDE, FRAMES = 1.5, 0.75, 16
"""Seconds, and the frames of a window where no model is asked."""
NAMES = MOTIONS[:9]
"""What the judge can say: everything but shake, cut and fade."""

LONG_SIDE = 320
"""Pixels: enough corners, and a pan of a width in a second is about 30 pixels a step, which the pyramid follows."""
CORNERS, APART = 400, 7
"""At most so many corners, so many pixels apart, so that one detailed thing does not have most of them."""
RETURNS = 0.7
"""Pixels from where it started at which a corner arrives that is followed forwards and back; more is a lost corner."""
FITS = 2.5
"""Pixels from the common motion within which a corner belongs to it: compression moves corners by a pixel, parallax by more."""
QUALITY = 0.01
"""Strength of the weakest corner as a share of that of the strongest. With 0.003 noise in walls and skies counts as corners,
and no more windows are sure."""
LEAST_CORNERS = 20
"""The common motion has four unknowns; with fewer corners than this, three or four wrong ones decide it."""
LEAST_FOLLOWED = 0.4
"""Share of the corners that must be found again. At most 15 % are found by chance after a cut; a fast pan loses a quarter."""
LEAST_FITTING = 0.4
"""Share of the followed corners that must have the common motion: with less, the motion of a subject may have won. With a
half, half as many windows of synthetic clips with subjects are sure, and no more of them right."""
GRID, LEAST_CELLS = 4, 6
"""Of 4 x 4 cells of the picture so many must have corners of the common motion: a person in front of a plain wall has fewer."""
LEAST_ALIKE = 0.4
"""Correlation of two frames, half a window or a window apart, one of them moved upon the other. Unlike pictures, as before and
after a cross-fade, have about 0; moving subjects and parallax leave more than this."""
OVERLAP = 0.3
"""Share of the picture that both frames must show to be compared."""
CONTRAST = 1.6
"""Largest ratio of their contrasts: more is a fade to or from a colour. Automatic exposure stays below."""
STILL = 0.006
"""Share of the diagonal that a static picture may be away from its mean place, and its end from its start, 2 pixels of 367: the
tremble of a tripod and the errors of fifteen steps are below."""
MOVING = 0.025
"""Share of the diagonal by which the picture must have moved in a window: 2 % of the width in a second, which a viewer sees."""
SECOND = 0.5
"""Largest share of the second component in the first: beyond it, the motion has no one name."""
DETOUR = 2.0
"""Largest length of the path for a net motion of 1: beyond it, the camera shakes or turns round as much as it moves."""

Grey = NDArray[np.uint8]
Affine = NDArray[np.float64]  # (3, 3), of pixels with the origin in the middle of the picture


def opencv() -> ModuleType:
    try:
        return importlib.import_module("cv2")
    except ModuleNotFoundError as error:
        raise VideoMambaError("camera_judge needs OpenCV; pip install opencv-python-headless") from error


@dataclass(frozen=True)
class Net:
    """The motion of the picture on the screen over a window: to the right in widths, down in heights, the logarithm of its
    growth, and its turn clockwise in radians. `travel` is the length of the path divided by the net motion."""

    right: float
    down: float
    zoom: float
    turn: float
    travel: float

    def __str__(self) -> str:
        return (
            f"right {self.right:+.3f} w, down {self.down:+.3f} h, zoom {self.zoom:+.3f}, turn {math.degrees(self.turn):+.1f}"
            f" deg, travel {self.travel:.1f}"
        )


@dataclass(frozen=True)
class Verdict:
    """`motion` is one of NAMES, or None where the judge is not sure: `why`. `net` is None where the motion was lost."""

    motion: str | None
    why: str = ""
    net: Net | None = None


class Judge:
    """The steps between frames are kept, as neighbouring windows share them."""

    def __init__(self) -> None:
        self._cv2 = opencv()
        self._steps: dict[tuple[int, int], Affine | str] = {}

    def file(self, path: Path, *, num_frames: int = FRAMES) -> Iterator[tuple[float, float, Verdict]]:
        """(start, end, verdict) of each window of the video at `path`. Raises VideoError."""
        self._steps = {}
        with open_video(path) as video:
            walk = WindowWalk(video, Windows(WINDOW, STRIDE, num_frames))
            kept: dict[int, Grey] = {}
            for start, frames in zip(walk.starts.tolist(), walk.frames.tolist(), strict=True):
                missing = sorted({index for index in frames if index not in kept})
                kept = {index: grey for index, grey in kept.items() if index >= frames[0]}
                if missing:
                    kept |= zip(
                        missing, (self.grey(picture.numpy()) for picture in video.frames(missing).data), strict=True
                    )
                yield start, start + walk.length, self.window([kept[index] for index in frames], frames)

    def grey(self, picture: NDArray[np.uint8]) -> Grey:
        """`picture` (h, w, 3) RGB, grey and small."""
        cv2 = self._cv2
        grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
        scale = LONG_SIDE / max(grey.shape)
        size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
        return cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)

    def window(self, greys: Sequence[Grey], indices: Sequence[int] | None = None) -> Verdict:
        """The verdict on the frames of a window; equal `indices` are the same frame."""
        indices = range(len(greys)) if indices is None else indices
        if len(set(indices)) < 4:
            return Verdict(None, "fewer than four frames")
        height, width = greys[0].shape
        places = [np.eye(3)]  # where the points of the first frame are
        for step in range(1, len(greys)):
            found = self._step(indices[step - 1], indices[step], greys[step - 1], greys[step])
            if isinstance(found, str):
                return Verdict(None, found)
            places.append(found @ places[-1])
        net, path = _path(places, width=width, height=height)
        doubt = self._doubt(greys, places)
        return Verdict(None, doubt, net) if doubt else name(net, path, width=width, height=height)

    def _step(self, first: int, second: int, before: Grey, after: Grey) -> Affine | str:
        if first == second:
            return np.eye(3)
        if (first, second) not in self._steps:
            self._steps[first, second] = self._common_motion(before, after)
        return self._steps[first, second]

    def _common_motion(self, before: Grey, after: Grey) -> Affine | str:
        """What moves the points of `before` onto those of `after`, or why nothing does."""
        cv2 = self._cv2
        corners = cv2.goodFeaturesToTrack(before, CORNERS, QUALITY, APART)
        if corners is None or len(corners) < LEAST_CORNERS:
            return "too few corners"
        flow = {"winSize": (21, 21), "maxLevel": 4}
        there, seen, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, None, **flow)
        back, seen_again, _ = cv2.calcOpticalFlowPyrLK(after, before, there, None, **flow)
        start, end = corners.reshape(-1, 2), there.reshape(-1, 2)
        returned = np.linalg.norm(back.reshape(-1, 2) - start, axis=1) < RETURNS
        inside = ((end >= 0) & (end < before.shape[::-1])).all(1)
        good = (seen.ravel() == 1) & (seen_again.ravel() == 1) & returned & inside
        if good.sum() < max(LEAST_CORNERS, LEAST_FOLLOWED * len(start)):
            return "corners are lost"
        middle = (np.array(before.shape[::-1], np.float32) - 1) / 2
        start, end = start[good] - middle, end[good] - middle
        fitted, fits = cv2.estimateAffinePartial2D(start, end, method=cv2.RANSAC, ransacReprojThreshold=FITS)
        if fitted is None or fits.sum() < max(LEAST_CORNERS, LEAST_FITTING * len(start)):
            return "no common motion"
        cells = np.floor((start + middle)[fits.ravel() == 1] * GRID / np.array(before.shape[::-1])).astype(int)
        if len(np.unique(cells, axis=0)) < LEAST_CELLS:
            return "corners in a small part of the picture"
        return np.vstack([fitted, [0, 0, 1]])

    def _doubt(self, greys: Sequence[Grey], places: Sequence[Affine]) -> str:
        """Why the frames, moved by the motion that was found, do not show the same; "" where they do."""
        half = len(greys) // 2
        for first, last in ((0, len(greys) - 1), (0, half), (half, len(greys) - 1)):
            moved = places[last] @ np.linalg.inv(places[first])
            alike, contrast, overlap = self._compared(greys[first], greys[last], moved)
            if overlap < OVERLAP:
                continue
            if alike < LEAST_ALIKE:
                return "the picture becomes another one"
            if not 1 / CONTRAST < contrast < CONTRAST:
                return "the contrast changes"
        return ""

    def _compared(self, before: Grey, after: Grey, moved: Affine) -> tuple[float, float, float]:
        """Correlation and ratio of the contrasts where both frames can be seen, and the share of this part."""
        cv2 = self._cv2
        height, width = before.shape
        centre = np.array([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1]])
        matrix = (centre @ moved @ np.linalg.inv(centre))[:2]
        both = cv2.warpAffine(np.full_like(before, 255), matrix, (width, height)) == 255
        if not both.any():
            return 0.0, 1.0, 0.0
        # Blurred, as a small error of the motion should not matter.
        one, other = (cv2.blur(grey, (9, 9)).astype(np.float32) for grey in (before, after))
        one, other = cv2.warpAffine(one, matrix, (width, height))[both], other[both]
        spread, other_spread = max(float(one.std()), 1e-3), max(float(other.std()), 1e-3)
        alike = float(((one - one.mean()) * (other - other.mean())).mean()) / (spread * other_spread)
        return alike, other_spread / spread, float(both.mean())


def _path(places: Sequence[Affine], *, width: int, height: int) -> tuple[Net, NDArray[np.float64]]:
    """The net motion, and the path (n, 4) in pixels: right, down, and zoom and turn as they move the mean point."""
    stack = np.stack(places)
    radius = math.hypot(width, height) / math.sqrt(12)  # root mean square distance of the points from the middle
    zoom = np.log(np.hypot(stack[:, 0, 0], stack[:, 1, 0]))
    turn = np.unwrap(np.arctan2(stack[:, 1, 0], stack[:, 0, 0]))
    path = np.stack([stack[:, 0, 2], stack[:, 1, 2], radius * zoom, radius * turn], axis=1)
    travel = float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum() / max(np.linalg.norm(path[-1]), 1e-6))
    right, down, *_ = path[-1]
    return Net(float(right / width), float(down / height), float(zoom[-1]), float(turn[-1]), travel), path


def name(net: Net, path: NDArray[np.float64], *, width: int, height: int) -> Verdict:
    """The name of the motion along `path`, see `_path`."""
    diagonal = math.hypot(width, height)
    away = np.linalg.norm(np.vstack([path - path.mean(0), path[-1:]]), axis=1)
    if float(away.max()) <= STILL * diagonal:
        return Verdict("static", net=net)
    amounts = np.abs(path[-1])
    second, first = np.sort(amounts)[-2:]
    if first < MOVING * diagonal:
        return Verdict(None, "between static and moving", net)
    if second > SECOND * first:
        return Verdict(None, "no dominant motion", net)
    if net.travel > DETOUR:
        return Verdict(None, "shakes", net)
    kinds = (("pan_left", "pan_right"), ("tilt_up", "tilt_down"), ("zoom_in", "zoom_out"))
    kind = int(amounts.argmax())
    positive, negative = (*kinds, ("roll_counterclockwise", "roll_clockwise"))[kind]
    return Verdict(positive if path[-1, kind] > 0 else negative, net=net)


@dataclass(frozen=True)
class Window:
    """A window and what was said of it; `best` are the model's best two classes and their probabilities."""

    file: str
    start: float
    end: float
    verdict: Verdict
    best: tuple[tuple[str, float], ...] = ()

    @property
    def agrees(self) -> bool:
        return self.best[0][0] == self.verdict.motion

    def __str__(self) -> str:
        said = f"{self.verdict.motion or 'unsure: ' + self.verdict.why} ({self.verdict.net or 'motion unknown'})"
        model = "".join(f", {label} {probability:.2f}" for label, probability in self.best)
        return f"{self.file} {self.start:.2f}-{self.end:.2f} s: {said}" + (f"; model:{model[1:]}" if model else "")


def judged(judge: Judge, path: Path, predictor: Predictor | None) -> Iterator[Window]:
    """Each window of the video at `path`. Raises VideoError."""
    if predictor is None:
        for start, end, verdict in judge.file(path):
            yield Window(str(path), start, end, verdict)
        return
    answers = timeline(predictor, path, window=WINDOW, stride=STRIDE, thumbnails=0)
    verdicts = list(judge.file(path, num_frames=predictor.preprocess.num_frames))
    if [start for start, _, _ in verdicts] != answers.starts.tolist():
        raise AssertionError(f"{path}: the windows of the judge and of the timeline differ")
    for (start, end, verdict), scores in zip(verdicts, answers.scores, strict=True):
        order = np.argsort(-scores, kind="stable")[:2]
        best = tuple((answers.labels[place], float(scores[place])) for place in order)
        yield Window(str(path), start, end, verdict, best)


def counted(windows: Sequence[Window]) -> dict[str, Any]:
    """What the windows say together. Only those of which the judge is sure count; `agreement` is None where there are none."""
    sure = [window for window in windows if window.verdict.motion]
    reasons = Counter(window.verdict.why for window in windows if not window.verdict.motion)
    counts: dict[str, Any] = {
        "windows": len(windows),
        "sure": len(sure),
        "unsure": dict(reasons.most_common()),
        "judge": {motion: n for motion in NAMES if (n := sum(window.verdict.motion == motion for window in sure))},
    }
    if any(window.best for window in windows):
        agreed = sum(window.agrees for window in sure)
        pairs = Counter((str(window.verdict.motion), window.best[0][0]) for window in sure)
        counts["agreed"] = agreed
        counts["agreement"] = agreed / len(sure) if sure else None
        counts["confusions"] = [
            {"judge": said, "model": answered, "windows": pairs[said, answered]}
            for said in NAMES
            for answered in MOTIONS
            if (said, answered) in pairs
        ]
    return counts


def show(windows: Sequence[Window]) -> None:
    counts = counted(windows)
    sure = [window for window in windows if window.verdict.motion]
    unsure = ", ".join(f"{number} {why}" for why, number in counts["unsure"].items())
    print(
        f"{counts['windows']} windows; the judge is sure of {counts['sure']}"
        + (f"; not sure: {unsure}" if unsure else "")
    )
    if "agreed" not in counts:
        print("\n".join(str(window) for window in sure))
        return
    if not sure:
        print("agreement: none to count")
        return
    print(f"agreement: {counts['agreed']} of {len(sure)}, {100 * counts['agreement']:.1f} %")
    answers = [motion for motion in MOTIONS if any(pair["model"] == motion for pair in counts["confusions"])]
    cells = {(pair["judge"], pair["model"]): str(pair["windows"]) for pair in counts["confusions"]}
    print_table(
        ["judge \\ model", *answers],
        [[said, *(cells.get((said, answered), "") for answered in answers)] for said in counts["judge"]],
    )
    print("\n".join(str(window) for window in sure if not window.agrees))


def opened(model: str) -> Predictor:
    predictor = Predictor.from_pretrained(model)
    missing = sorted(set(MOTIONS) ^ set(predictor.labels))
    if missing:
        raise VideoMambaError(f"{model}: its classes are not those of camera motion; give such a model (--model)")
    return predictor


def run(paths: Sequence[Path], predictor: Predictor | None, *, as_json: bool = False) -> int:
    """Prints what the judge, and the `predictor` where there is one, say of the videos; 1 where one could not be read."""
    judge, windows, failed = Judge(), [], 0
    files = [file for path in paths for file in search_videos(path).videos]
    with counter("judging") as tick:
        for done, file in enumerate(files, 1):
            try:
                windows += list(judged(judge, file, predictor))
            except VideoError as error:
                failed = 1
                print(f"camera_judge: {error}", file=sys.stderr, flush=True)
            tick(done, len(files))
    if as_json:
        print(json.dumps({**counted(windows), "list": [asdict(window) for window in windows]}))
    else:
        show(windows)
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, metavar="FILE_OR_FOLDER")
    parser.add_argument("--model", help="a name or a weights file; without it only the judge speaks")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    try:
        return run(args.paths, opened(args.model) if args.model else None, as_json=args.json)
    except VideoMambaError as error:
        print(f"camera_judge: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
