"""The data set of camera motions on disk: repeatable, resumable, with cuts and fades where they belong."""

from __future__ import annotations

import csv
import signal
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.synthetic.camera.optical import photograph, seen_motion
from videomamba.data.sets.annotations import read_dataset
from videomamba.data.settings import DataSettings
from videomamba.schema import VideoError, VideoMambaError
from videomamba.synthetic.camera.clip import CameraClip, Shape, render_camera_clip
from videomamba.synthetic.camera.dataset import write_camera_dataset
from videomamba.synthetic.camera.motions import BACKWARDS, MOTIONS
from videomamba.synthetic.camera.sources import POOL_CLIPS, Sources
from videomamba.video.encode import write_video
from videomamba.video.open import open_video

SMALL = Shape(height=96, width=128, fps=15, crf=23)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = *pixels.shape[:2], "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Three photographs, and a film of a square that moves over a fourth one."""
    root = tmp_path_factory.mktemp("sources")
    for seed in range(3):
        save(root / "pictures" / "deep" / f"{seed}.png", photograph(seed, 360, 480))
    film = np.repeat(photograph(7, 240, 320)[None], 24, axis=0)
    for i, frame in enumerate(film):
        frame[100:140, 10 * i : 10 * i + 40] = 255
    (root / "footage").mkdir()
    write_video(root / "footage" / "film.mp4", film, fps=12)
    (root / "pictures" / "notes.txt").write_text("no picture")
    return root / "pictures", root / "footage"


@pytest.fixture(scope="module")
def sources(folders: tuple[Path, Path]) -> Sources:
    return Sources.find([folders[0]], [folders[1]])


def clip(name: str, seed: int, sources: Sources, shape: Shape = SMALL, **options: Any) -> CameraClip:
    return render_camera_clip(MOTIONS.index(name), seed, sources, shape=shape, **options)


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def differences(frames: np.ndarray) -> np.ndarray:
    return np.abs(np.diff(frames.astype(float), axis=0)).mean((1, 2, 3))


# --- clips ------------------------------------------------------------------------------------------------------


def test_a_clip_is_one_window_of_a_drawn_size_rate_and_quality(sources: Sources) -> None:
    made = [clip("static", seed, sources, Shape()) for seed in range(24)]
    for one in made:
        count, height, width, _ = one.frames.shape
        assert 1.1 < count / one.fps < 1.9
        assert 120 <= min(height, width) <= 240 and height % 2 == width % 2 == 0
        assert 18 <= one.crf <= 40 and one.frames.dtype == np.uint8
    assert {one.fps for one in made} == {10, 12, 15, 24, 25, 30}
    assert any(one.frames.shape[1] > one.frames.shape[2] for one in made)
    assert len({one.frames.shape for one in made}) > 12
    fixed = clip("zoom_in", 3, sources, Shape(height=240, width=180, fps=20, crf=30))
    assert fixed.frames.shape[1:3] == (240, 180) and (fixed.fps, fixed.crf) == (20, 30)


def test_arguments_alone_decide(sources: Sources) -> None:
    first, again = (clip("pan_left", 11, sources) for _ in range(2))
    assert np.array_equal(first.frames, again.frames)
    assert not np.array_equal(clip("pan_left", 12, sources).frames, first.frames[: len(first.frames)])
    for label, seed, message in ((12, 0, "label: 12"), (-1, 0, "label: -1"), (0, -1, "seed: -1")):
        with pytest.raises(ValueError, match=message):
            render_camera_clip(label, seed, sources)


def test_most_finished_clips_still_show_their_motion(sources: Sources) -> None:
    """Objects, occlusions and noise disturb a simple judge; it must be right far more often than not."""
    names = [name for name in MOTIONS if name.partition("_")[0] in ("pan", "tilt", "zoom", "roll")]
    right = [seen_motion(clip(name, seed, sources).frames) == name for name in names for seed in range(3)]
    assert np.mean(right) > 0.7


def test_a_cut_is_one_jump_inside_the_clip(sources: Sources) -> None:
    jumps = []
    for seed in range(8):
        changes = differences(clip("cut", seed, sources).frames)
        place = int(changes.argmax()) + 1
        jumps.append(changes.max() > 2.5 * np.median(changes))
        assert 0 < place < len(changes) + 1
    assert sum(jumps) >= 6


def test_a_fade_begins_or_ends_plain_or_mixes_two_shots(sources: Sources) -> None:
    plain = []
    for seed in range(12):
        frames = clip("fade", seed, sources).frames
        spread = frames[:, 20:-20, 20:-20].std((1, 2, 3))
        plain.append(min(spread[0], spread[-1]) < 0.5 * spread.max())
        assert spread.max() > 10
        assert differences(frames).max() < 60
    assert 4 <= sum(plain) <= 11  # two kinds of three


def test_brightness_alone_is_no_sign(sources: Sources) -> None:
    drift = [np.ptp(clip("static", seed, sources).frames.mean((1, 2, 3))) for seed in range(24)]
    assert sum(change > 8 for change in drift) >= 4


def test_neighbouring_clips_share_few_sources_and_all_are_used(folders: tuple[Path, Path]) -> None:
    files = tuple(Path(f"{i}.jpg") for i in range(60))
    many = Sources(files, files[:9], tuple(map(str, files)), tuple(map(str, files[:9])))
    assert many.pool(3) == many.pool(3) != many.pool(4)
    assert len(set(many.pool(0).pictures)) == 24 and len(many.pool(0).footage) == 4
    used = [path for number in range(5) for path in many.pool(number).pictures]
    assert {used.count(path) for path in files} == {2}
    assert POOL_CLIPS > 1


# --- files ------------------------------------------------------------------------------------------------------


FAST = {"clips_per_class": 1, "seed": 3, "height": 64, "width": 80, "fps": 10}


@pytest.fixture(scope="module")
def dataset(folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("camera")
    write_camera_dataset(root, pictures=[folders[0]], footage=[folders[1]], **FAST)
    return root


def test_files_annotations_and_labels_agree(dataset: Path) -> None:
    assert (dataset / "labels.txt").read_text().splitlines() == list(MOTIONS)
    with (dataset / "annotations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == list(MOTIONS)
    assert [row["path"] for row in rows] == [f"{name}/{name}_3000000.mp4" for name in MOTIONS]
    assert [int(row["label"]) for row in rows] == list(range(12))
    with open_video(dataset / rows[4]["path"]) as video:
        assert (video.info.height, video.info.width, round(video.info.fps)) == (64, 80, 10)
        assert 12 <= video.info.num_frames <= 18


def test_equal_arguments_give_equal_bytes_whatever_the_workers(
    dataset: Path, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    write_camera_dataset(tmp_path, pictures=[folders[0]], footage=[folders[1]], workers=2, **FAST)
    assert contents(tmp_path) == contents(dataset)


def test_a_run_resumes(dataset: Path, folders: tuple[Path, Path], tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    given = {"pictures": [folders[0]], "footage": [folders[1]], **FAST}
    with pytest.raises(KeyboardInterrupt):
        write_camera_dataset(tmp_path, progress=stop, **given)
    calls: list[tuple[int, int]] = []
    write_camera_dataset(tmp_path, progress=lambda done, total: calls.append((done, total)), **given)
    assert calls == [(done, 12) for done in range(6, 13)] and contents(tmp_path) == contents(dataset)


def test_a_second_interrupt_waits_for_the_processes(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    def interrupted(pool: ProcessPoolExecutor, **options: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        shutdown(pool, **options)
        ended.append(pool)

    ended: list[ProcessPoolExecutor] = []
    shutdown = ProcessPoolExecutor.shutdown
    monkeypatch.setattr(ProcessPoolExecutor, "shutdown", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_camera_dataset(tmp_path, pictures=[folders[0]], workers=2, progress=stop, **FAST)
    assert len(ended) == 1


@pytest.mark.parametrize("format", ["auto", "synthetic"])
def test_the_format_knows_the_classes_and_their_symmetries(dataset: Path, format: Any) -> None:
    read = read_dataset(DataSettings(root=dataset, format=format), "all")
    assert read.labels == MOTIONS and [record.label for record in read.records] == list(range(12))
    symmetries = read.symmetries
    assert symmetries.backwards == BACKWARDS
    assert symmetries.mirror is not None and symmetries.upside_down is not None
    assert [MOTIONS[i] for i in symmetries.mirror][1:9] == [
        "pan_right",
        "pan_left",
        "tilt_up",
        "tilt_down",
        "zoom_in",
        "zoom_out",
        "roll_counterclockwise",
        "roll_clockwise",
    ]
    assert [MOTIONS[i] for i in symmetries.upside_down][1:5] == ["pan_left", "pan_right", "tilt_down", "tilt_up"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 4}, "has seed=3, not 4"),
        ({"fps": None}, "has fps=10, not None"),
        ({"footage": []}, "was made with other footage"),
        ({"clips_per_class": 0}, "clips_per_class: 0"),
        ({"workers": 0}, "workers: 0"),
        ({"seed": -1}, "seed: -1"),
        ({"height": None}, "give both or neither"),
        ({"width": 81}, "width: 81"),
        ({"height": 32}, "height: 32"),
        ({"fps": 5}, "fps: 5"),
        ({"fps": 100_000}, "fps: 100000 is too fast"),
        ({"height": 96, "width": 50_000}, "width: 50000 must be an even number from 64 to 2160"),
        ({"crf": 52}, "crf: 52"),
        ({"footage_share": 1.5}, "footage_share: 1.5"),
        ({"pictures": []}, "pictures: none"),
        ({"clips_per_class": 1_000_001}, "clips_per_class: 1000001"),
    ],
)
def test_what_cannot_be_met_is_refused_and_harms_nothing(
    dataset: Path, folders: tuple[Path, Path], change: dict[str, Any], message: str
) -> None:
    before = contents(dataset)
    with pytest.raises(VideoMambaError, match=message) as caught:
        write_camera_dataset(dataset, **{"pictures": [folders[0]], "footage": [folders[1]], **FAST, **change})
    assert "\n" not in str(caught.value) and contents(dataset) == before


def test_folders_without_sources_are_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    given = {"root": tmp_path / "new", **FAST}
    with pytest.raises(VideoMambaError, match=r"footage: no pictures in this folder; files ending in \.bmp"):
        write_camera_dataset(pictures=[folders[1]], **given)
    with pytest.raises(VideoError, match="gone: no such file or folder"):
        write_camera_dataset(pictures=[tmp_path / "gone"], **given)
    with pytest.raises(VideoError, match=r"no videos in this folder"):
        (tmp_path / "empty").mkdir()
        write_camera_dataset(pictures=[folders[0]], footage=[tmp_path / "empty"], **given)
    small = save(tmp_path / "small.png", photograph(0, 64, 64))
    with pytest.raises(VideoError, match=r"small\.png: is only 64x64"):
        write_camera_dataset(pictures=[small], **given)
    one = save(tmp_path / "film" / "0.png", photograph(0, 200, 200)).parent
    with pytest.raises(VideoError, match="has only one picture"):
        write_camera_dataset(pictures=[folders[0]], footage=[one], footage_share=1.0, **given)


def test_a_bad_source_is_found_before_the_first_clip(folders: tuple[Path, Path], tmp_path: Path) -> None:
    bad = tmp_path / "more" / "bad.jpg"
    bad.parent.mkdir()
    bad.write_bytes(b"no picture")
    options: dict[str, Any] = {"clips_per_class": 1, "seed": 0, "height": 64, "width": 64, "fps": 8}
    with pytest.raises(VideoError, match=r"bad\.jpg"):
        write_camera_dataset(tmp_path / "data", pictures=[folders[0], bad.parent], **options)
    assert not (tmp_path / "data").exists()
    bad.unlink()
    assert len(write_camera_dataset(tmp_path / "data", pictures=[folders[0]], **options)) == 12
