"""A weights file opened for use, and conversion between formats: nothing is invented, nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from videomamba.models.videomamba import VideoMamba
from videomamba.modules.embed import resize_positions
from videomamba.schema import Preprocess, VideoMambaError, WeightsError
from videomamba.weights.bundle import read_bundle_metadata, save_bundle
from videomamba.weights.pretrained import convert, labels_beside, open_pretrained
from videomamba.weights.read import read_weights, save_original
from videomamba.weights.zoo import labels_of, zoo_entry

Build = Callable[..., VideoMamba]
Released = Callable[[VideoMamba, str], dict[str, object]]
LABELS = ("cut", "pour", "stir", "mix", "eat")
SQUARE = Preprocess(num_frames=4, image_size=(32, 32), sampling="tsn", crop_ratio=0.9)
INFO = {"task": "classification", "preset": "ssv2-tiny-f8", "steps": 12, "masks": {"share": 0.8}}


@pytest.mark.parametrize("kind", ["image", "student", "video", "masked", "multimodal"])
def test_every_released_kind_becomes_a_bundle(build: Build, released: Released, kind: str, tmp_path: Path) -> None:
    image = kind in ("image", "student")
    source = build(seed=1, num_frames=1 if image else 4, num_classes=5 if image or kind == "video" else 0)
    torch.save(released(source, kind), tmp_path / "their.pth")
    report = convert(tmp_path / "their.pth", tmp_path / "our.safetensors")
    assert not report.missing and not report.replaced and not report.unexpected
    renamed = {"masked": ["norm.weight"], "multimodal": ["vision_encoder.norm.weight"]}
    assert [entry.file_key for entry in report.converted] == renamed.get(kind, [])
    found = open_pretrained(tmp_path / "our.safetensors", needs_head=False)
    expected = source.bfloat16().float() if kind == "multimodal" else source
    assert found.model.config == source.config
    assert all(torch.equal(found.model.state_dict()[key], value) for key, value in expected.state_dict().items())
    assert found.labels == () and found.info == {"converted_from": str(tmp_path / "their.pth")}
    assert found.preprocess.num_frames == source.config.num_frames


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("size", [(32, 32), (32, 48)])
def test_there_and_back_keeps_every_bit(
    build: Build, dtype: torch.dtype, size: tuple[int, int], tmp_path: Path
) -> None:
    preprocess = SQUARE.model_copy(update={"image_size": size})
    model = build(seed=1, image_size=size).to(dtype)
    begun = save_bundle(tmp_path / "begun.safetensors", model, preprocess, LABELS, INFO)
    convert(begun, tmp_path / "their.pth", to="video")
    assert torch.load(tmp_path / "their.pth", weights_only=True).keys() == model.state_dict().keys()
    # A list of positions does not tell how the patches of a frame are arranged, if not in a square.
    convert(tmp_path / "their.pth", tmp_path / "back.safetensors", image_size=size, labels=LABELS)
    first, last = read_weights(begun), read_weights(tmp_path / "back.safetensors")
    assert last.tensors.keys() == first.tensors.keys() and last.config() == first.config()
    for key, value in first.tensors.items():
        assert last.tensors[key].dtype == dtype and torch.equal(last.tensors[key], value), key
    assert last.labels == LABELS


def test_a_bundle_keeps_what_it_says(build: Build, tmp_path: Path) -> None:
    begun = save_bundle(tmp_path / "a.safetensors", build(), SQUARE, LABELS, INFO)
    convert(begun, tmp_path / "b.safetensors")
    found = read_bundle_metadata(tmp_path / "b.safetensors")
    assert found.labels == LABELS and found.preprocess == SQUARE
    assert found.info == {**INFO, "converted_from": str(begun)}


def test_another_size_keeps_the_head_and_says_so(build: Build, tmp_path: Path) -> None:
    source = build(seed=1)
    begun = save_bundle(tmp_path / "a.safetensors", source, SQUARE, LABELS)
    report = convert(begun, tmp_path / "b.safetensors", num_frames=8, image_size=48)
    found = open_pretrained(tmp_path / "b.safetensors")
    assert (found.preprocess.num_frames, found.preprocess.image_size) == (8, (48, 48))
    assert found.labels == LABELS and torch.equal(found.model.head.weight, source.head.weight)
    assert torch.equal(found.model.pos_embed, resize_positions(source.pos_embed, (2, 2), (3, 3)))
    assert "  loaded 40 with the head" in str(report).splitlines()
    assert {entry.model_key for entry in report.resized} == {"pos_embed", "temporal_pos_embedding"}


def test_a_released_file_brings_its_names_and_its_views(build: Build, tmp_path: Path) -> None:
    entry = zoo_entry("videomamba_tiny_breakfast_f32_224")
    torch.save(build(**entry.config).state_dict(), tmp_path / entry.file)
    convert(tmp_path / entry.file, tmp_path / "b.safetensors")
    for path in (tmp_path / entry.file, tmp_path / "b.safetensors"):
        found = open_pretrained(path)
        assert found.labels == labels_of(entry) and found.views == f"{entry.clips}x{entry.crops}" == "4x3"
        assert found.preprocess == entry.preprocess and not found.regression
    torch.save(build(**{**entry.config, "num_classes": 0}).state_dict(), tmp_path / entry.file)
    convert(tmp_path / entry.file, tmp_path / "b.safetensors", overwrite=True)
    assert read_bundle_metadata(tmp_path / "b.safetensors").labels == ()


@pytest.mark.parametrize("stated", [True, False])
def test_one_number_is_a_regression(build: Build, stated: bool, tmp_path: Path) -> None:
    model = build(num_classes=1)
    if stated:
        begun = save_bundle(tmp_path / "a.safetensors", model, SQUARE, info={"task": "regression", "preset": "lvu"})
    else:
        begun = save_original(model, tmp_path / "a.pth")
    convert(begun, tmp_path / "b.safetensors")
    found = open_pretrained(tmp_path / "b.safetensors")
    assert found.regression and found.labels == () and found.info["task"] == "regression"
    assert found.info.get("preset") == ("lvu" if stated else None)


@pytest.mark.parametrize("kind", ["image", "student", "video", "plain", "bundle", "one"])
def test_class_names_for_every_kind_with_a_head(build: Build, released: Released, kind: str, tmp_path: Path) -> None:
    names = ("smile",) if kind == "one" else LABELS
    model = build(num_frames=1 if kind in ("image", "student") else 4, num_classes=len(names))
    if kind == "bundle":
        begun = save_bundle(tmp_path / "a.safetensors", model, SQUARE)
    else:
        begun = tmp_path / "a.pth"
        torch.save(model.state_dict() if kind in ("plain", "one") else released(model, kind), begun)
    convert(begun, tmp_path / "b.safetensors", labels=names)
    found = open_pretrained(tmp_path / "b.safetensors")
    assert found.labels == names and not found.regression
    convert(begun, tmp_path / "b.pth", labels=names)
    assert labels_beside(tmp_path / "b.pth").read_text().split() == list(names)
    their = torch.load(tmp_path / "b.pth", weights_only=True)
    assert ("model" in their) == (model.config.num_frames == 1)  # the image format


def test_names_for_a_number_are_refused(build: Build, tmp_path: Path) -> None:
    begun = save_bundle(tmp_path / "a.safetensors", build(num_classes=1), SQUARE, info={"task": "regression"})
    with pytest.raises(WeightsError, match="its output is a number, not classes"):
        convert(begun, tmp_path / "b.safetensors", labels=["x"])


def test_nothing_is_overwritten_unasked(build: Build, tmp_path: Path) -> None:
    begun = save_bundle(tmp_path / "a.safetensors", build(seed=1), SQUARE, LABELS)
    before = begun.read_bytes()
    for options in ({}, {"to": "bundle"}):
        with pytest.raises(WeightsError, match=r"a\.safetensors: exists; choose another name, or replace it"):
            convert(begun, begun, **options)
    (tmp_path / "b.labels.txt").write_text("mine")
    with pytest.raises(WeightsError, match=r"b\.labels\.txt: exists"):
        convert(begun, tmp_path / "b.pth", labels=LABELS)
    assert begun.read_bytes() == before and not (tmp_path / "b.pth").exists()
    convert(begun, begun, labels="abcde", overwrite=True)
    assert open_pretrained(begun).labels == tuple("abcde")


def test_one_class_with_a_name_or_a_task_is_none(build: Build, tmp_path: Path) -> None:
    named = save_bundle(tmp_path / "named.safetensors", build(num_classes=1), SQUARE, ["smile"])
    task = save_bundle(tmp_path / "task.safetensors", build(num_classes=1), SQUARE, info={"task": "classification"})
    assert not open_pretrained(named).regression and not open_pretrained(task).regression


def test_given_names_replace_those_of_the_file(build: Build, tmp_path: Path) -> None:
    names = tuple("abcde")
    begun = save_bundle(tmp_path / "a.safetensors", build(), SQUARE, LABELS)
    convert(begun, tmp_path / "b.safetensors", labels=names)
    assert read_bundle_metadata(tmp_path / "b.safetensors").labels == names
    assert open_pretrained(begun, labels=names).labels == names


@pytest.mark.parametrize(
    ("fields", "options", "message"),
    [
        ({}, {"labels": ["one", "two"]}, r"2 class names for a model with 5 classes; give one name per class"),
        ({"num_classes": 0}, {"labels": LABELS}, "its output is features, without a head, not classes"),
        ({"image_size": (32, 48)}, {}, "6 patches, not a square; give the height and width of the images"),
        ({"image_size": (32, 48)}, {"image_size": 64}, "6 patches, not the grid 4x4"),
        ({}, {"image_size": 50}, "must be a multiple of patch_size 16"),
        ({}, {"num_frames": 10**9}, "tokens, more than 4000000; use fewer frames"),
        ({}, {"to": "image"}, "the original's image format is no safetensors file; end its name in .pth"),
    ],
)
def test_what_cannot_be_converted_is_one_line(
    build: Build, fields: dict[str, object], options: dict[str, object], message: str, tmp_path: Path
) -> None:
    begun = save_original(build(**fields), tmp_path / "a.pth")
    with pytest.raises(VideoMambaError, match=message) as caught:
        convert(begun, tmp_path / "out.safetensors", **options)
    assert str(caught.value).startswith(str(tmp_path)) and "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]


def test_a_head_is_asked_for_by_default(build: Build, tmp_path: Path) -> None:
    headless = save_bundle(tmp_path / "a.safetensors", build(num_classes=0), SQUARE)
    with pytest.raises(WeightsError, match="has no classification head"):
        open_pretrained(headless)


def test_integer_weights_are_refused(build: Build, released: Released, tmp_path: Path) -> None:
    source = build(num_frames=4, num_classes=0)
    others = {"text_encoder.position_ids": torch.arange(4)}
    torch.save({**released(source, "masked"), **others}, tmp_path / "a.pth")
    convert(tmp_path / "a.pth", tmp_path / "out.safetensors")
    weights = {key: value.to(torch.int8) if "in_proj" in key else value for key, value in source.state_dict().items()}
    torch.save(weights, tmp_path / "b.pth")
    with pytest.raises(
        WeightsError, match=r"b\.pth: layers\.0\.mixer\.in_proj\.weight is int8, not floating point; give"
    ):
        convert(tmp_path / "b.pth", tmp_path / "out2.safetensors")
