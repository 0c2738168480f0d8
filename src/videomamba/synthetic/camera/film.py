"""Films composed of pieces of real videos and pictures, whose cuts and fades are known.

A piece is seen alone for one to five seconds. Then comes a hard cut, a cross-fade, during which both pieces play, or a fade
through black. A picture is seen through a window that moves and grows slowly. Equal files and arguments give equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from videomamba.files import replace_text
from videomamba.schema import VideoMambaError
from videomamba.video.encode import write_video
from videomamba.video.open import IMAGE_SUFFIXES, VIDEO_SUFFIXES, open_video

JoinKind = Literal["cut", "cross", "black"]
_JOINS: tuple[JoinKind, ...] = ("cut", "cross", "black")
_ALONE = (1.0, 5.0)  # seconds for which one piece is seen alone
_FADE = (0.4, 1.2)  # seconds of a fade
_AT_ONCE = 16  # frames that are read and scaled together
_TRIES = 50  # files that are drawn for a piece before none is long enough

_Picture = NDArray[np.uint8]  # (h, w, 3) RGB


@dataclass(frozen=True)
class Join:
    """How two pieces of a film are joined, in seconds: `start` and `end` of a fade, both the first new frame for a cut."""

    kind: JoinKind
    start: float
    end: float

    @property
    def time(self) -> float:
        return (self.start + self.end) / 2


def find_pieces(folder: Path) -> list[Path]:
    """The videos and pictures below `folder`, sorted. Raises VideoMambaError where there is none."""
    known = VIDEO_SUFFIXES | IMAGE_SUFFIXES
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() in known)
    if not found:
        raise VideoMambaError(f"{folder}: has no videos or pictures to compose a film of; give a folder that has some")
    return found


def compose_film(
    path: str | Path,
    sources: Sequence[Path],
    *,
    pieces: int,
    seed: int,
    fps: Fraction | int = 25,
    height: int = 240,
    width: int = 426,
    crf: int = 23,
    shares: tuple[float, float, float] = (0.6, 0.25, 0.15),
) -> list[Join]:
    """Writes a film of `pieces` pieces of the videos and pictures `sources` as H.264, and next to it its joins as JSON.

    `shares` are those of cuts, cross-fades and fades through black among the joins. No piece comes from the same file as the
    one before it, if there are several. Raises VideoMambaError without sources, or where no video is long enough; VideoError
    for a file that cannot be read or written.
    """
    if not sources:
        raise VideoMambaError(f"{path}: no videos or pictures to compose the film of; give a folder that has some")
    path, rate = Path(path), Fraction(fps)
    rng = np.random.default_rng([seed, pieces])
    kinds = [_JOINS[i] for i in rng.choice(3, pieces - 1, p=np.array(shares) / sum(shares))]
    alone = [round(seconds * rate) for seconds in rng.uniform(*_ALONE, pieces)]
    fades = [0 if kind == "cut" else max(2, round(rng.uniform(*_FADE) * rate)) for kind in kinds]
    joins: list[Join] = []
    here = 0
    for kind, seen, fade in zip(kinds, alone, fades, strict=False):
        here += seen
        joins.append(Join(kind, float(here / rate), float((here + fade) / rate)))
        here += fade
    size = (height, width)

    def streams() -> Iterator[Iterator[_Picture]]:
        last: Path | None = None
        lengths: dict[Path, float] = {}
        for number, seen in enumerate(alone):
            around = sum(fades[max(0, number - 1) : number + 1])
            last, frames = _piece(sources, seen + around, rate, size, rng, lengths, but=last)
            yield frames

    write_video(path, (picture[None] for picture in _joined(streams(), alone, kinds, fades)), fps=rate, crf=crf)
    record = {
        "film": path.name,
        "seconds": float((here + alone[-1]) / rate),
        "fps": float(rate),
        "joins": [{**asdict(join), "time": join.time} for join in joins],
    }
    text = json.dumps(record, indent=2) + "\n"
    replace_text(path.with_suffix(".joins.json"), text)
    return joins


def _joined(
    streams: Iterator[Iterator[_Picture]], alone: Sequence[int], kinds: Sequence[JoinKind], fades: Sequence[int]
) -> Iterator[_Picture]:
    present = next(streams)
    for seen, kind, fade in zip(alone, kinds, fades, strict=False):
        yield from islice(present, seen)
        following = next(streams)
        for step in range(fade):
            share = (step + 1) / (fade + 1)
            before, after = next(present), next(following)
            weights = (1 - share, share) if kind == "cross" else (max(0.0, 1 - 2 * share), max(0.0, 2 * share - 1))
            mixed = weights[0] * before.astype(np.float32) + weights[1] * after.astype(np.float32)
            yield mixed.round().astype(np.uint8)
        present = following
    yield from islice(present, alone[-1])


def _piece(
    sources: Sequence[Path],
    frames: int,
    rate: Fraction,
    size: tuple[int, int],
    rng: np.random.Generator,
    lengths: dict[Path, float],
    *,
    but: Path | None,
) -> tuple[Path, Iterator[_Picture]]:
    """A file other than `but`, and that many frames of it at the rate and size of the film.

    `lengths` remembers the seconds of the files that were opened, 0 for a picture.
    """
    others = [source for source in sources if source != but] or list(sources)
    seconds = float(frames / rate)
    for _ in range(_TRIES):
        source = others[int(rng.integers(len(others)))]
        if source not in lengths:
            with open_video(source) as video:
                lengths[source] = video.info.duration if video.info.num_frames > 1 else 0.0
        if not lengths[source]:
            return source, _moved(source, frames, size, rng.uniform(size=6))
        if lengths[source] > seconds:
            return source, _played(source, frames, rate, size, float(rng.uniform(0, lengths[source] - seconds)))
    raise VideoMambaError(
        f"{others[0].parent}: no video lasts {seconds:.1f} s, and there are no pictures; give longer ones"
    )


def _played(source: Path, frames: int, rate: Fraction, size: tuple[int, int], start: float) -> Iterator[_Picture]:
    with open_video(source) as video:
        moments = start + np.arange(frames) / float(rate)
        indices = np.clip(np.searchsorted(video.timestamps, moments + 1e-6, side="right") - 1, 0, None)
        for first in range(0, frames, _AT_ONCE):
            yield from _covering(video.frames(indices[first : first + _AT_ONCE].tolist()).data, size)


def _moved(source: Path, frames: int, size: tuple[int, int], draws: NDArray[np.float64]) -> Iterator[_Picture]:
    """The picture through a window of half to all of it, which moves from one drawn place to another."""
    with open_video(source) as video:
        picture = video.frames([0]).data
    whole = torch.from_numpy(next(_covering(picture, (2 * size[0], 2 * size[1])))).permute(2, 0, 1)[None].float()
    zooms, places = 0.5 + 0.4 * draws[:2], draws[2:].reshape(2, 2)
    for step in range(frames):
        share = step / max(frames - 1, 1)
        zoom = (1 - share) * zooms[0] + share * zooms[1]
        place = ((1 - share) * places[0] + share * places[1]) * 2 - 1
        centre = place * (1 - zoom)
        transform = torch.tensor([[[zoom, 0, centre[0]], [0, zoom, centre[1]]]], dtype=torch.float32)
        seen = F.grid_sample(whole, F.affine_grid(transform, [1, 3, *size], align_corners=False), align_corners=False)
        yield seen[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()


def _covering(pictures: Tensor, size: tuple[int, int]) -> Iterator[_Picture]:
    """(t, H, W, 3) uint8 -> pictures of `size`, scaled to cover it and cut at the middle."""
    height, width = pictures.shape[1:3]
    scale = max(size[0] / height, size[1] / width)
    scaled = max(size[0], round(height * scale)), max(size[1], round(width * scale))
    top, left = (scaled[0] - size[0]) // 2, (scaled[1] - size[1]) // 2
    for picture in pictures.permute(0, 3, 1, 2):
        large = F.interpolate(picture[None], scaled, mode="bilinear", antialias=True)[0]
        yield large[:, top : top + size[0], left : left + size[1]].permute(1, 2, 0).contiguous().numpy()


def read_joins(listing: str | Path) -> list[Join]:
    """The joins of a film, from the JSON file of `compose_film`."""
    record = json.loads(Path(listing).read_text(encoding="utf-8"))
    return [Join(join["kind"], join["start"], join["end"]) for join in record["joins"]]
