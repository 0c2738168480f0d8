"""`videomamba predict --whole`: one answer for all of a video, however long it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from videomamba.cli.output import complain, print_json, print_prediction, stages

if TYPE_CHECKING:
    from videomamba.schema import VideoError
    from videomamba.serving.predictor import Predictor


def whole(
    predictor: Predictor,
    paths: Sequence[Path | VideoError],
    *,
    fps: float | None,
    stream: Literal["fp32", "bf16"],
    lean: bool,
    scratch: Path | None,
    top: int,
    json: bool,
) -> int:
    """Prints the classes of each video, seen in one pass of all its frames; what cannot be read is named on stderr."""
    import torch

    from videomamba.schema import Prediction, VideoError, VideoMambaError
    from videomamba.serving.predictor import best_labels
    from videomamba.serving.whole import look_at_whole

    if fps is not None and not fps > 0:
        raise VideoMambaError(f"--fps {fps:g}: give frames a second, above 0")
    failed = 0
    for path in paths:
        try:
            if isinstance(path, VideoError):
                raise path
            with stages({"frames": f"reading {path.name}", "tokens": "looking"}) as tick:
                seen = look_at_whole(
                    predictor.model,
                    predictor.preprocess,
                    path,
                    fps=fps,
                    stream=torch.bfloat16 if stream == "bf16" else torch.float32,
                    keep="states" if lean else "direction",
                    folder=scratch,
                    progress=tick,
                )
        except VideoError as error:
            failed += 1
            complain(str(error))
            if json:
                print_json({"path": error.path, "error": error.reason})
            continue
        best = best_labels(seen.logits.softmax(dim=0), predictor.labels, top=top, of=path)
        answer = Prediction(seen.path, best, seen.seconds)
        what = {"frames": seen.num_frames, "tokens": seen.tokens, "temporal_positions": seen.note}
        if json:
            print_json({**answer.as_dict(), **what, "seconds": seen.seconds})
        else:
            print_prediction(answer, f"{seen.num_frames} frames, {seen.tokens} tokens in one pass; {seen.note}")
    return 1 if failed else 0
