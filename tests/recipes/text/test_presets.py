"""The presets of training on pairs against the original's configs and UMT's tables, written out here a second time."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from tests.recipes.runs import TEXT_TOWER, make_run, write_captions
from videomamba import create_model
from videomamba.models.text import TextConfig
from videomamba.models.video_text import VideoText, VideoTextConfig
from videomamba.recipes.text.config import check_video_text
from videomamba.recipes.text.objectives import PairLosses
from videomamba.recipes.text.presets import VIDEO_TEXT
from videomamba.schema import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from videomamba.training.optim import make_optimizer, scaled_rates
from videomamba.training.tracking import read_metrics
from videomamba.video.picture import write_png
from videomamba.weights.bundle import save_bundle
from videomamba.weights.zoo import zoo_entry

# name, batch, peak, minimum, epochs/warm-up
STAGES = """
pairs-5m-middle-masked     2048 4e-4 4e-6 10/1
pairs-17m-middle-masked    4096 4e-4 4e-6 10/1
pairs-25m-middle-masked    4096 4e-4 4e-6 10/1
pairs-5m-middle-unmasked   1024 8e-5 8e-7 1/0.2
pairs-17m-middle-unmasked  2048 8e-5 8e-7 1/0.2
pairs-25m-middle-unmasked  2048 8e-5 8e-7 1/0.2
"""
# name, tokens, peak, epochs/warm-up, drop path, captions of a video, seconds
TUNINGS = """
msrvtt-retrieval-middle-5m         32  2e-5 10/0 .2 separate  -
msrvtt-retrieval-middle-17m        32  2e-5 10/0 .2 separate  -
msrvtt-retrieval-middle-25m        32  1e-5 10/1 .2 separate  -
didemo-retrieval-middle-5m         64  2e-5 15/1 .1 paragraph 30
didemo-retrieval-middle-17m        64  2e-5 10/1 .1 paragraph 30
didemo-retrieval-middle-25m        64  2e-5 12/1 .1 paragraph 30
activitynet-retrieval-middle-5m    150 4e-5 20/1 .1 paragraph -
activitynet-retrieval-middle-17m   150 4e-5 20/1 .1 paragraph -
activitynet-retrieval-middle-25m   150 4e-5 20/1 .1 paragraph -
lsmdc-retrieval-middle-5m          96  2e-5 10/1 .2 each      -
lsmdc-retrieval-middle-17m         96  2e-5 10/1 .2 each      -
lsmdc-retrieval-middle-25m         96  2e-5 10/1 .2 each      -
msvd-retrieval-middle-5m           64  1e-5 5/0  .2 separate  -
msvd-retrieval-middle-17m          64  1e-5 5/0  .2 separate  -
msvd-retrieval-middle-25m          64  1e-5 5/0  .2 separate  -
ssv2-label-retrieval-middle-5m     25  5e-5 10/0 .1 each      -
ssv2-label-retrieval-middle-17m    25  5e-5 10/0 .1 each      -
ssv2-label-retrieval-middle-25m    25  5e-5 10/0 .1 each      -
ssv2-template-retrieval-middle-5m  25  1e-4 10/1 .1 each      -
ssv2-template-retrieval-middle-17m 25  1e-4 10/1 .1 each      -
ssv2-template-retrieval-middle-25m 25  1e-4 10/1 .1 each      -
msrvtt-choice-middle-5m            32  8e-5 5/0  .2 separate  -
msrvtt-choice-middle-17m           32  2e-5 5/0  .2 separate  -
msrvtt-choice-middle-25m           32  8e-5 3/0  .2 separate  -
"""


def rows(table: str) -> list[list[str]]:
    return [line.split() for line in table.strip().split("\n")]


def test_the_presets_are_the_tables() -> None:
    assert list(VIDEO_TEXT.presets) == [row[0] for row in (*rows(STAGES), *rows(TUNINGS))]


@pytest.mark.parametrize("row", rows(STAGES), ids=lambda row: row[0])
def test_the_stages_are_those_of_the_original(row: list[str]) -> None:
    name, batch, peak, minimum, length = row
    made = VIDEO_TEXT[name]
    config, corpus, masked = made.config, name.split("-")[1], name.endswith("-masked")
    optim, goals = config.optim, config.objectives
    rates = scaled_rates(optim, config.augment.repeats)
    assert (rates.peak, rates.minimum, rates.warmup) == pytest.approx((float(peak), float(minimum), float(minimum)))
    assert (optim.batch_size, f"{optim.epochs}/{optim.warmup_epochs:g}") == (int(batch), length)
    assert (optim.betas, optim.eps, optim.weight_decay, optim.clip_grad) == ((0.9, 0.999), 1e-8, 0.05, None)
    assert (config.run.micro_batch, config.run.precision, config.run.seed) == (None, "bf16", 42)
    assert (goals.contrastive, goals.matching, goals.words, goals.align) == (1, 1, 1, 1 if masked else 0)
    assert (goals.word_mask, goals.hard_negatives, goals.negatives, goals.per_frame) == (0.5, True, None, not masked)
    masks = (config.mask.name, config.mask.ratio, config.image_mask.name, config.image_mask.ratio)
    assert masks == (("attention", 0.8, "attention", 0.5) if masked else ("attention", 0.0, "attention", 0.0))
    assert config.teacher.weights == ("openai/clip-vit-base-patch16" if masked else None)
    assert (config.model.drop_path, config.text.max_length, config.text.embed_dim) == (0.25, 32, 512)
    first = VIDEO_TEXT[f"pairs-{corpus}-middle-masked"].config
    start = "videomamba_middle_k400_mask_pt_f8_224" if masked else f"{first.run.out}/last.safetensors"
    assert config.model.weights == start
    assert config.text.weights == ("bert-base-uncased" if masked else None)
    said = " ".join(made.published.notes)
    t2v, v2t = (zoo_entry(f"videomamba_middle_{corpus}_f8_224").zero_shot or {})["MSRVTT"]
    assert ("WebVid-10M" in said) == (corpus == "25m") and (f"MSRVTT {t2v:g} and {v2t:g}" in said) == (not masked)


@pytest.mark.parametrize("row", rows(TUNINGS), ids=lambda row: row[0])
def test_fine_tuning_is_that_of_umt(row: list[str]) -> None:
    name, tokens, peak, length, drop_path, captions, seconds = row
    config = VIDEO_TEXT[name].config
    optim, goals = config.optim, config.objectives
    rates = scaled_rates(optim, 1)
    assert (rates.peak, rates.minimum) == pytest.approx((float(peak), float(peak) / 100))
    assert (optim.batch_size, f"{optim.epochs}/{optim.warmup_epochs:g}", optim.weight_decay) == (256, length, 0.02)
    assert config.text.max_length == int(tokens) and config.model.drop_path == float(drop_path)
    assert config.data.captions == captions
    assert config.data.first_seconds == (None if seconds == "-" else float(seconds))
    assert (goals.contrastive, goals.matching, goals.words, goals.align) == (1, 1, 0, 0)
    assert (goals.per_frame, config.mask.ratio, config.teacher.weights) == (True, 0, None)
    assert config.model.weights == f"videomamba_middle_{name.rpartition('-')[2]}_f8_224"
    assert config.clip.num_frames == 12
    said = " ".join(VIDEO_TEXT[name].published.notes)
    assert "published neither numbers nor settings" in said
    assert ("tests with 32 frames" in said) == name.startswith("activitynet")
    assert ("trains on 7,000 videos" in said) == name.startswith("msrvtt-choice")


@pytest.mark.parametrize("name", list(VIDEO_TEXT.presets))
def test_every_preset_builds_with_its_optimiser(name: str) -> None:
    config = VIDEO_TEXT[name].config
    clip = config.clip
    assert (clip.resize, clip.sampling, clip.interpolation, clip.antialias) == ("stretch", "segments", "bicubic", False)
    assert (clip.mean, clip.std, clip.image_size) == (IMAGENET_MEAN, IMAGENET_STD, (224, 224))
    assert (config.augment.crop, config.augment.crop_area, config.augment.flip) == ("area", (0.5, 1.0), "auto")
    check_video_text(config.model_copy(update={"data": config.data.model_copy(update={"root": "somewhere"})}))
    video, goals = config.video().model_copy(update={"depth": 2}), config.objectives
    with torch.device("meta"):
        network = VideoText(
            VideoTextConfig(
                video=video,
                text=TextConfig(depth=3, fusion_from=2),
                words=goals.words > 0,
                teacher_dim=512 * (goals.align > 0),
            )
        )
        losses = PairLosses(network, goals)
    optimizer = make_optimizer(losses.named_parameters(), config.optim, depth=2)
    of_group = {id(one): group["weight_decay"] for group in optimizer.param_groups for one in group["params"]}
    named = dict(losses.named_parameters())
    assert len(of_group) == len(named) == len(list(network.parameters()))
    undecayed = {parameter for parameter, value in named.items() if of_group[id(value)] == 0}
    tower = "model.vision_encoder."
    assert {"model.temp", f"{tower}cls_token", f"{tower}pos_embed", f"{tower}temporal_pos_embedding"} <= undecayed
    assert {f"{tower}layers.0.mixer.A_log", f"{tower}norm_f.weight", f"{tower}pool_norm.weight"} <= undecayed
    assert any(one.endswith("word_embeddings.weight") for one in undecayed)
    assert all(named[one].ndim < 2 or "embed" in one or "token" in one or one.endswith("_log") for one in undecayed)
    assert not any(one.endswith((".dense.weight", "in_proj.weight", "_proj.weight")) for one in undecayed)


@pytest.mark.parametrize("name", ["pairs-5m-middle-masked", "pairs-5m-middle-unmasked", "didemo-retrieval-middle-5m"])
def test_a_preset_of_each_kind_makes_an_epoch(name: str, videos: Path, tmp_path: Path) -> None:
    """At a reduced size, from random weights; pretraining with pictures, four of which are a step."""
    config = VIDEO_TEXT[name].config
    clip = {"num_frames": 2, "image_size": (32, 32)}
    teacher = create_model("videomamba_micro", depth=1, dim=8, num_classes=0, init="fan_in", **clip)
    save_bundle(tmp_path / "teacher.safetensors", teacher, Preprocess(**clip))
    lists, pictures = write_captions(videos), []
    for i in range(4):
        write_png(tmp_path / f"{i}.png", torch.full((40, 48, 3), 60 * i, dtype=torch.uint8))
        pictures.append({"image": f"{i}.png", "caption": f"a grey picture of shade {'abcd'[i]}"})
    (tmp_path / "pictures.json").write_text(json.dumps(pictures))
    images = {"root": tmp_path, "train": tmp_path / "pictures.json", "workers": 0}
    changes: dict[str, dict[str, object]] = {
        "model": {"name": None, "weights": None, "depth": 2, "dim": 16, "init": "fan_in"},
        "clip": clip,
        "data": {"root": videos, "train": lists["train"], "val": lists["val"], "workers": 0},
        "images": images if name.startswith("pairs-") else {},
        "optim": {"batch_size": 4, "epochs": 1, "warmup_epochs": 0},
        "run": {"out": tmp_path / "run", "device": "cpu"},
        "text": {**TEXT_TOWER, "weights": None, "learn_vocabulary": 64},
        "teacher": {"weights": str(tmp_path / "teacher.safetensors")} if config.teacher.weights else {},
    }
    parts = {key: getattr(config, key).model_copy(update=values) for key, values in changes.items()}
    trained = make_run(type(config).model_validate(config.model_copy(update=parts).model_dump()))
    assert trained.progress.step == (4 if name.startswith("pairs-") else 3) and trained.progress.skipped_steps == 0
    for record in read_metrics(tmp_path / "run"):
        if record["kind"] == "step":
            names = {one for one in record if one.endswith("_loss")}
            assert ("words_loss" in names) == name.startswith("pairs-") and ("align_loss" in names) == name.endswith(
                "-masked"
            )
            assert all(math.isfinite(record[one]) for one in names)
