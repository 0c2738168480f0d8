"""Films of pieces: where they are joined, what is seen there, and that nothing is left to chance."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from videomamba.schema import VideoMambaError
from videomamba.synthetic.camera.film import compose_film, read_joins
from videomamba.video.encode import write_video
from videomamba.video.open import open_video

FPS = Fraction(10)


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    """Two videos of one colour each, and a picture."""
    for name, colour in (("red", (200, 40, 40)), ("green", (40, 200, 40))):
        write_video(tmp_path / f"{name}.mp4", np.full((80, 32, 48, 3), colour, np.uint8), fps=10)
    write_video(tmp_path / "blue.mp4", np.full((1, 32, 48, 3), (40, 40, 200), np.uint8))
    return [tmp_path / f"{name}.mp4" for name in ("red", "green", "blue")]


def colours(film: Path) -> np.ndarray:
    with open_video(film) as video:
        return video.frames(range(video.info.num_frames)).data.numpy().mean((1, 2))


@pytest.mark.parametrize(("kind", "shares"), [("cut", (1, 0, 0)), ("cross", (0, 1, 0)), ("black", (0, 0, 1))])
def test_the_joins_are_where_the_picture_changes(
    sources: list[Path], tmp_path: Path, kind: str, shares: tuple[float, float, float]
) -> None:
    film = tmp_path / "film.mp4"
    joins = compose_film(film, sources, pieces=4, seed=3, fps=FPS, height=32, width=48, shares=shares)
    assert [join.kind for join in joins] == [kind] * 3 and read_joins(tmp_path / "film.joins.json") == joins
    seen = colours(film)
    record = json.loads((tmp_path / "film.joins.json").read_text())
    assert len(seen) == round(record["seconds"] * 10)
    changing = np.flatnonzero(np.abs(np.diff(seen, axis=0)).max(1) > 8) / 10  # the frame before each change
    for join in joins:
        assert join.end == join.start if kind == "cut" else 0.4 - 1e-9 <= join.end - join.start <= 1.2 + 1e-9
        assert ((changing >= join.start - 0.11) & (changing <= join.end + 0.01)).any()
    assert all(any(join.start - 0.11 <= time <= join.end + 0.01 for join in joins) for time in changing)
    if kind == "black":
        assert seen[round(joins[0].time * 10)].max() < 100


def test_equal_arguments_give_equal_bytes(sources: list[Path], tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        compose_film(tmp_path / f"{name}.mp4", sources, pieces=2, seed=seed, fps=FPS, height=32, width=48)
    a, b, c = ((tmp_path / f"{name}.mp4").read_bytes() for name in "abc")
    assert a == b != c


def test_what_cannot_be_composed(sources: list[Path], tmp_path: Path) -> None:
    with pytest.raises(VideoMambaError, match="no videos or pictures"):
        compose_film(tmp_path / "film.mp4", [], pieces=2, seed=0)
    write_video(tmp_path / "short.mp4", np.zeros((3, 32, 48, 3), np.uint8), fps=10)
    with pytest.raises(VideoMambaError, match=r"no video lasts"):
        compose_film(tmp_path / "film.mp4", [tmp_path / "short.mp4"], pieces=2, seed=0)
