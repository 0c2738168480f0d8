"""The judge of camera motion: it names known motions, only where it is sure, and only those windows count."""

from __future__ import annotations

import importlib
import json
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from videomamba.schema import Clip, Preprocess, VideoMambaError
from videomamba.synthetic.camera.motions import MOTIONS
from videomamba.synthetic.camera.shot import Shot
from videomamba.synthetic.camera.sources import as_source
from videomamba.synthetic.camera.trajectory import Path as CameraPath
from videomamba.synthetic.camera.trajectory import Poses
from videomamba.video.encode import write_video

HEIGHT, WIDTH, FRAMES = 120, 160, 16
# Over the whole clip: x and y of the camera in pixels, logarithm of the zoom, radians clockwise.
CAMERA = {
    "static": (0, 0, 0, 0),
    "pan_left": (-30, 3, 0, 0),
    "pan_right": (30, 0, 0.05, 0),
    "tilt_up": (0, -25, 0, 0.05),
    "tilt_down": (4, 25, 0, 0),
    "zoom_in": (0, 0, 0.3, 0),
    "zoom_out": (3, 0, -0.3, 0),
    "roll_clockwise": (0, 0, 0, 0.3),
    "roll_counterclockwise": (0, 3, 0, -0.3),
}


@pytest.fixture(scope="module")
def camera_judge() -> ModuleType:
    return importlib.import_module("camera_judge")


@cache
def texture(seed: int) -> torch.Tensor:
    """(1, h, w, 3): boxes of all sizes and colours."""
    rng = np.random.default_rng(seed)
    picture = np.full((400, 500, 3), 128, np.uint8)
    for _ in range(700):
        y, x, h, w = (int(rng.integers(*span)) for span in ((0, 400), (0, 500), (6, 50), (6, 50)))
        picture[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    return torch.from_numpy(picture)[None]


def filmed(net: tuple[float, float, float, float], *, seed: int = 0, shake: float = 0) -> NDArray[np.uint8]:
    """(t, h, w, 3): a camera with this net motion over a texture; it `shake`s sideways by so many pixels."""
    moments = np.linspace(-0.05, 1.05, 257)  # as in `trajectory`
    x, y, zoom, angle = (amount * moments for amount in net)
    path = CameraPath(1.0, Poses(x + shake * np.sin(2 * np.pi * 3 * moments), y, zoom, angle))
    shot = Shot(as_source(texture(seed), 0), path, 1.0, 250, 200, 0)
    frames = shot.render(np.linspace(0, 1, FRAMES)[:, None], height=HEIGHT, width=WIDTH)
    return frames.clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def verdict(camera_judge: ModuleType, frames: NDArray[np.uint8]) -> Any:
    pytest.importorskip("cv2")
    judge = camera_judge.Judge()
    return judge.window([judge.grey(frame) for frame in frames])


@pytest.mark.parametrize("motion", CAMERA)
def test_names_the_motion_of_a_known_camera(camera_judge: ModuleType, motion: str) -> None:
    found = verdict(camera_judge, filmed(CAMERA[motion]))
    assert found.motion == motion, found
    if motion == "pan_left":  # the picture moves to the right
        assert found.net.right == pytest.approx(30 / WIDTH, abs=0.01)
    if motion.startswith("zoom"):
        assert found.net.zoom == pytest.approx(CAMERA[motion][2], abs=0.02)
    if motion.startswith("roll"):
        assert found.net.turn == pytest.approx(-CAMERA[motion][3], abs=0.02)


UNSURE = {
    "a cut": (lambda: np.concatenate([filmed((0, 0, 0, 0))[:7], filmed((0, 0, 0, 0), seed=1)[7:]]), "corners are lost"),
    "a blank picture": (lambda: np.full((FRAMES, HEIGHT, WIDTH, 3), 90, np.uint8), "too few corners"),
    "a still": (lambda: filmed((0, 0, 0, 0))[:3], "fewer than four frames"),
    "a slow pan": (lambda: filmed((3, 0, 0, 0)), "between static and moving"),
    "a diagonal": (lambda: filmed((20, 20, 0, 0)), "no dominant motion"),
    "a shaken pan": (lambda: filmed((20, 0, 0, 0), shake=8), "shakes"),
    "a fade": (lambda: faded(filmed((0, 0, 0, 0)), np.full((1, 1, 1, 3), 128)), "the contrast changes"),
    "a cross-fade": (
        lambda: faded(filmed((0, 0, 0, 0)), filmed((0, 0, 0, 0), seed=1)),
        ("the picture becomes another one", "corners are lost", "no common motion"),
    ),
}


def faded(first: NDArray[np.uint8], last: NDArray[Any]) -> NDArray[np.uint8]:
    opacity = np.linspace(0.1, 0.8, FRAMES)[:, None, None, None]
    mixed: NDArray[np.uint8] = (first * (1 - opacity) + last * opacity).astype(np.uint8)
    return mixed


@pytest.mark.parametrize("what", UNSURE)
def test_says_nothing_where_it_cannot_be_sure(camera_judge: ModuleType, what: str) -> None:
    make, why = UNSURE[what]
    found = verdict(camera_judge, make())
    assert found.motion is None
    assert found.why in (why if isinstance(why, tuple) else (why,))


class SaysPan:
    """A predictor whose answer is the same to every clip."""

    def __init__(self) -> None:
        self.labels, self.name = MOTIONS, "says pan"
        self.preprocess = Preprocess(num_frames=8, image_size=(32, 32), clip_seconds=2.0)
        self.clips: list[Clip] = []

    def logits(self, clips: list[Clip]) -> torch.Tensor:
        self.clips += clips
        return torch.log(torch.tensor([0.2, 0.7] + [0.01] * 10)).expand(len(clips), -1)


def test_compares_the_same_windows_of_a_file(
    camera_judge: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cv2")
    for name, motion in (("left", "pan_left"), ("right", "pan_right")):
        write_video(tmp_path / f"{name}.mp4", filmed(CAMERA[motion]), fps=Fraction(2 * FRAMES, 3))
    (tmp_path / "torn.mp4").write_bytes(b"no video")
    predictor = SaysPan()
    assert camera_judge.run([tmp_path], predictor, as_json=True) == 1
    printed = capsys.readouterr()
    assert "torn.mp4" in printed.err
    record = json.loads(printed.out)
    assert [len(clip.indices) for clip in predictor.clips] == [8, 8]
    assert (record["windows"], record["sure"], record["agreed"]) == (2, 2, 1)
    assert record["list"][0]["best"] == [["pan_left", pytest.approx(0.7)], ["static", pytest.approx(0.2)]]
    camera_judge.run([tmp_path / "right.mp4"], predictor)
    lines = capsys.readouterr().out.splitlines()
    assert "agreement: 0 of 1, 0.0 %" in lines
    assert "right.mp4 0.00-1.50 s: pan_right (right -0.1" in lines[-1]
    assert lines[-1].endswith("model: pan_left 0.70, static 0.20")


def test_only_windows_of_which_the_judge_is_sure_count(
    camera_judge: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    net = camera_judge.Net(0.1, 0, 0, 0, 1.0)

    def window(motion: str | None, answer: str, why: str = "") -> object:
        best = ((answer, 0.8), ("static", 0.1))
        return camera_judge.Window("a.mp4", 0.0, 1.5, camera_judge.Verdict(motion, why, net), best)

    windows = [
        window("pan_left", "pan_left"),
        window("pan_left", "shake"),
        window("static", "cut"),
        window(None, "cut", "corners are lost"),
    ]
    counts = camera_judge.counted(windows)
    assert (counts["windows"], counts["sure"], counts["agreed"]) == (4, 3, 1)
    assert counts["agreement"] == pytest.approx(1 / 3)
    assert counts["unsure"] == {"corners are lost": 1}
    assert counts["confusions"] == [
        {"judge": "static", "model": "cut", "windows": 1},
        {"judge": "pan_left", "model": "pan_left", "windows": 1},
        {"judge": "pan_left", "model": "shake", "windows": 1},
    ]
    assert camera_judge.counted([window(None, "cut", "shakes")])["agreement"] is None
    camera_judge.show(windows)
    printed = capsys.readouterr().out
    assert "agreement: 1 of 3, 33.3 %" in printed
    assert printed.count("a.mp4") == 2
    camera_judge.show(windows[3:])
    assert "none to count" in capsys.readouterr().out


def test_says_what_is_missing(camera_judge: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(name: str) -> ModuleType:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(camera_judge, "importlib", SimpleNamespace(import_module=without))
    with pytest.raises(VideoMambaError, match="pip install opencv-python-headless"):
        camera_judge.Judge()
    monkeypatch.setattr(camera_judge.Predictor, "from_pretrained", lambda name: SimpleNamespace(labels=("a", "b")))
    with pytest.raises(VideoMambaError, match="its classes are not those of camera motion"):
        camera_judge.opened("some_model")
