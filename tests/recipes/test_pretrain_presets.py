"""The presets of masked pretraining against the original's script, whose numbers are written out here a second time."""

from __future__ import annotations

import pytest

from videomamba.recipes.presets import preset
from videomamba.recipes.pretrain_config import aligned_layers
from videomamba.recipes.pretrain_presets import PRETRAIN
from videomamba.schema import IMAGENET_MEAN, IMAGENET_STD
from videomamba.training.optim import scaled_rates

DROP_PATH = {"tiny": 0.1, "small": 0.2, "middle": 0.4, "base": 0.4}
"""The original's is that of the middle network."""


def test_every_size_for_both_data_sets() -> None:
    assert list(PRETRAIN.presets) == [f"{data}-{size}-mask-pt-f8" for data in ("k400", "ssv2") for size in DROP_PATH]
    rows = {str(row["preset"]): row for row in PRETRAIN.table()}
    for name, row in rows.items():
        assert (row["clip"], row["epochs"], row["batch"], row["starts from"]) == ("8x224x224", 801, 2048, None)
        assert (row["teacher"], row["mask"]) == ("openai/clip-vit-base-patch16", "attention 0.8")
        assert row["model"] == f"videomamba_{name.split('-')[1]}" and row["top-1"] is None


@pytest.mark.parametrize("name", list(PRETRAIN.presets))
def test_the_runs_are_those_of_the_original(name: str) -> None:
    config = PRETRAIN[name].config
    optim, augment, clip = config.optim, config.augment, config.clip
    rates = scaled_rates(optim, augment.repeats)
    assert (rates.peak, rates.minimum, rates.warmup) == pytest.approx((1.2e-3, 8e-5, 0), rel=1e-12, abs=0)
    assert (optim.epochs, optim.warmup_epochs, optim.batch_size, augment.repeats) == (801, 40, 2048, 1)
    assert (optim.betas, optim.eps, optim.weight_decay) == ((0.9, 0.95), 1e-8, 0.05)
    assert (optim.layer_decay, optim.no_decay, optim.clip_grad, optim.ema) == (1.0, "legacy", None, None)
    assert (config.mask.name, config.mask.ratio) == ("attention", 0.8)
    assert config.model.drop_path == DROP_PATH[name.split("-")[1]]
    assert (clip.num_frames, clip.image_size, clip.sampling) == (8, (224, 224), "tsn")
    assert (clip.mean, clip.std) == (IMAGENET_MEAN, IMAGENET_STD)
    assert (clip.interpolation, clip.antialias, clip.crop_ratio) == ("bilinear", True, 1.0)  # as PIL resizes
    assert (augment.crop, augment.flip, augment.frames) == ("multiscale", "on", "random")
    assert (augment.color_jitter, augment.erase, augment.auto_augment) == (0, 0, "")
    assert (config.teacher.precision, config.run.precision, config.teacher.cache) == ("bf16", "bf16", False)
    assert config.data.format == ("kinetics" if name.startswith("k400") else "ssv2")
    assert (config.align.layers, config.align.distance, config.align.legacy) == (1, "l2", False)
    assert aligned_layers(12, config.align.layers, config.align.interval) == [11]
    assert config.student().grid == (8, 14, 14)  # that of CLIP ViT-B/16


def test_the_notes_say_what_is_not_the_originals() -> None:
    for name, made in PRETRAIN.presets.items():
        said = " ".join(made.published.notes)
        assert "align.legacy does that" in said and made.published.top1 is None
        assert ("the authors pretrained the middle network only" in said) == ("-middle-" not in name)
        assert ("its table says 200; 801 here" in said) == name.startswith("ssv2")


def test_the_supervised_presets_go_on_with_what_these_make() -> None:
    """Same network and pixels; the released weights take the place of one's own."""
    for data in ("k400", "ssv2"):
        made, tuned = PRETRAIN[f"{data}-middle-mask-pt-f8"].config, preset(f"{data}-middle-mask-f8").config
        assert tuned.model.weights == f"videomamba_middle_{data}_mask_pt_f8_224"
        assert made.student() == type(made.student()).model_validate(
            {**made.student().model_dump(), **tuned.network(), "num_classes": 0}
        )
        assert (made.clip.mean, made.clip.std, made.clip.image_size) == (
            *(tuned.clip.mean, tuned.clip.std),
            tuned.clip.image_size,
        )
