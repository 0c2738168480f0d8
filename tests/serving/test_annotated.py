"""Annotated copies of videos: every frame, at its time, with the caption of that time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.video.clips import Recipe, encode
from videomamba import Predictor
from videomamba.schema import Prediction, ScoredLabel, VideoError
from videomamba.video.open import open_video
from videomamba.video.picture import write_png

pytest.importorskip("matplotlib")

from videomamba.evaluation.lettering import fitted
from videomamba.serving.annotated import Caption, annotate, captions_of
from videomamba.serving.timeline import timeline


def grey(
    path: Path, *, size: tuple[int, int] = (48, 80), frames: int = 12, times: tuple[int, ...] | None = None
) -> Path:
    """A video whose frame i is grey 100 + 10 i."""
    recipe = Recipe(path.suffix, "ffv1", size=size, pix_fmt="yuv444p", times=times)
    return encode(path, recipe, pictures=[np.full((*size, 3), 100 + 10 * i, np.uint8) for i in range(frames)])


def shades(path: Path) -> list[int]:
    """The grey of each frame at its bottom, where no caption is, as the number of the frame."""
    with open_video(path) as video:
        data = video.frames(range(video.info.num_frames)).data
    return [round((float(value) - 100) / 10) for value in data[:, -6:].float().mean(dim=(1, 2, 3))]


def test_every_frame_has_the_caption_of_its_time(tmp_path: Path) -> None:
    source, out = grey(tmp_path / "grey.mkv"), tmp_path / "out.mp4"
    counted: list[tuple[int, int]] = []
    annotate(source, out, [Caption(0.0, "a"), Caption(0.2, "wwwwww")], progress=lambda *now: counted.append(now))
    assert shades(out) == list(range(12)) and counted[-1] == (12, 12)
    with open_video(out) as video:
        assert (video.info.fps, video.info.height, video.info.width) == (25, 48, 80)
        data = video.frames(range(12)).data.float()
    narrow, wide = (fitted(text, height=48, width=80).shape[1] for text in ("a", "wwwwww"))
    beside = data[:, 2:8, narrow + 4 : wide - 4].mean(dim=(1, 2, 3))  # only the second caption reaches there
    assert [float(value) < 90 for value in beside] == [False] * 5 + [True] * 7


@pytest.mark.parametrize("size", [(17, 31), (16, 31), (33, 16), (1, 1)])
def test_odd_pictures_are_extended_to_even_ones(size: tuple[int, int], tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    annotate(grey(tmp_path / "odd.mkv", size=size, frames=3), out, [Caption(0.0, "label")])
    with open_video(out) as video:
        assert (video.info.height, video.info.width) == (size[0] + size[0] % 2, size[1] + size[1] % 2)
        assert video.info.num_frames == 3


def test_frames_keep_their_times_where_the_rate_varies(tmp_path: Path) -> None:
    """Twelve frames 40 ms apart, but for a pause of a second after the sixth: it is filled with that frame."""
    times = tuple(40 * i + (960 if i > 5 else 0) for i in range(12))
    source, out = grey(tmp_path / "pause.mkv", times=times), tmp_path / "out.mp4"
    annotate(source, out, [Caption(0.0, "a")])
    assert shades(out) == [0, 1, 2, 3, 4, *[5] * 25, 6, 7, 8, 9, 10, 11]


def test_a_single_picture_is_a_video_of_one_frame(tmp_path: Path) -> None:
    write_png(tmp_path / "one.png", torch.full((20, 30, 3), 100, dtype=torch.uint8))
    annotate(tmp_path / "one.png", tmp_path / "out.mp4", [Caption(0.0, "a")])
    with open_video(tmp_path / "out.mp4") as video:
        assert video.info.num_frames == 1


def test_captions_of_answers(bundle: Path, clips: Path) -> None:
    predictor = Predictor.from_pretrained(bundle)
    assert captions_of(Prediction("a", (ScoredLabel("up", 0.956), ScoredLabel("down", 0.01)), model="net")) == [
        Caption(0.0, "up 95.6 %\nnet")
    ]
    found = timeline(predictor, clips / "clip0.mp4", window=0.8, stride=0.4)
    captions = captions_of(found)
    assert [caption.start for caption in captions] == found.edges[:-1].tolist() and captions[0].start == 0
    for caption, scores in zip(captions, found.scores, strict=True):
        assert caption.text == f"{found.labels[scores.argmax()]} {100 * scores.max():.1f} %\n{bundle}"


def test_a_file_that_cannot_be_written_or_read_is_one_line(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"^.*clip0\.mp4: is the video itself"):
        annotate(clips / "clip0.mp4", clips / "clip0.mp4", [Caption(0.0, "a")])
    with pytest.raises(VideoError, match=r"notes\.mp4: "):
        annotate(clips / "notes.mp4", tmp_path / "out.mp4", [Caption(0.0, "a")])
    with pytest.raises(VideoError, match=r"absent/out\.mp4: cannot be written"):
        annotate(clips / "clip0.mp4", tmp_path / "absent" / "out.mp4", [Caption(0.0, "a")])
    assert not list(tmp_path.iterdir())
