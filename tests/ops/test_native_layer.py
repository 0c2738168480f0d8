"""The fused inference layer against the modular one."""

from __future__ import annotations

import pytest
import torch

from tests.ops.cases import each_case
from videomamba import create_model
from videomamba.models.precision import cast_products
from videomamba.modules.block import Block
from videomamba.ops import dispatch, native, native_layer, walk
from videomamba.ops.dispatch import LayerCall, use_backend

pytestmark = pytest.mark.skipif(native.kernels is None, reason="the native kernels are not built")


def a_layer(dtype: torch.dtype = torch.float32, **options: object) -> Block:
    torch.manual_seed(0)
    model = create_model("videomamba_micro", dim=40, depth=1, **options).eval()
    layer: Block = model.layers[0]
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    cast_products(model, dtype)
    return layer


def a_call(dtype: torch.dtype = torch.float32) -> LayerCall:
    return LayerCall(torch.device("cpu"), dtype)


def modular(layer: Block, tokens: torch.Tensor, *rest: object) -> torch.Tensor:
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(dispatch, "fuses_layer", lambda *_: False)
        return layer(tokens, *rest)


@each_case(
    2,
    length=(1, 2, 15, 16, 17, 50),
    batch=(1, 2),
    merge=("sum", "mean"),
    discretization=("euler", "zoh"),
    d_conv=(4, 2),
    expand=(2, 1),
)
def test_fused_is_modular(
    length: int, batch: int, merge: str, discretization: str, d_conv: int, expand: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "BLOCK_BYTES", 16 * 80 * 4)
    layer = a_layer(merge=merge, discretization=discretization, d_conv=d_conv, expand=expand)
    tokens = torch.randn(batch, length, 40)
    with torch.no_grad():
        assert dispatch.fuses_layer(tokens, layer.parameters(), a_call())
        found = layer(tokens)
    expected = modular(layer, tokens)
    assert (found - expected).abs().max() < 1e-5 * (expected - tokens).abs().max()


@pytest.mark.parametrize(("block", "spare"), [(1, 0), (2, 2000), (3, 2**20), (7, 0), (7, 2000), (64, 2**20)])
def test_blocks_of_any_size_with_any_room(block: int, spare: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "BLOCK_BYTES", block * 80 * 4)
    monkeypatch.setattr(native_layer, "SPARE_BYTES", spare)
    layer, tokens = a_layer(), torch.randn(1, 33, 40)
    with torch.no_grad():
        found = layer(tokens)
    expected = modular(layer, tokens)
    assert (found - expected).abs().max() < 1e-5 * (expected - tokens).abs().max()


def test_rooms_lie_where_nothing_is_written_before_they_are_read() -> None:
    blocks = [slice(i, min(i + 8, 50)) for i in range(0, 50, 8)]
    for dtype, channels, least in ((torch.float32, 80, 3), (torch.bfloat16, 80, 7), (torch.float32, 40, 7)):
        out = torch.full((1, 50, 40), float("nan"))
        rooms = native_layer._rooms(out, blocks, channels, dtype, spare=torch.empty(0))
        assert sum(room is not None for room in rooms) >= least
        for i, room in enumerate(rooms):
            if room is not None:
                room.fill_(i)
        for i, (block, room) in enumerate(zip(blocks, rooms, strict=True)):
            assert room is None or (room == i).all()
            out[:, block] = -1.0


def test_padding_in_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "BLOCK_BYTES", 16 * 80 * 4)
    layer, tokens, lengths = a_layer(), torch.randn(3, 20, 40), torch.tensor([20, 3, 9])
    for entry, length in zip(tokens, lengths, strict=True):
        entry[length:] = float("nan")
    with torch.no_grad():
        found = layer(tokens, (None,), lengths)
        for entry, result, length in zip(tokens, found, lengths, strict=True):
            alone = layer(entry[None, :length])[0]
            assert (result[:length] - alone).abs().max() < 1e-6 * alone.abs().max()
    expected = modular(layer, tokens, (None,), lengths)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_fused_in_bf16_is_as_near_to_fp32_as_modular() -> None:
    tokens = torch.randn(2, 50, 40)
    exact = modular(a_layer(), tokens)
    layer = a_layer(torch.bfloat16)
    with torch.no_grad():
        fused_error = (layer(tokens) - exact).norm()
    modular_error = (modular(layer, tokens) - exact).norm()
    assert fused_error < 1.5 * modular_error < 0.05 * exact.norm()


def test_nobody_who_looks_inside_gets_the_fused_one() -> None:
    tokens, weight = torch.randn(1, 4, 8), [torch.zeros(8, 8), torch.nn.Parameter(torch.randn(8, 8))]
    assert not dispatch.fuses_layer(tokens, weight, a_call())
    with torch.no_grad():
        assert dispatch.fuses_layer(tokens, weight, a_call())
        assert not dispatch.fuses_layer(tokens, weight, a_call(torch.float64))
        assert not dispatch.fuses_layer(tokens.double(), weight, a_call())
        assert not dispatch.fuses_layer(tokens[:0], weight, a_call())
        with torch.autocast("cpu", torch.bfloat16):
            assert not dispatch.fuses_layer(tokens, weight, a_call())
        for name in ("chunked", "reference"):
            with use_backend(name):
                assert not dispatch.fuses_layer(tokens, weight, a_call())


def test_modes_follow_one_another_in_any_order() -> None:
    model = create_model("videomamba_micro", depth=2, num_frames=2, image_size=32).eval().requires_grad_(False)
    video, found = torch.randn(1, 3, 2, 32, 32), []
    for mode in (torch.inference_mode, torch.no_grad, torch.enable_grad, torch.inference_mode):
        with mode():
            found.append(model(video).clone())
    assert all(torch.equal(result, found[0]) for result in found)


def test_networks_of_other_shapes_take_turns() -> None:
    videos = {frames: torch.randn(1, 3, frames, 32, 32) for frames in (2, 9)}
    models = {f: create_model("videomamba_micro", depth=2, num_frames=f, image_size=32).eval() for f in videos}
    with torch.no_grad():
        expected = {frames: models[frames](video) for frames, video in videos.items()}
        for frames in (2, 9, 2, 9):
            assert torch.equal(models[frames](videos[frames]), expected[frames])


def test_drop_path_is_not_skipped_without_gradients() -> None:
    layer, tokens = a_layer(), torch.randn(64, 9, 40)
    layer.drop_path_rate = 0.5
    with torch.no_grad():
        layer.train()
        dropped = (layer(tokens) == tokens).all(dim=(1, 2))
    assert 8 < dropped.sum() < 56


def test_another_norm_is_not_passed_over() -> None:
    layer, tokens = a_layer(), torch.randn(1, 9, 40)
    layer.norm = torch.nn.LayerNorm(40)
    with torch.no_grad():
        torch.testing.assert_close(layer(tokens), modular(layer, tokens), rtol=0, atol=0)


@pytest.mark.parametrize("lengths", [torch.tensor([9]), torch.tensor([9, 9, 9], dtype=torch.int32), [9, 9, 9]], ids=str)
def test_lengths_of_another_form_are_refused(lengths: object) -> None:
    layer, tokens = a_layer(), torch.randn(3, 9, 40)
    with torch.no_grad(), pytest.raises((ValueError, RuntimeError), match="lengths"):
        layer(tokens, (None,), lengths)


def test_the_defaults_of_pytorch_do_not_matter() -> None:
    layer, tokens = a_layer(), torch.randn(1, 9, 40)
    with torch.no_grad():
        expected = layer(tokens)
        torch.set_default_dtype(torch.float64)
        try:
            assert torch.equal(layer(tokens), expected)
        finally:
            torch.set_default_dtype(torch.float32)


def test_partly_frozen_layers_train() -> None:
    layer, tokens = a_layer(), torch.randn(1, 9, 40)
    layer.mixer.in_proj.weight.requires_grad_(False)
    layer(tokens).sum().backward()
    assert all(p.grad is not None for name, p in layer.named_parameters() if name != "mixer.in_proj.weight")


@pytest.mark.parametrize("place", ["norm", "mixer", "mixer.x_proj"])
def test_hooks_are_not_passed_over(place: str) -> None:
    layer, tokens, calls = a_layer(), torch.randn(1, 9, 40), []
    layer.get_submodule(place).register_forward_hook(lambda *_: calls.append(place))
    with torch.no_grad():
        layer(tokens)
    assert calls == [place]


def test_adapters_are_not_passed_over() -> None:
    layer, tokens = a_layer(), torch.randn(1, 9, 40)
    with torch.no_grad():
        plain = layer(tokens) - tokens
        layer.mixer.out_proj = torch.nn.Sequential(layer.mixer.out_proj, torch.nn.Tanh())
        torch.testing.assert_close(layer(tokens) - tokens, plain.tanh(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lengths", [None, torch.tensor([9, 4])], ids=str)
def test_the_registered_op_passes_pytorchs_own_checks(lengths: torch.Tensor | None) -> None:
    layer = a_layer()
    weights = layer.mixer.layer_weights(layer.norm.weight)
    flat = [t.detach() for t in (*weights[:4], *weights.forward, *weights.backward)]
    arguments = (torch.randn(2, 9, 40), flat, 1e-5, "euler", lengths, "native")
    torch.library.opcheck(torch.ops.videomamba.layer, arguments)
