"""`videomamba text`: the commands of networks that know videos and sentences."""

from __future__ import annotations

from collections.abc import Mapping

from videomamba.cli.command import Command

COMMANDS: Mapping[str, Command] = {
    "retrieval": Command("text_retrieval", "retrieval", "measure how well sentences find videos, and videos sentences"),
    "choice": Command("text_retrieval", "choice", "measure multiple choice: which of several sentences fits a video"),
}
