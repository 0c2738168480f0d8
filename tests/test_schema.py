"""Records: what is known of a video, and what the task of a set is by that. Views as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videomamba.schema import (
    Annotation,
    Captions,
    ClassLabel,
    Number,
    Question,
    Task,
    VideoMambaError,
    VideoRecord,
    VideoSet,
    Views,
    check_labels,
)

QUESTION = Question("What is it?", ("a cat",))
CAPTIONS = Captions(("a cat", "a small animal"))


@pytest.mark.parametrize(
    ("annotation", "labels", "task"),
    [
        (ClassLabel(1), ("a", "b"), "classification"),
        (Number(0.5), (), "regression"),
        (CAPTIONS, (), "captions"),
        (QUESTION, (), "questions"),
        (None, (), "unlabelled"),
    ],
)
def test_the_task_follows_from_the_annotations(
    annotation: Annotation | None, labels: tuple[str, ...], task: Task
) -> None:
    record = VideoRecord("a.mp4", annotation)
    videos = VideoSet("train", (record, record), labels)
    assert (videos.task, videos.regression) == (task, task == "regression")
    assert record.label == (1 if task == "classification" else None)
    assert record.target == (0.5 if task == "regression" else None)
    if labels or videos.regression:
        assert videos.outputs == max(len(labels), 1)
    else:
        with pytest.raises(VideoMambaError, match=f"^train: needs a class or a number for each video, but is .*{task}"):
            _ = videos.outputs


def test_a_set_without_records() -> None:
    assert VideoSet("train", ()).task == "unlabelled"
    assert VideoSet("train", (), ("a",)).task == "classification"


@pytest.mark.parametrize(
    ("known", "labels", "message"),
    [
        ((Number(1), None), (), "^list.csv, line 2: has no annotation, but train is a set of videos with a number; "),
        (
            (None, ClassLabel(0)),
            (),
            "^list.csv, line 2: has a class, but train is a set of videos with no annotation; ",
        ),
        ((CAPTIONS, QUESTION), (), "line 2: has a question, but train is a set of videos with captions; give all"),
        ((ClassLabel(0), Number(1)), ("a",), "line 2: has a number, but train is a set of videos with a class"),
        ((Number(1), Number(2)), ("a",), "line 1: has a number, but train is a set of videos with a class"),
        ((ClassLabel(0), ClassLabel(2)), ("a", "b"), r"line 2: label 2 is not in 0\.\.1, the 2 classes of train; fix"),
        ((ClassLabel(0), ClassLabel(0)), (), "line 1: label 0 .* 0 classes of train"),
    ],
)
def test_mixed_annotations(known: tuple[Annotation | None, ...], labels: tuple[str, ...], message: str) -> None:
    records = [VideoRecord("a.mp4", one, origin=f"list.csv, line {i}") for i, one in enumerate(known, 1)]
    with pytest.raises(VideoMambaError, match=message) as caught:
        VideoSet("train", tuple(records), labels)
    assert "\n" not in str(caught.value)


def test_annotations_say_something() -> None:
    for empty in (lambda: Captions(()), lambda: Question("Why?", ())):
        with pytest.raises(ValueError, match="at least one"):
            empty()


class TestViews:
    @given(st.integers(1, 99), st.integers(1, 9))
    def test_round_trip(self, clips: int, crops: int) -> None:
        views = Views.parse(str(Views(clips, crops)))
        assert (views.clips, views.crops, len(views)) == (clips, crops, clips * crops)

    @pytest.mark.parametrize("text", [" 4x3", "4 x 3", "4X3"])
    def test_lenient(self, text: str) -> None:
        assert Views.parse(text) == Views.parse(Views(4, 3)) == Views(clips=4, crops=3)

    @pytest.mark.parametrize("text", ["", "4", "4x", "x3", "0x3", "4x0", "-1x3", "4x3x2", "4,3", "four x three", "٤x3"])
    def test_unclear(self, text: str) -> None:
        with pytest.raises(
            VideoMambaError, match="write clips x crops as two whole numbers, for example 4x3"
        ) as caught:
            Views.parse(text)
        assert repr(text) in str(caught.value)

    def test_at_least_one(self) -> None:
        with pytest.raises(ValueError, match="at least 1"):
            Views(0, 3)


def test_views_have_a_bound() -> None:
    assert len(Views.parse("100x10")) == 1000
    with pytest.raises(VideoMambaError, match="views '100000x3': are 300000 clips of a video; give at most 1000"):
        Views.parse("100000x3")


def test_class_names_are_text() -> None:
    with pytest.raises(VideoMambaError, match=r"a\.safetensors: a class name is text, got 1"):
        check_labels(["a", 1], 2, "a.safetensors")  # type: ignore[list-item]
