"""Retrieval against a slow plain definition that looks at one video and one text at a time."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.recipes.text_models import PREPROCESS, TOKENIZER, caption, captioned, tiny_video_text
from videomamba.data.clips.views import iter_views
from videomamba.data.loading.record_video import open_record
from videomamba.data.settings import DataSettings
from videomamba.evaluation.retrieval import Recall, RetrievalReport
from videomamba.models.video_text import VideoText
from videomamba.recipes.retrieval import Queries, RetrievalTest
from videomamba.schema import ClassLabel, VideoError, VideoMambaError, VideoRecord, VideoSet, Views
from videomamba.training.distributed import Processes

MAX_LENGTH = 8


@pytest.fixture(scope="module")
def paths(videos: Path) -> list[Path]:
    return sorted(videos.rglob("*.mp4"))


@pytest.fixture(scope="module")
def model() -> VideoText:
    return tiny_video_text()


@pytest.fixture(scope="module")
def video_set(paths: list[Path]) -> VideoSet:
    """11 videos with one to three captions each; one caption is that of two videos, and one video has two records."""
    captions = [tuple(caption(7 * i + j) for j in range(1 + i % 3)) for i in range(11)]
    captions[4] = (captions[2][0],)
    return captioned([*paths[:11], paths[3]], [*captions, (caption(100),)])


def measure(video_set: VideoSet, model: VideoText, **more: Any) -> RetrievalReport:
    data = DataSettings(workers=0, on_error="skip")
    options = {"max_length": MAX_LENGTH, "data": data, "processes": Processes(device="cpu"), **more}
    with RetrievalTest(video_set, PREPROCESS, TOKENIZER, **options) as test:
        return test(model)


class Plain:
    """Similarities and match logits of all pairs, by (video, text), each from one video and one text."""

    @torch.inference_mode()
    def __init__(self, queries: Queries, model: VideoText) -> None:
        self.pairs = queries.pairs
        self.similar: dict[tuple[int, int], float] = {}
        self.match: dict[tuple[int, int], float] = {}
        self.both: dict[tuple[int, int], float] = {}
        tokens = [TOKENIZER([text], max_length=MAX_LENGTH) for text in queries.texts]
        states = [model.encode_text(one.ids, one.mask) for one in tokens]
        for v, record in enumerate(queries.videos.records):
            with open_record(record) as source:
                (clip,) = iter_views(source.frames, source.num_frames, PREPROCESS, Views())
            video = model.encode_video(clip.data[None])
            for t, one in enumerate(states):
                cosines = model.embed_videos(video.pooled)[0] @ model.embed_texts(one)[0]
                self.similar[v, t] = cosines.mean().item()
                logits = model.match(model.fuse(one, tokens[t].mask, video.memory))[0]
                self.match[v, t] = logits[1].item()
                odds = math.log(logits.softmax(0)[1] / logits.softmax(0)[0])
                self.both[v, t] = odds + self.similar[v, t] / model.temperature.item()

    def ranks(self, k: int, *, combined: bool = False) -> tuple[list[int], list[int]]:
        """Of both directions, text to video first, with the first `k` in the order of their match, or of both scores."""
        scores = self.both if combined else self.match
        videos, texts = range(self.pairs.num_videos), range(len(self.pairs.videos))

        def rank(candidates: list[tuple[int, int]], right: set[tuple[int, int]]) -> int:
            order = sorted(candidates, key=lambda pair: -self.similar[pair])
            order = sorted(order[:k], key=lambda pair: -scores[pair]) + order[k:]
            return 1 + min(map(order.index, right))

        return (
            [rank([(v, t) for v in videos], {(v, t) for v in self.pairs.videos[t]}) for t in texts],
            [rank([(v, t) for t in texts], {(v, t) for t in self.pairs.texts[v]}) for v in videos],
        )


@pytest.fixture(scope="module")
def plain(video_set: VideoSet, model: VideoText) -> Plain:
    return Plain(Queries.of(video_set, merged=True), model)  # without equal texts there are no ties


@pytest.mark.parametrize("k", [None, 1, 4, 128])
def test_the_ranks_are_those_of_the_definition(
    video_set: VideoSet, model: VideoText, plain: Plain, k: int | None
) -> None:
    report = measure(video_set, model, rerank=k, merge_captions=True)
    dual = plain.ranks(0)
    assert (list(report.dual.t2v.ranks), list(report.dual.v2t.ranks)) == dual
    assert min(len(set(direction)) for direction in dual) > 4
    if k is None:
        assert report.reranked is None and report.combined is None
    else:
        assert report.reranked is not None and report.combined is not None
        found = list(report.reranked.t2v.ranks), list(report.reranked.v2t.ranks)
        assert found == plain.ranks(k) and (found == dual) == (k == 1)
        both = list(report.combined.t2v.ranks), list(report.combined.v2t.ranks)
        assert both == plain.ranks(k, combined=True)


def test_captions_of_several_videos(video_set: VideoSet) -> None:
    each, merged = Queries.of(video_set), Queries.of(video_set, merged=True)
    assert len(each.videos) == len(merged.videos) == 11 and each.videos.task == "unlabelled"
    assert len(each.texts) == len(merged.texts) + 1 and each.shared == merged.shared == 1
    assert max(map(len, each.pairs.videos)) == 1 and max(map(len, merged.pairs.videos)) == 2
    assert len(each.pairs.texts[3]) == 2 and each.texts[each.pairs.texts[3][1]] == caption(100)


def test_parts_of_a_video_are_videos(paths: list[Path]) -> None:
    whole = captioned(paths[:1] * 2, [(caption(1),), (caption(2),)]).records
    parts = tuple(VideoRecord(r.path, r.annotation, span=(0.1 * i, 0.2)) for i, r in enumerate(whole))
    assert len(Queries.of(VideoSet("test", whole)).videos) == 1
    assert [r.span for r in Queries.of(VideoSet("test", parts)).videos.records] == [(0.0, 0.2), (0.1, 0.2)]


@pytest.mark.parametrize("merged", [False, True])
def test_what_is_kept_in_memory_changes_nothing(video_set: VideoSet, model: VideoText, merged: bool) -> None:
    reports = [
        measure(video_set, model, rerank=3, merge_captions=merged, keep_bytes=room)
        for room in (10**9, 4 * 16 * 16 * 4 * 4, 0)  # all, one block of four videos, none
    ]
    assert reports[0].dual == reports[1].dual == reports[2].dual
    assert reports[0].reranked == reports[1].reranked == reports[2].reranked


def test_a_video_that_cannot_be_read_is_wrong(video_set: VideoSet, model: VideoText, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_text("not a video")
    records = [*video_set.records]
    records[5] = VideoRecord(str(broken), records[5].annotation)
    report = measure(VideoSet("test", tuple(records)), model, rerank=128)
    assert report.reranked is not None
    assert [path for path, _ in report.failures] == [str(broken)]
    for result in (report.dual, report.reranked):
        assert result.v2t.missed == {5} and len(result.t2v.missed) == len(records[5].annotation.texts)  # type: ignore[union-attr]
        assert result.v2t.ranks[5] == len(report.texts) - len(result.t2v.missed) + 1
        assert all(result.t2v.ranks[text] == 11 for text in result.t2v.missed)
        assert result.t2v.within(11) == len(report.texts) - len(result.t2v.missed)
    assert "1 video missed and counted as wrong" in str(report)


def test_a_video_that_vanishes_meanwhile(
    video_set: VideoSet, model: VideoText, paths: list[Path], tmp_path: Path
) -> None:
    path = shutil.copy(paths[0], tmp_path / "gone.mp4")
    records = (VideoRecord(str(path), video_set.records[0].annotation), *video_set.records[1:])
    data, processes = DataSettings(workers=0), Processes(device="cpu")
    options: dict[str, Any] = {"max_length": 8, "data": data, "processes": processes, "rerank": 2, "keep_bytes": 0}
    with (
        RetrievalTest(VideoSet("test", records), PREPROCESS, TOKENIZER, **options) as test,
        pytest.raises(VideoError, match=r"gone\.mp4: was readable a moment ago and no longer is"),
    ):
        test(model, progress=lambda done, total: Path(path).unlink() if done == total // 2 else None)


def test_a_model_without_definite_answers_finds_nothing(video_set: VideoSet) -> None:
    model = tiny_video_text()
    with torch.no_grad():
        for layer in (model.vision_proj, model.itm_head):
            layer.weight.zero_()
    report = measure(video_set, model, rerank=128)
    assert report.reranked is not None
    assert report.dual.t2v.ranks == report.reranked.t2v.ranks == (11,) * len(report.texts)
    with torch.no_grad():
        model.vision_proj.weight.fill_(torch.nan)
    lost = measure(video_set, model, rerank=128)
    assert len(lost.failures) == 11 and lost.failures[0][1] == "the network's answer is not finite"
    assert lost.best.mean_recall == 0 and len(lost.best.t2v.missed) == len(lost.texts)


def test_progress_counts_both_passes(video_set: VideoSet, model: VideoText) -> None:
    told: list[tuple[int, int]] = []
    data, processes = DataSettings(workers=0), Processes(device="cpu")
    options: dict[str, Any] = {"max_length": MAX_LENGTH, "data": data, "processes": processes}
    with RetrievalTest(video_set, PREPROCESS, TOKENIZER, rerank=2, **options) as test:
        first = test(model, progress=lambda done, total: told.append((done, total)))
        assert told == [(i, 6) for i in range(1, 7)]
        assert test(model).reranked == first.reranked  # as after each epoch of a training
    with RetrievalTest(video_set, PREPROCESS, TOKENIZER, **options) as test:
        assert test(model).dual == first.dual


def test_the_protocol_says_what_was_done(video_set: VideoSet, model: VideoText) -> None:
    report = measure(video_set, model, rerank=5)
    assert report.protocol == (
        f"11 videos and {len(report.texts)} texts of up to 8 tokens, 4 frames uniform, 32x32, re-ranking of the first 5"
    )
    assert "equal captions are one text" in measure(video_set, model, merge_captions=True).protocol


def test_texts_that_are_too_long_are_counted(video_set: VideoSet) -> None:
    data, processes = DataSettings(workers=0), Processes(device="cpu")
    for length, number in ((16, 0), (3, len(Queries.of(video_set).texts))):
        with RetrievalTest(video_set, PREPROCESS, TOKENIZER, max_length=length, data=data, processes=processes) as test:
            assert test.shortened == number


def test_sets_without_captions(paths: list[Path], model: VideoText) -> None:
    labelled = VideoSet("val", (VideoRecord(str(paths[0]), ClassLabel(0)),), ("jump",))
    for wrong, reason in ((labelled, "val: is classification;"), (VideoSet("val", ()), "val: is empty;")):
        with pytest.raises(VideoMambaError, match=f"{reason} retrieval needs videos with captions"):
            measure(wrong, model)
    with pytest.raises(VideoMambaError, match="max_length 2"):
        measure(captioned(paths[:1], [("a dog",)]), model, max_length=2)
    assert isinstance(measure(captioned(paths[:1], [("a dog",)]), model, rerank=128).best.t2v, Recall)
