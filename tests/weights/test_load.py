"""Every released kind of file loads completely, every tensor is in the report, and everything else is an error."""

from __future__ import annotations

import argparse
import math
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from videomamba.models.config import VideoMambaConfig
from videomamba.models.videomamba import VideoMamba
from videomamba.modules.embed import resize_positions, resize_temporal
from videomamba.schema import Preprocess, WeightsError
from videomamba.weights.bundle import save_bundle
from videomamba.weights.convert import infer_config, inflate_patch, strip_prefix
from videomamba.weights.load import load_weights
from videomamba.weights.read import read_weights, save_original
from videomamba.weights.report import LoadReport

Build = Callable[..., VideoMamba]
Released = Callable[[VideoMamba, str], dict[str, object]]
WeightsOf = Callable[[VideoMamba], dict[str, Tensor]]


def check_account(report: LoadReport, model: VideoMamba, file: Mapping[str, object]) -> None:
    """Every key of both sides stands in the report exactly once."""
    inner = file.get("model", file)
    assert sorted(report.model_keys) == sorted(model.state_dict())
    assert sorted(report.file_keys) == sorted(inner)
    both = sum(entry.model_key is not None and entry.file_key is not None for entry in report.entries)
    assert len(report.entries) == len(report.model_keys) + len(report.file_keys) - both
    for entry in report.loaded:
        assert entry.model_shape == entry.file_shape


def check_equal(model: VideoMamba, expected: Mapping[str, Tensor], *, but: tuple[str, ...] = ()) -> None:
    for key, value in model.state_dict().items():
        if key not in but:
            assert torch.equal(value, expected[key]), key


class TestInferConfig:
    @pytest.mark.parametrize("kind", ["image", "student", "video", "masked", "multimodal"])
    def test_every_released_kind(self, build: Build, released: Released, kind: str) -> None:
        image = kind in ("image", "student")
        classes = 5 if image or kind == "video" else 0
        model = build(num_frames=1 if image else 4, num_classes=classes)
        assert VideoMambaConfig.model_validate(infer_config(released(model, kind))) == model.config

    @settings(max_examples=15, deadline=None)
    @given(
        dim=st.sampled_from([16, 40]),
        depth=st.integers(1, 3),
        frames=st.integers(1, 3),
        tubelet=st.integers(1, 2),
        patch=st.sampled_from([4, 16]),
        side=st.integers(1, 3),
        expand=st.integers(1, 2),
        states=st.integers(2, 4),
        taps=st.integers(2, 4),
        classes=st.integers(0, 3),
        registers=st.integers(0, 1),
    )
    def test_reads_every_number(
        self, dim: int, depth: int, frames: int, tubelet: int, patch: int, side: int, expand: int,
        states: int, taps: int, classes: int, registers: int,
    ) -> None:  # fmt: skip
        config = VideoMambaConfig(
            dim=dim,
            depth=depth,
            num_frames=frames * tubelet,
            tubelet_size=tubelet,
            patch_size=patch,
            image_size=(side * patch, side * patch),
            expand=expand,
            d_state=states,
            d_conv=taps,
            num_classes=classes,
            num_registers=registers,
        )
        assert VideoMambaConfig.model_validate(infer_config(VideoMamba(config).state_dict())) == config

    def test_a_grid_that_is_no_square_must_be_given(self, build: Build) -> None:
        weights = build(image_size=(32, 48)).state_dict()
        with pytest.raises(WeightsError, match="6 patches, not a square"):
            infer_config(weights)
        with pytest.raises(WeightsError, match="not the grid 2x2"):
            infer_config(weights, grid=(2, 2))
        assert infer_config(weights, grid=(2, 3))["image_size"] == (32, 48)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda w: w.pop("pos_embed"), "no pos_embed; these are not weights of a VideoMamba"),
            (lambda w: w.pop("patch_embed.proj.weight"), "no patch_embed.proj.weight"),
            (lambda w: w.pop("layers.0.mixer.A_b_log"), "no layers.0.mixer.A_b_log"),
            (
                lambda w: [w.pop(k) for k in list(w) if k.startswith("layers.0.")],
                "no layers.0; the weights are incompl",
            ),
            (lambda w: [w.pop(k) for k in list(w) if k.startswith("layers.")], "no layers.0.mixer.in_proj.weight"),
            (lambda w: w.update(pos_embed=torch.ones(5, 32)), "pos_embed has shape .5, 32., expected 3 dimensions"),
            (lambda w: w.update({"patch_embed.proj.weight": torch.ones(32, 3, 1, 16, 8)}), "not squares"),
            (lambda w: w.update({"layers.0.mixer.in_proj.weight": torch.ones(100, 32)}), "not a multiple of the width"),
        ],
    )
    def test_says_what_is_wrong(
        self, build: Build, change: Callable[[dict[str, Tensor]], object], message: str
    ) -> None:
        weights = dict(build().state_dict())
        change(weights)
        with pytest.raises(WeightsError, match=message) as caught:
            infer_config(weights, source="x.pth")
        assert str(caught.value).startswith("x.pth: ") and "\n" not in str(caught.value)


class TestReleasedFormats:
    @pytest.mark.parametrize(
        ("wrapper", "prefix"),
        [
            *(
                (None, prefix)
                for prefix in ("", "module.", "backbone.", "encoder.", "_orig_mod.", "model.", "net.", "student.")
            ),
            (None, "model._orig_mod.module.net."),
            (None, "module.student.model."),
            *((wrapper, "module.backbone.") for wrapper in ("model", "module", "state_dict", "model_state_dict")),
        ],
    )
    def test_wrapped_and_prefixed(
        self, build: Build, weights_of: WeightsOf, tmp_path: Path, wrapper: str | None, prefix: str
    ) -> None:
        source, model = build(seed=1), build(seed=2)
        inner = {prefix + key: value for key, value in weights_of(source).items()}
        content = (
            inner if wrapper is None else {wrapper: inner, "epoch": 3, "optimizer": {"state": {}}, "model_ema": None}
        )
        torch.save(content, tmp_path / "file.pth")
        report = load_weights(model, tmp_path / "file.pth")
        check_equal(model, source.state_dict())
        assert len(report.loaded) == len(report.entries)
        assert sorted(report.file_keys) == sorted(inner)

    def test_two_networks_in_one_file(self, build: Build, weights_of: WeightsOf) -> None:
        weights = weights_of(build())
        both = {f"{name}.{key}": value for name in ("student", "teacher") for key, value in weights.items()}
        with pytest.raises(
            WeightsError, match=r"holds 2 networks, whose keys begin with student\. and teacher\.; keep one"
        ):
            load_weights(build(), both)
        beside = {f"{name}.{key}": value for name in ("model", "teacher") for key, value in weights.items()}
        with pytest.raises(WeightsError, match=r"no place in the model: teacher\."):
            load_weights(build(), beside)
        load_weights(build(), beside, allow_unexpected=["teacher.*"])

    def test_wrappers_inside_one_another(self, build: Build, weights_of: WeightsOf) -> None:
        source, model = build(seed=1), build(seed=2)
        load_weights(model, {"state_dict": {"model": weights_of(source), "epoch": 1}, "step": 3})
        check_equal(model, source.state_dict())

    @pytest.mark.parametrize("name", ["weights.pth", "weights.bin", "weights"])
    def test_the_content_counts_not_the_name(
        self, build: Build, weights_of: WeightsOf, tmp_path: Path, name: str
    ) -> None:
        source = build(seed=1)
        ours = save_bundle(tmp_path / "b.safetensors", source, Preprocess(num_frames=4, image_size=(32, 32)))
        ours.rename(tmp_path / name)
        assert read_weights(tmp_path / name).config() == source.config
        for zipped in (True, False):
            torch.save(
                weights_of(source), wrong := tmp_path / "wrong.safetensors", _use_new_zipfile_serialization=zipped
            )
            load_weights(model := build(seed=2), wrong)
            check_equal(model, source.state_dict())

    def test_image_into_image(self, build: Build, released: Released) -> None:
        source, model = build(seed=1, num_frames=1), build(seed=2, num_frames=1)
        report = load_weights(model, file := released(source, "image"))
        check_equal(model, source.state_dict())
        check_account(report, model, file)
        assert [entry.model_key for entry in report.inflated] == ["patch_embed.proj.weight"]

    def test_student_is_an_image_model_with_a_head_too_many(self, build: Build, released: Released) -> None:
        source, model = build(seed=1, num_frames=1), build(seed=2, num_frames=1)
        report = load_weights(model, file := released(source, "student"))
        check_equal(model, source.state_dict())
        check_account(report, model, file)
        assert len(report.ignored) == 3 and all(e.file_key.startswith("distill_head.") for e in report.ignored)

    def test_image_into_video_has_a_zero_temporal_embedding(self, build: Build, released: Released) -> None:
        source, model = build(seed=1, num_frames=1), build(seed=2, num_frames=8, num_classes=3)
        report = load_weights(model, file := released(source, "image"), head="replace")
        check_account(report, model, file)
        check_equal(model, source.state_dict(), but=("temporal_pos_embedding", "head.weight", "head.bias"))
        assert not model.temporal_pos_embedding.any()
        assert str(report.zero[0]) == "temporal_pos_embedding (absent from image weights)"
        assert [entry.model_key for entry in report.replaced] == ["head.weight", "head.bias"]
        assert str(report.replaced[0]) == "head.weight (5, 32) -> (3, 32) (random)"

    def test_masked_pretraining_into_a_classifier(self, build: Build, released: Released) -> None:
        source, model = build(seed=1, num_classes=0), build(seed=2, num_frames=8)
        file = released(source, "masked")
        report = load_weights(model, file, head="replace", rename_norm=True)
        check_account(report, model, file)
        check_equal(model, source.state_dict(), but=("temporal_pos_embedding", "head.weight", "head.bias"))
        assert [(e.file_key, e.model_key) for e in report.converted] == [("norm.weight", "norm_f.weight")]
        assert len(report.ignored) == 4 and all(e.file_key.startswith("clip_decoder.") for e in report.ignored)

    def test_masked_norm_is_never_taken_or_dropped_silently(
        self, build: Build, released: Released, weights_of: WeightsOf
    ) -> None:
        model = build(seed=2, num_classes=0)
        before, file = weights_of(model), released(build(seed=1, num_classes=0), "masked")
        with pytest.raises(WeightsError, match=r"rename_norm=True .* allow_missing=\['norm_f.weight'\]"):
            load_weights(model, file)
        check_equal(model, before)
        report = load_weights(model, file, allow_missing=["norm_f.weight"])
        check_account(report, model, file)
        assert torch.equal(model.norm_f.weight, before["norm_f.weight"])
        assert [entry.model_key for entry in report.missing] == ["norm_f.weight"]

    def test_vision_tower_of_a_video_text_model(self, build: Build, released: Released) -> None:
        source, model = build(seed=1, num_classes=0), build(seed=2, num_classes=0)
        report = load_weights(model, file := released(source, "multimodal"), rename_norm=True)
        check_account(report, model, file)
        check_equal(model, {key: value.bfloat16().float() for key, value in source.state_dict().items()})
        assert len(report.ignored) == 13 and not report.unexpected

    def test_training_checkpoint_of_the_original(self, build: Build, tmp_path: Path) -> None:
        source, model = build(seed=1), build(seed=2)
        content = {
            "model": source.state_dict(),
            "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"betas": (0.9, 0.999)}]},
            "scaler": None,
            "epoch": 3,
            "args": argparse.Namespace(lr=1e-3, betas=(0.9, 0.999), name="run"),
        }
        torch.save(content, tmp_path / "checkpoint-latest.pth")
        load_weights(model, tmp_path / "checkpoint-latest.pth")
        check_equal(model, source.state_dict())
        assert argparse.Namespace not in torch.serialization.get_safe_globals()

    def test_safetensors_ours_and_plain(self, build: Build, weights_of: WeightsOf, tmp_path: Path) -> None:
        source = build(seed=1, image_size=(32, 48))
        save_file(weights_of(source), tmp_path / "plain.safetensors")
        save_bundle(tmp_path / "ours.safetensors", source, Preprocess(num_frames=4, image_size=(32, 48)))
        for name in ("plain", "ours"):
            model = build(seed=2, image_size=(32, 48))
            load_weights(model, tmp_path / f"{name}.safetensors")
            check_equal(model, source.state_dict())
        assert read_weights(tmp_path / "ours.safetensors").config() == source.config

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_dtype_of_the_file_is_not_that_of_the_model(self, build: Build, dtype: torch.dtype, tmp_path: Path) -> None:
        source, model = build(seed=1), build(seed=2, image_size=48, num_frames=8)
        torch.save({key: value.to(dtype) for key, value in source.state_dict().items()}, tmp_path / "half.pth")
        load_weights(model, tmp_path / "half.pth")
        assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
        assert torch.equal(model.head.weight, source.head.weight.to(dtype).float())

    def test_dtype_of_the_model_stays(self, build: Build) -> None:
        source, model = build(seed=1), build(seed=2, image_size=48).bfloat16()
        load_weights(model, source.state_dict())
        assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.bfloat16}
        assert torch.equal(model.head.weight, source.head.weight.bfloat16())


class TestPatchKernel:
    @pytest.mark.parametrize("mode", ["center", "average"])
    @pytest.mark.parametrize("tubelet", [1, 2, 3])
    def test_a_still_clip_gives_what_the_image_gave(
        self, build: Build, released: Released, mode: str, tubelet: int
    ) -> None:
        source = build(seed=1, num_frames=1)
        model = build(seed=2, num_frames=2 * tubelet, tubelet_size=tubelet)
        report = load_weights(model, file := released(source, "image"), inflation=mode)
        check_account(report, model, file)
        picture = torch.randn(1, 3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
        tokens = model.patch_embed(picture.expand(-1, -1, 2 * tubelet, -1, -1))
        torch.testing.assert_close(tokens, source.patch_embed(picture).expand_as(tokens), rtol=1e-4, atol=1e-4)

    def test_center_is_the_middle_slot(self) -> None:
        kernel = torch.randn(2, 3, 4, 4)
        inflated = inflate_patch(kernel, 4)
        assert torch.equal(inflated[:, :, 2], kernel) and inflated.count_nonzero() == kernel.count_nonzero()

    def test_a_kernel_of_one_frame_is_a_picture_s(self, build: Build) -> None:
        source, model = build(seed=1, num_frames=4), build(seed=2, num_frames=4, tubelet_size=2)
        report = load_weights(model, source.state_dict())
        check_account(report, model, source.state_dict())
        assert torch.equal(model.patch_embed.proj.weight[:, :, 1:], source.patch_embed.proj.weight)
        assert [str(entry) for entry in report.resized] == ["temporal_pos_embedding (1, 4, 32) -> (1, 2, 32)"]

    def test_a_longer_kernel_is_not_cut(self, build: Build) -> None:
        with pytest.raises(
            WeightsError, match="it holds tubelet_size 2, the model has tubelet_size 1; 1 tensors have ano"
        ):
            load_weights(build(), build(tubelet_size=2, num_frames=8).state_dict())


def cubic(distance: float) -> float:
    """Keys' kernel with a = -0.75, which PyTorch and OpenCV use."""
    x, a = abs(distance), -0.75
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def cubic_matrix(source: int, target: int) -> np.ndarray:
    """(target, source): row i mixes the source samples around (i + 0.5) * source / target - 0.5, edges repeated."""
    matrix = np.zeros((target, source))
    for i in range(target):
        centre = (i + 0.5) * source / target - 0.5
        for k in range(math.floor(centre) - 1, math.floor(centre) + 3):
            matrix[i, min(max(k, 0), source - 1)] += cubic(centre - k)
    return matrix


class TestPositions:
    @pytest.mark.parametrize(
        ("source", "target"),
        [((14, 14), (24, 24)), ((14, 14), (18, 18)), ((4, 4), (3, 7)), ((3, 5), (6, 2)), ((2, 2), (2, 2))],
    )
    def test_bicubic_of_the_grid_only(self, source: tuple[int, int], target: tuple[int, int]) -> None:
        table = torch.randn(1, 1 + source[0] * source[1], 3, generator=torch.Generator().manual_seed(0))
        resized = resize_positions(table, source, target)
        rows, columns = cubic_matrix(source[0], target[0]), cubic_matrix(source[1], target[1])
        expected = np.einsum("yh,xw,hwd->yxd", rows, columns, table[0, 1:].reshape(*source, 3).numpy())
        assert resized.shape == (1, 1 + target[0] * target[1], 3)
        assert torch.equal(resized[:, 0], table[:, 0])
        np.testing.assert_allclose(resized[0, 1:].numpy(), expected.reshape(-1, 3), atol=1e-5)

    def test_other_resolution_is_reported(self, build: Build, released: Released) -> None:
        source, model = build(seed=1), build(seed=2, image_size=(48, 80))
        report = load_weights(model, file := released(source, "video"))
        check_account(report, model, file)
        check_equal(model, source.state_dict(), but=("pos_embed",))
        assert torch.equal(model.pos_embed, resize_positions(source.pos_embed, (2, 2), (3, 5)))
        assert str(report.resized[0]) == "pos_embed (1, 5, 32) -> (1, 16, 32) (2x2 -> 3x5)"

    def test_same_grid_that_is_no_square(self, build: Build) -> None:
        source, model = build(seed=1, image_size=(32, 48)), build(seed=2, image_size=(32, 48))
        assert not load_weights(model, source.state_dict()).resized
        check_equal(model, source.state_dict())

    def test_a_source_that_is_no_square_must_be_given(self, build: Build, weights_of: WeightsOf) -> None:
        source, model = build(seed=1, image_size=(32, 48)), build(seed=2, image_size=64)
        before = weights_of(model)
        with pytest.raises(WeightsError, match=r"6 patches, not a square: pass source_grid=\(height, width\)"):
            load_weights(model, source.state_dict())
        with pytest.raises(WeightsError, match="6 patches, which is not source_grid 3x3"):
            load_weights(model, source.state_dict(), source_grid=(3, 3))
        check_equal(model, before)
        load_weights(model, source.state_dict(), source_grid=(2, 3))
        assert torch.equal(model.pos_embed, resize_positions(source.pos_embed, (2, 3), (4, 4)))

    def test_a_bundle_knows_its_grid(self, build: Build, tmp_path: Path) -> None:
        source, model = build(seed=1, image_size=(32, 48)), build(seed=2, image_size=64)
        save_bundle(tmp_path / "b.safetensors", source, Preprocess(num_frames=4, image_size=(32, 48)))
        load_weights(model, tmp_path / "b.safetensors")
        assert torch.equal(model.pos_embed, resize_positions(source.pos_embed, (2, 3), (4, 4)))

    def test_as_many_patches_in_another_grid_are_not_taken_for_the_same(self, build: Build, tmp_path: Path) -> None:
        source, model = build(seed=1, image_size=64), build(seed=2, image_size=(32, 128))
        with pytest.raises(WeightsError, match=r"16 patches, which is 4x4 or the model's 2x8: pass source_grid"):
            load_weights(model, source.state_dict())
        load_weights(model, source.state_dict(), source_grid=(2, 8))
        assert torch.equal(model.pos_embed, source.pos_embed)
        torch.save(source.state_dict(), released := tmp_path / "videomamba_t16_k400_f8_res224.pth")
        load_weights(model, released)
        assert torch.equal(model.pos_embed, resize_positions(source.pos_embed, (4, 4), (2, 8)))


class TestTemporal:
    @pytest.mark.parametrize(("slots", "target"), [(8, 16), (8, 64), (32, 8), (3, 7), (1, 4), (5, 5)])
    def test_linear_between_slot_centres(self, slots: int, target: int) -> None:
        embedding = torch.randn(1, slots, 3, generator=torch.Generator().manual_seed(0))
        centres = (np.arange(target) + 0.5) * slots / target - 0.5
        columns = [np.interp(centres, np.arange(slots), embedding[0, :, d].numpy()) for d in range(3)]
        np.testing.assert_allclose(resize_temporal(embedding, target)[0].numpy(), np.stack(columns, 1), atol=1e-6)

    def test_the_tensor_s_length_counts_not_the_name_s(self, build: Build, tmp_path: Path) -> None:
        source, model = build(seed=1, num_frames=2), build(seed=2, num_frames=4)
        torch.save(source.state_dict(), path := tmp_path / "videomamba_m16_breakfast_mask_ft_f64_res224.pth")
        assert infer_config(source.state_dict())["num_frames"] == 2
        report = load_weights(model, path)
        assert torch.equal(model.temporal_pos_embedding, resize_temporal(source.temporal_pos_embedding, 4))
        assert str(report.resized[0]) == "temporal_pos_embedding (1, 2, 32) -> (1, 4, 32)"

    @pytest.mark.parametrize("size", [32, 48])
    @pytest.mark.parametrize("slots", [8, 1])
    def test_one_time_step_has_it_in_its_positions(self, build: Build, slots: int, size: int) -> None:
        """The original resizes it to one slot and adds it to the patches."""
        source, model = build(seed=1, num_frames=8).eval(), build(seed=2, num_frames=1, image_size=size).eval()
        file = {**source.state_dict(), "temporal_pos_embedding": torch.randn(1, slots, 32)}
        report = load_weights(model, file)
        check_account(report, model, file)
        slot = resize_temporal(file["temporal_pos_embedding"], 1)
        assert [str(entry) for entry in report.converted if entry.model_key is None] == [
            f"temporal_pos_embedding ({slots} slots -> 1, added to pos_embed)"
        ]
        changed = [e for fate in ("resized", "converted") for e in getattr(report, fate) if e.model_key == "pos_embed"]
        assert len(changed) == 1 and changed[0].note.endswith("temporal embedding added") and not report.ignored
        clip, grid = torch.randn(2, 3, 1, size, size), (size // 16, size // 16)
        table = resize_positions(source.pos_embed, (2, 2), grid) if size != 32 else source.pos_embed
        patches = source.patch_embed(clip) + table[:, None, 1:] + slot[:, None]
        torch.testing.assert_close(model.embed(clip)[:, 1:], patches.flatten(1, 2))
        torch.testing.assert_close(model.embed(clip)[:, :1], (source.cls_token + table[:, :1]).expand(2, -1, -1))

    def test_zeros_are_ignored_and_nonsense_is_refused(self, build: Build) -> None:
        model = build(seed=2, num_frames=1)
        weights = build(seed=1, num_frames=1).state_dict()
        report = load_weights(model, {**weights, "temporal_pos_embedding": torch.zeros(1, 1, 32)})
        assert [str(entry) for entry in report.ignored] == [
            "temporal_pos_embedding (zero, and a model of one time step has none)"
        ]
        with pytest.raises(
            WeightsError, match=r"temporal_pos_embedding has shape \(4, 32\) instead of \(1, slots, 32\)"
        ):
            load_weights(model, {**weights, "temporal_pos_embedding": torch.ones(4, 32)})


class TestHead:
    def test_another_number_of_classes_is_an_error_that_says_what_to_do(
        self, build: Build, weights_of: WeightsOf
    ) -> None:
        model = build(seed=2, num_classes=3)
        before = weights_of(model)
        with pytest.raises(WeightsError, match="head has 5 classes, the model's 3: pass head='replace'") as caught:
            load_weights(model, build(seed=1).state_dict())
        assert str(caught.value).count("head='replace'") == 1
        check_equal(model, before)

    def test_no_head_in_the_file_is_an_error_too(self, build: Build) -> None:
        with pytest.raises(WeightsError, match=r"head\.weight, head\.bias: pass head='replace'"):
            load_weights(build(), build(num_classes=0).state_dict())
        report = load_weights(build(), build(num_classes=0).state_dict(), allow_missing=["head.*"])
        assert [entry.model_key for entry in report.missing] == ["head.weight", "head.bias"]

    def test_replaced_even_where_it_would_fit(self, build: Build) -> None:
        source, model = build(seed=1), build(seed=2, num_classes=5)
        report = load_weights(model, source.state_dict(), head="replace")
        check_account(report, model, source.state_dict())
        assert not model.head.bias.any() and 0.01 < model.head.weight.std() < 0.03

    @pytest.mark.parametrize("rows", [range(3), [4, 0, 0]])
    def test_rows_of_a_larger_head(self, build: Build, rows: list[int]) -> None:
        source, model = build(seed=1), build(seed=2, num_classes=3)
        report = load_weights(model, source.state_dict(), head_rows=rows)
        check_account(report, model, source.state_dict())
        assert torch.equal(model.head.weight, source.head.weight[list(rows)])
        assert torch.equal(model.head.bias, source.head.bias[list(rows)])
        assert str(report.converted[0]) == "head.weight (5, 32) -> (3, 32) (3 of 5 rows)"

    def test_rows_that_do_not_fit(self, build: Build) -> None:
        with pytest.raises(WeightsError, match="head_rows is 1 to 5, its head has rows 0 to 4"):
            load_weights(build(num_classes=3), build().state_dict(), head_rows=[1, 2, 5])
        with pytest.raises(WeightsError, match="head has 2 classes, the model's 3"):
            load_weights(build(num_classes=3), build().state_dict(), head_rows=[1, 2])
        with pytest.raises(ValueError, match="choose one"):
            load_weights(build(num_classes=3), build().state_dict(), head_rows=[0, 1, 2], head="replace")

    def test_a_model_without_head_ignores_it(self, build: Build) -> None:
        source, model = build(seed=1), build(seed=2, num_classes=0)
        report = load_weights(model, source.state_dict())
        check_account(report, model, source.state_dict())
        assert [entry.file_key for entry in report.ignored] == ["head.weight", "head.bias"]


class TestRefusals:
    def test_each_missing_key_is_an_error_that_names_it(self, build: Build, weights_of: WeightsOf) -> None:
        source, model = build(seed=1), build(seed=2)
        before = weights_of(model)
        for key in source.state_dict():
            weights = {name: value for name, value in source.state_dict().items() if name != key}
            if key == "temporal_pos_embedding":  # that is what image weights look like
                continue
            with pytest.raises(WeightsError, match=rf"1 tensors are missing: {key}"):
                load_weights(model, weights)
            report = load_weights(build(seed=2), weights, allow_missing=[key])
            assert [entry.model_key for entry in report.missing] == [key]
        check_equal(model, before)

    def test_each_other_shape_is_an_error_that_names_it(self, build: Build, weights_of: WeightsOf) -> None:
        source, model = build(seed=1), build(seed=2)
        before = weights_of(model)
        for key, value in source.state_dict().items():
            for changed in (value.unsqueeze(0), torch.cat([value, value], dim=-1), value.flatten()[0]):
                with pytest.raises(WeightsError, match=f"{key}|its head has" if "head" in key else key):
                    load_weights(model, {**source.state_dict(), key: changed})
        check_equal(model, before)

    def test_each_key_too_many_is_an_error_that_names_it(self, build: Build) -> None:
        weights = {**build().state_dict(), "layers.0.mixer.extra": torch.ones(1)}
        with pytest.raises(WeightsError, match=r"1 tensors have no place in the model: layers.0.mixer.extra"):
            load_weights(build(), weights)
        report = load_weights(model := build(), weights, allow_unexpected=["*.extra"])
        check_account(report, model, weights)
        assert [entry.file_key for entry in report.unexpected] == ["layers.0.mixer.extra"]

    def test_another_network_is_told_in_its_numbers(self, build: Build) -> None:
        with pytest.raises(WeightsError, match="it holds dim 48, depth 3, the model has dim 32, depth 2; ") as caught:
            load_weights(build(), build(dim=48, depth=3).state_dict())
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 500

    def test_another_network_in_a_file_says_how_to_build_it(self, build: Build, tmp_path: Path) -> None:
        torch.save(build(depth=3).state_dict(), path := tmp_path / "x.pth")
        with pytest.raises(
            WeightsError, match=r"; videomamba\.from_pretrained\('.*x\.pth'\) builds the file's own network"
        ):
            load_weights(build(), path)

    def test_the_same_tensor_twice(self, build: Build) -> None:
        weights = build().state_dict()
        with pytest.raises(WeightsError, match=r"norm_f.weight and module.norm_f.weight are both norm_f.weight"):
            load_weights(build(), {**weights, "module.norm_f.weight": weights["norm_f.weight"]})

    def test_registers_cannot_come_from_nowhere(self, build: Build) -> None:
        with pytest.raises(WeightsError, match="missing: register_tokens"):
            load_weights(build(num_registers=2), build().state_dict())

    def test_a_model_without_values(self, build: Build) -> None:
        with pytest.raises(ValueError, match="meta device"):
            load_weights(build().to("meta"), build().state_dict())


class Unsafe:
    """Stands for any class that a file might hold."""


class TestReading:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ([1, 2], "expected a dictionary of tensors, found list"),
            ({}, "expected a dictionary of tensors"),
            ({"epoch": 3, "model": None}, "epoch is a int, not a tensor"),
            ({"model": {"cls_token": torch.ones(1), "epoch": 3}}, "epoch is a int, not a tensor"),
            ({"model": {}, "args": Unsafe()}, r"holds \S*Unsafe, which could run code"),
            ({"model": {}, "args": argparse.Namespace(output=Path("x"))}, r"holds pathlib\.\S+, which could run code"),
        ],
    )
    @pytest.mark.parametrize("zipped", [True, False])
    def test_what_is_no_state_dict(self, tmp_path: Path, content: object, message: str, zipped: bool) -> None:
        torch.save(content, path := tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
        with pytest.raises(WeightsError, match=message) as caught:
            read_weights(path)
        assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "content", [b"", b"<html>404</html>", b"version https://git-lfs", pickle.dumps(3), b"PK\3\4"]
    )
    @pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
    def test_what_is_no_weights_file(self, tmp_path: Path, content: bytes, name: str) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError) as caught:
            read_weights(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ") and "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("content", "kind"),
        [(b"version https://git-lfs.github.com/spec/v1", "pointer of Git LFS"), (b"\n<!DOCTYPE html>", "page of HTML")],
    )
    @pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
    def test_says_what_the_file_is(self, tmp_path: Path, content: bytes, kind: str, name: str) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=kind):
            read_weights(tmp_path / name)

    def test_archives_that_hold_no_weights(self, tmp_path: Path) -> None:
        for inside, kind in (("a/constants.pkl", "TorchScript program"), ("photo.jpg", "is a zip archive")):
            with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
                archive.writestr(inside, b"")
            with pytest.raises(WeightsError, match=kind):
                read_weights(tmp_path / "x.pth")

    @pytest.mark.parametrize("suffix", ["pth", "safetensors"])
    def test_a_file_cut_short_anywhere(self, build: Build, tmp_path: Path, suffix: str) -> None:
        whole = tmp_path / f"whole.{suffix}"
        weights = {"cls_token": torch.ones(1, 1, 4), "pos_embed": torch.ones(1, 5, 4)}
        if suffix == "pth":
            torch.save(weights, whole)
        else:
            save_file(weights, whole)
        content, cut = whole.read_bytes(), tmp_path / f"cut.{suffix}"
        for length in range(0, len(content), max(1, len(content) // 25)):
            cut.write_bytes(content[:length])
            with pytest.raises(WeightsError, match="not a readable weights file"):
                read_weights(cut)

    def test_no_file_and_a_folder(self, build: Build, tmp_path: Path) -> None:
        for name in ("none.pth", "none.safetensors"):
            with pytest.raises(WeightsError, match=f"{name}: no such file$"):
                read_weights(tmp_path / name)
        with pytest.raises(WeightsError, match=r"is a folder; give the weights file inside it$"):
            read_weights(tmp_path)
        with pytest.raises(WeightsError, match="is a folder"):
            load_weights(build(), tmp_path)

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.sampled_from(["module.", "backbone.", "encoder.", "model.", "net.", "_orig_mod."]), max_size=3))
    def test_any_stack_of_prefixes(self, prefixes: list[str]) -> None:
        assert strip_prefix("".join(prefixes) + "layers.0.norm.weight") == "layers.0.norm.weight"


class TestSaveOriginal:
    @pytest.mark.parametrize(("kind", "frames"), [("video", 4), ("video", 1), ("image", 1)])
    def test_comes_back_identical(self, build: Build, tmp_path: Path, kind: str, frames: int) -> None:
        source, model = build(seed=1, num_frames=frames), build(seed=2, num_frames=frames)
        save_original(source, path := tmp_path / "x.pth", kind=kind)
        load_weights(model, path)
        check_equal(model, source.state_dict())
        assert read_weights(path).config() == source.config

    def test_formats_are_the_released_ones(self, build: Build, released: Released, tmp_path: Path) -> None:
        for kind, frames in (("video", 4), ("image", 1)):
            model = build(num_frames=frames)
            expected = released(model, kind)
            found = torch.load(save_original(model, tmp_path / f"{kind}.pth", kind=kind), weights_only=True)
            assert found.keys() == expected.keys()
            found, expected = found.get("model", found), expected.get("model", expected)
            assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in expected.items()}

    @pytest.mark.parametrize(
        ("fields", "kind", "message"),
        [
            ({}, "image", "several frames is no image model; save it with kind='video'"),
            ({"num_frames": 2, "tubelet_size": 2}, "image", "several frames is no image model"),
            ({"scan_order": "temporal_first"}, "video", "has no scan_order='temporal_first'"),
            ({"merge": "mean"}, "video", "has no merge='mean'"),
            ({"discretization": "zoh"}, "video", "has no discretization='zoh'"),
            ({"num_registers": 1}, "video", "has no num_registers=1"),
            ({"pool": "mean"}, "video", "has no pool='mean'"),
        ],
    )
    def test_refuses_what_the_original_cannot_run(
        self, build: Build, tmp_path: Path, fields: dict[str, object], kind: str, message: str
    ) -> None:
        (tmp_path / "x.pth").write_text("before")
        with pytest.raises(WeightsError, match=message):
            save_original(build(**fields), tmp_path / "x.pth", kind=kind)
        assert (tmp_path / "x.pth").read_text() == "before"


def test_report_reads_as_a_summary(build: Build, released: Released) -> None:
    report = load_weights(
        build(seed=2, num_frames=8, num_classes=3), released(build(num_frames=1), "student"), head="replace"
    )
    assert str(report).splitlines() == [
        "state dict: 42 tensors in the model, 44 in the file",
        "  loaded 38",
        "  inflated 1: patch_embed.proj.weight (32, 3, 16, 16) -> (32, 3, 1, 16, 16)",
        "  zero 1: temporal_pos_embedding (absent from image weights)",
        "  replaced 2: head.weight (5, 32) -> (3, 32) (random), head.bias (5,) -> (3,) (random)",
        "  ignored 3: distill_head.0.weight, distill_head.1.weight, distill_head.1.bias",
        "  assumed: scan_order spatial_first, merge sum, discretization euler, pool cls, norm_eps 1e-05, as in the model; "
        "the file does not say how it was trained",
    ]


def test_the_report_says_what_the_tensors_do_not_show(build: Build, tmp_path: Path) -> None:
    source, other = build(), build(scan_order="temporal_first", pool="mean")
    bare = load_weights(other, source.state_dict()).assumed
    assert "scan_order temporal_first" in bare and "pool mean" in bare
    torch.save(source.state_dict(), released := tmp_path / "videomamba_t16_k400_f8_res224.pth")
    assert load_weights(build(), released).assumed == ""
    assert load_weights(other, released).assumed == (
        "scan_order temporal_first instead of spatial_first, pool mean instead of cls, "
        "with which the released network was trained"
    )
    path = save_bundle(tmp_path / "b.safetensors", other, Preprocess(num_frames=4, image_size=(32, 32)))
    assert load_weights(other, path).assumed == ""


def test_loaded_weights_give_the_same_answers(build: Build, tmp_path: Path) -> None:
    source = VideoMamba(build().config).eval()
    model = build(seed=2).eval()
    load_weights(model, save_original(source, tmp_path / "x.pth"))
    video = torch.randn(1, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model(video), source(video))


@pytest.mark.parametrize(
    ("name", "value"),
    [("scan_order", "temporal_first"), ("merge", "mean"), ("discretization", "zoh"), ("pool", "mean")],
)
def test_a_bundle_of_another_network_is_refused(name: str, value: str, build: Build, tmp_path: Path) -> None:
    model, other = build(), build(**{name: value})
    preprocess = Preprocess(num_frames=other.config.num_frames, image_size=other.config.image_size)
    path = save_bundle(tmp_path / "other.safetensors", other, preprocess)
    with pytest.raises(WeightsError, match=f"has {name}='{value}', the model has"):
        load_weights(model, path)
    load_weights(model, read_weights(path).tensors)


def test_a_model_made_on_the_meta_device_can_be_loaded(build: Build) -> None:
    source = build(scan_order="temporal_first")
    with torch.device("meta"):
        model = VideoMamba(source.config)
    model.to_empty(device="cpu")
    load_weights(model, source.state_dict())
    clip = torch.randn(1, 3, source.config.num_frames, *source.config.image_size)
    torch.testing.assert_close(model.eval()(clip), source.eval()(clip))
    model.init_weights()
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("change", [Tensor.to_sparse, lambda tensor: tensor.to("meta")])
def test_tensors_without_values_of_their_own(change: Callable[[Tensor], Tensor], build: Build) -> None:
    model = build()
    state = {key: value.detach().clone() for key, value in model.state_dict().items()}
    broken = {**state, "norm_f.weight": change(state["norm_f.weight"])}
    with pytest.raises(WeightsError, match=r"norm_f\.weight has no values or is sparse; save dense tensors"):
        load_weights(model, broken)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
