"""From command line and YAML to a config: precedence, round trip, and one line for every mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from videomamba.models.registry import build_config
from videomamba.recipes.config import TrainConfig
from videomamba.recipes.load import check_config, load_config, to_yaml
from videomamba.recipes.presets import preset, preset_names
from videomamba.schema import VideoMambaError


def complaint(arguments: list[str]) -> str:
    with pytest.raises(VideoMambaError) as caught:
        load_config(arguments)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """runs.yaml in the working folder, so that messages begin with its short name."""
    monkeypatch.chdir(tmp_path)
    return Path("runs.yaml")


def settings(config: TrainConfig) -> dict[str, object]:
    """Every setting by its dotted name."""
    found: dict[str, object] = {}
    for section, values in config.model_dump().items():
        found |= {f"{section}.{name}": value for name, value in values.items()} if isinstance(values, dict) else {}
    return found


def test_nothing_given_is_the_default() -> None:
    assert load_config([]) == TrainConfig()


def test_command_line_before_file_before_preset_before_default(file: Path) -> None:
    file.write_text("preset: k400-tiny-f16\noptim:\n  lr: 3e-4\n  epochs: 7\ndata.workers: 3\n")
    config = load_config(["--config", str(file), "--optim.epochs", "9"])
    known = preset("k400-tiny-f16").config
    assert (config.optim.lr, config.optim.epochs, config.data.workers) == (3e-4, 9, 3)
    assert config.model == known.model and config.clip == known.clip and config.preset == "k400-tiny-f16"
    assert config.optim.weight_decay == known.optim.weight_decay != TrainConfig().optim.weight_decay
    same = known.optim.model_copy(update={"lr": 3e-4, "epochs": 9})
    assert config.optim == same


def test_a_preset_may_be_named_on_both_sides_if_it_is_the_same(file: Path) -> None:
    file.write_text("preset: k400-tiny-f16\n")
    both = load_config(["--config", str(file), "--preset", "k400-tiny-f16"])
    assert both == load_config(["--preset=k400-tiny-f16"]) == preset("k400-tiny-f16").config
    text = complaint(["--config", str(file), "--preset", "k400-tiny-f8"])
    assert text.startswith("runs.yaml: preset: is k400-tiny-f16 and --preset is k400-tiny-f8; ")


@pytest.mark.parametrize("name", [None, *preset_names()])
def test_what_is_printed_reads_back(name: str | None, tmp_path: Path) -> None:
    config = TrainConfig() if name is None else preset(name).config
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config))
    assert load_config(["--config", str(path)]) == config


def test_odd_values_read_back(tmp_path: Path) -> None:
    config = load_config(
        ["--data.root", "1e5", "--data.labels", "a: b # c", "--model.weights", "übung.pth", "--run.seed", "007"]
    )
    assert str(config.data.root) == "1e5" and config.run.seed == 7
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert load_config(["--config", str(path)]) == config


@pytest.mark.parametrize("name", ["synthetic-actions", "lvu-like-ratio-windows", "in1k-middle-224"])
def test_every_setting_can_be_given_on_the_command_line(name: str) -> None:
    wanted = preset(name).config
    arguments = []
    for key, value in settings(wanted).items():
        values = value if isinstance(value, tuple) else (value,)
        arguments += ["--" + key.replace("_", "-"), *map(str, values)]
    assert settings(load_config(arguments)) == settings(wanted)


def test_switches() -> None:
    config = load_config(
        ["--augment.flip-vertical", "--run.no-resume", "--augment.before-crop", "false", "--print-config"]
    )
    assert config.augment.flip_vertical and not config.run.resume and not config.augment.before_crop
    # `no` belongs to this name.
    assert load_config(["--optim.no-decay", "legacy"]).optim.no_decay == "legacy"


@pytest.mark.parametrize("word", ["None", "null"])
def test_a_preset_can_be_freed_of_its_weights(word: str) -> None:
    assert load_config(["--preset", "k400-tiny-f8", "--model.weights", word]).model.weights is None


def test_words_of_yaml_that_look_like_something_else(file: Path) -> None:
    file.write_text(
        "augment: {flip: off, reverse: yes}\nmodel:\n  weights:\n  depth: ~\nclip: {image_size: [96, 112]}\nrun:\n"
    )
    config = load_config(["--config", str(file)])
    assert (config.augment.flip, config.augment.reverse) == ("off", True)
    assert (config.model.weights, config.model.depth, config.clip.image_size) == (None, None, (96, 112))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--optim.lrr", "3"], "--optim.lrr: unknown option; did you mean --optim.lr?"),
        (["--lr", "3"], "--lr: unknown option; did you mean --optim.lr?"),
        (["--optim.batch-sise", "3"], "--optim.batch-sise: unknown option; did you mean --optim.batch-size?"),
        (["--xyzzy"], "--xyzzy: unknown option; `videomamba train --help` lists them"),
        (["--optim.lr", "fast"], "--optim.lr: 'fast' does not fit: input should be a valid number"),
        (["--optim.epochs", "0"], "--optim.epochs: '0' does not fit: input should be greater than or equal to 1"),
        (["--optim.epochs", "2.5"], "--optim.epochs: '2.5' does not fit: input should be a valid integer"),
        (["--model.pool", "max"], "--model.pool: 'max' does not fit: input should be 'cls' or 'mean'"),
        (["--clip.image-size", "96"], "--clip.image-size: '96' does not fit: "),
        (["--clip.image-size", "0", "96"], "--clip.image-size: image_size and std must be positive"),
        (["--optim.lr", "1", "2"], "--optim.lr: takes one value, got '1 2'"),
        (["--optim.lr"], "--optim.lr: has no value; write --optim.lr VALUE"),
        (["--model.weights", ""], "--model.weights: has no value; "),
        (["--run.out="], "--run.out: has no value; "),
        (["k400-tiny-f8"], "'k400-tiny-f8': belongs to no option; "),
        (["--preset", "k400-tiny-f9"], "preset k400-tiny-f9: unknown; did you mean 'k400-tiny-f"),
        (["--config", "absent.yaml"], "absent.yaml: cannot be read (No such file or directory)"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(arguments: list[str], expected: str) -> None:
    assert complaint(arguments).startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("optim: {lrr: 1}", "runs.yaml: optim.lrr: unknown; did you mean optim.lr?"),
        ("lr: 1", "runs.yaml: lr: unknown; did you mean optim.lr?"),
        ("optin: {lr: 1}", "runs.yaml: optin: unknown; did you mean optim?"),
        ("data: {batch_size: 8}", "runs.yaml: data.batch_size: unknown; did you mean optim.batch_size?"),
        ("optim: {lr: fast}", "runs.yaml: optim.lr: 'fast' does not fit: input should be a valid number"),
        ("optim: {lr: [1, 2]}", "runs.yaml: optim.lr: '1 2' does not fit: input should be a valid number"),
        ("optim: 3", "runs.yaml: optim: is a section; "),
        ("run:\n  out:\n", "runs.yaml: run.out: has no value; "),
        (
            "clip: {crop_ratio: 2}",
            "runs.yaml: clip.crop_ratio: '2' does not fit: input should be less than or equal to 1",
        ),
        ("clip: {std: [0, 1, 1]}", "runs.yaml: clip.std: image_size and std must be positive"),
        ("optim: {lr: 1}\noptim: {epochs: 1}", "runs.yaml: line 2: optim stands there twice"),
        ("optim: {lr: 1}\noptim.lr: 2", "runs.yaml: optim.lr: stands there twice"),
        ("optim: {lr: 1", "runs.yaml: line 1: "),
        ("a\x01b", "runs.yaml: is no YAML ("),
        ("- optim", "runs.yaml: must hold sections with settings"),
        ("just words", "runs.yaml: must hold sections with settings"),
        ("preset: k400-tiny-f9", "runs.yaml: preset k400-tiny-f9: unknown; did you mean "),
    ],
)
def test_a_mistake_in_a_file_is_one_line(file: Path, text: str, expected: str) -> None:
    file.write_text(text)
    assert complaint(["--config", str(file)]).startswith(expected)


def test_a_file_that_is_no_text(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
    assert complaint(["--config", str(file)]).startswith("runs.yaml: is no text in UTF-8")


def test_the_wrong_value_of_both_is_that_of_the_command_line(file: Path) -> None:
    file.write_text("optim: {lr: 1e-3}")
    assert complaint(["--config", str(file), "--optim.lr", "x"]).startswith("--optim.lr: 'x' does not fit")


def test_an_empty_file_changes_nothing(file: Path) -> None:
    file.write_text("# nothing\n")
    assert load_config(["--config", str(file)]) == TrainConfig()


def test_help_shows_every_setting_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        load_config(["--preset", "ssv2-tiny-f8", "--optim.lr", "0.125", "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for key in settings(TrainConfig()):
        option = "--" + key.replace("_", "-")
        section, _, name = option.rpartition(".")
        assert option in shown or f"{section}.no-{name}" in shown, key
    assert "usage: videomamba train" in shown and "--config" in shown and "--print-config" in shown
    assert "(default: 0.125)" in shown and "(default: tsn)" in shown


def test_every_setting_is_described() -> None:
    undescribed = {
        f"{section}.{name}"
        for section, field in TrainConfig.model_fields.items()
        if section in ("model", "eval")
        for name, inner in field.annotation.model_fields.items()  # type: ignore[union-attr]
        if not inner.description
    }
    assert not undescribed


def test_the_network_of_a_run() -> None:
    config = load_config(["--model.depth", "3", "--clip.num-frames", "4", "--clip.image-size", "96", "112"])
    built = build_config(config.model.name, config.network())
    assert (built.depth, built.dim, built.num_frames, built.image_size) == (3, 192, 4, (96, 112))


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
        (["--eval.views", "4by3"], "eval.views: views '4by3': write clips x crops"),
        (["--data.format", "lvu"], "data.task: missing, with data.format lvu; "),
        (["--data.task", "scene"], "data.task: scene, with data.format auto; "),
        (["--optim.epochs", "5"], "optim.warmup_epochs: 5 leaves nothing of the 5 optim.epochs; "),
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
        check_config(load_config([*arguments, *root]))
    assert str(caught.value).startswith(expected) and "\n" not in str(caught.value)


def test_printing_a_config_needs_no_pytorch() -> None:
    code = (
        "import sys; from videomamba.recipes.load import load_config, to_yaml; "
        "to_yaml(load_config(['--preset', 'k400-tiny-f8'])); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
