"""Every preset against the tables of the original, which are written out here a second time, and against the zoo."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from videomamba.data.sets.formats.lvu import NUM_CLASSES
from videomamba.models.distilled import DistilledVideoMamba
from videomamba.models.masked import MaskedVideoMamba
from videomamba.models.registry import build_config
from videomamba.models.videomamba import VideoMamba
from videomamba.recipes.catalogue import Catalogue
from videomamba.recipes.config import REGRESSION_TASKS, DistillConfig, check_config
from videomamba.recipes.distill_presets import DISTILL
from videomamba.recipes.presets import CATALOGUES, preset, preset_names, preset_of, preset_or_file
from videomamba.recipes.pretrain_config import PretrainConfig, check_pretrain
from videomamba.recipes.pretrain_presets import PRETRAIN
from videomamba.recipes.text.config import VideoTextTrainConfig
from videomamba.recipes.text.presets import VIDEO_TEXT
from videomamba.recipes.text.questions_config import QuestionsConfig
from videomamba.recipes.train_presets import TRAIN
from videomamba.schema import VideoMambaError
from videomamba.training.optim import make_optimizer, scaled_rates
from videomamba.weights.released import entries
from videomamba.weights.zoo import zoo_entry, zoo_names

# name, starting weights without "videomamba_", epochs/warm-up, effective peak rate, effective minimum, drop path,
# weight decay, layer decay, views
VIDEO_RUNS = """
k400-tiny-f8                tiny_in1k_224               70/5 8e-4    4e-6   .1  .1   .75 4x3
k400-tiny-f16               tiny_in1k_224               70/5 8e-4    4e-6   .1  .1   .75 4x3
k400-tiny-f32               tiny_in1k_224               70/5 4e-4    2e-6   .1  .1   .75 4x3
k400-tiny-f64               tiny_in1k_224               70/5 4e-4    2e-6   .1  .1   .75 4x3
k400-tiny-f64-384           tiny_k400_f64_224           10/2 3.75e-6 7.5e-7 .1  1e-8 .75 4x3
k400-small-f8               small_in1k_224              50/5 8e-4    4e-6   .35 .05  .75 4x3
k400-small-f16              small_in1k_224              50/5 8e-4    4e-6   .35 .05  .75 4x3
k400-small-f32              small_in1k_224              50/5 4e-4    2e-6   .35 .05  .75 4x3
k400-small-f64              small_in1k_224              50/5 2e-4    1e-6   .35 .05  .75 4x3
k400-small-f64-384          small_k400_f64_224          6/1  5e-6    1e-6   .35 1e-8 .75 4x3
k400-middle-f8              middle_in1k_224             50/5 8e-4    4e-6   .8  .05  .75 4x3
k400-middle-f16             middle_in1k_224             50/5 2e-4    2e-6   .8  .05  .75 4x3
k400-middle-f32             middle_in1k_224             50/5 1e-4    1e-6   .8  .05  .75 4x3
k400-middle-f64             middle_in1k_224             50/5 5e-5    5e-7   .8  .05  .75 4x3
k400-middle-f64-384         middle_k400_f64_224         6/1  1.25e-6 2.5e-7 .8  1e-8 .75 4x3
k400-middle-mask-f8         middle_k400_mask_pt_f8_224  45/5 4e-4    4e-6   .4  .05  .8  4x3
k400-middle-mask-f16        middle_k400_mask_pt_f8_224  45/5 2e-4    2e-6   .4  .05  .8  4x3
k400-middle-mask-f32        middle_k400_mask_pt_f8_224  45/5 1e-4    1e-6   .4  .05  .8  4x3
k400-middle-mask-f64        middle_k400_mask_pt_f8_224  45/5 5e-5    5e-7   .4  .05  .8  4x3
k400-middle-mask-f64-384    middle_k400_mask_ft_f64_224 6/1  1.25e-6 2.5e-7 .4  1e-8 .8  4x3
ssv2-tiny-f8                tiny_in1k_224               35/5 1.6e-3  4e-6   .1  .1   .75 2x3
ssv2-tiny-f16               tiny_in1k_224               35/5 1.6e-3  4e-6   .1  .1   .75 2x3
ssv2-tiny-f16-288           tiny_ssv2_f16_224           10/2 2e-5    4e-6   .1  1e-8 .75 2x3
ssv2-small-f8               small_in1k_224              30/5 1.6e-3  4e-6   .35 .05  .75 2x3
ssv2-small-f16              small_in1k_224              30/5 1.6e-3  4e-6   .35 .05  .75 2x3
ssv2-small-f16-288          small_ssv2_f16_224          10/2 7.5e-6  1.5e-6 .35 1e-8 .75 2x3
ssv2-middle-f8              middle_in1k_224             30/5 1.6e-3  4e-6   .8  .05  .75 2x3
ssv2-middle-f16             middle_in1k_224             30/5 8e-4    2e-6   .8  .05  .75 2x3
ssv2-middle-f16-288         middle_ssv2_f16_224         10/2 3.75e-6 7.5e-7 .8  1e-8 .75 2x3
ssv2-middle-mask-f8         middle_ssv2_mask_pt_f8_224  30/5 4e-4    4e-6   .4  .05  .8  2x3
ssv2-middle-mask-f16        middle_ssv2_mask_pt_f8_224  30/5 2e-4    2e-6   .4  .05  .8  2x3
ssv2-middle-mask-f16-288    middle_ssv2_mask_ft_f16_224 10/2 3.75e-6 7.5e-7 .4  1e-8 .8  2x3
breakfast-tiny-f32          tiny_k400_f32_224           70/5 4e-4    2e-6   .1  .1   .75 4x3
breakfast-tiny-f64          tiny_k400_f32_224           70/5 4e-4    2e-6   .1  .1   .75 4x3
breakfast-small-f32         small_k400_f32_224          50/5 4e-4    2e-6   .4  .05  .75 4x3
breakfast-small-f64         small_k400_f64_224          50/5 2e-4    1e-6   .4  .05  .75 4x3
breakfast-middle-f32        middle_k400_f32_224         50/5 1e-4    5e-7   .8  .05  .8  4x3
breakfast-middle-f64        middle_k400_f64_224         50/5 5e-5    2.5e-7 .8  .05  .8  4x3
breakfast-middle-mask-f32   middle_k400_mask_ft_f32_224 45/5 1e-4    5e-7   .4  .05  .8  4x3
breakfast-middle-mask-f64   middle_k400_mask_ft_f64_224 45/5 5e-5    2.5e-7 .4  .05  .8  4x3
coin-tiny-f32               tiny_k400_f32_224           40/5 4e-4    2e-6   .1  .1   .75 10x3
coin-tiny-f64               tiny_k400_f32_224           40/5 4e-4    2e-6   .1  .1   .75 10x3
coin-small-f32              small_k400_f32_224          35/5 4e-4    2e-6   .4  .05  .75 10x3
coin-small-f64              small_k400_f64_224          35/5 2e-4    1e-6   .4  .05  .75 10x3
coin-middle-f32             middle_k400_f32_224         30/5 1e-4    5e-7   .8  .05  .8  10x3
coin-middle-f64             middle_k400_f64_224         30/5 5e-5    2.5e-7 .8  .05  .8  10x3
coin-middle-mask-f32        middle_k400_mask_ft_f32_224 30/5 1e-4    5e-7   .4  .05  .8  10x3
coin-middle-mask-f64        middle_k400_mask_ft_f64_224 30/5 5e-5    2.5e-7 .4  .05  .8  10x3
"""
# name, starting weights, epochs, warm-up and its rate, effective peak rate, minimum, batch, weight decay, drop path,
# clipping, policy, repeated samples
IMAGE_RUNS = """
in1k-tiny-224   -                300 5  1e-6 4e-3 1e-5 4096 .1   0   5 v0      1
in1k-tiny-448   tiny_in1k_224    30  5  1e-6 2e-5 5e-6 2048 1e-8 0   - v0      1
in1k-tiny-576   tiny_in1k_448    10  2  1e-6 1e-5 5e-6 1024 1e-8 0   - v0      1
in1k-small-224  -                300 5  1e-6 4e-3 1e-5 4096 .05  .15 - rand-m9 3
in1k-small-448  small_in1k_224   30  5  1e-6 5e-6 5e-6 512  1e-8 .15 - rand-m9 3
in1k-small-576  small_in1k_448   10  2  1e-6 5e-6 5e-6 512  1e-8 .15 - rand-m9 3
in1k-middle-224 -                300 20 5e-7 2e-3 5e-6 2048 .05  .5  5 rand-m9 3
in1k-middle-448 middle_in1k_224  30  5  1e-6 5e-6 5e-6 512  1e-8 .5  - rand-m9 3
in1k-middle-576 middle_in1k_448  10  2  1e-6 5e-6 5e-6 512  1e-8 .5  - rand-m9 3
in1k-base-224   -                300 20 5e-7 2e-3 5e-6 2048 .05  .5  5 rand-m9 3
"""
LVU_CLASSES = {
    "relationship": 4,
    "way_speaking": 5,
    "scene": 6,
    "director": 10,
    "genre": 4,
    "writer": 10,
    "year": 9,
    "like_ratio": 1,
    "view_count": 1,
}
LVU = [name for name in preset_names() if name.startswith("lvu-")]
VIDEO = [line.split() for line in VIDEO_RUNS.split("\n") if line]
IMAGES = [line.split() for line in IMAGE_RUNS.split("\n") if line]


def zoo_name(name: str) -> str:
    """The zoo's name of what a preset makes."""
    data, size, *rest = name.split("-")
    if data == "in1k":
        return f"videomamba_{size}_in1k_{rest[0]}"
    mask = "mask_ft_" if rest[0] == "mask" else ""
    frames, pixels = (*rest[bool(mask) :], "224")[:2]
    return f"videomamba_{size}_{data}_{mask}{frames}_{pixels}"


def num_classes(name: str) -> int:
    name = name.removesuffix("-distilled")
    task = preset(name).config.data.task
    if task is not None:
        return LVU_CLASSES[task]
    own = {"synthetic-actions": 16, "camera-motion": 12}
    return own[name] if name in own else int(str(zoo_entry(zoo_name(name)).config["num_classes"]))


def test_the_presets_are_the_tables() -> None:
    lvu = {f"lvu-{task.replace('_', '-')}{end}" for task in LVU_CLASSES for end in ("", "-windows")}
    assert set(TRAIN.presets) == {row[0] for row in VIDEO + IMAGES} | lvu | {"synthetic-actions", "camera-motion"}


def test_every_preset_is_listed_by_one_command() -> None:
    listed = [str(row["preset"]) for catalogue in CATALOGUES for row in catalogue.table()]
    assert listed == preset_names() and len(set(listed)) == len(listed)
    assert all(type(preset(name).config) is catalogue.kind for catalogue in CATALOGUES for name in catalogue.presets)


@pytest.mark.parametrize("row", VIDEO, ids=lambda row: row[0])
def test_video_runs_are_those_of_the_original(row: list[str]) -> None:
    name, weights, length, peak, minimum, drop_path, weight_decay, layer_decay, views = row
    config = preset(name).config
    optim = config.optim
    assert config.model.weights == f"videomamba_{weights}"
    assert f"{optim.epochs}/{optim.warmup_epochs:g}" == length
    rates = scaled_rates(optim, config.augment.repeats)
    assert (rates.peak, rates.minimum) == pytest.approx((float(peak), float(minimum)), rel=1e-12, abs=0)
    assert rates.warmup == rates.minimum  # both are 1e-6 before scaling
    assert config.model.drop_path == float(drop_path)
    assert (optim.weight_decay, optim.layer_decay) == (float(weight_decay), float(layer_decay))
    assert config.eval.views == views
    assert (optim.layer_decay_mode, optim.no_decay, optim.clip_grad, optim.ema) == ("legacy", "legacy", None, None)
    augment = config.augment
    tiny = config.model.name == "videomamba_tiny"
    assert augment.auto_augment == ("rand-m5-n2-mstd0.25-inc1" if tiny else "rand-m7-n4-mstd0.5-inc1")
    assert (augment.mixup, augment.cutmix, augment.label_smoothing, augment.erase) == (0.8, 1.0, 0.1, 0.25)
    assert (augment.repeats, augment.sample_repeats, augment.before_crop, augment.color_jitter) == (2, 1, True, 0)
    ssv2 = name.startswith("ssv2")
    assert (augment.flip, config.clip.sampling) == (("off", "tsn") if ssv2 else ("auto", "uniform"))


@pytest.mark.parametrize("row", IMAGES, ids=lambda row: row[0])
def test_image_runs_are_those_of_the_original(row: list[str]) -> None:
    name, weights, epochs, warmup, warmup_lr, peak, minimum, batch, decay, drop_path, clip, policy, repeats = row
    config = preset(name).config
    optim, augment = config.optim, config.augment
    assert config.model.weights == (None if weights == "-" else f"videomamba_{weights}")
    assert (optim.epochs, optim.warmup_epochs, optim.batch_size) == (int(epochs), int(warmup), int(batch))
    rates = scaled_rates(optim, augment.repeats)
    expected = (float(peak), float(minimum), float(warmup_lr))
    assert (rates.peak, rates.minimum, rates.warmup) == pytest.approx(expected, rel=1e-12, abs=0)
    assert (optim.weight_decay, config.model.drop_path) == (float(decay), float(drop_path))
    assert optim.clip_grad == (None if clip == "-" else float(clip))
    assert augment.auto_augment == {"v0": "v0", "rand-m9": "rand-m9-mstd0.5-inc1"}[policy]
    assert (augment.sample_repeats, augment.repeats, augment.before_crop) == (int(repeats), 1, False)
    assert (optim.layer_decay, optim.no_decay, config.eval.views) == (1.0, "legacy", "1x1")
    assert (config.clip.interpolation, config.clip.crop_ratio, config.clip.num_frames) == ("bicubic", 0.875, 1)


def test_the_classes_of_lvu_are_those_of_its_reader() -> None:
    assert {**NUM_CLASSES, **dict.fromkeys(REGRESSION_TASKS, 1)} == LVU_CLASSES


@pytest.mark.parametrize("name", LVU)
def test_lvu_runs(name: str) -> None:
    made = preset(name)
    config = made.config
    assert config.data.format == "lvu" and config.data.task is not None
    assert name.startswith(f"lvu-{config.data.task.replace('_', '-')}")
    assert (config.data.window, config.data.stride) == ((60.0 if name.endswith("-windows") else None), 16.0)
    assert (config.model.name, config.model.weights) == ("videomamba_tiny", "videomamba_tiny_k400_f32_224")
    rates = scaled_rates(config.optim, config.augment.repeats)
    assert (rates.peak, rates.minimum) == pytest.approx((2e-4, 5e-7), rel=1e-12, abs=0)
    assert (config.optim.epochs, config.optim.batch_size, config.model.drop_path) == (70, 64, 0.15)
    assert (config.clip.num_frames, config.eval.views, config.augment.erase) == (32, "4x3", 0.25)
    mixing = (config.augment.mixup, config.augment.cutmix, config.augment.label_smoothing)
    assert mixing == ((0, 0, 0) if config.data.task in ("like_ratio", "view_count") else (0.8, 1.0, 0.1))
    assert made.published.top1 is None and "verified" in made.published.notes[0]


def test_presets_know_how_many_seconds_their_clips_cover() -> None:
    known = {
        "k400-tiny-f8": 10.0,
        "ssv2-tiny-f8": 4.0,
        "breakfast-tiny-f32": None,
        "synthetic-actions": 2.0,
        "camera-motion": 1.5,
    }
    known |= {"lvu-scene": None, "lvu-scene-windows": 60.0, "in1k-tiny-224": None}
    assert {name: preset(name).config.clip.clip_seconds for name in known} == known


def test_every_published_accuracy_of_the_zoo_has_its_preset_and_no_other() -> None:
    published = {entry.name: entry for entry in entries() if entry.kind in ("image", "video") and entry.top1}
    made = {zoo_name(row[0]): preset(row[0]) for row in VIDEO + IMAGES}
    alone = {name: preset(name) for name in ("in1k-middle-224", "in1k-base-224")}  # the published ones had a teacher
    assert all(one.published.top1 is None for one in alone.values())
    made |= {zoo_name(name): preset(f"{name}-distilled") for name in alone}
    assert set(made) == set(published)
    assert {one.published.top1 for one in made.values()} == {entry.top1 for entry in published.values()}
    for name, entry in published.items():
        config = made[name].config
        assert made[name].published.top1 == entry.top1, name
        assert config.eval.views == f"{entry.clips}x{entry.crops}", name
        assert config.model.name == entry.architecture, name
        assert config.model.weights == entry.init, name
        assert entry.preprocess is not None
        stored = {"num_frames": 32} if name == "videomamba_middle_breakfast_mask_ft_f64_224" else {}
        assert config.clip.model_copy(update=stored) == entry.preprocess, name


DISTILLED = """
in1k-middle-224-distilled  small_in1k_224    82.8
in1k-base-224-distilled    small_in1k_224    82.7
k400-middle-f8-distilled   small_k400_f8_224 -
ssv2-middle-f8-distilled   small_ssv2_f8_224 -
"""


def test_the_distilled_presets_are_supervised_ones_with_a_teacher() -> None:
    rows = [line.split() for line in DISTILLED.split("\n") if line]
    assert [row[0] for row in rows] == list(DISTILL.presets)
    for name, teacher, top1 in rows:
        made, twin = DISTILL[name], preset(name.removesuffix("-distilled")).config
        config = made.config
        taught = config.teacher
        assert (taught.weights, taught.precision, taught.cache) == (f"videomamba_{teacher}", "bf16", False)
        assert (config.distill.class_weight, config.distill.feature_weight) == (1, 1)
        assert made.published.top1 == (None if top1 == "-" else float(top1))
        same = set(type(twin).model_fields) - {"preset", "run"}
        assert all(getattr(config, section) == getattr(twin, section) for section in same)
        assert config.run == twin.run.model_copy(update={"out": config.run.out}) != twin.run
        start = zoo_entry(config.teacher.weights or "")
        grids = [
            build_config(c[0], c[1]).grid
            for c in ((start.architecture, start.config), (config.model.name, config.network()))
        ]
        assert grids[0] == grids[1]
        assert ("no number is published" in " ".join(made.published.notes)) == (top1 == "-")


def test_starting_weights_fit_the_network() -> None:
    for name in preset_names():
        config = preset(name).config
        if config.model.weights is None or name.endswith("-unmasked"):  # which starts from a run of one's own
            continue
        assert config.model.weights in zoo_names(), name
        start = zoo_entry(config.model.weights)
        assert start.architecture == config.model.name, name
        height, width = start.config["image_size"]  # type: ignore[misc, attr-defined]
        grown = name.endswith(("-288", "-384", "-448", "-576"))
        assert (height < config.clip.image_size[0]) if grown else (height, width) == config.clip.image_size, name
        same_frames = start.kind == "video" and name not in ("breakfast-tiny-f64", "coin-tiny-f64")
        assert not same_frames or start.config["num_frames"] == config.clip.num_frames, name


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_builds_with_its_optimiser(name: str) -> None:
    config = preset(name).config
    assert config.preset == name
    if isinstance(config, VideoTextTrainConfig | QuestionsConfig):
        return  # in test_text_presets.py, with its text tower
    pretraining = isinstance(config, PretrainConfig)
    # What is left to the user: where the data lies.
    check = check_pretrain if pretraining else check_config
    check(config.model_copy(update={"data": config.data.model_copy(update={"root": "somewhere"})}))
    classes = 0 if pretraining else num_classes(name)
    assert build_config(config.model.name, {**config.network(), "num_classes": classes})
    with torch.device("meta"):
        network = build_config(config.model.name, {**config.network(), "depth": 2, "num_classes": classes})
        if pretraining:
            model: VideoMamba = MaskedVideoMamba(network, teacher_dim=512)
        else:
            model = DistilledVideoMamba(network) if isinstance(config, DistillConfig) else VideoMamba(network)
    optimizer = make_optimizer(model.named_parameters(), config.optim, depth=2)
    grouped = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert len(grouped) == len({id(parameter) for parameter in grouped}) == len(list(model.parameters()))
    scales = {group["lr_scale"] for group in optimizer.param_groups}
    assert scales == ({1.0} if config.optim.layer_decay == 1 else {1.0, config.optim.layer_decay**3})


def test_runs_write_to_folders_of_their_own() -> None:
    folders = [preset(name).config.run.out for name in preset_names()]
    assert len(set(folders)) == len(folders)


def test_a_pass_holds_two_videos_where_they_are_mixed() -> None:
    for name in preset_names():
        config = preset(name).config
        mixed = config.augment.mixup > 0 or config.augment.cutmix > 0
        assert not mixed or (config.run.micro_batch or config.optim.batch_size) >= 2, name


def test_notes_tell_what_is_wrong_with_the_original() -> None:
    notes = {name: " ".join(preset(name).published.notes) for name in preset_names()}
    assert "small network" in notes["k400-tiny-f64-384"] and "64 frames" in notes["ssv2-tiny-f16-288"]
    supervised = [name for name in notes if name in TRAIN or name in DISTILL]
    assert all("2 clips" in notes[name] for name in supervised if name.startswith("ssv2-"))
    assert all("own split" in notes[name] for name in notes if name.startswith("breakfast-"))
    assert all(
        f"{name}-distilled of `videomamba distill`" in notes[name] for name in ("in1k-middle-224", "in1k-base-224")
    )
    assert "orig_t 8" in notes["ssv2-middle-f16-288"]
    fresh = {name for name, said in notes.items() if "dt_proj starts with Mamba's own" in said}
    scratch = {f"in1k-{size}-224" for size in ("tiny", "small", "middle", "base")}
    assert fresh == {*scratch, "in1k-middle-224-distilled", "in1k-base-224-distilled", *PRETRAIN.presets}
    masked = {name for name, said in notes.items() if "model.final_norm legacy" in said}
    assert (
        masked == {name for name in supervised if "_mask_pt_" in (preset(name).config.model.weights or "")}
        and len(masked) == 6
    )
    assert "10 here" in notes["coin-middle-mask-f64"] and notes["k400-tiny-f8"] == ""
    assert "cannot start" in notes["lvu-like-ratio-windows"]


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        ("k400-tiny-f61", "did you mean 'k400-tiny-f64'?"),
        ("zzz", "`videomamba train --presets`"),
    ],
)
def test_an_unknown_preset_names_the_nearest(wrong: str, advice: str) -> None:
    for known in (preset, TRAIN.__getitem__, partial(preset_of, TRAIN)):
        with pytest.raises(VideoMambaError) as caught:
            known(wrong)
        text = str(caught.value)
        assert text.startswith(f"preset {wrong}: unknown; ") and advice in text and "\n" not in text


def test_a_preset_of_another_command_is_not_unknown() -> None:
    with pytest.raises(
        VideoMambaError, match=r"^preset in1k-base-224-distilled: is a preset of `videomamba distill`; use "
    ):
        preset_of(TRAIN, "in1k-base-224-distilled")


@pytest.mark.parametrize(
    ("text", "recipe"),
    [
        ("optim:\n  epochs: 7\n", TRAIN),
        ("", TRAIN),
        ("preset: ssv2-middle-f8-distilled\n", DISTILL),
        ("teacher:\n  weights: a.pth\n", DISTILL),
        ("teacher.weights: a.pth\n", DISTILL),
        ("teacher.weights: a.pth\nmask.ratio: 0.9\n", PRETRAIN),
        ("align:\n  layers: 2\n", PRETRAIN),
        ("text:\n  max_length: 20\n", VIDEO_TEXT),
        ("preset: didemo-retrieval-middle-5m\n", VIDEO_TEXT),
        ("preset: ssv2-base-mask-pt-f8\nteacher.weights: a.pth\n", PRETRAIN),
    ],
)
def test_a_file_says_of_which_recipe_it_is(text: str, recipe: Catalogue[Any], tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(text)
    assert type(preset_or_file(str(tmp_path / "run.yaml"))) is recipe.kind
