"""The numbers of a test against cases small enough to count by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from videomamba.evaluation.metrics import (
    NOT_FINITE,
    classification_report,
    merge_scores,
    regression_report,
    videos_of,
)
from videomamba.evaluation.results import (
    ClassificationResult,
    Mistake,
    RegressionResult,
    confidence_interval,
    describe_protocol,
)
from videomamba.schema import ClassLabel, Number, Preprocess, VideoMambaError, VideoRecord, VideoSet, Views


def classes(*labelled: tuple[str, int], num_classes: int = 3) -> VideoSet:
    records = tuple(VideoRecord(path, ClassLabel(label)) for path, label in labelled)
    return VideoSet("val", records, tuple(f"class{i}" for i in range(num_classes)))


def values(*targets: tuple[str, float]) -> VideoSet:
    return VideoSet("val", tuple(VideoRecord(path, Number(target)) for path, target in targets))


def report(
    video_set: VideoSet, rows: dict[int, Sequence[float]], failures: Sequence[tuple[int, str]] = ()
) -> ClassificationResult:
    scores = torch.tensor(list(rows.values()), dtype=torch.float32).reshape(len(rows), len(video_set.labels))
    return classification_report(video_set, list(rows), scores, failures, protocol="1 clip")


class TestClassification:
    def test_by_hand(self) -> None:
        """Four videos of two of the three classes; one cannot be read."""
        video_set = classes(("a", 0), ("b", 0), ("c", 0), ("d", 2))
        result = report(
            video_set, {3: (0.1, 0.2, 0.7), 0: (0.8, 0.1, 0.1), 1: (0.1, 0.6, 0.3)}, failures=[(2, "no video stream")]
        )
        assert (result.num_videos, result.num_missed, result.correct1) == (4, 1, 2)
        assert result.top1 == 0.5 and result.top1_readable == pytest.approx(2 / 3)
        assert result.mean_class_accuracy == pytest.approx((1 / 3 + 1) / 2)
        assert [(s.count, s.correct, s.missed, s.accuracy) for s in result.per_class] == [
            (3, 1, 1, pytest.approx(1 / 3)),
            (0, 0, 0, None),
            (1, 1, 0, 1.0),
        ]
        assert result.confusion.dtype == np.int64
        assert result.confusion.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
        assert result.mistakes == (Mistake("b", 0, 1, pytest.approx(0.6)),)
        assert result.failures == (("c", "no video stream"),)

    def test_equal_basenames_in_two_folders_are_two_videos(self) -> None:
        video_set = classes(("P03/cam01/cereals.avi", 0), ("P03/webcam01/cereals.avi", 0))
        result = report(video_set, {0: (1, 0, 0), 1: (0, 1, 0)})
        assert (result.num_videos, result.top1) == (2, 0.5)

    def test_windows_of_one_video_give_one_answer(self) -> None:
        """Two windows are sure of 0 and one of 1, but the mean is for 1."""
        records = tuple(VideoRecord("a", ClassLabel(1), span=(t, t + 2.0)) for t in (0.0, 2.0, 4.0))
        video_set = VideoSet("val", (*records, VideoRecord("b", ClassLabel(0))), ("x", "y"))
        result = report(video_set, {0: (0.6, 0.4), 1: (0.6, 0.4), 2: (0.0, 1.0), 3: (1.0, 0.0)})
        assert (result.num_videos, result.top1) == (2, 1.0)
        assert result.protocol == "1 clip, mean over windows of a video"

    def test_a_video_with_one_bad_window_is_scored_from_the_others(self) -> None:
        records = tuple(VideoRecord("a", ClassLabel(1), span=(t, t + 2.0)) for t in (0.0, 2.0))
        result = report(VideoSet("val", records, ("x", "y")), {0: (0.3, 0.7)}, failures=[(1, "cut short")])
        assert (result.num_missed, result.top1, result.failures) == (0, 1.0, (("a", "cut short"),))

    def test_parts_with_labels_of_their_own_are_not_merged(self) -> None:
        records = (
            VideoRecord("a", ClassLabel(0), span=(0.0, 2.0)),
            VideoRecord("a", ClassLabel(1), span=(2.0, 4.0)),
            VideoRecord("a", ClassLabel(1), span=(4.0, 6.0)),
        )
        result = report(VideoSet("val", records, ("x", "y")), {0: (1, 0), 1: (0, 1), 2: (1, 0)})
        assert (result.num_videos, result.correct1) == (3, 2)
        assert result.protocol == "1 clip, parts of videos"

    def test_one_part_with_two_labels_is_one_line(self) -> None:
        records = (
            VideoRecord("a", ClassLabel(0), origin="list.csv, line 1"),
            VideoRecord("a", ClassLabel(1), origin="list.csv, line 2"),
        )
        with pytest.raises(VideoMambaError, match=r"^list\.csv, line 2: a has another label .* line 1; keep one"):
            videos_of(VideoSet("val", records, ("x", "y")))

    def test_a_tie_goes_to_the_lowest_class(self) -> None:
        result = report(classes(("a", 0), ("b", 1), num_classes=2), {0: (0.5, 0.5), 1: (0.5, 0.5)})
        assert result.correct1 == 1 and result.confusion.tolist() == [[1, 0], [1, 0]]

    @pytest.mark.parametrize(("label", "inside"), [(0, True), (4, True), (5, False), (6, False)])
    def test_ties_in_top5(self, label: int, inside: bool) -> None:
        result = report(classes(("a", label), num_classes=7), {0: (1 / 7,) * 7})
        assert result.top5 == float(inside)

    def test_top5_agrees_with_sorting(self) -> None:
        scores = torch.randn(200, 9, generator=torch.Generator().manual_seed(0)).softmax(1)
        video_set = classes(*((str(i), i % 9) for i in range(200)), num_classes=9)
        result = classification_report(video_set, range(200), scores, [], protocol="")
        best = scores.argsort(dim=1, descending=True)[:, :5].tolist()
        assert result.correct5 == sum(i % 9 in row for i, row in enumerate(best))
        assert result.correct1 == sum(i % 9 == row[0] for i, row in enumerate(best)) == np.trace(result.confusion)

    def test_top5_says_nothing_with_five_classes(self) -> None:
        assert report(classes(("a", 0), num_classes=5), {0: (1, 0, 0, 0, 0)}).top5 is None

    def test_an_answer_that_is_not_finite_is_a_miss(self) -> None:
        """Comparisons with NaN are false, so that nothing would be better than the true class."""
        result = report(classes(("a", 0), ("b", 1)), {0: (math.nan,) * 3, 1: (0, 1, 0)})
        assert (result.correct1, result.num_missed, result.failures) == (1, 1, (("a", NOT_FINITE),))
        assert result.confusion.sum() == 1

    def test_nothing_readable(self) -> None:
        result = report(classes(("a", 0)), {}, failures=[(0, "gone")])
        assert (result.top1, result.top1_readable, result.mean_class_accuracy) == (0.0, None, 0.0)
        assert "1 missed and counted as wrong [1 clip]" in str(result)

    def test_the_order_of_scoring_changes_nothing(self) -> None:
        """As when several processes share the records: the same bits."""
        records = tuple(VideoRecord(f"v{i % 7}", ClassLabel(i % 7 % 3), span=(i, i + 1.0)) for i in range(70))
        video_set = VideoSet("val", records, ("x", "y", "z"))
        scores = torch.rand(70, 3, generator=torch.Generator().manual_seed(1))
        order = torch.randperm(70, generator=torch.Generator().manual_seed(2))
        videos = videos_of(video_set)
        one, _ = merge_scores(videos, range(70), scores)
        other, _ = merge_scores(videos, order.tolist(), scores[order])
        assert one.tobytes() == other.tobytes()
        assert one[2] == pytest.approx(scores[2::7].double().mean(0).numpy())

    @pytest.mark.parametrize(
        ("rows", "failures"), [([0], []), ([0, 1], [(1, "gone")]), ([0, 0], []), ([0, 1, 2], [])], ids=str
    )
    def test_every_record_is_accounted_for(self, rows: list[int], failures: list[tuple[int, str]]) -> None:
        with pytest.raises(ValueError, match="each of the 2 records"):
            classification_report(classes(("a", 0), ("b", 1)), rows, torch.zeros(len(rows), 3), failures, protocol="")

    @pytest.mark.parametrize(
        "scores", [torch.zeros(1, 2), torch.zeros(2, 3), torch.zeros(3)], ids=lambda s: str(s.shape)
    )
    def test_wrong_shapes(self, scores: Tensor) -> None:
        with pytest.raises(ValueError, match="scores must"):
            classification_report(classes(("a", 0)), [0], scores, [], protocol="")

    def test_an_empty_split_is_one_line(self) -> None:
        with pytest.raises(VideoMambaError, match=r"^val: no videos to evaluate"):
            report(classes(), {})

    def test_printed_and_json(self) -> None:
        video_set = classes(*((str(i), i) for i in range(6)), num_classes=6)
        rows = {i: np.eye(6)[0].tolist() for i in range(5)}
        result = report(video_set, rows, failures=[(5, "gone")])
        assert str(result) == (
            "top-1 16.67% (1 of 6 videos, 95% interval 3.0% to 56.4%), top-5 83.33%, mean class accuracy 16.67%, "
            "1 missed and counted as wrong (top-1 of the others 20.00%) [1 clip]"
        )
        found = json.loads(json.dumps(result.as_dict()))
        assert found["top1_interval"] == pytest.approx([0.030053, 0.563503], abs=1e-6)
        assert found["top5"] == pytest.approx(5 / 6) and found["confusion"][3] == [1, 0, 0, 0, 0, 0]
        assert found["per_class"][5] == {"label": "class5", "count": 1, "correct": 0, "missed": 1, "accuracy": 0.0}
        assert found["failures"] == [{"path": "5", "reason": "gone"}] and found["protocol"] == "1 clip"


@pytest.mark.parametrize(
    ("right", "number", "low", "high"),
    # By hand at the ends, n / (n + z^2); in the middle the examples of R. G. Newcombe 1998, table I, to four digits.
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (1, 1, 0.2065, 1.0),
        (15, 148, 0.0624, 0.1605),
        (81, 263, 0.2553, 0.3662),
    ],
)
def test_the_interval_of_a_share(right: int, number: int, low: float, high: float) -> None:
    assert confidence_interval(right, number) == pytest.approx((low, high), abs=6e-5)


class TestRegression:
    def measure(
        self, video_set: VideoSet, rows: dict[int, float], failures: Sequence[tuple[int, str]]
    ) -> RegressionResult:
        return regression_report(video_set, list(rows), torch.tensor(list(rows.values())), failures, protocol="p")

    def test_by_hand(self) -> None:
        """ "a" has two windows, 1 and 3, so the answer 2; "c" cannot be read; errors 1 and -3."""
        video_set = values(("a", 1.0), ("b", 4.0), ("a", 1.0), ("c", 9.0))
        result = self.measure(video_set, {2: 3.0, 1: 1.0, 0: 1.0}, [(3, "gone")])
        assert (result.mse, result.mae) == ((1 + 9) / 2, (1 + 3) / 2)
        assert (result.num_videos, len(result.estimates), result.num_missed) == (3, 2, 1)
        assert [e.error for e in result.estimates] == [1.0, -3.0]
        assert str(result) == (
            "mean squared error 5.0000, mean absolute error 2.0000, 2 videos, 1 missed and excluded "
            "[p, mean over windows of a video]"
        )
        assert json.loads(json.dumps(result.as_dict()))["failures"] == [{"path": "c", "reason": "gone"}]

    def test_nothing_readable(self) -> None:
        result = self.measure(values(("a", 1.0)), {0: math.inf}, [])
        assert (result.mse, result.mae, result.num_missed) == (None, None, 1)
        assert result.failures == (("a", NOT_FINITE),) and "all 1 videos were missed" in str(result)


@pytest.mark.parametrize(
    ("preprocess", "views", "regression", "text"),
    [
        (
            Preprocess(),
            Views(4, 3),
            False,
            "4 clips x 3 crops, 8 frames uniform, 224x224, softmax then mean over views",
        ),
        (
            Preprocess(num_frames=1, image_size=(32, 48), sampling="dense", sampling_rate=4, crop_ratio=0.875),
            Views(),
            True,
            "1 clip x 1 crop, 1 frame dense every 4, 48x32 (crop ratio 0.875), mean over views",
        ),
    ],
)
def test_protocol(preprocess: Preprocess, views: Views, regression: bool, text: str) -> None:
    assert describe_protocol(preprocess, views, regression=regression) == text
