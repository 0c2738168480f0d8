"""From a command line and a YAML file to a config: command line before file before preset before defaults.

A value is a string, or a list of strings, until pydantic knows which field it is for. So `2e-4` is a number, `off` is a
word where the field wants a word, and YAML and command line mean the same by the same text.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import tyro
import yaml
from pydantic import Field, ValidationError

from videomamba.recipes.config import REGRESSION_TASKS, TrainConfig
from videomamba.recipes.presets import preset
from videomamba.schema import Settings, VideoMambaError


class _CommandLine(TrainConfig):
    """Train on a data set: by a published recipe, by a file, by any setting of your own, or by all three together.

    A setting on the command line goes before the same one in the file, and that before the preset's.
    `videomamba train --presets` lists the published recipes.
    """

    config: Path | None = Field(default=None, description="YAML file with settings; it may name a preset")
    print_config: bool = Field(default=False, description="print the whole configuration as YAML and stop")


def _fields(record: type[Settings], prefix: str = "") -> dict[str, Any]:
    """Annotation of every setting by its dotted name."""
    found: dict[str, Any] = {}
    for name, field in record.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Settings):
            found |= _fields(kind, f"{prefix}{name}.")
        else:
            found[prefix + name] = kind
    return found


_SETTINGS = _fields(TrainConfig)
_OPTIONS = _fields(_CommandLine)
_SECTIONS = {name.partition(".")[0]: None for name in _SETTINGS if "." in name}
_HELP = ("-h", "--help")


def load_config(arguments: list[str], *, prog: str = "videomamba train") -> TrainConfig:
    """The config that `--preset NAME`, `--config FILE.yaml` and `--section.field value` describe.

    `--print-config` is accepted and left to the caller, who prints `to_yaml` of the answer. `--help` prints all settings
    as they stand after preset and file, and exits. Raises VideoMambaError in one line that names file or option.
    """
    given = _parse([argument for argument in arguments if argument not in (*_HELP, "--print-config")])
    file = given.pop("config", None)
    chosen = {} if file is None else read_yaml(Path(str(file)))
    name = given.get("preset", chosen.get("preset"))
    if chosen.get("preset") not in (None, name):
        raise VideoMambaError(
            f"{file}: preset: is {chosen['preset']} and --preset is {name}; leave out one of them, or the file"
        )
    try:
        begin = TrainConfig() if name is None else preset(str(name)).config
    except VideoMambaError as error:
        raise error if "preset" in given else VideoMambaError(f"{file}: {error}") from None
    config = _build(begin, chosen, given, str(file))
    if any(argument in _HELP for argument in arguments):
        shown = _CommandLine(**{key: getattr(config, key) for key in TrainConfig.model_fields})
        tyro.cli(_CommandLine, default=shown, args=["--help"], prog=prog, config=(tyro.conf.FlagCreatePairsOff,))
    return config


def to_yaml(config: TrainConfig) -> str:
    """Every setting as a YAML text that `--config` reads back to the same config."""
    return yaml.dump(config.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def read_yaml(path: Path) -> dict[str, object]:
    """The settings of a YAML file, by dotted name, not yet of their types. Raises VideoMambaError with file and key."""
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise VideoMambaError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise VideoMambaError(f"{path}: is no text in UTF-8; give a YAML file") from None
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise VideoMambaError(f"{path}: {line}{error.problem}; mend the YAML") from None
    except yaml.YAMLError as error:
        raise VideoMambaError(f"{path}: is no YAML ({str(error).splitlines()[0]})") from None
    if tree in (None, ""):
        return {}
    if not isinstance(tree, dict):
        raise VideoMambaError(f"{path}: must hold sections with settings, as `videomamba train --print-config` prints")
    found: dict[str, object] = {}
    _flatten(tree, "", path, found)
    return found


def check_config(config: TrainConfig) -> None:
    """Raises VideoMambaError, naming the key, where the sections do not go together. It reads no file.

    What depends on the data set itself is checked when that has been read.
    """
    from videomamba.models.registry import build_config, list_models  # need PyTorch, which the settings alone do not
    from videomamba.schema import Views

    try:
        build_config(config.model.name, config.network())
    except ValueError as error:
        where = "model and clip" if config.model.name in list_models() else "model.name"
        raise VideoMambaError(f"{where}: {error}") from None
    try:
        Views.parse(config.eval.views)
    except VideoMambaError as error:
        raise VideoMambaError(f"eval.views: {error}") from None

    data, augment, optim, micro_batch = config.data, config.augment, config.optim, config.run.micro_batch
    if data.root is None and data.train is None:
        raise VideoMambaError("data.root: missing; say where the data set lies, as in --data.root FOLDER")
    if (data.format == "lvu") != (data.task is not None):
        raise VideoMambaError(
            f"data.task: {data.task or 'missing'}, with data.format {data.format}; format lvu needs one and no other has one"
        )
    if data.task in REGRESSION_TASKS:
        for key in ("mixup", "cutmix", "label_smoothing"):
            if getattr(augment, key) > 0:
                raise VideoMambaError(f"augment.{key}: needs classes, and {data.task} is a number; set it to 0")
    if optim.warmup_epochs >= optim.epochs:
        raise VideoMambaError(
            f"optim.warmup_epochs: {optim.warmup_epochs:g} leaves nothing of the {optim.epochs} optim.epochs; lower it"
        )
    if micro_batch is not None and optim.batch_size % micro_batch:
        raise VideoMambaError(
            f"run.micro_batch: {micro_batch} does not divide optim.batch_size {optim.batch_size}; change one of them"
        )


def _flatten(tree: Mapping[object, object], prefix: str, path: Path, found: dict[str, object]) -> None:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        section = name in _SECTIONS
        if section and isinstance(value, dict):
            _flatten(value, f"{name}.", path, found)
        elif section and value != "":  # an empty section is one whose lines were all commented out
            raise VideoMambaError(f"{path}: {name}: is a section; write its settings below it, indented")
        elif name in found:
            raise VideoMambaError(f"{path}: {name}: stands there twice; remove one")
        elif not section:
            if name not in _SETTINGS:
                known = _SECTIONS if isinstance(value, dict) else _SETTINGS
                raise VideoMambaError(f"{path}: {name}: unknown; {_nearest(name, known)}")
            if value == "" and _OPTIONS[name] is Path:  # an empty path would be the working folder
                raise VideoMambaError(f"{path}: {name}: has no value; write one or remove the line")
            found[name] = None if _nullable(name) and value == "" else _none(name, value)


def _parse(arguments: list[str]) -> dict[str, object]:
    """Settings of a command line by dotted name, not yet of their types: `--a.b value ...`, `--a.b=value`, `--a.no-b`."""
    given: dict[str, object] = {}
    position = 0
    while position < len(arguments):
        option, equals, attached = arguments[position].partition("=")
        position += 1
        if not option.startswith("--"):
            raise VideoMambaError(f"{option!r}: belongs to no option; settings are written --section.name value")
        values = [attached] if equals else []
        while not equals and position < len(arguments) and not arguments[position].startswith("--"):
            values.append(arguments[position])
            position += 1
        name, switch = option[2:].replace("-", "_"), "true"
        positive = name.replace(".no_", ".")
        if name not in _OPTIONS and _OPTIONS.get(positive) is bool and not values:
            name, switch = positive, "false"
        if name not in _OPTIONS or name == "print_config":
            nearest = _nearest(name, _OPTIONS, lambda known: "--" + known.replace("_", "-"))
            raise VideoMambaError(f"{option}: unknown option; {nearest}")
        if not values and _OPTIONS[name] is bool:
            values = [switch]
        if not values or (values == [""] and _OPTIONS[name] is not str):  # an empty variable, perhaps
            raise VideoMambaError(f"{option}: has no value; write {option} VALUE")
        if get_origin(_OPTIONS[name]) is tuple:
            given[name] = values
        elif len(values) > 1:
            raise VideoMambaError(f"{option}: takes one value, got {' '.join(values)!r}")
        else:
            given[name] = _none(name, values[0])
    return given


def _nullable(name: str) -> bool:
    return type(None) in get_args(_OPTIONS[name])


def _none(name: str, value: object) -> object:
    word = value.lower() if isinstance(value, str) else ""
    return None if _nullable(name) and word in ("none", "null", "~") else value


def _nearest(name: str, known: Mapping[str, object], spell: Callable[[str], str] = str) -> str:
    """Advice for an unknown name: the setting that ends alike in any section, else the one that is spelled most alike."""
    leaf = name.rpartition(".")[2]
    alike = [setting for setting in known if setting.rpartition(".")[2] == leaf]
    alike = alike or difflib.get_close_matches(name.replace("-", "_"), known, n=1, cutoff=0.6)
    if not alike:
        leaves = {setting.rpartition(".")[2]: setting for setting in known}
        alike = [leaves[close] for close in difflib.get_close_matches(leaf, leaves, n=1, cutoff=0.6)]
    return f"did you mean {spell(alike[0])}?" if alike else "`videomamba train --help` lists them"


def _build(begin: TrainConfig, chosen: Mapping[str, object], given: Mapping[str, object], file: str) -> TrainConfig:
    tree: dict[str, Any] = begin.model_dump()
    for name, value in {**chosen, **given}.items():
        section, _, leaf = name.rpartition(".")
        (tree[section] if section else tree)[leaf] = value
    try:
        return TrainConfig.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        # One setting, or a section whose settings do not go together; then those of it that somebody chose are named.
        where = ".".join(str(part) for part in first["loc"][:2])
        named = {**chosen, **given}
        keys = [name for name in named if name == where or name.startswith(f"{where}.")]
        sources = ["--" + key.replace("_", "-") if key in given else f"{file}: {key}" for key in keys]
        reason = first["msg"].removeprefix("Value error, ")
        if where in named:
            value = named[where]
            shown = " ".join(map(str, value)) if isinstance(value, list) else value
            reason = f"{shown!r} does not fit: {reason[0].lower()}{reason[1:]}"
        raise VideoMambaError(f"{', '.join(sources)}: {reason}") from None


class _Loader(yaml.BaseLoader):
    """Leaves every scalar a string, and refuses a key that stands twice in one section, of which one would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else key
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name} stands there twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep=True)


class _Dumper(yaml.SafeDumper):
    """Writes lists in one line: [224, 224]."""

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        return super().represent_sequence(tag, sequence, flow_style=True)
