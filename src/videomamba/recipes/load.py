"""Settings as YAML text, and from YAML or a command line back to a config, for any tree of `Settings`.

A value stays a string, or a list of strings, until pydantic converts it to the type of its field. So `2e-4` is a number, `off`
a word where the field is one, and the same text means the same in YAML and on the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin

import yaml
from pydantic import ValidationError

from videomamba.schema import Settings, VideoMambaError, nearest_name

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Config = TypeVar("Config", bound=Settings)


@dataclass(frozen=True)
class Given:
    """A chosen value and its place: `origin` for messages, `file`, which is "" for a command line."""

    value: object
    origin: str
    file: str = ""


def to_yaml(config: Settings) -> str:
    """All settings as YAML text, from which `load` makes the same config."""
    return yaml.dump(config.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def load(kind: type[Config], path: Path, *, presets: Callable[[str], Config] | None = None) -> Config:
    """The config of a YAML file: its settings over those of the preset that it names, over the defaults.

    Raises VideoMambaError naming the file and the key.
    """
    return assemble(kind, read_yaml(path, kind), presets=presets)


def assemble(
    kind: type[Config], given: Mapping[str, Given], *, presets: Callable[[str], Config] | None = None
) -> Config:
    """The config of `given` settings, by dotted name, over the preset `given["preset"]` or the defaults.

    Raises VideoMambaError naming the place of the wrong value.
    """
    named = given.get("preset")
    if presets is None or named is None or named.value is None:
        begin = kind()
    else:
        try:
            begin = presets(str(named.value))
        except VideoMambaError as error:
            raise VideoMambaError(f"{named.file}: {error}" if named.file else str(error)) from None
    tree: dict[str, Any] = begin.model_dump()
    for name, one in given.items():
        section, _, leaf = name.rpartition(".")
        if one.value is not None:
            replaced = (getattr(begin, section) if section else begin).replaces.get(leaf, ())
            (tree[section] if section else tree).update(dict.fromkeys(replaced))
    for name, one in given.items():
        section, _, leaf = name.rpartition(".")
        (tree[section] if section else tree)[leaf] = one.value
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        # One setting; or a section whose settings do not fit together: the message names those that were chosen.
        where = ".".join(str(part) for part in first["loc"][:2])
        origins = [one.origin for name, one in given.items() if name == where or name.startswith(f"{where}.")]
        reason = first["msg"].removeprefix("Value error, ")
        if where in given:
            reason = _misfit(given[where], fields(kind)[where], first, usual=_get(begin.model_dump(), where))
        raise VideoMambaError(f"{', '.join(origins)}: {reason}") from None


_WANTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "one word",
    "path": "a path",
}
"""What fits, by the first part of pydantic's name of an error."""


def _get(tree: Mapping[str, Any], name: str) -> Any:
    section, _, leaf = name.rpartition(".")
    return (tree[section] if section else tree)[leaf]


def _misfit(given: Given, annotation: object, error: ErrorDetails, *, usual: object) -> str:
    """Why a value does not fit its setting, in the terms of YAML or of a command line, not of Python."""
    value, reason = given.value, error["msg"].removeprefix("Value error, ")
    shown = str(value)
    if isinstance(value, list):
        shown = f"[{', '.join(map(str, value))}]" if given.file else " ".join(map(str, value))
    elif isinstance(value, str) and not value:
        shown = "no value"
    size = len(get_args(annotation)) if get_origin(annotation) is tuple else 0
    wanted = _WANTED.get(error["type"].partition("_")[0])
    if size and error["type"] in ("tuple_type", "too_long", "too_short", "missing"):
        found = value if isinstance(value, list) else [value]
        single = len(found) == 1 and str(found[0]).isdecimal()
        example = found * size if single else list(usual) if isinstance(usual, tuple) else []
        listed = f"[{', '.join(map(str, example))}]" if given.file else " ".join(map(str, example))
        reason = f"write {size} values, such as {listed}"
    elif wanted is not None and error["type"].endswith(("_type", "_parsing", "_from_float")):
        reason = f"write {wanted}"
        if size:
            reason += f" for each of its {size} values"
    return f"{shown!r} does not fit: {reason[0].lower()}{reason[1:]}"


def read_yaml(path: Path, kind: type[Settings]) -> dict[str, Given]:
    """The settings of a YAML file by dotted name, as strings. Raises VideoMambaError with file and key."""
    found: dict[str, Given] = {}
    _flatten(_tree(path), "", path, fields(kind), found)
    return found


def read_names(path: Path) -> tuple[set[str], str | None]:
    """The sections of a YAML file, and the preset that it names. Raises VideoMambaError as `read_yaml` does."""
    tree = _tree(path)
    named = tree.get("preset")
    return {str(key).partition(".")[0] for key in tree}, named if isinstance(named, str) else None


def _tree(path: Path) -> dict[object, object]:
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise VideoMambaError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise VideoMambaError(f"{path}: is not text in UTF-8; give a YAML file") from None
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise VideoMambaError(f"{path}: {line}{error.problem}; fix the YAML") from None
    except yaml.YAMLError as error:
        raise VideoMambaError(f"{path}: is not YAML ({str(error).splitlines()[0]})") from None
    if tree in (None, ""):
        return {}
    if not isinstance(tree, dict):
        raise VideoMambaError(f"{path}: must have sections with settings, as --print-config prints them")
    return tree


def fields(kind: type[Settings], prefix: str = "") -> dict[str, Any]:
    """The annotation of every setting, by its dotted name."""
    found: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Settings):
            found |= fields(inner, f"{prefix}{name}.")
        else:
            found[prefix + name] = inner
    return found


def nearest_setting(name: str, known: Iterable[str], *, otherwise: str) -> str:
    """Advice for an unknown setting: one of that name in another section, else the one with the nearest spelling."""
    leaf, known = name.rpartition(".")[2].removeprefix("--"), list(known)
    same = [one for one in known if one.rpartition(".")[2] == leaf]
    return f"did you mean {same[0]!r}?" if same else nearest_name(name, known, otherwise=otherwise)


def null_word(value: object, annotation: object) -> object:
    """None for the words that mean it, if the setting may be None; other values are unchanged."""
    word = value.lower() if isinstance(value, str) else value
    return None if type(None) in get_args(annotation) and word in ("", "none", "null", "~") else value


def _flatten(
    tree: Mapping[object, object], prefix: str, path: Path, known: Mapping[str, Any], found: dict[str, Given]
) -> None:
    sections = {name.partition(".")[0] for name in known if "." in name}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        section = name in sections
        if section and isinstance(value, dict):
            _flatten(value, f"{name}.", path, known, found)
        elif section and value != "":  # all lines of an empty section may be commented out
            raise VideoMambaError(f"{path}: {name}: is a section; write its settings below it, indented")
        elif name in found:
            raise VideoMambaError(f"{path}: {name}: appears twice; remove one")
        elif not section:
            if name not in known:
                candidates = sections if isinstance(value, dict) else known
                advice = nearest_setting(name, candidates, otherwise="--help lists the settings")
                raise VideoMambaError(f"{path}: {name}: unknown; {advice}")
            if value == "" and known[name] is Path:  # an empty path would be the working folder
                raise VideoMambaError(f"{path}: {name}: has no value; write one or remove the line")
            found[name] = Given(null_word(value, known[name]), f"{path}: {name}", str(path))


class _Loader(yaml.BaseLoader):
    """Reads every scalar as a string, and refuses a second value for a key of a section."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else key
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name} appears twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep=True)


class _Dumper(yaml.SafeDumper):
    """Writes lists on one line: [224, 224]."""

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        return super().represent_sequence(tag, sequence, flow_style=True)
