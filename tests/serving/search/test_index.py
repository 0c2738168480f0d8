"""An index after any history is that of the folder as it is, and a run does no work twice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.serving.search.made import contents, settings_of, write_clip, write_folder
from videomamba.data.clips.transforms import to_clip
from videomamba.files import FolderLock
from videomamba.schema import VideoError, VideoMambaError
from videomamba.serving.search.encoder import Encoder
from videomamba.serving.search.index import IndexProgress, IndexReport, build_index
from videomamba.serving.search.search import Search
from videomamba.serving.search.table import WindowTable
from videomamba.video.open import open_video
from videomamba.video.picture import write_png

Build = Callable[..., IndexReport]


def counts(report: IndexReport) -> tuple[int, ...]:
    return report.added, report.changed, report.gone, report.unchanged, report.failed, report.unreadable


@pytest.fixture
def folder(videos: Path, tmp_path: Path) -> Path:
    """A copy of `videos` that a test may change."""
    return Path(shutil.copytree(videos, tmp_path / "videos"))


@pytest.fixture
def build(text_model: Path) -> Build:
    return lambda folder, out, **options: build_index(folder, out, **{"model": str(text_model), **options})


def test_rows_are_windows_with_times_and_pictures(index: Path, text_model: Path) -> None:
    table = WindowTable.open(str(index))
    assert table is not None
    assert table.windows() == 7 * 2 + 5  # 1.5 s have two windows, 3 s five
    spans, vectors = table.vectors_of("odd/clip7.mp4")
    assert spans.tolist() == [[0.0, 1.0], [0.5, 1.5], [1.0, 2.0], [1.5, 2.5], [2.0, 3.0]]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    known = table.known()
    assert len(known) == 9 and "not a readable video" in str(known["broken.mp4"].error)
    rows = contents(index)
    assert all(100 < len(row[5]) <= 8192 for row in rows if row[5] is not None)
    settings = settings_of(index)
    assert (settings["model"], settings["text"], settings["dim"]) == (str(text_model), True, 8)


def test_a_vector_is_that_of_its_window_alone(index: Path, videos: Path, text_model: Path) -> None:
    table = WindowTable.open(str(index))
    assert table is not None
    _, vectors = table.vectors_of("odd/clip7.mp4")
    encoder = Encoder.open(str(text_model))
    with open_video(videos / "odd" / "clip7.mp4") as video:  # 4 moments of the second from 0.5 s on, at 8 fps
        clip = to_clip(video.frames([5, 7, 9, 11]), encoder.preprocess)
    np.testing.assert_allclose(vectors[1], encoder.vectors([clip])[0], atol=1e-5)


def test_a_second_run_does_only_what_has_changed(folder: Path, tmp_path: Path, build: Build) -> None:
    out = tmp_path / "x.lance"
    failures: list[VideoError] = []
    first = build(folder, out, progress=lambda now: failures.extend(now.failures))
    assert counts(first) == (9, 0, 0, 0, 1, 0) and (first.videos, first.windows) == (8, 19)
    assert [Path(error.path).name for error in failures] == ["broken.mp4"]
    before, asked = contents(out), []
    table = WindowTable.open(str(out))
    assert counts(build(folder, out, progress=asked.append)) == (0, 0, 0, 9, 0, 1)
    again = WindowTable.open(str(out))
    assert not asked and contents(out) == before and table and again and table._table.version == again._table.version

    write_clip(folder / "even" / "clip0.mp4", 100)  # changed
    (folder / "odd" / "clip1.mp4").unlink()  # gone
    write_clip(folder / "new.mp4", 101)
    os.utime(folder / "even" / "clip2.mp4")  # only its time
    write_clip(folder / "broken.mp4", 102)  # can be read now
    read: list[IndexProgress] = []
    assert counts(build(folder, out, progress=read.append)) == (1, 2, 1, 6, 0, 0)
    assert (read[-1].done, read[-1].total) == (3, 3)
    assert counts(build(folder, out)) == (0, 0, 0, 9, 0, 0)
    build(folder, tmp_path / "anew.lance")
    assert contents(out) == contents(tmp_path / "anew.lance")


def test_a_file_that_cannot_be_read_is_tried_again_on_request_only(folder: Path, tmp_path: Path, build: Build) -> None:
    shutil.rmtree(folder / "odd")
    (folder / "lost.mp4").symlink_to(folder / "absent.mp4")
    out = tmp_path / "x.lance"
    assert counts(build(folder, out)) == (6, 0, 0, 0, 2, 0)
    assert counts(build(folder, out)) == (0, 0, 0, 6, 0, 2)
    assert counts(build(folder, out, retry=True)) == (0, 2, 0, 4, 2, 0)


def test_a_file_that_was_gone_for_a_while_is_tried_again(folder: Path, tmp_path: Path, build: Build) -> None:
    """As when a drive is removed during a run."""
    out, away = tmp_path / "x.lance", tmp_path / "away"

    def remove(now: IndexProgress) -> None:
        if now.done == 1:
            (folder / "odd").rename(away)

    failed = build(folder, out, progress=remove).failed
    assert failed > 1
    away.rename(folder / "odd")
    assert counts(build(folder, out)) == (0, failed - 1, 0, 10 - failed, 0, 1)


def test_interrupted_at_every_video_it_is_the_same_index(
    folder: Path, tmp_path: Path, index: Path, build: Build
) -> None:
    out, runs = tmp_path / "x.lance", 0

    def interrupt(now: IndexProgress) -> None:
        if now.done == 3:
            raise KeyboardInterrupt

    while True:
        runs += 1
        try:
            report = build(folder, out, batch=2, progress=interrupt)
        except KeyboardInterrupt:
            state = WindowTable.open(str(out))
            assert state is not None and state.state["complete"] == "no"
        else:
            break
    assert runs > 3 and report.added == 9 - 2 * (runs - 1)
    assert contents(out) == contents(index)


@pytest.mark.slow
def test_killed_at_any_moment_it_is_the_same_index(tmp_path: Path, text_model: Path) -> None:
    folder, out = write_folder(tmp_path / "videos", 60), tmp_path / "x.lance"
    command = [sys.executable, "-m", "videomamba", "index", folder, "--out", out, "--model", text_model, "--batch", "2"]
    generator = np.random.default_rng(0)
    for kill in range(5):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            time.sleep(0.01)
            table = WindowTable.open(str(out)) if (out / "windows.lance" / "_versions").exists() else None
            if table is not None and len(table.known()) > 9 * (kill + 1):
                time.sleep(generator.uniform(0, 0.2))
                process.send_signal(signal.SIGKILL)
                break
        process.wait()
    subprocess.run(command, check=False, timeout=300)
    build_index(folder, tmp_path / "undisturbed.lance", model=str(text_model))
    assert contents(out) == contents(tmp_path / "undisturbed.lance")


def test_the_remains_of_a_killed_start_are_no_obstacle(folder: Path, tmp_path: Path, build: Build) -> None:
    out = tmp_path / "x.lance"
    (out / "windows.lance" / "_transactions").mkdir(parents=True)
    (out / "lock").touch()
    with pytest.raises(VideoMambaError, match=r"x\.lance: no such index; make one with `videomamba index"):
        Search(out)
    assert build(folder, out).added == 9


def test_a_second_process_is_refused(folder: Path, tmp_path: Path, build: Build) -> None:
    out = tmp_path / "x.lance"
    out.mkdir()
    lock = FolderLock(out)
    with pytest.raises(VideoMambaError, match=r"x\.lance: another run is at work here"):
        build(folder, out)
    lock.release()
    assert not list(out.iterdir())


def test_the_settings_of_an_index_stay(folder: Path, tmp_path: Path, text_model: Path, bundle: Path) -> None:
    out = tmp_path / "x.lance"
    shutil.rmtree(folder / "odd")
    build_index(folder, out, model=str(text_model), window=0.8)
    for options, text in (
        ({"window": 0.7}, "was made with window 0.8, not 0.7"),
        ({"stride": 0.1}, "was made with stride 0.4, not 0.1"),
        ({"num_frames": 2}, "was made with num_frames 4, not 2"),
        ({"precision": "bf16"}, "was made with precision fp32, not bf16"),
        ({"model": str(bundle)}, "was made by other weights than those of"),
        ({"model": "absent.safetensors"}, "absent.safetensors: no such file"),
    ):
        with pytest.raises(VideoMambaError, match=text) as caught:
            build_index(folder, out, **options)
        assert "\n" not in str(caught.value)
    moved = shutil.copy(text_model, tmp_path / "moved.safetensors")
    assert counts(build_index(folder, out, model=str(moved)))[:3] == (0, 0, 0)
    assert counts(build_index(folder, out))[:3] == (0, 0, 0)  # everything as it was


def test_an_index_belongs_to_one_folder_which_may_move(folder: Path, tmp_path: Path, build: Build) -> None:
    out, other = tmp_path / "x.lance", tmp_path / "other"
    build(folder, out)
    shutil.copytree(folder / "odd", other)
    with pytest.raises(VideoMambaError, match=r"is the index of .*videos; give that folder"):
        build(other, out)
    moved = folder.rename(tmp_path / "moved")
    assert counts(build(moved, out))[:3] == (0, 0, 0) and Search(out).folder == moved.resolve()


def test_folders_that_are_no_index_or_hold_no_videos(folder: Path, tmp_path: Path, build: Build) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(VideoMambaError, match="no videos in this folder"):
        build(tmp_path / "empty", tmp_path / "x.lance")
    with pytest.raises(VideoMambaError, match=r"clip0\.mp4: is a file; give the folder"):
        build(folder / "even" / "clip0.mp4", tmp_path / "x.lance")
    with pytest.raises(VideoMambaError, match="is a folder with other files"):
        build(folder, folder)
    assert not (folder / "lock").exists() and not (tmp_path / "x.lance").exists()


def test_an_index_in_its_own_folder_is_not_in_its_way(folder: Path, build: Build) -> None:
    notes: list[str] = []
    for expected in ((9, 0, 0, 0, 1, 0), (0, 0, 0, 9, 0, 1)):
        assert counts(build(folder, folder / "x.lance", notify=notes.append)) == expected
    assert not [line for line in notes if line.startswith("ignored")]


def test_folders_of_images_change_with_their_images(tmp_path: Path, build: Build) -> None:
    write_clip(tmp_path / "source.mp4", 0)
    folder, out = tmp_path / "videos", tmp_path / "x.lance"
    (folder / "images").mkdir(parents=True)
    with open_video(tmp_path / "source.mp4") as video:
        pictures = video.frames(range(3)).data
    for i in range(2):
        write_png(folder / "images" / f"{i}.png", pictures[i])
    assert counts(build(folder, out)) == (1, 0, 0, 0, 0, 0)
    assert counts(build(folder, out)) == (0, 0, 0, 1, 0, 0)
    write_png(folder / "images" / "2.png", pictures[2])
    assert counts(build(folder, out)) == (0, 1, 0, 0, 0, 0)
