"""`videomamba text`: the commands of networks that know videos and sentences."""

from __future__ import annotations

from collections.abc import Mapping

from videomamba.cli.command import Command

COMMANDS: Mapping[str, Command] = {
    "train": Command("text_train", "train", "train on videos with captions: pretraining and fine-tuning", raw=True),
    "retrieval": Command("text_retrieval", "retrieval", "measure how well sentences find videos, and videos sentences"),
    "choice": Command("text_retrieval", "choice", "measure multiple choice: which of several sentences fits a video"),
    "train-questions": Command("text_questions", "train_questions", "learn to answer questions about videos", raw=True),
    "questions": Command("text_questions", "questions", "measure the answers to questions about videos"),
    "answer": Command("text_questions", "answer", "answer a question about a video"),
}
