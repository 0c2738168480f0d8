"""The models compute what the network computes, and load, save, resize and adapt as transformers expects."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoBackbone, AutoConfig, AutoModel, AutoModelForVideoClassification

from tests.models.networks import build_model
from videomamba.export.transformers import (
    VideoMambaBackbone,
    VideoMambaForVideoClassification,
    VideoMambaHFConfig,
    VideoMambaModel,
)
from videomamba.models.videomamba import VideoMamba
from videomamba.weights.pretrained import open_pretrained


@pytest.fixture(scope="module")
def network(bundle: Path) -> VideoMamba:
    return open_pretrained(bundle).model.eval()


@pytest.fixture(scope="module")
def video() -> Tensor:
    """(b, 3, t, h, w)"""
    return torch.randn(2, 3, 4, 32, 48, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_the_parts_of_the_network_are_its_outputs(folder: Path, network: VideoMamba, video: Tensor) -> None:
    pixels = video.transpose(1, 2)
    model = AutoModelForVideoClassification.from_pretrained(folder)
    assert type(model) is VideoMambaForVideoClassification and model.num_labels == 16
    torch.testing.assert_close(model(pixel_values=pixels).logits, network(video))
    output = AutoModel.from_pretrained(folder)(pixel_values=pixels, output_hidden_states=True)
    torch.testing.assert_close(output.pooler_output, network.forward_features(video))
    torch.testing.assert_close(output.last_hidden_state, network.forward_tokens(video))
    assert len(output.hidden_states) == 3
    torch.testing.assert_close(output.hidden_states[0], network.embed(video))
    torch.testing.assert_close(output.hidden_states[-1], network.encode(network.embed(video)))
    loss, logits = model(pixel_values=pixels, labels=torch.tensor([3, 5]), return_dict=False)
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits, torch.tensor([3, 5])))
    with pytest.raises(ValueError, match=r"pixel_values must be \(b, t, 3, h, w\)"):
        model(pixel_values=video)


@torch.no_grad()
def test_tokens_have_no_registers(video: Tensor) -> None:
    network = build_model(num_registers=2, image_size=(32, 48), num_classes=0).eval()
    model = VideoMambaModel(VideoMambaHFConfig.of_network(network.config)).eval()
    model.network.load_state_dict(network.state_dict())
    found = model(pixel_values=video.transpose(1, 2)).last_hidden_state
    torch.testing.assert_close(found, network.forward_tokens(video))


@torch.no_grad()
def test_a_backbone_gives_maps(folder: Path, network: VideoMamba, video: Tensor) -> None:
    backbone = VideoMambaBackbone.from_pretrained(folder, out_indices=[0, -1])
    assert backbone.out_features == ["layer1", "layer2"] and backbone.channels == [32, 32]
    maps = backbone(video.transpose(1, 2)).feature_maps
    for found, expected in zip(maps, network.forward_intermediates(video, [0, 1], norm=True), strict=True):
        torch.testing.assert_close(found, expected.permute(0, 4, 1, 2, 3))
    config = AutoConfig.from_pretrained(folder, out_features=["layer1"])
    made = AutoBackbone.from_config(config)
    assert type(made) is VideoMambaBackbone and len(made(video.transpose(1, 2)).feature_maps) == 1


def test_a_fresh_model_starts_as_the_network_does() -> None:
    config = VideoMambaHFConfig(dim=32, depth=2, num_frames=4, image_size=32, num_labels=5)
    torch.manual_seed(7)
    model = AutoModelForVideoClassification.from_config(config)
    torch.manual_seed(7)
    expected = VideoMamba(config.network).state_dict()
    assert config.num_hidden_layers == 2 and config.hidden_size == 32
    for key, value in model.videomamba.network.state_dict().items():
        assert torch.equal(value, expected[key])
    assert 0.01 < model.classifier.weight.std() < 0.03 and not model.classifier.bias.any()


def test_another_number_of_classes_gives_a_new_head_alone(folder: Path, network: VideoMamba) -> None:
    model = AutoModelForVideoClassification.from_pretrained(folder, num_labels=3, ignore_mismatched_sizes=True)
    assert model.classifier.weight.shape == (3, 32) and 0.01 < model.classifier.weight.std() < 0.03
    for key, value in model.videomamba.network.state_dict().items():
        assert torch.equal(value, network.state_dict()[key])


def test_no_parameter_of_the_network_stays_random(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"lack parameters of a VideoMamba, .* --frames T --size S"):
        AutoModel.from_pretrained(folder, num_frames=8, ignore_mismatched_sizes=True)
    with pytest.raises(ValueError, match="image_size 30x30 must be a multiple of patch_size 16"):
        VideoMambaHFConfig(image_size=30)


@torch.no_grad()
def test_half_precision_runs(folder: Path, network: VideoMamba, video: Tensor) -> None:
    model = AutoModelForVideoClassification.from_pretrained(folder, dtype=torch.bfloat16)
    logits = model(pixel_values=video.transpose(1, 2).bfloat16()).logits
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, network(video), atol=0.1, rtol=0.1)
