"""`videomamba completion`: a script by which a shell completes commands, options and their values."""

from __future__ import annotations

import importlib
import inspect
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from operator import attrgetter
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from tyro.conf import Positional, arg

from videomamba.cli.command import Command

Shell = Literal["bash", "zsh", "fish"]
_HELP = "show all options, then exit"


@dataclass(frozen=True)
class Word:
    """A word that may follow a command: another command, or an option, which may have a value, one of `values` if known."""

    text: str
    about: str = ""
    takes_value: bool = False
    values: tuple[str, ...] = ()


def completion(
    shell: Annotated[Positional[Shell], arg(metavar="{bash,zsh,fish}", help="the shell that shall complete")], /
) -> int:
    """Print a script by which a shell completes commands, options and their values.

    The script is complete in itself: no Python starts when you press TAB. Print it again after an update of videomamba.

    bash:  videomamba completion bash > ~/.local/share/bash-completion/completions/videomamba
    zsh:   videomamba completion zsh > ~/.videomamba.zsh, and in ~/.zshrc after compinit: source ~/.videomamba.zsh
    fish:  videomamba completion fish > ~/.config/fish/completions/videomamba.fish
    """
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](vocabulary()), end="")
    return 0


def vocabulary() -> dict[str, list[Word]]:
    """The words after each command: "" is `videomamba` itself, "text train" is `videomamba text train`."""
    from videomamba.cli import COMMANDS

    first = [Word("--help", "list the commands"), Word("--version", "print the version")]
    return {"": first, **_below(COMMANDS, "")} | {"": [*_names(COMMANDS), *first]}


def _names(commands: Mapping[str, Any]) -> list[Word]:
    return [Word(name, one.summary if isinstance(one, Command) else _first_line(one)) for name, one in commands.items()]


def _below(commands: Mapping[str, Any], path: str) -> dict[str, list[Word]]:
    """The words after each of `commands`, which themselves follow `path`."""
    found: dict[str, list[Word]] = {}
    for name, one in commands.items():
        here = f"{path} {name}".strip()
        target = one
        if isinstance(one, Command):
            target = getattr(importlib.import_module(f"videomamba.cli.{one.module}"), one.function)
        if isinstance(target, Mapping):
            found |= {here: [*_names(target), Word("--help", _HELP)], **_below(target, here)}
        elif isinstance(one, Command) and one.raw:
            found[here] = [*_settings(here), Word("--help", _HELP)]
        else:
            found[here] = [*_options(target), Word("--help", _HELP)]
    return found


def _options(target: Callable[..., int]) -> Iterator[Word]:
    """The options that tyro makes of the parameters of `target`, and of the fields of their dataclasses."""
    hints = get_type_hints(target, include_extras=True)
    for name, parameter in inspect.signature(target).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            yield from _option(name, hints[name], parameter.default)
        else:
            values = _values(hints[name])
            yield from (Word(value) for value in values)


def _option(name: str, hint: Any, default: object) -> Iterator[Word]:
    """The option of a parameter or setting, whose name may be dotted; of a record those of all its fields."""
    from videomamba.recipes.load import fields as settings
    from videomamba.schema import Settings

    kind, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    about = next((note.help for note in notes if getattr(note, "help", None)), "")
    section, dot, leaf = name.replace("_", "-").rpartition(".")
    if is_dataclass(kind):  # whose options have no prefix: `arg(name="")`
        inner = get_type_hints(kind, include_extras=True)
        for field in fields(kind):
            yield from _option(field.name, inner[field.name], getattr(default, field.name))
    elif isinstance(kind, type) and issubclass(kind, Settings):
        for setting, inner_kind in settings(kind).items():
            yield from _option(f"{name}.{setting}", inner_kind, attrgetter(setting)(default))
    elif kind is bool:
        yield Word(f"--{section}{dot}{'no-' if default is True else ''}{leaf}", about)
    else:
        yield Word(f"--{section}{dot}{leaf}", about, takes_value=True, values=_values(kind))


def _settings(command: str) -> Iterator[Word]:
    """The options of the command of a recipe: its settings, and those that `cli/recipe.py` takes."""
    from videomamba.recipes.load import fields as settings
    from videomamba.recipes.presets import CATALOGUES

    catalogue = next(one for one in CATALOGUES if one.command == command)
    for name, kind in settings(catalogue.kind).items():
        values = ("true", "false") if kind is bool else _values(kind)
        values = tuple(catalogue.presets) if name == "preset" else values
        yield Word("--" + name.replace("_", "-"), takes_value=True, values=values)
    yield Word("--config", "a YAML file with settings", takes_value=True)
    yield Word("--print-config", "print all settings as YAML, then exit")
    yield Word("--presets", "list the published recipes, then exit")
    yield Word("--fresh", "begin anew: remove the files of an earlier run in the same folder")


def _values(annotation: Any) -> tuple[str, ...]:
    """The words of the Literal in an annotation, however deep."""
    if get_origin(annotation) is Literal:
        return tuple(map(str, get_args(annotation)))
    return tuple(value for part in get_args(annotation) for value in _values(part))


def _first_line(target: Callable[..., int]) -> str:
    return next(iter((target.__doc__ or "").splitlines()), "")


_BASH = """\
# Completes `videomamba` in {shell}; printed by `videomamba completion {shell}`.
{before}_videomamba() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}} place="" fitting="" i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$place ${{COMP_WORDS[i]}}" in
        {commands}) place="$place ${{COMP_WORDS[i]}}" ;;
        *) break ;;
        esac
    done
    case "$place" in
    {words}
    esac
    case "$place $before" in
    {values}
    *) [[ $word == -* || "$place" == {groups} ]] || fitting="" ;;
    esac
    COMPREPLY=($(compgen -W "$fitting" -- "$word"))
}}
complete -o default -F _videomamba videomamba
"""
"""Where no word fits, the shell offers files."""


def _bash(known: Mapping[str, list[Word]], shell: Shell = "bash", before: str = "") -> str:
    after = {f" {path}".rstrip(): words for path, words in known.items()}  # as the script spells a path
    offered = {path: [word.text for word in words] for path, words in after.items()}
    values = {f"{path} {word.text}": word.values for path, words in after.items() for word in words if word.values}
    groups = [path for path, words in offered.items() if not words[0].startswith("-")]
    return _BASH.format(
        shell=shell,
        before=before,
        commands=" | ".join(f'"{path}"' for path in after if path),
        words="\n    ".join(f'"{path}") fitting="{" ".join(words)}" ;;' for path, words in offered.items()),
        values="\n    ".join(f'"{place}") fitting="{" ".join(words)}" ;;' for place, words in values.items()),
        groups=' || "$place" == '.join(f'"{path}"' for path in groups),
    )


def _zsh(known: Mapping[str, list[Word]]) -> str:
    return _bash(known, "zsh", "autoload -U +X bashcompinit && bashcompinit\n")


_FISH = """\
# Completes `videomamba` in fish; printed by `videomamba completion fish`.
function __videomamba_at
    set -l path ""
    for word in (commandline -opc)[2..-1]
        if contains -- (string trim "$path $word") {commands}
            set path (string trim "$path $word")
        else
            break
        end
    end
    test "$path" = "$argv[1]"
end
"""


def _fish(known: Mapping[str, list[Word]]) -> str:
    lines = []
    for path, words in known.items():
        at = shlex.quote(f"__videomamba_at {shlex.quote(path)}")
        for word in words:
            line = ["complete -c videomamba -n", at]
            if word.text.startswith("--"):
                line += ["-l", word.text.removeprefix("--")]
                line += ["-x -a", shlex.quote(" ".join(word.values))] if word.values else ["-r"] * word.takes_value
            else:
                line += ["-f -a", word.text]
            lines.append(" ".join([*line, "-d", _fish_quoted(word.about)]))
    commands = " ".join(shlex.quote(path) for path in known if path)
    return _FISH.format(commands=commands) + "\n".join(lines) + "\n"


def _fish_quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
