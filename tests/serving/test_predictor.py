"""From a file to class names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from videomamba import Predictor, create_model
from videomamba.models.precision import cast_products
from videomamba.schema import Prediction, Preprocess, VideoError, VideoMambaError, WeightsError
from videomamba.weights.bundle import save_bundle
from videomamba.weights.read import save_original

SHARED_VIDEOS = Path(__file__).resolve().parents[2].parent / "shared" / "videos"


def test_scores_are_probabilities_best_first(bundle: Path, clips: Path) -> None:
    predictor = Predictor.from_pretrained(bundle)
    prediction = predictor(clips / "clip0.mp4", top=16)
    scores = [p.score for p in prediction.predictions]
    assert len(scores) == 16 and sum(scores) == pytest.approx(1, abs=1e-5)
    assert scores == sorted(scores, reverse=True)
    logits = predictor.logits(predictor.clips(clips / "clip0.mp4"))
    assert prediction.top.label == predictor.labels[int(logits.argmax())]
    assert prediction.seconds > 0
    assert len(predictor(clips / "clip0.mp4", top=3).predictions) == 3


def test_views_average_probabilities(bundle: Path, clips: Path) -> None:
    predictor = Predictor.from_pretrained(bundle)
    views = predictor.clips(clips / "clip1.mp4", views="2x3")
    assert len(views) == 6 and {tuple(v.data.shape) for v in views} == {(3, 4, 32, 48)}
    mean = predictor.logits(views).softmax(1).mean(0)
    best = predictor(clips / "clip1.mp4", views="2x3").top
    assert best.score == pytest.approx(mean.max().item(), abs=1e-6)
    assert best.label == predictor.labels[int(mean.argmax())]


def test_many_files_keep_their_order_and_their_errors(bundle: Path, clips: Path) -> None:
    predictor = Predictor.from_pretrained(bundle)
    paths = [clips / "clip2.mp4", clips / "notes.mp4", clips / "absent.mp4", clips / "clip0.mp4"]
    answers = list(predictor.predict_many(paths))
    assert [type(a) for a in answers] == [Prediction, VideoError, VideoError, Prediction]
    assert [str(a.path) for a in answers] == [str(p) for p in paths]
    assert answers[0] == predictor(paths[0]) and answers[3] == predictor(paths[3])


def test_another_length_and_resolution(bundle: Path, clips: Path) -> None:
    predictor = Predictor.from_pretrained(bundle, num_frames=6, image_size=64)
    assert predictor.clips(clips / "clip0.mp4")[0].data.shape == (3, 6, 64, 64)
    assert len(predictor(clips / "clip0.mp4").predictions) == 5
    with pytest.raises(WeightsError, match="multiple of patch_size 16"):
        Predictor.from_pretrained(bundle, image_size=50)


def test_an_original_file_needs_nothing_else(bundle: Path, clips: Path, tmp_path: Path) -> None:
    ours = Predictor.from_pretrained(bundle)
    path = save_original(ours.model, tmp_path / "some_video_model.pth")
    with pytest.raises(WeightsError, match="not a square"):
        Predictor.from_pretrained(path)  # 6 patches: not square, and the file does not say how they lie
    square = create_model("videomamba_micro", depth=2, dim=32, num_frames=4, image_size=32, num_classes=16)
    path = save_original(square, tmp_path / "some_video_model.pth")
    predictor = Predictor.from_pretrained(path)
    assert predictor.labels[:2] == ("class 0", "class 1")
    assert predictor.preprocess == Preprocess(num_frames=4, image_size=(32, 32), antialias=False)
    assert predictor(clips / "clip0.mp4").top.label in predictor.labels
    for file in (path, bundle):  # without names, and with its own
        named = Predictor.from_pretrained(file, labels=[f"name {i}" for i in range(16)])
        assert named(clips / "clip0.mp4").top.label.startswith("name ")
    with pytest.raises(VideoMambaError, match="2 class names for a model with 16 classes"):
        Predictor.from_pretrained(path, labels=["one", "two"])


def test_a_released_file_brings_its_labels_and_preprocessing(clips: Path, tmp_path: Path) -> None:
    model = create_model("videomamba_tiny", depth=1, num_classes=400)
    path = save_original(model, tmp_path / "videomamba_t16_k400_f8_res224.pth")
    predictor = Predictor.from_pretrained(path)
    assert predictor.labels[0] == "riding a bike"
    assert (predictor.preprocess.image_size, predictor.preprocess.antialias) == ((224, 224), False)
    assert predictor(clips / "clip0.mp4").top.label in predictor.labels


@pytest.mark.parametrize(("outputs", "reason"), [(0, "no classification head"), (1, "its output is a number")])
def test_a_model_without_classes_is_refused(outputs: int, reason: str, tmp_path: Path) -> None:
    model = create_model("videomamba_micro", depth=1, dim=32, num_frames=2, image_size=32, num_classes=outputs)
    path = save_bundle(tmp_path / "other.safetensors", model, Preprocess(num_frames=2, image_size=(32, 32)))
    with pytest.raises(WeightsError, match=reason):
        Predictor.from_pretrained(path)


def test_bf16_casts_the_products_and_nothing_else(bundle: Path, clips: Path) -> None:
    exact = Predictor.from_pretrained(bundle)
    rounded = Predictor.from_pretrained(bundle, precision="bf16")
    kinds = {name: p.dtype for name, p in rounded.model.named_parameters()}
    cast = {name for name, dtype in kinds.items() if dtype == torch.bfloat16}
    assert cast == {
        name
        for name in kinds
        if "patch_embed" in name or name.endswith(("_proj.weight", "x_proj_b.weight", "dt_proj_b.weight"))
    }
    path = clips / "clip0.mp4"
    found, expected = (p.logits(p.clips(path)) for p in (rounded, exact))
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)
    assert not torch.equal(found, expected)


def test_bf16_keeps_gradients_possible() -> None:
    model = create_model("videomamba_micro", depth=1, dim=32, num_frames=2, image_size=32)
    cast_products(model, torch.bfloat16)
    model(torch.randn(1, 3, 2, 32, 32)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.skipif(not SHARED_VIDEOS.is_dir(), reason="the real clips are not here")
def test_every_real_clip_is_predicted_or_refused(bundle: Path) -> None:
    predictor = Predictor.from_pretrained(bundle)
    files = sorted(p for p in SHARED_VIDEOS.iterdir() if p.suffix != ".md")
    answers = {p.name: a for p, a in zip(files, predictor.predict_many(files, views="4x3"), strict=True)}
    errors = {name: str(a) for name, a in answers.items() if isinstance(a, VideoError)}
    assert set(errors) == {"corrupted.mp4"}
    assert "corrupted.mp4" in errors["corrupted.mp4"] and "frame" in errors["corrupted.mp4"]
    assert all(len(a.predictions) == 5 for name, a in answers.items() if name not in errors)
