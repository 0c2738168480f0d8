"""An entry in the table of commands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """`videomamba.cli.<module>.<function>`: a function whose parameters are the options, a dict of such functions for
    subcommands, a dict of further commands, or, with `raw`, a function of the list of arguments."""

    module: str
    function: str
    summary: str
    raw: bool = False
