"""A network by name or from a file, and back: the public functions that return and save networks."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import videomamba
from videomamba.models.videomamba import VideoMamba
from videomamba.schema import Preprocess, VideoMambaError, WeightsError
from videomamba.weights.read import read_weights
from videomamba.weights.zoo import resolve_weights, zoo_entry

Build = Callable[..., VideoMamba]
PACKAGED = "videomamba_micro_synthetic"
SQUARE = Preprocess(num_frames=4, image_size=(32, 32), sampling="tsn")


@pytest.fixture
def saved(build: Build, tmp_path: Path) -> Path:
    model = build(seed=1, scan_order="temporal_first", pool="mean")
    return videomamba.save(model, tmp_path / "a.safetensors", preprocess=SQUARE, labels="abcde")


def test_what_is_saved_comes_back(build: Build, saved: Path) -> None:
    model = build(seed=1, scan_order="temporal_first", pool="mean")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = videomamba.from_pretrained(saved)
    assert found.config == model.config and not found.training
    assert all(torch.equal(found.state_dict()[key], value) for key, value in model.state_dict().items())
    predictor = videomamba.Predictor.from_pretrained(saved)
    assert predictor.labels == tuple("abcde") and predictor.preprocess == SQUARE


def test_what_does_not_fit_is_not_saved(build: Build, tmp_path: Path) -> None:
    with pytest.raises(VideoMambaError, match="2 class names for a model with 5 classes"):
        videomamba.save(build(), tmp_path / "a.safetensors", preprocess=SQUARE, labels="ab")
    with pytest.raises(ValueError, match="do not fit the model"):
        videomamba.save(build(), tmp_path / "a.safetensors", preprocess=Preprocess())
    with pytest.raises(WeightsError, match=r"end its name in \.safetensors"):
        videomamba.save(build(), tmp_path / "a.pth", preprocess=SQUARE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("classes", "kept"), [(None, True), (5, True), (3, False), (0, False)])
def test_another_number_of_classes(saved: Path, classes: int | None, kept: bool) -> None:
    model = videomamba.from_pretrained(saved, num_classes=classes)
    outputs = 5 if classes is None else classes
    assert model.config.num_classes == outputs
    assert model(torch.randn(2, 3, 4, 32, 32)).shape == (2, outputs or model.config.dim)
    if kept:
        assert torch.equal(model.head.weight, read_weights(saved).tensors["head.weight"])
    assert torch.equal(model.cls_token, read_weights(saved).tensors["cls_token"])


def test_another_length_and_size(saved: Path) -> None:
    model = videomamba.from_pretrained(saved, num_frames=6, image_size=48)
    assert (model.config.num_frames, model.config.image_size) == (6, (48, 48))


def test_a_file_without_settings_gives_a_warning(build: Build, tmp_path: Path) -> None:
    torch.save(build().state_dict(), path := tmp_path / "bare.pth")
    expected = r"bare\.pth: has no settings; assuming .* \(scan_order spatial_first, .*pool cls.*sampling uniform"
    with pytest.warns(UserWarning, match=expected) as caught:
        videomamba.from_pretrained(path)
    assert len(caught) == 1 and caught[0].filename == __file__


def test_a_name_of_the_zoo_is_an_architecture() -> None:
    model = videomamba.create_model(PACKAGED, num_classes=4)
    stored = read_weights(resolve_weights(PACKAGED)).config()
    assert model.config == stored.model_copy(update={"num_classes": 4})
    with torch.device("meta"):
        released = videomamba.create_model("videomamba_tiny_breakfast_f64_224", depth=1)
    entry = zoo_entry("videomamba_tiny_breakfast_f64_224")
    assert (released.config.dim, released.config.num_frames, released.config.num_classes) == (192, 64, 10)
    assert entry.architecture == "videomamba_tiny"


def test_the_packaged_weights_in_a_network_of_other_classes() -> None:
    stored = read_weights(resolve_weights(PACKAGED)).tensors
    with pytest.raises(WeightsError, match="its head has 16 classes, the model's 4: pass head='replace'"):
        videomamba.create_model(PACKAGED, num_classes=4, weights=PACKAGED)
    model = videomamba.create_model(PACKAGED, num_classes=4, weights=PACKAGED, head="replace")
    assert model.head.weight.shape == (4, 128) and torch.equal(model.pos_embed, stored["pos_embed"])
    assert torch.equal(videomamba.from_pretrained(PACKAGED).head.weight, stored["head.weight"])


def test_weights_of_another_network_say_what_to_call() -> None:
    with pytest.raises(
        WeightsError, match=r"build the file's own network with videomamba\.from_pretrained\('"
    ) as caught:
        videomamba.create_model("videomamba_micro", weights=PACKAGED)
    call = str(caught.value).partition("videomamba.from_pretrained('")[2].partition("'")[0]
    assert videomamba.from_pretrained(call).config.depth == 5


def test_an_unknown_name_is_compared_with_all_of_them() -> None:
    with pytest.raises(ValueError, match="did you mean 'videomamba_tiny_k400_f8_224'"):
        videomamba.create_model("videomamba_tiny_k400_f8_22")
    with pytest.raises(ValueError, match=r"unknown model 'x'; known: videomamba_tiny, .* and the names of the zoo"):
        videomamba.create_model("x")


def test_a_new_head_is_like_the_network(build: Build) -> None:
    model = build(num_classes=5).double()
    model.requires_grad_(False)
    model.reset_classifier(3)
    head = model.head
    assert isinstance(head, torch.nn.Linear) and head.weight.dtype == torch.float64 and head.weight.requires_grad
    assert not head.bias.any() and 0.01 < head.weight.std() < 0.03
    assert model.config.num_classes == 3 and "head.weight" in model.state_dict()
    model.reset_classifier(0)
    features: Tensor = model.eval()(torch.randn(1, 3, 4, 32, 32, dtype=torch.float64))
    assert features.shape == (1, 32) and "head.weight" not in model.state_dict()
    with pytest.raises(ValueError, match="num_classes"):
        model.reset_classifier(-1)
    assert model.config.num_classes == 0
