"""The parts of the network: embed, encode, pool, on whole clips and on visible tokens, and features in between."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from videomamba import create_model, load_weights
from videomamba.models.videomamba import VideoMamba
from videomamba.modules.scan_order import TokenLayout, temporal_orders, visible_order
from videomamba.ops.dispatch import use_backend

ORDERS = ("spatial_first", "temporal_first", "spatiotemporal_v1", "spatiotemporal_v2")


def a_model(**options: object) -> VideoMamba:
    torch.manual_seed(0)
    fixed = {"depth": 3, "dim": 32, "num_classes": 5, "num_frames": 4, "image_size": (32, 48), "init": "fan_in"}
    model = create_model("videomamba_micro", **{**fixed, **options}).eval()
    torch.nn.init.normal_(model.temporal_pos_embedding, std=0.2)
    return model


def a_video(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, 4, 32, 48, generator=torch.Generator().manual_seed(1))


def by_hand(model: VideoMamba, tokens: Tensor, ranks: Tensor, upto: int | None = None) -> Tensor:
    """The stream after `upto` layers, one token order at a time; `ranks` (s,) says when the temporal-first scan meets each."""
    forward = torch.arange(tokens.shape[1])
    orders = {
        "spatial_first": [[forward]] * 3,
        "temporal_first": [[ranks.argsort()]] * 3,
        "spatiotemporal_v1": [[forward], [forward], [ranks.argsort()]],
        "spatiotemporal_v2": [[forward, ranks.argsort()]] * 3,
    }[model.config.scan_order]
    for layer, layer_orders in list(zip(model.layers, orders, strict=True))[:upto]:
        results = []
        for order in layer_orders:
            mixed = torch.empty_like(tokens)
            mixed[:, order] = layer.mixer(layer.norm(tokens)[:, order])
            results.append(mixed)
        tokens = tokens + sum(results) / len(results)
    return tokens


@pytest.mark.parametrize("order", ORDERS)
def test_the_parts_are_the_network(order: str) -> None:
    for options in ({}, {"pool": "mean"}, {"num_registers": 3, "pool": "mean"}):
        model, video = a_model(scan_order=order, **options), a_video()
        with torch.no_grad():
            tokens = model.encode(model.embed(video))
            assert torch.equal(model.classify(model.pool(tokens)), model(video))
    model, num_frames = a_model(scan_order=order, pool="mean"), torch.tensor([4, 2])
    lengths = 1 + num_frames * 6
    with torch.no_grad():
        tokens = model.encode(model.embed(video, num_frames), lengths=lengths)
        assert torch.equal(model.classify(model.pool(tokens, lengths)), model(video, num_frames))


@pytest.mark.parametrize("order", ORDERS)
def test_visible_tokens_are_seen_as_if_there_were_no_others(order: str) -> None:
    model, video = a_model(scan_order=order), a_video()
    visible = torch.tensor([[0, 1, 4, 7, 10, 13, 14, 22, 24], [0, 2, 3, 9, 15, 16, 19, 20, 23]])
    whole = TokenLayout(4, 6).temporal_order()
    # Slot 1 + 6 t + p is met as the (1 + 4 p + t)-th of all 25.
    ranks = torch.tensor([0, *(1 + 4 * (slot % 6) + slot // 6 for slot in range(24))])
    with torch.no_grad():
        tokens = model.embed(video).take_along_dim(visible[..., None], dim=1)
        found = model.encode(tokens, visible_order(whole, visible))
        with use_backend("reference"):
            for entry, result, slots in zip(tokens, found, visible, strict=True):
                expected = by_hand(model, entry[None], ranks[slots])[0]
                torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)
        # With padding: the clips' own orders are (b, l), and all tokens are visible.
        orders = temporal_orders([4, 2], 6, 25)
        assert torch.equal(visible_order(orders, torch.arange(25).expand(2, -1))[0], orders[0])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("registers", [0, 3])
def test_intermediate_maps_are_the_streams_after_the_layers(order: str, registers: int) -> None:
    model, video = a_model(scan_order=order, num_registers=registers), a_video()
    layout = model.layout
    ranks = layout.temporal_order()[1]
    with torch.no_grad():
        maps = model.forward_intermediates(video, [1, -1, 0])
        assert [tuple(found.shape) for found in maps] == [(2, 4, 2, 3, 32)] * 3
        for found, layers in zip(maps, (2, 3, 1), strict=True):
            with use_backend("reference"):
                expected = by_hand(model, model.embed(video), ranks, layers)
            is_patch = torch.ones(layout.length, dtype=torch.bool)
            is_patch[list(layout.special)] = False
            torch.testing.assert_close(found.flatten(1, 3), expected[:, is_patch], rtol=1e-4, atol=1e-5)
        (last,) = model.forward_intermediates(video, (i for i in [2]), norm=True)
        assert torch.equal(last.flatten(1, 3), model.forward_tokens(video)[:, 1:])


def test_taps_are_what_hooks_see() -> None:
    model, seen = a_model(), []
    for layer in model.layers:
        layer.register_forward_hook(lambda *call: seen.append(call[2]))
    with torch.no_grad():
        stream, taps = model.encode(model.embed(a_video()), taps=[0, 1, -1, 0])
    assert all(torch.equal(found, seen[i]) for found, i in zip(taps, (0, 1, 2, 0), strict=True))
    assert torch.equal(stream, seen[2])
    stream, none = model.encode(model.embed(a_video()), taps=[])
    assert none == [] and stream.requires_grad


def test_what_does_not_fit_is_refused() -> None:
    model = a_model(scan_order="temporal_first")
    order = TokenLayout(4, 6).temporal_order()
    for arguments, message in (
        ((torch.zeros(1, 9, 31),), r"tokens must be \(b, s, 32\), got \(1, 9, 31\)"),
        ((torch.zeros(1, 9, 32),), "9 tokens are not the 25 of a clip: give their orders"),
        ((torch.zeros(1, 9, 32), order), r"orders must be \(order, inverse\)"),
        ((torch.zeros(1, 25, 32), (order[0], order[1].int())), "int64"),
        ((torch.zeros(1, 25, 32), (order[0], order[0])), "a permutation of the 25 tokens and its inverse"),
        ((torch.zeros(1, 25, 32), (order[0] * 0, order[1])), "a permutation of the 25 tokens and its inverse"),
        ((torch.zeros(1, 25, 32), None, torch.tensor([4])), "1 and a multiple of the 6 patches of a time step; got"),
        ((torch.zeros(1, 25, 32), None, torch.tensor([31])), "lengths must lie between 1 and 25"),
        ((torch.zeros(1, 25, 32), None, [7]), r"lengths must be \(1,\) int64"),
    ):
        with pytest.raises(ValueError, match=message):
            model.encode(*arguments)
    for index in (3, -4):
        with pytest.raises(ValueError, match=f"there is no layer {index}: the indices are -3 to 2"):
            model.forward_intermediates(a_video(), [index])
    with pytest.raises(ValueError, match="with registers there must be 27 tokens, got 9"):
        a_model(num_registers=2, pool="mean").pool(torch.zeros(1, 9, 32))


def test_loading_draws_nothing_and_replaces_everything() -> None:
    source, state = a_model(num_registers=2), torch.get_rng_state()
    config = source.config.model_dump()
    for name, model in (
        ("given", create_model("videomamba_micro", weights=source.state_dict(), **config)),
        ("loaded", VideoMamba.without_weights(source.config)),
    ):
        if name == "loaded":
            load_weights(model, source.state_dict())
        assert all(torch.equal(value, source.state_dict()[key]) for key, value in model.state_dict().items())
        assert all(type(p) is torch.nn.Parameter and p.requires_grad for p in model.parameters())
        assert model.training and model.pos_embed.device.type == "cpu"
        with torch.no_grad():
            assert torch.equal(model.eval()(a_video()), source(a_video()))
    assert torch.equal(torch.get_rng_state(), state)
