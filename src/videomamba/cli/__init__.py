"""The command line: finds the command, parses its options, calls one function.

The module of a command is imported when it is called; heavy packages are imported when it runs.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import NoReturn

import tyro

from videomamba.cli.command import Command
from videomamba.cli.output import complain, forget_output

COMMANDS: Mapping[str, Command] = {
    "predict": Command("predict", "predict", "classify videos"),
    "timeline": Command("timeline", "timeline", "show what happens when in long videos"),
    "live": Command("live", "live", "show what happens in a camera or stream while it runs"),
    "whole": Command("whole", "whole", "classify long videos with all frames in one pass"),
    "features": Command("features", "features", "turn videos into vectors"),
    "index": Command("index", "index", "make a folder of videos searchable"),
    "search": Command("search", "search", "find moments in an index by a sentence, a video or a moment"),
    "explain": Command("explain", "explain", "show which frames and places of a video its class comes from"),
    "train": Command("train", "train", "train with a published recipe or your own settings", raw=True),
    "distill": Command("distill", "distill", "train a network that also learns from a smaller one", raw=True),
    "pretrain": Command("pretrain", "pretrain", "learn from videos without labels, with a teacher and masks", raw=True),
    "finetune": Command("finetune", "finetune", "turn a folder of videos into a model, with its accuracy and a report"),
    "evaluate": Command("evaluate", "evaluate", "measure accuracy on a data set"),
    "text": Command("text", "COMMANDS", "train, measure and ask networks that know videos and sentences"),
    "data": Command("data", "COMMANDS", "check a data set, or show what the network sees of it"),
    "synth": Command("synth", "synth", "write a labelled data set of synthetic actions as video files"),
    "synth-camera": Command(
        "synth", "synth_camera", "write a labelled data set of camera motions over your photographs"
    ),
    "zoo": Command("zoo", "zoo", "list the released weights and their known faults"),
    "convert": Command("convert", "convert", "convert a weights file to a bundle, or to the original's formats"),
    "export": Command(
        "export", "export", "write a network for onnxruntime, OpenVINO or torch.export, and compare them"
    ),
    "bench": Command("bench", "COMMANDS", "measure speed, memory and arithmetic on this machine"),
    "doctor": Command("bench", "doctor", "show what is installed and which backend runs each operator"),
    "completion": Command("completion", "completion", "print a script for the TAB key of bash, zsh or fish"),
}

_ABOUT = "Video understanding in time that grows linearly with the length of the video."


def main(arguments: list[str] | None = None) -> NoReturn:
    """Runs one command and exits: 0 done, 1 bad file or input, 2 bad command line, 130 interrupted."""
    from videomamba.schema import VideoMambaError

    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as in `videomamba zoo >&-`
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 open until the end
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be valid text
    several = os.environ.get("WORLD_SIZE", "1") != "1"
    if os.environ.get("RANK", "0") != "0":  # of several processes under torchrun only one prints
        forget_output()
    try:
        code = _run(sys.argv[1:] if arguments is None else arguments)
        print(end="", flush=True)
    except VideoMambaError as error:
        complain(str(error))
        code = 1
    except RuntimeError as error:
        if not (several and "closed by peer" in str(error)):
            raise
        complain("another process of this run has ended; its message says why")
        code = 1
    except KeyboardInterrupt:
        complain("interrupted; finished work is kept")
        code = 130
    except BrokenPipeError:  # the reader has closed the pipe, as in `videomamba zoo | head`
        forget_output()
        code = 0
    except OSError as error:
        if error.filename is None:  # no file: the output itself, as in `videomamba zoo > /dev/full`
            forget_output()
        complain(f"{error.filename or 'standard output'}: {error.strerror or error}")
        code = 1
    raise SystemExit(code)


def _run(arguments: list[str]) -> int:
    name, *rest = arguments or ["--help"]
    if name == "--version":
        print(metadata.version("videomamba"))
        return 0
    return _run_one_of(
        COMMANDS, name, rest, prog="videomamba", about=_ABOUT, also=", `videomamba --version` the version"
    )


def _run_one_of(
    commands: Mapping[str, Command], name: str, rest: list[str], *, prog: str, about: str, also: str = ""
) -> int:
    if name in ("--help", "-h"):
        print(_help(commands, prog, about, also))
        return 0
    if name not in commands:
        from videomamba.schema import nearest_name

        complain(f"{name}: no such command; {nearest_name(name, commands, otherwise=f'`{prog} --help` lists them')}")
        return 2
    command = commands[name]
    target = getattr(importlib.import_module(f"videomamba.cli.{command.module}"), command.function)
    prog, flags = f"{prog} {name}", (tyro.conf.FlagCreatePairsOff,)
    try:
        if command.raw:
            return int(target(rest))
        if isinstance(target, Mapping):
            about = f"{command.summary[0].upper()}{command.summary[1:]}."
            if all(isinstance(one, Command) for one in target.values()):
                inner, *others = rest or ["--help"]
                return _run_one_of(target, inner, others, prog=prog, about=about)
            parse = tyro.extras.subcommand_cli_from_dict
            return int(parse(dict(target), prog=prog, description=about, args=rest, config=flags))
        return int(tyro.cli(target, prog=prog, args=rest, config=flags))
    except SystemExit as stop:  # tyro exits after --help or a bad command line
        return int(stop.code or 0)


def _help(commands: Mapping[str, Command], prog: str, about: str, also: str) -> str:
    width = max(map(len, commands))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in commands.items()]
    usage, advice = f"usage: {prog} COMMAND ...", f"`{prog} COMMAND --help` shows the options of a command{also}."
    return "\n".join([usage, "", about, "", *lines, "", advice])
