"""`videomamba text train-questions`, `text questions` and `text answer`: networks that answer questions about videos."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from videomamba.cli.model_options import AnyDevice, Precision
from videomamba.cli.output import Json, complain, counter, note, noted, print_json, print_table, usable_device
from videomamba.cli.recipe import run_recipe, trained_with_notes
from videomamba.data.settings import TextDataSettings

if TYPE_CHECKING:
    from videomamba.recipes.text.questions_config import QuestionsConfig

QuestionsWeights = Annotated[
    Positional[str], arg(metavar="WEIGHTS", help="weights file of `videomamba text train-questions`")
]
Answers = Annotated[
    Path | None,
    arg(
        metavar="FILE",
        help="file of the possible answers, one a line or a JSON list",
        help_behavior_hint="(default: those in the weights file)",
    ),
]
Frames = Annotated[
    int | None,
    arg(metavar="T", help="frames in a clip", help_behavior_hint="(default: what the model was trained with)"),
]

_DESCRIPTION = """Train a network to answer questions about videos, from a video-text network (model.weights) or from scratch.

The data set is a list of {"video", "question", "answer"} (data.train, data.val), whose answers are the ones that the network
can give; answer.candidates names a file of other ones. The weights file that results has them too.
The command line overrides the file of --config, and the file overrides the preset.
`videomamba text train-questions --presets` lists the recipes for ActivityNet, MSRVTT and MSVD.
An interrupted run in the folder run.out is resumed; `--fresh` removes the files of an earlier run there and begins anew."""


def train_questions(arguments: list[str]) -> int:
    """Trains; an interrupted run in the same folder is resumed."""
    from videomamba.recipes.text.questions_config import check_questions
    from videomamba.recipes.text.questions_presets import QUESTIONS

    return run_recipe(arguments, QUESTIONS, description=_DESCRIPTION, check=check_questions, run=_run)


def _run(config: QuestionsConfig, fresh: bool) -> None:
    from videomamba.recipes.questions import train_questions as recipe

    trained = trained_with_notes(config, recipe, fresh)
    weights, best = trained.last, trained.progress.best
    if best is not None:
        weights = trained.best
        print(f"{weights}: accuracy {best:.2%} on the validation split")
    print(f'Now:  videomamba text answer {shlex.quote(str(weights))} VIDEO "QUESTION"')


def questions(
    weights: QuestionsWeights,
    root: Annotated[Positional[Path], arg(metavar="DATA", help="folder of the data set, or a list of its questions")],
    /,
    *,
    split: Annotated[
        Literal["auto", "train", "val", "test"],
        arg(help="list that is measured; auto: that of the test, else of validation, else of training"),
    ] = "auto",
    answers: Answers = None,
    shortlist: Annotated[int, arg(metavar="K", help="answers that are scored completely")] = 128,
    score: Annotated[
        Literal["exact", "vqa"], arg(help="exact match, or the metric of VQA v2 (ten annotators)")
    ] = "exact",
    frames: Frames = None,
    device: AnyDevice = "auto",
    precision: Precision = "fp32",
    mistakes: Annotated[int, arg(metavar="N", help="wrong answers to print")] = 0,
    data: TextDataSettings = TextDataSettings(),
    json: Json = False,
) -> int:
    """Measure a network of `text train-questions` on a data set of questions: the share of right answers.

    The network chooses among the answers of its weights file, or of --answers. Questions about videos that cannot be read count
    as wrong and are listed. Under torchrun the processes share the videos.
    """
    from videomamba.data.sets.answers import read_answers
    from videomamba.recipes.answering import evaluate_questions
    from videomamba.schema import VideoMambaError
    from videomamba.weights.video_text import open_questions

    for name, value, least in (("--shortlist", shortlist, 1), ("--mistakes", mistakes, 0)):
        if value < least:
            raise VideoMambaError(f"{name} {value}: give {least} or more")
    settings = _settings(root, data)
    opened = open_questions(weights, num_frames=frames)
    for remark in filter(None, (opened.assumed, opened.knows)):
        note(remark)
    said: list[str] = []
    with counter("answering") as tick:
        result = evaluate_questions(
            opened,
            settings,
            split=split,
            answers=None if answers is None else read_answers(answers),
            shortlist=shortlist,
            score=score,
            device=device,
            precision=precision,
            progress=tick,
            notify=noted(said),
        )
    for path, reason in result.failures:
        complain(f"missed {path}: {reason}")
    if json:
        print_json({"model": weights, **result.as_dict(), "videos": said[-1]})
        return 0
    if mistakes and result.mistakes:
        rows = [[one.path, one.question, str(one.given), " | ".join(one.answers)] for one in result.mistakes[:mistakes]]
        print_table(["video", "question", "answer", "right"], rows, left=(0, 1, 2, 3))
    print(result)
    return 0


def _settings(root: Path, data: TextDataSettings) -> TextDataSettings:
    """`data` of the questions at `root`, a folder or a list. Raises VideoMambaError for options that say something else."""
    from videomamba.schema import VideoMambaError

    if data.cache is not None:
        raise VideoMambaError("--data.cache: a test decodes the videos themselves; remove the option")
    key = "test" if root.is_file() else "root"
    given = getattr(data, key)
    if given is not None:
        what = "list" if key == "test" else "data set"
        raise VideoMambaError(f"--data.{key} {given}: the {what} is already {root}; remove the option")
    return data.model_copy(update={key: root})


def answer(
    weights: QuestionsWeights,
    video: Annotated[Positional[str], arg(metavar="VIDEO", help="video, image, or folder of images")],
    question: Annotated[Positional[str], arg(metavar="QUESTION", help="one question, in quotation marks")],
    /,
    *,
    answers: Answers = None,
    top: Annotated[int, arg(help="answers to show")] = 5,
    frames: Frames = None,
    device: AnyDevice = "auto",
    precision: Precision = "fp32",
    json: Json = False,
) -> int:
    """Answer a question about a video, with the likeliest of the possible answers first."""
    from videomamba.data.sets.answers import read_answers
    from videomamba.schema import VideoMambaError
    from videomamba.serving.questions import Answerer

    if top < 1:
        raise VideoMambaError(f"--top {top}: give at least 1 answer")
    answerer = Answerer.from_pretrained(
        weights,
        answers=None if answers is None else read_answers(answers),
        num_frames=frames,
        device=usable_device(device),
        precision=precision,
    )
    for remark in answerer.remarks:
        note(remark)
    found = answerer(video, question, top=top)
    if json:
        print_json(found.as_dict())
        return 0
    print(f"{found.path}  ({found.model}, {found.seconds:.2f} s)")
    print(found.question)
    rows = [[one.label, f"{100 * one.score:.1f} %", "#" * round(30 * one.score)] for one in found.answers]
    print_table(["answer", "score", ""], rows, left=(0, 2))
    return 0
