"""Groups of parameters against the formulas, and scaled rates against the tables of the released runs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from videomamba.models.registry import build_config
from videomamba.models.videomamba import VideoMamba
from videomamba.training.optim import make_optimizer, parameter_groups, scaled_rates
from videomamba.training.settings import Optimisation

# arXiv 2403.06977's fine-tuning scripts: (run, lr, videos in a step, peak after scaling, minimum after scaling); 2 repeats.
VIDEO_RUNS = [
    ("K400 Ti f8", 2e-4, 8 * 64, 8e-4, 4e-6),
    ("K400 Ti f16", 2e-4, 8 * 64, 8e-4, 4e-6),
    ("K400 Ti f32", 2e-4, 8 * 32, 4e-4, 2e-6),
    ("K400 Ti f64", 2e-4, 16 * 16, 4e-4, 2e-6),
    ("K400 Ti f64 384", 5e-6, 16 * 6, 3.75e-6, 7.5e-7),
    ("K400 S f8", 2e-4, 8 * 64, 8e-4, 4e-6),
    ("K400 S f16", 2e-4, 16 * 32, 8e-4, 4e-6),
    ("K400 S f32", 2e-4, 16 * 16, 4e-4, 2e-6),
    ("K400 S f64", 2e-4, 16 * 8, 2e-4, 1e-6),
    ("K400 S f64 384", 5e-6, 32 * 2 * 2, 5e-6, 1e-6),
    ("K400 M f8", 2e-4, 16 * 32, 8e-4, 4e-6),
    ("K400 M f16", 1e-4, 16 * 16, 2e-4, 2e-6),
    ("K400 M f32", 1e-4, 16 * 8, 1e-4, 1e-6),
    ("K400 M f64", 1e-4, 16 * 4, 5e-5, 5e-7),
    ("K400 M f64 384", 5e-6, 16 * 1 * 2, 1.25e-6, 2.5e-7),
    ("K400 M-mask f8", 1e-4, 16 * 32, 4e-4, 4e-6),
    ("K400 M-mask f16", 1e-4, 16 * 16, 2e-4, 2e-6),
    ("K400 M-mask f32", 1e-4, 16 * 8, 1e-4, 1e-6),
    ("K400 M-mask f64", 1e-4, 16 * 4, 5e-5, 5e-7),
    ("K400 M-mask f64 384", 5e-6, 16 * 1 * 2, 1.25e-6, 2.5e-7),
    ("SSv2 Ti f8", 4e-4, 8 * 64, 1.6e-3, 4e-6),
    ("SSv2 Ti f16", 4e-4, 8 * 64, 1.6e-3, 4e-6),
    ("SSv2 Ti f16 288", 5e-6, 16 * 32, 2e-5, 4e-6),
    ("SSv2 S f8", 4e-4, 8 * 64, 1.6e-3, 4e-6),
    ("SSv2 S f16", 4e-4, 16 * 32, 1.6e-3, 4e-6),
    ("SSv2 S f16 288", 5e-6, 16 * 12, 7.5e-6, 1.5e-6),
    ("SSv2 M f8", 4e-4, 16 * 32, 1.6e-3, 4e-6),
    ("SSv2 M f16", 4e-4, 16 * 16, 8e-4, 2e-6),
    ("SSv2 M f16 288", 5e-6, 16 * 6, 3.75e-6, 7.5e-7),
    ("SSv2 M-mask f8", 1e-4, 16 * 32, 4e-4, 4e-6),
    ("SSv2 M-mask f16", 1e-4, 16 * 16, 2e-4, 2e-6),
    ("SSv2 M-mask f16 288", 5e-6, 16 * 6, 3.75e-6, 7.5e-7),
    ("Breakfast and COIN Ti f32", 2e-4, 8 * 32, 4e-4, 2e-6),
    ("Breakfast and COIN Ti f64", 2e-4, 16 * 16, 4e-4, 2e-6),
    ("Breakfast and COIN S f32", 2e-4, 16 * 16, 4e-4, 2e-6),
    ("Breakfast and COIN S f64", 2e-4, 16 * 8, 2e-4, 1e-6),
    ("Breakfast and COIN M f32", 2e-4, 8 * 8, 1e-4, 5e-7),
    ("Breakfast and COIN M f64", 2e-4, 8 * 4, 5e-5, 2.5e-7),
    ("Breakfast and COIN M-mask f32", 2e-4, 8 * 8, 1e-4, 5e-7),
    ("Breakfast and COIN M-mask f64", 2e-4, 8 * 4, 5e-5, 2.5e-7),
    ("LVU", 4e-4, 8 * 8, 2e-4, 5e-7),
]
# ImageNet's, where only the peak is scaled: (run, lr, images in a step, peak, minimum, first rate of the warm-up).
IMAGE_RUNS = [
    ("Ti 224", 5e-4, 512 * 8, 4e-3, 1e-5, 1e-6),
    ("S 224", 5e-4, 512 * 8, 4e-3, 1e-5, 1e-6),
    ("M 224", 5e-4, 128 * 16, 2e-3, 5e-6, 5e-7),
    ("B 224", 5e-4, 128 * 16, 2e-3, 5e-6, 5e-7),
    ("Ti 448", 5e-6, 256 * 8, 2e-5, 5e-6, 1e-6),
    ("Ti 576", 5e-6, 128 * 8, 1e-5, 5e-6, 1e-6),
    ("S 448", 5e-6, 64 * 8, 5e-6, 5e-6, 1e-6),
    ("S 576", 5e-6, 64 * 8, 5e-6, 5e-6, 1e-6),
    ("M 448", 5e-6, 32 * 16, 5e-6, 5e-6, 1e-6),
    ("M 576", 5e-6, 32 * 16, 5e-6, 5e-6, 1e-6),
]


@pytest.mark.parametrize("run, lr, batch, peak, minimum", VIDEO_RUNS, ids=[row[0] for row in VIDEO_RUNS])
def test_rates_are_those_of_the_video_runs(run: str, lr: float, batch: int, peak: float, minimum: float) -> None:
    rates = scaled_rates(Optimisation(lr=lr, batch_size=batch), 2)
    assert (rates.peak, rates.minimum, rates.warmup) == pytest.approx((peak, minimum, minimum), rel=1e-12)


@pytest.mark.parametrize("run, lr, batch, peak, minimum, warmup", IMAGE_RUNS, ids=[row[0] for row in IMAGE_RUNS])
def test_rates_are_those_of_the_image_runs(
    run: str, lr: float, batch: int, peak: float, minimum: float, warmup: float
) -> None:
    settings = Optimisation(
        lr=lr, batch_size=batch, lr_reference=512, scale_all=False, min_lr=minimum, warmup_lr=warmup
    )
    rates = scaled_rates(settings, 1)
    assert (rates.peak, rates.minimum, rates.warmup) == pytest.approx((peak, minimum, warmup), rel=1e-12)


def test_rates_of_masked_pretraining_and_of_no_rule() -> None:
    settings = Optimisation(lr=1.5e-4, min_lr=1e-5, warmup_lr=0, batch_size=2048)
    rates = scaled_rates(settings, 1)
    assert (rates.peak, rates.minimum, rates.warmup) == pytest.approx((1.2e-3, 8e-5, 0))
    rates = scaled_rates(settings.model_copy(update={"lr_reference": 0}), 2)
    assert (rates.peak, rates.minimum, rates.warmup) == (1.5e-4, 1e-5, 0)


def a_model(name: str, **fields: object) -> VideoMamba:
    with torch.device("meta"):
        return VideoMamba(build_config(name, fields))


def placed(model: VideoMamba, settings: Optimisation) -> tuple[dict[str, dict[str, object]], list[dict[str, object]]]:
    """({parameter: its group}, the groups), each parameter in one group only."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model.named_parameters(), settings, depth=model.config.depth)
    found = [(names[id(p)], group) for group in groups for p in group["params"]]
    assert sorted(name for name, _ in found) == sorted(names.values())
    return dict(found), groups


NETWORKS = [("videomamba_tiny", 24), ("videomamba_small", 24), ("videomamba_middle", 32)]


@pytest.mark.parametrize("decay", [0.75, 0.8])
@pytest.mark.parametrize("name, depth", NETWORKS)
def test_every_layer_has_its_rate(name: str, depth: int, decay: float) -> None:
    model = a_model(name, num_registers=4)
    found, groups = placed(model, Optimisation(layer_decay=decay))
    for i in range(depth):
        block = {key: group for key, group in found.items() if key.startswith(f"layers.{i}.")}
        assert len(block) == 17
        assert {group["lr_scale"] for group in block.values()} == {decay ** (depth - i)}
    embeddings = {"cls_token", "pos_embed", "temporal_pos_embedding", "register_tokens"}
    embeddings |= {"patch_embed.proj.weight", "patch_embed.proj.bias"}
    assert {found[key]["lr_scale"] for key in embeddings} == {decay ** (depth + 1)}
    assert {found[key]["lr_scale"] for key in ("norm_f.weight", "head.weight", "head.bias")} == {1.0}
    assert len(embeddings) + 17 * depth + 3 == len(found)
    assert len({group["name"] for group in groups}) == len(groups) == 2 * (depth + 2)


@pytest.mark.parametrize(
    "name, depth, decay, frozen",
    [
        ("videomamba_tiny", 24, 0.75, 7.5e-4),
        ("videomamba_small", 24, 0.8, 3.8e-3),
        ("videomamba_middle", 32, 0.75, 7.5e-5),
        ("videomamba_middle", 32, 0.8, 6.3e-4),
    ],
)
def test_legacy_rates_freeze_the_input_and_nothing_else(name: str, depth: int, decay: float, frozen: float) -> None:
    found, groups = placed(a_model(name), Optimisation(layer_decay=decay, layer_decay_mode="legacy"))
    slow = {key for key, group in found.items() if group["lr_scale"] != 1}
    assert slow == {"cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"}
    for key in slow:
        assert found[key]["lr_scale"] == decay ** (depth + 1) == pytest.approx(frozen, rel=0.02)
    assert [group["name"] for group in groups] == [
        "layer_0_no_decay",
        "layer_0_decay",
        f"layer_{depth + 1}_no_decay",
        f"layer_{depth + 1}_decay",
    ]


@pytest.mark.parametrize("mode", ["mamba", "legacy"])
@pytest.mark.parametrize("layer_decay", [1.0, 0.75])
def test_what_decays(mode: str, layer_decay: float) -> None:
    model = a_model("videomamba_tiny", num_registers=4)
    settings = Optimisation(no_decay=mode, weight_decay=0.1, layer_decay=layer_decay)
    found, _ = placed(model, settings)
    kernels = {"in_proj", "out_proj", "x_proj", "x_proj_b", "dt_proj", "dt_proj_b", "conv1d", "conv1d_b"}
    decayed = {"patch_embed.proj.weight", "head.weight"}
    decayed |= {f"layers.{i}.mixer.{kernel}.weight" for i in range(24) for kernel in kernels}
    if mode == "legacy":
        decayed |= {f"layers.{i}.mixer.{A}" for i in range(24) for A in ("A_log", "A_b_log")}
    assert {key for key, group in found.items() if group["weight_decay"] == 0.1} == decayed
    assert {group["weight_decay"] for key, group in found.items() if key not in decayed} == {0.0}


def test_without_layer_decay_there_are_two_groups_of_full_rate() -> None:
    for mode in ("true", "legacy"):
        _, groups = placed(a_model("videomamba_tiny"), Optimisation(layer_decay_mode=mode))
        assert [(group["name"], group["lr_scale"]) for group in groups] == [
            ("layer_25_no_decay", 1.0),
            ("layer_25_decay", 1.0),
        ]


def test_what_is_frozen_is_in_no_group() -> None:
    model = a_model("videomamba_micro", depth=2)
    model.requires_grad_(False)
    model.head.requires_grad_(True)
    groups = parameter_groups(model.named_parameters(), Optimisation(), depth=2)
    assert [len(group["params"]) for group in groups] == [1, 1]  # type: ignore[arg-type]


def test_a_block_beyond_the_depth_is_refused() -> None:
    model = a_model("videomamba_micro", depth=2)
    with pytest.raises(ValueError, match=r"layers\.1\.mixer\.A_log: the network has 1 blocks"):
        parameter_groups(model.named_parameters(), Optimisation(layer_decay=0.5), depth=1)


def test_the_optimiser_takes_the_settings_and_steps_as_adamw_does() -> None:
    settings = Optimisation(weight_decay=0.1, betas=(0.8, 0.9), eps=1e-6)
    weight = nn.Parameter(torch.tensor([[1.0, -2.0]]))
    bias = nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer = make_optimizer([("head.weight", weight), ("head.bias", bias)], settings, depth=2)
    assert [group["lr"] for group in optimizer.param_groups] == [0, 0]
    for group in optimizer.param_groups:
        assert (group["betas"], group["eps"]) == ((0.8, 0.9), 1e-6)
        group["lr"] = 0.5
    weight.grad, bias.grad = torch.ones_like(weight), torch.ones_like(bias)
    optimizer.step()
    # The first step of Adam is the sign of the gradient; decay is decoupled and proportional to the rate.
    torch.testing.assert_close(weight.detach(), torch.tensor([[1.0, -2.0]]) * (1 - 0.5 * 0.1) - 0.5)
    torch.testing.assert_close(bias.detach(), torch.tensor([3.0, 4.0]) - 0.5)
