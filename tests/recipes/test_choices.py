"""Multiple choice against a plain definition, and what is missed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.recipes.text_models import PREPROCESS, TOKENIZER, annotated, caption, captioned, tiny_video_text
from videomamba.data.clips.views import iter_views
from videomamba.data.loading.record_video import open_record
from videomamba.data.settings import DataSettings
from videomamba.evaluation.choices import ChoiceReport
from videomamba.models.video_text import VideoText
from videomamba.recipes.choices import choose
from videomamba.schema import Choices, VideoMambaError, VideoSet, Views
from videomamba.training.distributed import Processes


def measure(video_set: VideoSet, model: VideoText) -> ChoiceReport:
    data, processes = DataSettings(workers=0), Processes(device="cpu")
    return choose(model, video_set, PREPROCESS, TOKENIZER, max_length=8, data=data, processes=processes)


@pytest.fixture(scope="module")
def paths(videos: Path) -> list[Path]:
    return sorted(videos.rglob("*.mp4"))[:6]


@torch.inference_mode()
def test_the_scores_are_those_of_the_definition(paths: list[Path]) -> None:
    choices = [Choices(tuple(caption(11 * i + j) for j in range(2 + i % 4)), i % 2) for i in range(6)]
    video_set = annotated(paths, [*choices])
    model = tiny_video_text()
    report = measure(video_set, model)
    for record, question, answer in zip(video_set.records, choices, report.choices, strict=True):
        with open_record(record) as source:
            (clip,) = iter_views(source.frames, source.num_frames, PREPROCESS, Views())
        video = model.encode_video(clip.data[None])
        cosines, match = [], []
        for text in question.texts:
            tokens = TOKENIZER([text], max_length=8)
            states = model.encode_text(tokens.ids, tokens.mask)
            cosines.append((model.embed_videos(video.pooled)[0] @ model.embed_texts(states)[0]).mean())
            match.append(model.match(model.fuse(states, tokens.mask, video.memory))[0].softmax(dim=0)[1])
        expected = 0.7 * torch.stack(match) + 0.3 * (torch.stack(cosines) / 0.07).softmax(dim=0)
        assert answer.right == question.right and answer.path == record.path
        assert answer.scores == pytest.approx(expected.tolist(), abs=1e-5)
    assert 0 < report.correct < 6
    assert report.protocol == (
        "6 questions, texts of up to 8 tokens, 4 frames uniform, 32x32, 0.7 match + 0.3 similarity"
    )


def test_what_cannot_be_answered_is_wrong(paths: list[Path], tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_text("not a video")
    same = Choices(("a dog", "a dog"), 0)  # a tie
    report = measure(annotated([tmp_path / "broken.mp4", paths[0]], [same, same]), tiny_video_text())
    assert (report.correct, report.num_missed, len(report.choices)) == (0, 1, 2)
    assert [path for path, _ in report.failures] == [str(tmp_path / "broken.mp4")]
    model = tiny_video_text()
    with torch.no_grad():
        model.itm_head.weight.fill_(torch.nan)
    lost = measure(annotated(paths[:1], [same]), model)
    assert lost.failures == ((str(paths[0]), "the network's answer is not finite"),)


def test_sets_without_choices(paths: list[Path]) -> None:
    with pytest.raises(VideoMambaError, match="test: is captions; multiple choice needs videos with several texts"):
        measure(captioned(paths[:1], [("a dog",)]), tiny_video_text())
