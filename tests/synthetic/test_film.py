"""Films: what happens is what the list says, and nothing else does."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from videomamba.schema import VideoMambaError
from videomamba.synthetic.actions import ACTIONS
from videomamba.synthetic.film import Event, plan_events, read_events, write_film
from videomamba.video.open import open_video

SMALL = {"height": 64, "width": 80, "fps": 8}


def pictures(path: Path) -> np.ndarray:
    with open_video(path) as video:
        return video.frames(range(video.info.num_frames)).data.numpy()


def event(action: str, start: float, end: float, hold: float = 0.5) -> Event:
    return Event(action, start, end, (start - hold, end + hold))


def test_the_plan_is_a_function_of_its_seed_and_keeps_its_distances() -> None:
    events = plan_events(5, seconds=60, seed=3)
    assert events == plan_events(5, seconds=60, seed=3) != plan_events(5, seconds=60, seed=4)
    assert len({e.action for e in events}) == 5 and {e.action for e in events} <= set(ACTIONS)
    assert all(e.end - e.start == pytest.approx(2.0) and e.seen == (e.start - 1, e.end + 1) for e in events)
    assert events[0].seen[0] >= 2 and events[-1].seen[1] <= 58
    assert all(after.seen[0] - before.seen[1] >= 2 - 1e-9 for before, after in pairwise(events))
    assert len(plan_events(20, seconds=150, seed=0)) == 20  # more than there are actions
    with pytest.raises(VideoMambaError, match="5 events need a film of 32 seconds, got 20"):
        plan_events(5, seconds=20, seed=0)


def test_a_film_and_its_list(tmp_path: Path) -> None:
    events = [event("move_left", 3.0, 5.0), event("grow", 8.0, 9.0)]
    counted: list[tuple[int, int]] = []
    listing = write_film(
        tmp_path / "film.mp4", events, seconds=12, seed=1, progress=lambda *at: counted.append(at), **SMALL
    )
    assert listing == tmp_path / "film.events.json" and read_events(listing) == events
    record = json.loads(listing.read_text())
    assert (record["film"], record["seconds"], record["fps"]) == ("film.mp4", 12, 8)
    with open_video(tmp_path / "film.mp4") as video:
        assert (video.info.num_frames, video.info.codec, video.info.fps) == (96, "h264", 8)
        assert (video.info.height, video.info.width) == (64, 80)
    assert counted[-1] == (96, 96) and [done for done, _ in counted] == sorted({done for done, _ in counted})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["film.events.json", "film.mp4"]


def test_equal_arguments_give_equal_bytes_and_seeds_differ(tmp_path: Path) -> None:
    events = plan_events(1, seconds=10, seed=0)
    written = [
        write_film(tmp_path / f"{i}.mp4", events, seconds=10, seed=seed, **SMALL)
        and (tmp_path / f"{i}.mp4").read_bytes()
        for i, seed in enumerate((0, 0, 1))
    ]
    assert written[0] == written[1] != written[2]


def test_the_actor_is_there_from_when_to_when_the_list_says(tmp_path: Path) -> None:
    with_it = event("move_right", 3.0, 5.0)
    options = {"seconds": 8, "seed": 2, "crf": 5, **SMALL}
    write_film(tmp_path / "with.mp4", [with_it], **options)
    write_film(tmp_path / "without.mp4", [], **options)
    film, calm = pictures(tmp_path / "with.mp4").astype(int), pictures(tmp_path / "without.mp4").astype(int)
    changed = (np.abs(film - calm).max(axis=3) > 60).sum(axis=(1, 2))  # pixels of each picture
    there = np.flatnonzero(changed > 20)
    assert (there[0], there[-1]) == (20, 43)  # 2.5 s to 5.5 s at 8 fps
    assert changed[:20].max() < 5 and changed[44:].max() < 5

    def centre(picture: int) -> float:
        return float(np.nonzero(np.abs(film[picture] - calm[picture]).max(axis=2) > 60)[1].mean())

    assert centre(23) == pytest.approx(centre(20), abs=1.5)  # stands still before
    assert centre(43) == pytest.approx(centre(41), abs=1.5)  # and after
    assert centre(41) - centre(23) > 15  # moved to the right between


def test_the_second_of_a_pair_is_the_first_backwards(tmp_path: Path) -> None:
    sizes = {}
    for action in ("grow", "shrink"):
        write_film(tmp_path / f"{action}.mp4", [event(action, 3.0, 5.0)], seconds=8, seed=5, crf=5, **SMALL)
        write_film(tmp_path / "calm.mp4", [], seconds=8, seed=5, crf=5, **SMALL)
        apart = np.abs(pictures(tmp_path / f"{action}.mp4").astype(int) - pictures(tmp_path / "calm.mp4"))
        sizes[action] = (apart.max(axis=3) > 60).sum(axis=(1, 2))
    assert sizes["grow"][42] > 2 * sizes["grow"][21]
    assert sizes["shrink"][21] > 2 * sizes["shrink"][42]


def test_a_long_film_is_never_in_memory(tmp_path: Path) -> None:
    peaks = []
    for seconds in (20, 80):
        tracemalloc.start()  # NumPy reports its arrays
        try:
            write_film(tmp_path / "film.mp4", [], seconds=seconds, **SMALL)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    longer = 60 * SMALL["fps"] * SMALL["height"] * SMALL["width"] * 3  # bytes of the additional pictures
    assert peaks[1] - peaks[0] < longer / 20


@pytest.mark.parametrize(
    ("changed", "options", "message"),
    [
        ({"action": "jump"}, {}, "event jump at 3 s: unknown action"),
        ({"end": 3.0}, {}, "its times must rise"),
        ({"seen": (3.5, 6.0)}, {}, "its times must rise"),
        ({"seen": (2.0, 11.0)}, {}, "rise from 0 to 10 s"),
        ({}, {"seconds": 0}, "no pictures"),
        ({}, {"height": 65}, "65x80 must be even"),
        ({}, {"style": "oil"}, "style: 'oil' is unknown"),
    ],
)
def test_what_cannot_be_filmed_is_refused(
    tmp_path: Path, changed: dict[str, object], options: dict[str, object], message: str
) -> None:
    happens = replace(event("grow", 3.0, 5.0), **changed)
    with pytest.raises(VideoMambaError, match=message):
        write_film(tmp_path / "film.mp4", [happens], **{"seconds": 10, **SMALL, **options})
    assert list(tmp_path.iterdir()) == []


def test_two_actors_at_once_are_refused(tmp_path: Path) -> None:
    events = [event("grow", 3.0, 5.0), event("open", 5.5, 7.5)]
    with pytest.raises(VideoMambaError, match=r"event open at 5\.5 s: grow is still in the picture"):
        write_film(tmp_path / "film.mp4", events, seconds=10, **SMALL)
