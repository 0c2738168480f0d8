"""Clips and sentences as vectors of length 1 in one space."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.serving.search.made import write_text_model
from videomamba.schema import VideoMambaError, WeightsError
from videomamba.serving.video_text import TextEmbedder


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> TextEmbedder:
    return TextEmbedder.from_pretrained(write_text_model(tmp_path_factory.mktemp("weights") / "text.safetensors"))


def test_vectors_have_length_one_and_depend_on_nothing_else(embedder: TextEmbedder, clips: Path) -> None:
    seen = [embedder.clips(clips / f"clip{i}.mp4")[0] for i in range(3)]
    features = embedder.features(seen)
    assert features.shape == (3, embedder.dim) and features.dtype == torch.float32
    torch.testing.assert_close(features.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(embedder.features(seen[1:2])[0], features[1], atol=1e-6, rtol=0)
    texts = embedder.texts(["a red square moves left", "a circle"])
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(embedder.texts(["A circle."])[0], texts[1], atol=1e-6, rtol=0)


def test_the_vector_of_a_clip_is_the_mean_of_its_frames(embedder: TextEmbedder, clips: Path) -> None:
    (clip,) = embedder.clips(clips / "clip0.mp4")
    network = embedder.network
    with torch.inference_mode():
        frames = network.embed_videos(network.encode_video(clip.data[None]).pooled)[0]
    assert frames.shape == (4, embedder.dim)
    mean = frames.mean(0)
    torch.testing.assert_close(embedder.features([clip])[0], mean / mean.norm())


def test_refusals(embedder: TextEmbedder, bundle: Path) -> None:
    with pytest.raises(VideoMambaError, match="has no words"):
        embedder.texts(["a", " . "])
    with pytest.raises(VideoMambaError, match=r"^'日本': the model knows none of these words"):
        embedder.texts(["日本"])
    with pytest.raises(WeightsError, match="without a text tower"):
        TextEmbedder.from_pretrained(bundle)
