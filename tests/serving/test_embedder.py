"""From a file to a vector."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from videomamba import Predictor, create_model
from videomamba.schema import Preprocess, VideoError, WeightsError
from videomamba.serving.embedder import Embedder, Embedding
from videomamba.weights.bundle import save_bundle
from videomamba.weights.pretrained import open_pretrained
from videomamba.weights.read import save_original


@pytest.fixture(scope="module")
def headless(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trunk of the common bundle, without its head."""
    opened = open_pretrained(bundle)
    trunk = create_model(**{**opened.model.config.model_dump(), "name": "videomamba_micro", "num_classes": 0})
    trunk.load_state_dict({k: v for k, v in opened.model.state_dict().items() if not k.startswith("head.")})
    return save_bundle(tmp_path_factory.mktemp("trunk") / "trunk.safetensors", trunk, opened.preprocess)


def test_it_is_the_mean_of_the_features_of_the_views(bundle: Path, clips: Path) -> None:
    embedder = Embedder.from_pretrained(bundle)
    views = embedder.clips(clips / "clip1.mp4", views="2x3")
    with torch.inference_mode():
        alone = torch.cat([embedder.model.forward_features(view.data[None]) for view in views])
    torch.testing.assert_close(embedder.features(views), alone)
    found = embedder(clips / "clip1.mp4", "2x3")
    torch.testing.assert_close(found.data, alone.mean(dim=0))
    assert found.data.shape == (embedder.dim,) == (32,) and found.data.dtype == torch.float32
    assert (found.path, found.num_frames, found.duration) == (str(clips / "clip1.mp4"), 12, 1.5)
    assert not torch.equal(found.data, embedder(clips / "clip1.mp4").data)


def test_the_head_of_a_predictor_reads_it(bundle: Path, clips: Path) -> None:
    predictor, embedder = Predictor.from_pretrained(bundle), Embedder.from_pretrained(bundle)
    logits = predictor.logits(predictor.clips(clips / "clip0.mp4"))
    with torch.inference_mode():
        from_embedding = predictor.model.head(embedder(clips / "clip0.mp4").data)
    torch.testing.assert_close(from_embedding, logits[0])


def test_weights_without_a_head(bundle: Path, headless: Path, clips: Path, tmp_path: Path) -> None:
    whole, trunk = Embedder.from_pretrained(bundle), Embedder.from_pretrained(headless)
    assert torch.equal(whole(clips / "clip0.mp4").data, trunk(clips / "clip0.mp4").data)
    with pytest.raises(WeightsError, match="no classification head"):
        open_pretrained(headless)
    square = create_model("videomamba_micro", depth=1, dim=32, num_frames=2, image_size=32, num_classes=0)
    original = Embedder.from_pretrained(save_original(square, tmp_path / "some_trunk.pth"))
    assert original(clips / "clip0.mp4").data.shape == (32,)


def test_the_bits_do_not_depend_on_neighbours(bundle: Path, clips: Path) -> None:
    embedder = Embedder.from_pretrained(bundle)
    paths = [clips / "clip2.mp4", clips / "notes.mp4", clips / "absent.mp4", clips / "clip0.mp4"]
    answers = list(embedder.embed_many(paths, "2x3"))
    assert [type(a) for a in answers] == [Embedding, VideoError, VideoError, Embedding]
    assert [a.path for a in answers] == [str(path) for path in paths]
    for path, answer in zip(paths, answers, strict=True):
        if isinstance(answer, Embedding):
            assert torch.equal(answer.data, embedder(path, "2x3").data)


def test_another_length_resolution_and_precision(bundle: Path, clips: Path) -> None:
    embedder = Embedder.from_pretrained(bundle, num_frames=6, image_size=64, precision="bf16")
    assert embedder.clips(clips / "clip0.mp4")[0].data.shape == (3, 6, 64, 64)
    exact = Embedder.from_pretrained(bundle, num_frames=6, image_size=64)
    found, expected = (e(clips / "clip0.mp4").data for e in (embedder, exact))
    assert found.dtype == torch.float32 and not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.1)


def test_numbers_that_are_not_finite_are_an_error_of_the_video(clips: Path) -> None:
    model = create_model("videomamba_micro", depth=1, dim=32, num_frames=2, image_size=32, num_classes=0)
    torch.nn.init.constant_(model.norm_f.weight, float("nan"))
    embedder = Embedder(model, Preprocess(num_frames=2, image_size=(32, 32)))
    with pytest.raises(VideoError, match=r"clip0\.mp4: its embedding holds numbers that are not finite"):
        embedder(clips / "clip0.mp4")
    with pytest.raises(VideoError, match="not finite"):
        embedder.per_frame(clips / "clip0.mp4")
    assert [type(a) for a in embedder.embed_many([clips / "clip0.mp4", clips / "clip1.mp4"])] == [VideoError] * 2


def test_an_embedding_for_every_frame(bundle: Path, clips: Path) -> None:
    embedder = Embedder.from_pretrained(bundle)
    told: list[tuple[int, int]] = []
    whole = embedder.per_frame(clips / "clip0.mp4", progress=lambda stage, done, total: told.append((done, total)))
    assert whole.frames.shape == (12, 32) and whole.frames.dtype == torch.float32
    assert whole.timestamps.tolist() == pytest.approx([i / 8 for i in range(12)])
    assert "interpolation" in whole.note
    assert told[-1][0] == told[-1][1]
    fewer = embedder.per_frame(clips / "clip0.mp4", fps=2)
    assert fewer.timestamps.tolist() == pytest.approx([0, 0.5, 1])
    with pytest.raises(VideoError, match=r"absent\.mp4"):
        embedder.per_frame(clips / "absent.mp4")


def test_a_video_that_does_not_fit_is_its_own_error(bundle: Path, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object, **__: object) -> None:
        torch.empty(2**60)

    monkeypatch.setattr("videomamba.serving.whole.at_rate", no_room)
    with pytest.raises(VideoError, match=r"clip0\.mp4: does not fit in memory in one pass"):
        Embedder.from_pretrained(bundle).per_frame(clips / "clip0.mp4")


def test_an_embedding_checks_its_shape() -> None:
    assert "(3,) of 8 frames" in repr(Embedding("a.mp4", torch.zeros(3), 8, 1.0))
    with pytest.raises(ValueError, match=r"must be \(d,\) float32"):
        Embedding("a.mp4", torch.zeros(1, 3), 8, 1.0)
