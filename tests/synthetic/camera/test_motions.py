"""Every motion is seen in the pictures as its name says, and the symmetries of the classes are those of the pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.synthetic.camera.optical import flow, photograph, seen_motion
from videomamba.data.sets.symmetry import LEFT_RIGHT, UP_DOWN, swapped_classes
from videomamba.synthetic.camera.motions import BACKWARDS, EDITS, MOTIONS
from videomamba.synthetic.camera.shot import Shot, draw_shot
from videomamba.synthetic.camera.sources import Pool, Source, as_source
from videomamba.synthetic.camera.trajectory import SPEEDS, draw_path

CAMERA = [name for name in MOTIONS if name not in EDITS]
STEADY = [name for name in CAMERA if name.partition("_")[0] in SPEEDS]
HEIGHT, WIDTH = 96, 128


@pytest.fixture(scope="module")
def picture() -> Source:
    return as_source(torch.from_numpy(photograph(1))[None], 0.0)


def filmed(shot: Shot, count: int = 19, blur: int = 1) -> np.ndarray:
    """(t, h, w, 3) of 1.5 seconds."""
    times = np.linspace(0, 1.5, count)[:, None] + np.linspace(0, 0.02, blur)
    pixels = shot.render(times, height=HEIGHT, width=WIDTH)
    return pixels.clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()


def draw(motion: str, seed: int, source: Source) -> Shot:
    rng = np.random.default_rng([seed, MOTIONS.index(motion)])
    return draw_shot(motion, rng, Pool((), ()), seconds=1.5, height=HEIGHT, width=WIDTH, source=source)


@pytest.mark.parametrize("motion", STEADY)
def test_the_camera_moves_as_the_name_says(motion: str, picture: Source) -> None:
    seen = [seen_motion(filmed(draw(motion, seed, picture), count=38)) for seed in range(6)]
    assert seen == [motion] * 6


def test_static_stays_and_shake_returns(picture: Source) -> None:
    for seed in range(6):
        assert max(map(abs, flow(filmed(draw("static", seed, picture))).values())) < 1.5
        path = draw("shake", seed, picture).path.at(np.linspace(0, 1.5, 100))
        for places in (path.x, path.y):
            trend = np.polyfit(np.linspace(0, 1, 100), places, 1)[0]
            assert abs(trend) < 0.6 * np.ptp(places)
        assert np.ptp(path.x) + np.ptp(path.y) > 0.03 * WIDTH
        frames = filmed(draw("shake", seed, picture)).astype(float)
        assert np.abs(np.diff(frames, axis=0)).mean() > 3


@pytest.mark.parametrize("motion", ["pan_left", "tilt_up", "zoom_in", "roll_clockwise"])
def test_mirrored_turned_and_reversed_clips_have_the_class_that_the_symmetry_says(motion: str, picture: Source) -> None:
    mirror, upside_down = swapped_classes(MOTIONS, LEFT_RIGHT), swapped_classes(MOTIONS, UP_DOWN)
    assert mirror is not None and upside_down is not None
    frames, label = filmed(draw(motion, 3, picture), count=38), MOTIONS.index(motion)
    assert seen_motion(frames[:, :, ::-1]) == MOTIONS[mirror[label]]
    assert seen_motion(frames[:, ::-1]) == MOTIONS[upside_down[label]]
    assert seen_motion(frames[::-1]) == MOTIONS[BACKWARDS[label]]


def test_backwards_changes_only_what_has_a_direction() -> None:
    kept = [name for label, name in enumerate(MOTIONS) if BACKWARDS[label] == label]
    assert kept == ["static", "shake", "cut", "fade"]
    assert all(BACKWARDS[BACKWARDS[label]] == label for label in range(12))
    assert all(MOTIONS[BACKWARDS[label]].partition("_")[0] == MOTIONS[label].partition("_")[0] for label in range(12))


@pytest.mark.parametrize("motion", CAMERA)
def test_the_view_stays_inside_the_picture(motion: str, picture: Source) -> None:
    rows, columns = picture.size
    for seed in range(20):
        shot = draw(motion, seed, picture)
        x, y = shot.path.at(np.linspace(-0.02, 1.52, 50)).corners(WIDTH, HEIGHT)
        across, down = shot.x + shot.scale * x, shot.y + shot.scale * y
        assert across.min() > -2 and across.max() < columns + 2
        assert down.min() > -2 and down.max() < rows + 2


@pytest.mark.parametrize("motion", STEADY)
def test_speeds_are_in_their_range_and_never_turn_back(motion: str) -> None:
    kind = motion.partition("_")[0]
    slowest, fastest = SPEEDS[kind]
    for seed in range(40):
        path = draw_path(motion, np.random.default_rng(seed), seconds=1.5, width=WIDTH, height=HEIGHT)
        poses = path.at(np.linspace(0, 1.5, 61))
        if kind in ("zoom", "roll"):
            course = (poses.zoom if kind == "zoom" else poses.angle) / 1.5
            assert 0.8 * slowest < abs(course[-1] - course[0]) < 1.2 * fastest
        step = np.diff(np.array([poses.x, poses.y]) * np.exp(poses.zoom), axis=1)
        if kind in ("pan", "tilt"):
            size = WIDTH if kind == "pan" else HEIGHT
            assert 0.6 * slowest * size < abs(step[0 if kind == "pan" else 1].sum()) / 1.5 < 1.5 * fastest * size


def test_a_small_view_of_a_large_picture_is_antialiased() -> None:
    rows = np.indices((600, 900)).sum(0) % 2 * 255
    checks = as_source(torch.from_numpy(np.repeat(rows[None, :, :, None], 3, 3).astype(np.uint8)), 0.0)
    path = draw_path("static", np.random.default_rng(1), seconds=1.5, width=WIDTH, height=HEIGHT)
    pixels = filmed(Shot(checks, path, 5.0, 450.0, 300.0, 0.0), count=1)
    assert pixels.std() < 12 and abs(pixels.mean() - 127) < 6


def test_blur_is_the_mean_of_moments(picture: Source) -> None:
    shot = draw("pan_right", 2, picture)
    blurred = shot.render(np.array([[0.5, 0.6, 0.7]]), height=HEIGHT, width=WIDTH)
    sharp = shot.render(np.array([[0.5], [0.6], [0.7]]), height=HEIGHT, width=WIDTH)
    assert torch.allclose(blurred[0], sharp.mean(0), atol=0.01)


def test_footage_goes_on_in_time_and_back() -> None:
    frames = torch.from_numpy(np.stack([photograph(seed, 200, 300) for seed in range(4)]))
    footage = as_source(frames, 10.0)
    assert footage.indices(np.array([0, 0.1, 0.3, 0.4, 0.5, 0.6, 0.9])) == [0, 1, 3, 2, 1, 0, 3]
    path = draw_path("static", np.random.default_rng(5), seconds=1.5, width=64, height=64)
    shown = Shot(footage, path, 1.0, 150.0, 100.0, 0.0).render(np.array([[0.0], [0.2]]), height=64, width=64)
    for k, frame in enumerate((0, 2)):
        expected = frames[frame, 68:132, 118:182].permute(2, 0, 1).float()
        assert (shown[k] - expected).abs().mean() < 4
