"""The network: golden values, exact parameter counts and names, scan orders, options, initialisation."""

from __future__ import annotations

import math
import zlib

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.golden import golden_video
from tests.golden.formula import tensor as formula_tensor
from videomamba import create_model, list_models
from videomamba.models.config import VideoMambaConfig
from videomamba.models.videomamba import VideoMamba
from videomamba.modules.block import drop_path
from videomamba.ops import native
from videomamba.ops.dispatch import use_backend

BACKENDS = ("reference", "chunked", *(("native",) if native.kernels is not None else ()))
SCAN_ORDERS = ("spatial_first", "temporal_first", "spatiotemporal_v1", "spatiotemporal_v2")
SIZES = ("videomamba_tiny", "videomamba_small", "videomamba_middle", "videomamba_base")


def with_formula_weights(model: VideoMamba) -> VideoMamba:
    """Every parameter made from its name and shape, at the scale of a trained model."""
    model.load_state_dict(
        {k: torch.from_numpy(formula_tensor(k, tuple(v.shape))) for k, v in model.state_dict().items()}
    )
    return model


def a_clip(config: VideoMambaConfig, batch: int = 1) -> Tensor:
    return torch.randn(batch, 3, config.num_frames, *config.image_size, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_original_network_is_matched(backend: str) -> None:
    """Logits to 2e-4, loss, input gradient and the norm of every parameter's gradient to 1e-3 relative."""
    golden = golden_video()
    model = with_formula_weights(
        VideoMamba(VideoMambaConfig(num_classes=10, num_frames=4, image_size=32, depth=4, dim=64))
    )
    rng = np.random.default_rng(zlib.crc32(b"input.shared_f4_32"))
    video = torch.from_numpy(rng.standard_normal((2, 3, 4, 32, 32)).astype(np.float32)).requires_grad_()
    with use_backend(backend):
        logits = model(video)
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor([1, 7]))
        loss.backward()
    np.testing.assert_allclose(logits.detach(), golden["logits"], atol=2e-4)
    assert loss.item() == pytest.approx(golden["loss"].item(), abs=1e-5)
    expected = golden["grad.input"]
    assert np.linalg.norm(video.grad.numpy() - expected) < 1e-3 * np.linalg.norm(expected)
    norms = {name: parameter.grad.norm().item() for name, parameter in model.named_parameters()}
    assert {f"grad_norm.{name}" for name in norms} == {name for name in golden if name.startswith("grad_norm.")}
    for name, norm in norms.items():
        assert norm == pytest.approx(golden[f"grad_norm.{name}"].item(), rel=1e-3, abs=1e-7), name


@pytest.mark.parametrize("depth", [2, pytest.param(None, marks=pytest.mark.slow)], ids=["shallow", "whole"])
@pytest.mark.parametrize("size", SIZES)
def test_all_backends_give_the_same_logits(size: str, depth: int | None) -> None:
    shape = {"num_classes": 10, "num_frames": 3, "image_size": (32, 48), **({"depth": depth} if depth else {})}
    model = with_formula_weights(create_model(size, **shape)).eval()
    for order in SCAN_ORDERS:
        model.config = model.config.model_copy(update={"scan_order": order})
        with torch.inference_mode():
            logits = {}
            for backend in BACKENDS:
                with use_backend(backend):
                    logits[backend] = model(a_clip(model.config))
        for backend in BACKENDS[1:]:
            torch.testing.assert_close(
                logits[backend], logits["reference"], rtol=0, atol=1e-4, msg=f"{backend}, {order}"
            )


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("videomamba_tiny", {"num_frames": 1}, 7_148_008),
        ("videomamba_tiny", {"num_frames": 1, "image_size": 448}, 7_260_904),
        ("videomamba_tiny", {"num_frames": 1, "image_size": 576}, 7_359_208),
        ("videomamba_tiny", {"num_frames": 1, "num_classes": 0}, 6_955_008),
        ("videomamba_small", {"num_frames": 1}, 25_796_584),
        ("videomamba_middle", {"num_frames": 1}, 74_217_448),
        ("videomamba_base", {"num_frames": 1}, 97_598_440),
        ("videomamba_tiny", {"num_classes": 400}, 7_033_744),
        ("videomamba_small", {"num_classes": 400}, 25_568_656),
        ("videomamba_middle", {"num_classes": 400}, 73_875_856),
    ],
)
def test_parameter_counts_are_the_published_ones(
    name: str, options: dict[str, int], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VideoMamba, "init_weights", lambda self: None)  # the numbers do not matter
    assert sum(p.numel() for p in create_model(name, **options).parameters()) == count


def test_parameter_names_are_the_released_ones() -> None:
    block = {
        *("A_log", "D", "A_b_log", "D_b", "in_proj.weight", "out_proj.weight", "conv1d.weight", "conv1d.bias"),
        *("conv1d_b.weight", "conv1d_b.bias", "x_proj.weight", "x_proj_b.weight", "dt_proj.weight", "dt_proj.bias"),
        *("dt_proj_b.weight", "dt_proj_b.bias"),
    }
    names = {f"layers.{i}.mixer.{name}" for i in range(2) for name in block} | {
        f"layers.{i}.norm.weight" for i in range(2)
    }
    names |= {"cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias", "norm_f.weight"}
    names |= {"head.weight", "head.bias"}
    image = create_model("videomamba_micro", depth=2, num_frames=1)
    assert set(image.state_dict()) == names
    video = create_model("videomamba_micro", depth=2, num_frames=4)
    assert set(video.state_dict()) == names | {"temporal_pos_embedding"}


def test_every_listed_model_runs() -> None:
    assert list_models() == [*SIZES, "videomamba_micro"]
    for name in list_models():
        model = create_model(name, depth=1, image_size=32, num_frames=2, num_classes=5)
        clip = a_clip(model.config, batch=2)
        assert model(clip).shape == (2, 5)
        assert model.forward_features(clip).shape == (2, model.config.dim)
        assert model.forward_tokens(clip).shape == (2, 1 + 2 * 2 * 2, model.config.dim)


def small(**options: object) -> VideoMamba:
    return create_model(
        "videomamba_micro",
        **{"depth": 3, "dim": 32, "num_frames": 4, "image_size": (32, 48), "num_classes": 7, **options},
    )


@pytest.mark.parametrize("order", SCAN_ORDERS)
@pytest.mark.parametrize("registers", [0, 3])
def test_tokens_come_back_in_spatial_first_order(order: str, registers: int) -> None:
    """With mixers that do nothing, the tokens are the normalised embeddings, whatever order the blocks saw."""
    model = small(scan_order=order, num_registers=registers)
    for layer in model.layers:
        torch.nn.init.zeros_(layer.mixer.out_proj.weight)
    clip = a_clip(model.config)
    without = small()
    without.load_state_dict({k: v for k, v in model.state_dict().items() if k != "register_tokens"})
    torch.testing.assert_close(model.forward_tokens(clip), without.norm_f(without.embed(clip)))


def test_temporal_first_is_spatial_first_on_a_transposed_clip() -> None:
    """4 frames of 2x1 patches, seen temporal-first, are 2 frames of 4x1 patches seen spatial-first."""
    model = with_formula_weights(small(image_size=(32, 16), scan_order="temporal_first"))
    plain = with_formula_weights(small(image_size=(64, 16), num_frames=2))
    tokens = torch.randn(1, 1 + 8, 32)
    transposed = torch.cat((tokens[:, :1], tokens[:, 1:].view(1, 4, 2, 32).transpose(1, 2).reshape(1, 8, 32)), dim=1)
    model.embed, plain.embed = (lambda *_: tokens), (lambda *_: transposed)  # type: ignore[method-assign]
    torch.testing.assert_close(model(torch.empty(0)), plain(torch.empty(0)))


def test_scan_orders_agree_on_one_frame_and_differ_on_several() -> None:
    for frames, same in ((1, True), (4, False)):
        models = [with_formula_weights(small(scan_order=order, num_frames=frames)) for order in SCAN_ORDERS]
        logits = [model(a_clip(model.config)) for model in models]
        for other in logits[1:]:
            assert torch.allclose(logits[0], other, atol=1e-5) is same


@pytest.mark.parametrize(
    "option",
    [{"discretization": "zoh"}, {"merge": "mean"}, {"num_registers": 2}, {"pool": "mean"}, {"tubelet_size": 2}],
    ids=lambda option: next(iter(option)),
)
def test_options_change_the_network_and_train(option: dict[str, object]) -> None:
    plain, model = with_formula_weights(small()), with_formula_weights(small(**option))
    shared = {k: v for k, v in plain.state_dict().items() if model.state_dict().get(k, torch.empty(0)).shape == v.shape}
    model.load_state_dict(shared, strict=False)
    clip = a_clip(model.config)
    logits = model(clip)
    assert not torch.allclose(logits, plain(clip))
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_merge_mean_halves_the_mixer() -> None:
    summed, averaged = with_formula_weights(small()), small(merge="mean")
    averaged.load_state_dict(summed.state_dict())
    x = torch.randn(1, 10, 32)
    torch.testing.assert_close(averaged.layers[0].mixer(x), summed.layers[0].mixer(x) / 2)


def test_every_token_sees_every_other() -> None:
    """The original's slow path drops the backward direction: then the first token would not see the last."""
    mixer = with_formula_weights(small()).layers[0].mixer
    x = torch.randn(1, 9, 32, requires_grad=True)
    for place in (0, 8):
        (grad,) = torch.autograd.grad(mixer(x)[0, place].sum(), x)
        assert (grad[0].abs().sum(-1) > 0).all()


def test_drop_path_keeps_the_mean_and_whole_samples() -> None:
    torch.manual_seed(0)
    out = drop_path(torch.ones(20_000, 3, 2), 0.3)
    assert out.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert (out == out[:, :1, :1]).all()
    assert out.mean().item() == pytest.approx(1, abs=0.02)


def test_drop_path_grows_linearly_and_sleeps_in_evaluation() -> None:
    model = small(drop_path=0.5)
    assert [layer.drop_path_rate for layer in model.layers] == [0, 0.25, 0.5]
    model.eval()
    clip = a_clip(model.config)
    torch.testing.assert_close(model(clip), model(clip), rtol=0, atol=0)


def test_initialisation_is_what_the_table_says() -> None:
    torch.manual_seed(0)
    model = create_model("videomamba_tiny", depth=4, image_size=224)
    mixer = model.layers[2].mixer
    assert mixer.in_proj.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert model.pos_embed.std().item() == pytest.approx(0.02, rel=0.02)
    assert mixer.out_proj.weight.abs().max().item() == pytest.approx(1 / math.sqrt(384 * 4), rel=0.01)
    for projection in (mixer.dt_proj, mixer.dt_proj_b):
        step = torch.nn.functional.softplus(projection.bias)
        assert step.min() > 0.99e-3 and step.max() < 0.101
        assert step.log().mean().item() == pytest.approx(math.log(1e-2), abs=0.2)
        assert projection.weight.abs().max().item() == pytest.approx(12**-0.5, rel=0.01)
    torch.testing.assert_close(mixer.A_b_log.exp(), torch.arange(1.0, 17).expand(384, 16))
    assert (model.cls_token == 0).all() and (model.temporal_pos_embedding == 0).all() and (model.head.bias == 0).all()


def test_a_clip_of_the_wrong_shape_says_what_is_expected() -> None:
    with pytest.raises(ValueError, match=r"\(b, 3, 4, 32, 48\), got \(1, 3, 4, 48, 32\)"):
        small()(torch.zeros(1, 3, 4, 48, 32))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("videomamba_tini", {}, "did you mean 'videomamba_tiny'"),
        (
            "videomamba_tiny",
            {"num_frame": 8},
            "unknown option 'num_frame' for videomamba_tiny; did you mean 'num_frames'",
        ),
        ("videomamba_tiny", {"image_size": 230}, "230x230 must be a multiple of patch_size 16"),
        ("videomamba_tiny", {"num_frames": 3, "tubelet_size": 2}, "must be a multiple of tubelet_size"),
        ("videomamba_tiny", {"scan_order": "diagonal"}, "scan_order"),
        ("videomamba_tiny", {"drop_path": 1.5}, "drop_path"),
    ],
)
def test_a_bad_config_is_refused_in_one_line(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        create_model(name, **options)
    assert "\n" not in str(error.value)
