"""`videomamba whole`: one answer for a whole video, however long it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from videomamba.cli.model_options import Files, Model, ModelOptions, Top, check_top, each, find_files, without_videos
from videomamba.cli.output import Json, print_answers, print_prediction, stages
from videomamba.weights.released import ACTIONS_MODEL

if TYPE_CHECKING:
    from videomamba.serving.whole import WholeVideo


def whole(
    files: Files,
    /,
    *,
    fps: Annotated[
        float | None,
        arg(metavar="RATE", help="frames a second that the model sees", help_behavior_hint="(default: all)"),
    ] = None,
    top: Top = 5,
    stream: Annotated[Literal["fp32", "bf16"], arg(help="of the residual stream; bf16 halves its memory")] = "fp32",
    lean: Annotated[bool, arg(help="keep only the residual stream in memory; takes about a third longer")] = False,
    scratch: Annotated[
        Path | None,
        arg(metavar="FOLDER", help="keep what grows in a file there instead of in memory", help_behavior_hint=""),
    ] = None,
    model: Model = ModelOptions(model=ACTIONS_MODEL),
    json: Json = False,
) -> int:
    """Classify long videos as a whole: all frames of each in one pass, one answer.

    Files that fail are listed on stderr; the others are still done, and the exit code is then 1.
    """
    import torch

    from videomamba.serving.whole import whole as look

    paths = find_files("whole", files)
    check_top(top)
    predictor = model.open(silent=without_videos(paths))

    def answer(path: Path) -> WholeVideo:
        with stages({"frames": f"reading {path.name}", "tokens": "running the model"}) as tick:
            return look(
                predictor,
                path,
                fps=fps,
                top=top,
                stream=torch.bfloat16 if stream == "bf16" else torch.float32,
                keep="states" if lean else "direction",
                folder=scratch,
                progress=tick,
            )

    return print_answers(each(paths, answer), _print, json=json)


def _print(seen: WholeVideo) -> None:
    print_prediction(seen.prediction, f"{seen.num_frames} frames, {seen.tokens} tokens in one pass; {seen.note}")
