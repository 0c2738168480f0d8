"""The settings of a supervised run: described, checked together, and the same again from their own text."""

from __future__ import annotations

from pathlib import Path

import pytest

from videomamba.cli.train import train_config
from videomamba.models.registry import build_config
from videomamba.recipes.config import DistillConfig, TrainConfig, check_config
from videomamba.recipes.load import to_yaml
from videomamba.recipes.presets import preset, preset_names, preset_or_file
from videomamba.recipes.pretrain_config import PretrainConfig
from videomamba.schema import VideoMambaError


def test_what_is_printed_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    for config in (TrainConfig(), *(preset(name).config for name in preset_names())):
        path.write_text(to_yaml(config))
        assert preset_or_file(str(path)) == config


def test_every_setting_is_described() -> None:
    undescribed = {
        f"{section}.{name}"
        for kind in (DistillConfig, PretrainConfig)
        for section, field in kind.model_fields.items()
        if section in ("model", "eval", "teacher", "distill", "mask", "align")
        for name, inner in field.annotation.model_fields.items()  # type: ignore[union-attr]
        if not inner.description
    }
    assert not undescribed


def test_the_network_of_a_run() -> None:
    config = TrainConfig.model_validate(
        {"model": {"depth": 3, "patch_size": 8}, "clip": {"num_frames": 4, "image_size": (96, 104)}}
    )
    built = build_config(config.model.name, config.network())
    assert (built.depth, built.dim, built.num_frames, built.image_size) == (3, 192, 4, (96, 104))
    assert built.grid == (4, 12, 13)


TINY, PACKAGED = ("videomamba_tiny", None, None), (None, 128, 5)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], TINY),
        (["--model.dim", "192", "--model.depth", "24"], TINY),
        (["--model.dim", "384"], ("videomamba_small", None, None)),
        (["--model.depth", "3"], (None, 192, 3)),
        (["--model.name", "null", "--model.dim", "128", "--model.depth", "5"], PACKAGED),
        (["--preset", "synthetic-actions"], PACKAGED),
        (["--preset", "synthetic-actions", "--model.name", "videomamba_tiny"], TINY),
        (["--preset", "synthetic-actions", "--model.name", "videomamba_tiny", "--model.depth", "2"], (None, 192, 2)),
    ],
)
def test_a_network_of_another_size_has_not_the_name(arguments: list[str], expected: tuple[object, ...]) -> None:
    model = train_config(arguments).model
    assert (model.name, model.dim, model.depth) == expected
    assert train_config(arguments) == TrainConfig.model_validate(train_config(arguments).model_dump(mode="json"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "data.root: missing; "),
        (
            ["--model.name", "videomamba_tinny"],
            "model.name: unknown model 'videomamba_tinny'; did you mean 'videomamba_tiny'?",
        ),
        (
            ["--clip.image-size", "100", "100"],
            "model and clip: videomamba_tiny: image_size 100x100 must be a multiple of ",
        ),
        (
            ["--model.tubelet-size", "3"],
            "model and clip: videomamba_tiny: num_frames 8 must be a multiple of tubelet_size 3",
        ),
        (["--model.name", "null"], "model and clip: a network without a name needs dim and depth"),
        (["--eval.views", "4by3"], "eval.views: views '4by3': write clips x crops"),
        (["--data.format", "lvu"], "data.task: missing, with data.format lvu; "),
        (["--data.task", "scene"], "data.task: scene, with data.format auto; "),
        (["--optim.epochs", "5"], "optim.warmup_epochs: 5 is not below epochs 5; "),
        (["--run.micro-batch", "48"], "run.micro_batch: 48 does not divide optim.batch_size 64; "),
        (
            ["--preset", "lvu-view-count", "--augment.mixup", "0.8"],
            "augment.mixup: needs classes, and view_count is a number",
        ),
    ],
)
def test_sections_that_do_not_go_together(arguments: list[str], expected: str) -> None:
    root = [] if not arguments else ["--data.root", "videos"]
    with pytest.raises(VideoMambaError) as caught:
        check_config(train_config([*arguments, *root]))
    assert str(caught.value).startswith(expected) and "\n" not in str(caught.value)
