"""Explanations of files: what they say of a clip whose content is known, and what is drawn."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from videomamba import Explanation, Predictor, explain
from videomamba.evaluation.faithfulness import without_content
from videomamba.schema import VideoError, VideoMambaError
from videomamba.serving.explain.methods import relevance
from videomamba.synthetic.actions import ACTIONS
from videomamba.video.encode import write_video
from videomamba.video.open import open_video
from videomamba.weights.released import ACTIONS_MODEL


@pytest.fixture(scope="module")
def predictor(bundle: Path) -> Predictor:
    return Predictor.from_pretrained(bundle)


@pytest.mark.parametrize("method", ["attention", "gradient"])
def test_an_explanation_is_about_the_class_frames_and_clip_of_the_prediction(
    method: str, predictor: Predictor, clips: Path
) -> None:
    path = clips / "clip0.mp4"
    found = explain(predictor, path, method=method, comparison=False)
    best, clip = predictor(path, top=1).top, predictor.clips(path)[0]
    assert (found.label, found.score) == (best.label, pytest.approx(best.score, abs=1e-6))
    assert found.maps.shape == (4, 2, 3) and found.maps.dtype == torch.float32 and (found.maps >= 0).all()
    assert found.pictures.shape == (4, 32, 48, 3) and found.indices == clip.indices
    assert found.times == pytest.approx([index / 8 for index in clip.indices])
    assert found.frames.sum() == pytest.approx(1) and found.frames.argmax() == found.maps.sum(dim=(1, 2)).argmax()
    assert found.comparison is None and found.duration == 1.5


def test_a_class_may_be_given_by_name_or_number(predictor: Predictor, clips: Path) -> None:
    path = clips / "clip1.mp4"
    by_name = explain(predictor, path, target=ACTIONS[3], comparison=False)
    by_number = explain(predictor, path, target=3, comparison=False)
    assert by_name.label == by_number.label == ACTIONS[3]
    assert torch.equal(by_name.maps, by_number.maps)
    others = predictor(path, top=16).predictions
    assert by_name.score == pytest.approx(next(p.score for p in others if p.label == ACTIONS[3]), abs=1e-6)
    with pytest.raises(VideoMambaError, match=f"'{ACTIONS[3]}s': no class of the model; did you mean '{ACTIONS[3]}'"):
        explain(predictor, path, target=f"{ACTIONS[3]}s")
    with pytest.raises(VideoMambaError, match="target 16: the model has the classes 0 to 15"):
        explain(predictor, path, target=16)


def test_integrated_gradients_add_up_to_the_logit(predictor: Predictor, clips: Path) -> None:
    pytest.importorskip("captum")
    clip = predictor.clips(clips / "clip0.mp4")[0].data
    maps = relevance(predictor.model, clip, 5, "integrated")
    with torch.no_grad():
        full, empty = predictor.model(torch.stack((clip, without_content(clip))))[:, 5]
    assert maps.shape == (4, 2, 3)
    assert maps.sum() == pytest.approx(float(full - empty), rel=0.02, abs=0.02)


def test_without_captum_the_extra_is_named(predictor: Predictor, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "videomamba.serving.explain.integrated", raising=False)
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(VideoMambaError, match=r"pip install 'videomamba\[explain\]'"):
        explain(predictor, clips / "clip0.mp4", method="integrated", comparison=False)


def test_the_json_form(predictor: Predictor, clips: Path) -> None:
    found = explain(predictor, clips / "clip0.mp4")
    record = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert set(record) == {"path", "model", "method", "label", "score", "frames", "maps", "comparison"}
    assert [frame["index"] for frame in record["frames"]] == list(found.indices)
    assert [frame["relevance"] for frame in record["frames"]] == pytest.approx(found.frames.tolist())
    assert torch.tensor(record["maps"]).shape == found.maps.shape
    assert set(record["comparison"]) == {"map", "random", "centre"}
    assert all(0 <= value <= 1 for score in record["comparison"].values() for value in score.values())


def test_what_is_relevant_moves(tmp_path: Path) -> None:
    """A red square moves over grey: its patches are relevant, and removing them takes the class away."""
    frames = np.full((32, 96, 96, 3), 128, np.uint8)
    for i, frame in enumerate(frames):
        frame[36:60, 8 + 2 * i : 32 + 2 * i] = (220, 30, 30)
    write_video(tmp_path / "square.mp4", frames, fps=16)
    found = explain(Predictor.from_pretrained(ACTIONS_MODEL), tmp_path / "square.mp4")
    assert found.label == "move_right"
    assert found.maps[:, 2:4].sum() > 0.5 * found.maps.sum()  # a third of the picture
    assert found.comparison is not None
    assert found.comparison.map.deletion < found.comparison.random.deletion
    assert found.comparison.map.insertion > found.comparison.random.insertion


def test_a_video_that_cannot_be_read(predictor: Predictor, clips: Path) -> None:
    with pytest.raises(VideoError, match=r"notes\.mp4"):
        explain(predictor, clips / "notes.mp4")
    with pytest.raises(TypeError, match="is no Predictor"):
        explain("clip.mp4", "clip.mp4")  # type: ignore[arg-type]


def an_explanation(times: tuple[float, ...], *, duration: float, rate: int, maps: torch.Tensor) -> Explanation:
    """Frame i is grey 60 + 30 i."""
    pictures = torch.stack([torch.full((32, 48, 3), 60 + 30 * i, dtype=torch.uint8) for i in range(len(times))])
    return Explanation(
        *("grey.mp4", "net", "attention", "up", 0.75),
        maps,
        pictures,
        tuple(range(len(times))),
        times,
        duration,
        Fraction(rate),
    )


def test_the_frames_of_one_patch_share_its_relevance() -> None:
    maps = torch.tensor([3.0, -2.0, 1.0])[:, None, None].expand(3, 2, 3)
    found = an_explanation((0.0, 0.1, 0.2, 0.3, 0.4, 0.5), duration=0.6, rate=10, maps=maps)
    assert found.frames.tolist() == pytest.approx([0.375, 0.375, 0, 0, 0.125, 0.125])
    nothing = an_explanation((0.0, 0.1), duration=0.2, rate=10, maps=-torch.ones(2, 2, 3))
    assert nothing.frames.tolist() == [0, 0]


def test_the_overlay_shows_each_frame_at_its_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = an_explanation((0.2, 0.6, 1.0), duration=1.2, rate=10, maps=torch.zeros(3, 2, 3))
    overlay, sheet = found.write(tmp_path / "new")
    assert (overlay.name, sheet.name) == ("grey.explain.mp4", "grey.explain.png")
    with open_video(overlay) as video:
        assert (video.info.fps, video.info.height, video.info.width) == (10, 320, 480)
        grey = video.frames(range(video.info.num_frames)).data[:, -20:].float().mean(dim=(1, 2, 3))
    assert [round((float(value) - 60) / 30) for value in grey] == [0] * 6 + [1] * 4 + [2] * 2
    with open_video(sheet) as picture:
        data = picture.frames([0]).data[0]
    assert data.shape[1] == 3 * (5 * 48 + 4) and data.shape[0] > 2 * 160
    found = an_explanation((0.0, 100.0), duration=200.0, rate=25, maps=torch.zeros(2, 2, 3))
    overlay, _ = found.write(tmp_path)
    with open_video(overlay) as video:
        assert (video.info.fps, video.info.num_frames) == (1, 200)  # not 5,000


def test_colours_say_for_and_against() -> None:
    pytest.importorskip("matplotlib")
    from videomamba.serving.explain.drawing import heat

    maps = torch.tensor([1.0, 0.0, -0.5])[:, None, None].expand(3, 2, 3)
    grey = torch.full((6, 32, 48, 3), 100, dtype=torch.uint8)
    red, none, blue = heat(grey, maps).float()[::2].mean(dim=(1, 2))
    assert red[0] > 200 and red[2] < 50
    assert none.tolist() == [100, 100, 100]
    assert blue[2] > 140 and blue[0] < 80
    assert torch.equal(heat(grey, torch.zeros(3, 2, 3)), grey)
