"""The command line of a config: `--section.name value` for every setting of any `Settings` class, a YAML file, a preset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, get_origin

import tyro
from pydantic import Field, create_model

from videomamba.recipes.load import Config, Given, assemble, fields, nearest_setting, null_word, read_yaml
from videomamba.schema import VideoMambaError

PRINT_CONFIG = "--print-config"
_HELP = ("-h", "--help")


def parse_config(
    kind: type[Config],
    arguments: list[str],
    *,
    prog: str,
    description: str,
    presets: Callable[[str], Config] | None = None,
) -> Config:
    """The config of `--section.field value`, over `--config FILE.yaml`, over `--preset NAME`, over the defaults.

    `presets` returns the config of a name. `--print-config` is accepted and left to the caller. `--help` prints `description`
    and all settings with the values of preset and file, and exits. Raises VideoMambaError naming file or option.
    """
    known = {**fields(kind), "config": Path | None}
    chosen = _parse([argument for argument in arguments if argument not in (*_HELP, PRINT_CONFIG)], known, prog)
    file = chosen.pop("config", None)
    written = {} if file is None else read_yaml(Path(str(file.value)), kind)
    ours, theirs = chosen.get("preset"), written.get("preset")
    if ours and theirs and theirs.value not in (None, ours.value):
        raise VideoMambaError(f"{theirs.origin}: is {theirs.value} and --preset is {ours.value}; give one of them")
    config = assemble(kind, {**written, **chosen}, presets=presets)
    if any(argument in _HELP for argument in arguments):
        _print_help(config, prog, description)
    return config


def _print_help(config: Config, prog: str, description: str) -> None:
    """Prints the options with the values of `config` as defaults, and exits."""
    with_file = create_model(
        type(config).__name__,
        __base__=type(config),
        config=(Path | None, Field(default=None, description="YAML file with settings; it may name a preset")),
    )
    shown = with_file(**{name: getattr(config, name) for name in type(config).model_fields})
    description += f"\n`{PRINT_CONFIG}` prints the whole configuration as YAML and stops."
    flags = (
        tyro.conf.FlagConversionOff,
    )  # `--run.resume {True,False}`: beside `--run.no-resume` its help reads backwards
    tyro.cli(with_file, default=shown, args=["--help"], prog=prog, description=description, config=flags)


def _parse(arguments: list[str], known: Mapping[str, Any], prog: str) -> dict[str, Given]:
    """Settings of a command line by dotted name, as strings: `--a.b value ...`, `--a.b=value`, `--a.no-b`."""
    given: dict[str, Given] = {}
    position = 0
    while position < len(arguments):
        option, equals, attached = arguments[position].partition("=")
        position += 1
        if not option.startswith("--"):
            example = (
                f"--data.root {option}" if Path(option).is_dir() and "data.root" in known else "--section.name value"
            )
            raise VideoMambaError(f"{option!r}: does not belong to an option; write settings as {example}")
        values = [attached] if equals else []
        while not equals and position < len(arguments) and not arguments[position].startswith("--"):
            values.append(arguments[position])
            position += 1
        name, switch = option[2:].replace("-", "_"), "true"
        positive = name.replace(".no_", ".")
        if name not in known and known.get(positive) is bool and not values:
            name, switch = positive, "false"
        if name not in known:
            advice = nearest_setting(option, _options(known), otherwise=f"`{prog} --help` lists them")
            raise VideoMambaError(f"{option}: unknown option; {advice}")
        if not values and known[name] is bool:
            values = [switch]
        if not values or (values == [""] and known[name] is not str):  # an empty variable, perhaps
            raise VideoMambaError(f"{option}: has no value; write {option} VALUE")
        if get_origin(known[name]) is tuple:
            given[name] = Given(values, option)
        elif len(values) > 1:
            raise VideoMambaError(f"{option}: takes one value, got {' '.join(values)!r}")
        else:
            given[name] = Given(null_word(values[0], known[name]), option)
    return given


def _options(names: Iterable[str]) -> list[str]:
    return ["--" + name.replace("_", "-") for name in names]
