"""The command line of a config, and the YAML file that it names: precedence, and one line for every mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from videomamba.cli.options import parse_config
from videomamba.cli.train import train_config
from videomamba.data.settings import MaskSettings
from videomamba.recipes.config import TrainConfig
from videomamba.recipes.load import load, to_yaml
from videomamba.recipes.presets import preset
from videomamba.schema import Settings, VideoMambaError


def complaint(arguments: list[str]) -> str:
    with pytest.raises(VideoMambaError) as caught:
        train_config(arguments)
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
    assert train_config([]) == TrainConfig()


def test_command_line_before_file_before_preset_before_default(file: Path) -> None:
    file.write_text("preset: k400-tiny-f16\noptim:\n  lr: 3e-4\n  epochs: 7\ndata.workers: 3\n")
    config = train_config(["--config", str(file), "--optim.epochs", "9"])
    known = preset("k400-tiny-f16").config
    assert (config.optim.lr, config.optim.epochs, config.data.workers) == (3e-4, 9, 3)
    assert config.model == known.model and config.clip == known.clip and config.preset == "k400-tiny-f16"
    assert config.optim.weight_decay == known.optim.weight_decay != TrainConfig().optim.weight_decay
    same = known.optim.model_copy(update={"lr": 3e-4, "epochs": 9})
    assert config.optim == same


def test_a_preset_may_be_named_on_both_sides_if_it_is_the_same(file: Path) -> None:
    file.write_text("preset: k400-tiny-f16\n")
    both = train_config(["--config", str(file), "--preset", "k400-tiny-f16"])
    assert both == train_config(["--preset=k400-tiny-f16"]) == preset("k400-tiny-f16").config
    text = complaint(["--config", str(file), "--preset", "k400-tiny-f8"])
    assert text.startswith("runs.yaml: preset: is k400-tiny-f16 and --preset is k400-tiny-f8; ")


def test_odd_values_read_back(tmp_path: Path) -> None:
    config = train_config(
        ["--data.root", "1e5", "--data.labels", "a: b # c", "--model.weights", "übung.pth", "--run.seed", "007"]
    )
    assert str(config.data.root) == "1e5" and config.run.seed == 7
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert train_config(["--config", str(path)]) == config


@pytest.mark.parametrize("name", ["synthetic-actions", "lvu-like-ratio-windows", "in1k-middle-224"])
def test_every_setting_can_be_given_on_the_command_line(name: str) -> None:
    wanted = preset(name).config
    arguments = []
    for key, value in settings(wanted).items():
        values = value if isinstance(value, tuple) else (value,)
        arguments += ["--" + key.replace("_", "-"), *map(str, values)]
    assert settings(train_config(arguments)) == settings(wanted)


def test_switches() -> None:
    config = train_config(
        ["--augment.flip-vertical", "--run.no-resume", "--augment.before-crop", "false", "--print-config"]
    )
    assert config.augment.flip_vertical and not config.run.resume and not config.augment.before_crop
    # `no` belongs to this name.
    assert train_config(["--optim.no-decay", "legacy"]).optim.no_decay == "legacy"


@pytest.mark.parametrize("word", ["None", "null"])
def test_a_preset_can_be_freed_of_its_weights(word: str) -> None:
    assert train_config(["--preset", "k400-tiny-f8", "--model.weights", word]).model.weights is None


def test_words_of_yaml_that_look_like_something_else(file: Path) -> None:
    file.write_text(
        "augment: {flip: off, reverse: yes}\nmodel:\n  weights:\n  depth: ~\nclip: {image_size: [96, 112]}\nrun:\n"
    )
    config = train_config(["--config", str(file)])
    assert (config.augment.flip, config.augment.reverse) == ("off", True)
    assert (config.model.weights, config.model.depth, config.clip.image_size) == (None, None, (96, 112))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--optim.lrr", "3"], "--optim.lrr: unknown option; did you mean '--optim.lr'?"),
        (["--lr", "3"], "--lr: unknown option; did you mean '--optim.lr'?"),
        (["--optim.batch-sise", "3"], "--optim.batch-sise: unknown option; did you mean '--optim.batch-size'?"),
        (["--xyzzy"], "--xyzzy: unknown option; `videomamba train --help` lists them"),
        (["--optim.lr", "fast"], "--optim.lr: 'fast' does not fit: write a number"),
        (["--optim.epochs", "0"], "--optim.epochs: '0' does not fit: input should be greater than or equal to 1"),
        (["--optim.epochs", "2.5"], "--optim.epochs: '2.5' does not fit: write a whole number"),
        (["--model.pool", "max"], "--model.pool: 'max' does not fit: input should be 'cls' or 'mean'"),
        (["--clip.image-size", "96"], "--clip.image-size: '96' does not fit: write 2 values, such as 96 96"),
        (["--clip.image-size", "0", "96"], "--clip.image-size: image_size and std must be positive"),
        (["--optim.lr", "1", "2"], "--optim.lr: takes one value, got '1 2'"),
        (["--optim.lr"], "--optim.lr: has no value; write --optim.lr VALUE"),
        (["--model.weights", ""], "--model.weights: has no value; "),
        (["--run.out="], "--run.out: has no value; "),
        (["k400-tiny-f8"], "'k400-tiny-f8': does not belong to an option; "),
        (["--preset", "k400-tiny-f9"], "preset k400-tiny-f9: unknown; did you mean 'k400-tiny-f"),
        (["--config", "absent.yaml"], "absent.yaml: cannot be read (No such file or directory)"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(arguments: list[str], expected: str) -> None:
    assert complaint(arguments).startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("optim: {lrr: 1}", "runs.yaml: optim.lrr: unknown; did you mean 'optim.lr'?"),
        ("lr: 1", "runs.yaml: lr: unknown; did you mean 'optim.lr'?"),
        ("optin: {lr: 1}", "runs.yaml: optin: unknown; did you mean 'optim'?"),
        ("data: {batch_size: 8}", "runs.yaml: data.batch_size: unknown; did you mean 'optim.batch_size'?"),
        ("optim: {lr: fast}", "runs.yaml: optim.lr: 'fast' does not fit: write a number"),
        ("optim: {lr: [1, 2]}", "runs.yaml: optim.lr: '[1, 2]' does not fit: write a number"),
        ("clip: {image_size: 96}", "runs.yaml: clip.image_size: '96' does not fit: write 2 values, such as [96, 96]"),
        (
            "clip: {image_size: [96]}",
            "runs.yaml: clip.image_size: '[96]' does not fit: write 2 values, such as [96, 96]",
        ),
        (
            "clip: {image_size: [0, 1, 2]}",
            "runs.yaml: clip.image_size: '[0, 1, 2]' does not fit: write 2 values, such as [",
        ),
        (
            "clip: {image_size: [a, 2]}",
            "runs.yaml: clip.image_size: '[a, 2]' does not fit: write a whole number for each",
        ),
        (
            "clip: {image_size: [0, 96]}",
            "runs.yaml: clip.image_size: image_size and std must be positive, got [0, 96] and [",
        ),
        ("optim: {betas: 0.9}", "runs.yaml: optim.betas: '0.9' does not fit: write 2 values, such as [0.9, 0.999]"),
        ("run: {resume: maybe}", "runs.yaml: run.resume: 'maybe' does not fit: write true or false"),
        ("data: {root: [a]}", "runs.yaml: data.root: '[a]' does not fit: write a path"),
        ("optim: 3", "runs.yaml: optim: is a section; "),
        ("run:\n  out:\n", "runs.yaml: run.out: has no value; "),
        (
            "clip: {crop_ratio: 2}",
            "runs.yaml: clip.crop_ratio: '2' does not fit: input should be less than or equal to 1",
        ),
        ("clip: {std: [0, 1, 1]}", "runs.yaml: clip.std: image_size and std must be positive"),
        ("optim: {lr: 1}\noptim: {epochs: 1}", "runs.yaml: line 2: optim appears twice"),
        ("optim: {lr: 1}\noptim.lr: 2", "runs.yaml: optim.lr: appears twice"),
        ("optim: {lr: 1", "runs.yaml: line 1: "),
        ("a\x01b", "runs.yaml: is not YAML ("),
        ("- optim", "runs.yaml: must have sections with settings"),
        ("just words", "runs.yaml: must have sections with settings"),
        ("preset: k400-tiny-f9", "runs.yaml: preset k400-tiny-f9: unknown; did you mean "),
    ],
)
def test_a_mistake_in_a_file_is_one_line(file: Path, text: str, expected: str) -> None:
    file.write_text(text)
    assert complaint(["--config", str(file)]).startswith(expected)


def test_a_file_that_is_no_text(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
    assert complaint(["--config", str(file)]).startswith("runs.yaml: is not text in UTF-8")


def test_the_wrong_value_of_both_is_that_of_the_command_line(file: Path) -> None:
    file.write_text("optim: {lr: 1e-3}")
    assert complaint(["--config", str(file), "--optim.lr", "x"]).startswith("--optim.lr: 'x' does not fit")


def test_an_empty_file_changes_nothing(file: Path) -> None:
    file.write_text("# nothing\n")
    assert train_config(["--config", str(file)]) == TrainConfig()


def test_help_shows_every_setting_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        train_config(["--preset", "ssv2-tiny-f8", "--optim.lr", "0.125", "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for key in settings(TrainConfig()):
        assert "--" + key.replace("_", "-") in shown, key
    assert "usage: videomamba train" in shown and "--config" in shown and "--print-config" in shown
    assert "--run.resume {True,False}" in shown and "--run.no-" not in shown
    assert train_config(["--run.resume", "False"]) == train_config(["--run.no-resume"]) != TrainConfig()
    assert "(default: 0.125)" in shown and "(default: tsn)" in shown


def test_printing_a_config_needs_no_pytorch() -> None:
    """Of any recipe."""
    code = (
        "import sys; from videomamba.cli.recipe import recipe_config; from videomamba.recipes.load import to_yaml; "
        "from videomamba.recipes.presets import CATALOGUES; "
        "[to_yaml(recipe_config(['--preset', list(one.presets)[0]], one, '')) for one in CATALOGUES]; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class Inner(Settings):
    width: int = 3
    size: tuple[int, int] = (1, 2)


class Other(Settings):
    """A config that is not a supervised run."""

    inner: Inner = Inner()
    name: str | None = None


def test_any_config_has_a_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def parse(*arguments: str) -> Other:
        return parse_config(Other, list(arguments), prog="videomamba other", description="Something else.")

    file = tmp_path / "other.yaml"
    file.write_text("inner: {size: [5, 6]}\nname: a\n")
    wanted = Other(inner=Inner(width=4, size=(5, 6)), name=None)
    assert parse("--config", str(file), "--inner.width", "4", "--name", "none") == wanted
    file.write_text(to_yaml(wanted))
    assert load(Other, file) == wanted
    with pytest.raises(VideoMambaError, match=r"^--widht: unknown option; did you mean '--inner.width'\?$"):
        parse("--widht", "4")
    with pytest.raises(VideoMambaError, match=r"^--xyzzy: unknown option; `videomamba other --help` lists them$"):
        parse("--xyzzy", "4")
    with pytest.raises(SystemExit):
        parse("--help")
    shown = capsys.readouterr().out
    assert "usage: videomamba other" in shown and "Something else." in shown and "--inner.size" in shown


class Masked(Settings):
    mask: MaskSettings = MaskSettings()


def test_masks_by_the_names_of_the_original(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def parse(*arguments: str) -> Masked:
        return parse_config(Masked, list(arguments), prog="videomamba masked", description="Masks.")

    file = tmp_path / "masked.yaml"
    file.write_text("mask: {name: random_row, ratio: 0.65}\n")
    config = parse("--config", str(file))
    assert config.mask == MaskSettings(name="clip-row", ratio=0.65)
    file.write_text(to_yaml(config))
    assert load(Masked, file) == config and "name: clip-row" in file.read_text()
    assert parse("--config", str(file), "--mask.name", "tube_row").mask.name == "frame-row"
    with pytest.raises(VideoMambaError, match=r"^--mask.name: 'tubes' does not fit: did you mean 'tube'\?$"):
        parse("--mask.name", "tubes")
    with pytest.raises(VideoMambaError, match=r"^--mask.ratio: '1' does not fit: input should be less than 1$"):
        parse("--mask.ratio", "1")
    with pytest.raises(SystemExit):
        parse("--help")
    assert "clip-row: rows of the clip" in " ".join(capsys.readouterr().out.replace("│", " ").split())
