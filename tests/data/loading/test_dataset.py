"""Records become batches: the frames of a record, one decoding for all its clips, listed failures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.video.clips import draw, read_plainly
from videomamba.data.clips.sampling import evaluation_clips, train_clip
from videomamba.data.clips.transforms import to_clip
from videomamba.data.loading import dataset
from videomamba.data.loading.dataset import Batch, EvaluationBatch, EvaluationClips, Sample, TrainClips
from videomamba.data.loading.order import Place
from videomamba.data.loading.record_video import open_record
from videomamba.data.settings import Augmentation, DataSettings
from videomamba.schema import (
    Captions,
    ClassLabel,
    Clip,
    Frames,
    Number,
    Preprocess,
    Symmetries,
    Task,
    VideoError,
    VideoMambaError,
    VideoRecord,
    Views,
)
from videomamba.training.draws import Draws
from videomamba.video.picture import write_png
from videomamba.video.pyav import PyavVideo

PREPROCESS = Preprocess(num_frames=4, image_size=(32, 32))
"""The files have 30 frames at 25 a second, 64x48."""


@pytest.fixture
def frames_folder(tmp_path: Path) -> Path:
    for i in range(1, 4):
        write_png(tmp_path / f"img_{i:05}.png", torch.from_numpy(draw(i, (48, 64))))
    return tmp_path


def plain_augment(
    frames: Frames,
    label: int | None,
    preprocess: Preprocess,
    augmentation: Augmentation,
    symmetries: Symmetries,
    generator: np.random.Generator,
) -> tuple[Clip, int | None]:
    """The centre crop times a drawn number; the label its mirror's."""
    clip = to_clip(frames, preprocess)
    changed = label if label is None or symmetries.mirror is None else symmetries.mirror[label]
    return Clip(clip.data * float(generator.uniform(0.5, 1.5)), clip.indices, clip.path), changed


def train_clips(monkeypatch: pytest.MonkeyPatch, *, task: Task = "classification", **settings: object) -> TrainClips:
    monkeypatch.setattr(dataset, "augment_clip", plain_augment)
    return TrainClips(
        preprocess=PREPROCESS,
        augmentation=Augmentation(repeats=int(str(settings.pop("repeats", 1)))),
        symmetries=Symmetries(mirror=(1, 0, 2) if task == "classification" else None),
        data=DataSettings.model_validate(settings),
        draws=Draws(5),
        task=task,
    )


def sample(
    path: Path, position: int = 0, *, record: int = 0, known: object = ClassLabel(0), **fields: object
) -> Sample:
    return Sample(Place(0, position, record), VideoRecord(str(path), known, **fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("span", "first", "count"),
    [
        (None, 0, 30),
        ((0.0, 0.4), 0, 11),  # int(0.4 * 25) is a frame of it
        ((0.4, 0.8), 10, 11),
        ((0.41, 0.43), 10, 1),
        ((0.99, 60.0), 24, 6),
        ((1.19, 1.3), 29, 1),
    ],
)
def test_a_span_in_seconds_is_a_range_of_frames(
    clip: Callable[[str], Path], span: tuple[float, float] | None, first: int, count: int
) -> None:
    path = clip("h264.mp4")
    pictures = read_plainly(path)
    with open_record(VideoRecord(str(path), span=span)) as opened:
        assert (opened.first, opened.num_frames) == (first, count)
        frames = opened.frames([count - 1, 0])
        assert frames.indices == (first + count - 1, first)
        assert np.array_equal(frames.data[1].numpy(), pictures[first])
        with pytest.raises(ValueError, match=f"frame {count} of a record with {count} frames"):
            opened.frames([0, count])


def test_a_span_outside_of_the_video(clip: Callable[[str], Path], frames_folder: Path) -> None:
    record = VideoRecord(str(clip("h264.mp4")), span=(1.2, 2.0))
    with (
        pytest.raises(VideoError, match=r"h264_mp4.mp4: the span 1.2 to 2 s is outside .* lasts 1.20 s"),
        open_record(record),
    ):
        pass
    with (
        pytest.raises(VideoError, match="images have no times"),
        open_record(VideoRecord(str(frames_folder), span=(0.0, 1.0))),
    ):
        pass


def test_listed_frames_are_opened_by_their_names(frames_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_listing(_: Path) -> None:
        raise AssertionError("the folder was listed")

    monkeypatch.setattr(Path, "iterdir", no_listing)
    record = VideoRecord(str(frames_folder), num_frames=3, frame_name="img_{:05}.png")
    with open_record(record) as opened:
        assert opened.num_frames == 3
        data = opened.frames([2, 0]).data.numpy()
    assert np.array_equal(data[0], draw(3, (48, 64)))
    assert np.array_equal(data[1], draw(1, (48, 64)))


@pytest.mark.parametrize(("count", "missing"), [(3, "img_00001.png"), (4, "img_00004.png")])
def test_a_listed_frame_that_is_missing(frames_folder: Path, count: int, missing: str) -> None:
    (frames_folder / missing).unlink(missing_ok=True)
    record = VideoRecord(
        str(frames_folder),
        annotation=ClassLabel(0),
        num_frames=count,
        frame_name="img_{:05}.png",
        origin="train.csv, line 7",
    )
    told = f"{missing}: no such frame, one of {count} according to train.csv, line 7"
    with pytest.raises(VideoError, match=told), open_record(record) as opened:
        opened.frames([count - 1])


def test_frame_names_that_name_nothing(frames_folder: Path) -> None:
    for name in ("{}_{}.jpg", "{x}.jpg", "{:05"):
        record = VideoRecord(str(frames_folder), num_frames=3, frame_name=name)
        with pytest.raises(VideoMambaError, match=r"frame_name: .* needs one place"), open_record(record):
            pass
    with (
        pytest.raises(VideoError, match="has 0 frames according to its list"),
        open_record(VideoRecord(str(frames_folder), num_frames=0, frame_name="{}.png")),
    ):
        pass


def test_a_sample_is_drawn_from_its_place(clip: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    batch = train_clips(monkeypatch)[[sample(clip("h264.mp4"), 3, record=8, known=ClassLabel(1), span=(0.4, 1.0))]]
    assert isinstance(batch, Batch)
    generator = Draws(5).sample(0, 3)
    chosen = [10 + i for i in train_clip(PREPROCESS, 16, generator)]
    with PyavVideo(clip("h264.mp4")) as video:
        expected = to_clip(video.frames(chosen), PREPROCESS).data * float(generator.uniform(0.5, 1.5))
    assert torch.equal(batch.video[0], expected)
    assert (batch.records, batch.planned, batch.failures) == ((8,), 1, ())
    assert batch.labels is not None
    assert batch.labels.tolist() == [0]  # what became of class 1
    assert batch.targets is None


def test_repeats_are_decoded_once(clip: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    monkeypatch.setattr(dataset, "open_record", lambda record: opened.append(record.path) or open_record(record))
    samples = [sample(clip("h264.mp4"), i, record=i + 4) for i in range(2)]
    batch = train_clips(monkeypatch, repeats=3)[samples]
    assert isinstance(batch, Batch)
    assert len(opened) == 2
    assert (batch.records, batch.planned) == ((4, 4, 4, 5, 5, 5), 6)
    assert len({float(one.sum()) for one in batch.video}) == 6


def test_regression_has_targets_and_other_tasks_have_neither(
    clip: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = train_clips(monkeypatch, task="regression", repeats=2)[[sample(clip("h264.mp4"), known=Number(1.5))]]
    assert isinstance(batch, Batch)
    assert batch.labels is None
    assert batch.targets is not None
    assert batch.targets.tolist() == [1.5, 1.5]
    for task, known in (("unlabelled", None), ("captions", Captions(("a man runs",)))):
        batch = train_clips(monkeypatch, task=task)[[sample(clip("h264.mp4"), known=known, record=3)]]
        assert isinstance(batch, Batch)
        assert (batch.labels, batch.targets, batch.records, len(batch.video)) == (None, None, (3,), 1)


def test_a_broken_video_stops_or_is_skipped(
    clip: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_text("not a video")
    samples = [sample(clip("h264.mp4")), sample(broken, 1), sample(clip("h264.mp4"), 2, record=2)]
    error = train_clips(monkeypatch)[samples]
    assert isinstance(error, VideoError)
    assert str(error).startswith(f"{broken}: not a readable video")
    batch = train_clips(monkeypatch, on_error="skip", repeats=2)[samples]
    assert isinstance(batch, Batch)
    assert (batch.records, batch.planned) == ((0, 0, 2, 2), 6)
    assert batch.failures == ((str(broken), error.reason),)
    empty = train_clips(monkeypatch, on_error="skip")[samples[1:2]]
    assert isinstance(empty, Batch)
    assert (tuple(empty.video.shape), len(empty), empty.planned) == ((0, 3, 4, 32, 32), 0, 1)
    assert empty.labels is not None
    assert (empty.labels.dtype, len(empty.labels)) == (torch.int64, 0)


def test_the_failure_of_one_image_is_that_of_its_folder(frames_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = sample(frames_folder, num_frames=9, frame_name="img_{:05}.png")
    batch = train_clips(monkeypatch, on_error="skip")[[listed]]
    assert isinstance(batch, Batch)
    ((path, reason),) = batch.failures
    assert path == str(frames_folder)
    assert reason.startswith(f"{frames_folder}/img_0000")


def test_other_errors_are_not_swallowed(clip: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    clips = train_clips(monkeypatch, on_error="skip")

    def no_memory(*_: object) -> None:
        raise MemoryError("full")

    monkeypatch.setattr(dataset, "augment_clip", no_memory)
    with pytest.raises(MemoryError):
        clips[[sample(clip("h264.mp4"))]]


def test_evaluation_sees_all_views_and_lists_what_it_missed(clip: Callable[[str], Path], tmp_path: Path) -> None:
    broken = tmp_path / "absent.mp4"
    clips = EvaluationClips(preprocess=PREPROCESS, views=Views(2, 3), data=DataSettings())
    record = VideoRecord(str(clip("h264.mp4")), span=(0.4, 1.0))
    batch = clips[[(6, record), (7, VideoRecord(str(broken))), (8, record)]]
    assert isinstance(batch, EvaluationBatch)
    assert batch.records == (6, 8)
    assert [index for index, _ in batch.failures] == [7]
    assert "no such file" in batch.failures[0][1]
    expected = []
    with PyavVideo(clip("h264.mp4")) as video:
        for chosen in evaluation_clips(PREPROCESS, 16, 2):
            frames = video.frames([10 + i for i in chosen])
            expected += [to_clip(frames, PREPROCESS, crop=crop, num_crops=3).data for crop in range(3)]
    assert torch.equal(batch.video, torch.stack(expected * 2))
    assert not torch.equal(expected[0], expected[1])


def test_a_block_that_is_all_missing_is_empty(tmp_path: Path) -> None:
    clips = EvaluationClips(preprocess=PREPROCESS, views=Views(), data=DataSettings(on_error="stop"))
    batch = clips[[(0, VideoRecord(str(tmp_path / "absent.mp4")))]]
    assert isinstance(batch, EvaluationBatch)
    assert (tuple(batch.video.shape), len(batch), len(batch.failures)) == ((0, 3, 4, 32, 32), 0, 1)


def test_batches_move_as_one(clip: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    batch = train_clips(monkeypatch)[[sample(clip("h264.mp4"))]]
    assert isinstance(batch, Batch)
    moved = batch.to("meta")
    assert moved.video.is_meta
    assert moved.labels is not None
    assert moved.labels.is_meta
    assert (moved.targets, moved.records, moved.planned) == (None, batch.records, 1)


def test_symmetries_begin_with_their_epoch(clip: Callable[[str], Path]) -> None:
    """Before it no clip is mirrored and no label changes; from it on about half are."""
    clips = TrainClips(
        preprocess=PREPROCESS,
        augmentation=Augmentation(repeats=16, crop="shift", symmetries_from=2),
        symmetries=Symmetries(mirror=(1, 0)),
        data=DataSettings(),
        draws=Draws(5),
    )
    record = VideoRecord(str(clip("h264.mp4")), ClassLabel(0))
    before, after = (clips[[Sample(Place(epoch, 0, 0), record)]] for epoch in (1, 2))
    assert isinstance(before, Batch) and isinstance(after, Batch)
    assert before.labels is not None and after.labels is not None
    assert before.labels.tolist() == [0] * 16 and set(after.labels.tolist()) == {0, 1}
