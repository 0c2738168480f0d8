"""A long film of one place in which synthetic actions happen at known moments, and nothing else happens.

The background drifts by one side of the picture over the complete film, dull objects tremble in it, the light flickers and
the camera shakes, as in every synthetic clip. An actor is in the picture from `hold` seconds before its action to `hold`
seconds after it, and does not move at both ends. Since it appears and disappears, an event also has the time in which its
actor is seen.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videomamba.files import write_atomically
from videomamba.schema import VideoMambaError
from videomamba.synthetic.actions import ACTIONS
from videomamba.synthetic.draw import draw_moments
from videomamba.synthetic.sample import sample_scene
from videomamba.synthetic.scene import Part, Scene
from videomamba.video.encode import write_video

_CLIP_SECONDS = 2.0  # drift, shake and flicker are drawn for a clip of this length


@dataclass(frozen=True)
class Event:
    """An action that moves from `start` to `end` and whose actor is in the picture from `seen[0]` to `seen[1]`; seconds."""

    action: str
    start: float
    end: float
    seen: tuple[float, float]


def plan_events(
    count: int,
    *,
    seconds: float,
    seed: int,
    length: float = _CLIP_SECONDS,
    hold: float = 1.0,
    actions: Sequence[str] = ACTIONS,
) -> list[Event]:
    """`count` events of `length` seconds at random moments of a film, in order of time; no action repeats before all occur.

    Actors are in the picture at least a clip's length apart from each other and from the ends of the film. Raises
    VideoMambaError when the film is too short for that.
    """
    rng = np.random.default_rng([seed, count])
    each = length + 2 * hold + _CLIP_SECONDS
    spare = seconds - _CLIP_SECONDS - count * each
    if count < 1 or spare < 0:
        needed = _CLIP_SECONDS + max(count, 1) * each
        raise VideoMambaError(f"{count} events need a film of {needed:g} seconds, got {seconds:g}")
    places = np.sort(rng.uniform(0, spare, count)) + each * np.arange(count) + _CLIP_SECONDS + hold
    names = [str(name) for _ in range(math.ceil(count / len(actions))) for name in rng.permutation(actions)]
    return [
        Event(name, start, start + length, (start - hold, start + length + hold))
        for name, start in zip(names, places.tolist(), strict=False)
    ]


def write_film(
    path: str | Path,
    events: Sequence[Event],
    *,
    seconds: float = 600.0,
    fps: int = 16,
    height: int = 128,
    width: int = 160,
    style: str = "default",
    seed: int = 0,
    crf: int = 23,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Writes the film as H.264 and, next to it, its events as JSON; returns the path of the JSON file.

    Equal arguments give equal bytes. The film is encoded while it is drawn, 32 pictures at a time; `progress(done, total)`
    counts pictures. Each of the two files is written completely or not at all.

    Raises VideoMambaError for an event that is unknown, outside the film, or in the picture together with another, a
    picture size or style that cannot be drawn, and VideoError for a film that cannot be encoded.
    """
    path = Path(path)
    events = sorted(events, key=lambda event: event.start)
    _check(events, seconds=seconds, fps=fps, height=height, width=width)
    try:
        place = _place(seed, style, seconds)
        shown = [(event, _acted(place, event, scene_seed=seed)) for event in events]
    except ValueError as error:
        raise VideoMambaError(str(error)) from error
    total = round(seconds * fps)
    times = np.arange(total) / fps

    def pieces() -> Iterator[NDArray[np.uint8]]:
        done = 0
        for first, last, scene in _stretches(times, place, shown):
            moments = (times[first:last] / _CLIP_SECONDS).astype(np.float32)
            span = (0.0, seconds / _CLIP_SECONDS)
            for frames in draw_moments(scene, moments, height=height, width=width, span=span):
                yield frames
                done += len(frames)
                if progress is not None:
                    progress(done, total)

    write_video(path, pieces(), fps=fps, crf=crf)
    record = {"film": path.name, "seconds": total / fps, "fps": fps, "events": [asdict(event) for event in events]}
    listing = path.with_suffix(".events.json")
    write_atomically(listing, lambda target: target.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8"))
    return listing


def read_events(listing: str | Path) -> list[Event]:
    """The events of a film, from the JSON file of `write_film`."""
    record = json.loads(Path(listing).read_text(encoding="utf-8"))
    return [Event(**{**event, "seen": tuple(event["seen"])}) for event in record["events"]]


def _check(events: Sequence[Event], *, seconds: float, fps: int, height: int, width: int) -> None:
    if seconds <= 0 or fps < 1 or round(seconds * fps) < 1:
        raise VideoMambaError(f"a film of {seconds:g} seconds at {fps} fps has no pictures; give more of either")
    if min(height, width) < 64 or height % 2 or width % 2:
        raise VideoMambaError(f"height, width: {height}x{width} must be even and at least 64x64")
    for event in events:
        name = f"event {event.action} at {event.start:g} s"
        if event.action not in ACTIONS:
            raise VideoMambaError(f"{name}: unknown action; choose from {', '.join(ACTIONS)}")
        if not 0 <= event.seen[0] <= event.start < event.end <= event.seen[1] <= seconds:
            raise VideoMambaError(
                f"{name}: its times must rise from 0 to {seconds:g} s: seen from, start, end, seen to; "
                f"got {event.seen[0]:g}, {event.start:g}, {event.end:g}, {event.seen[1]:g}"
            )
    for before, after in pairwise(events):
        if before.seen[1] > after.seen[0]:
            raise VideoMambaError(f"event {after.action} at {after.start:g} s: {before.action} is still in the picture")


def _place(seed: int, style: str, seconds: float) -> Scene:
    """A scene without actors whose background drifts by one side of the picture in the complete film."""
    scene = sample_scene(0, seed, style)
    scale = _CLIP_SECONDS / seconds / math.hypot(*scene.background.drift)
    x, y = scene.background.drift
    return replace(scene, parts=(), background=replace(scene.background, drift=(x * scale, y * scale)))


def _acted(place: Scene, event: Event, *, scene_seed: int) -> Scene:
    """The place with the actors of the event, which move from its start to its end."""
    action = ACTIONS.index(event.action)
    # A scene is drawn from (style, pair, seed); the moment keeps two events of one action apart.
    cast = sample_scene(action // 2, 1_000_000 * (scene_seed + 1) + round(1000 * event.start), place.style)
    backwards = action % 2 == 1
    start, end, late = event.start / _CLIP_SECONDS, event.end / _CLIP_SECONDS, cast.timing.late != backwards
    timing = replace(cast.timing, start=start, end=end, late=late)
    return replace(place, parts=tuple(_reversed(p) for p in cast.parts) if backwards else cast.parts, timing=timing)


def _reversed(part: Part) -> Part:
    names = ("x", "y", "radius", "angle", "opacity", "opening")
    spans: dict[str, Any] = {name: getattr(part, name)[::-1] for name in names}
    return replace(part, **spans)


def _stretches(
    times: NDArray[np.float64], place: Scene, shown: Sequence[tuple[Event, Scene]]
) -> Iterator[tuple[int, int, Scene]]:
    """(first picture, one past the last, scene) of each stretch of the film, in order."""
    here = 0
    for event, scene in shown:
        first, last = (int(picture) for picture in np.searchsorted(times, event.seen))
        yield here, first, place
        yield first, last, scene
        here = last
    yield here, len(times), place
