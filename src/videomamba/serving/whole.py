"""Whole-video passes: one answer for all frames of a video, one embedding for each time step.

Frames are decoded, scaled and embedded a few at a time, and their pixels are then freed. Only the tensors of `models.whole`
grow with the video.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from videomamba.data.clips.sampling import at_rate
from videomamba.data.clips.transforms import to_clip
from videomamba.models.whole import Keep, WholePass
from videomamba.schema import Clip, Prediction, Preprocess, ScoredLabel, VideoError, VideoMambaError
from videomamba.serving.ahead import ahead
from videomamba.serving.clip_model import ClipModel, about, check_model
from videomamba.serving.predictor import Predictor, best_labels
from videomamba.video.base import Video
from videomamba.video.open import open_video

Stages = Callable[[str, int, int], None]
"""(stage, done, total): "frames" while the video is read, then "tokens" while the network runs."""

PIXEL_BYTES = 2**26
"""Most bytes of decoded pictures in one batch; the next batch is decoded while one is embedded."""
MOST_FRAMES = 16
"""Most frames in one batch."""


@dataclass(frozen=True, eq=False, repr=False)
class WholeVideo:
    """The result of a whole-video pass. T time steps (of one tubelet of frames each), d the width of the network.

    frames (T, d) fp32: an embedding for each step, the mean of its patch tokens; timestamps (T,) float64: seconds of the
    first frame of each. features (d,) and logits (classes,), the features again where there is no head, are of the whole
    video; `predictions` are its best classes, best first, none from an Embedder. `tokens` is the length of the sequence,
    `note` describes the resizing of the temporal positions, `seconds` is the time of the pass, `model` names the network.
    """

    path: str
    num_frames: int
    tokens: int
    frames: Tensor
    timestamps: Tensor
    features: Tensor
    logits: Tensor
    predictions: tuple[ScoredLabel, ...]
    note: str
    seconds: float
    model: str = ""

    def __repr__(self) -> str:
        return f"WholeVideo({self.path!r}, {self.num_frames} frames, {self.tokens} tokens)"

    @property
    def prediction(self) -> Prediction:
        """The answer as a Predictor's."""
        return Prediction(self.path, self.predictions, self.seconds, self.model)

    def as_dict(self) -> dict[str, object]:
        """The JSON form: the answer and facts of the pass, no tensors."""
        return {
            **self.prediction.as_dict(),
            "frames": self.num_frames,
            "tokens": self.tokens,
            "temporal_positions": self.note,
            "seconds": self.seconds,
        }


def whole(
    predictor: ClipModel,
    path: str | Path,
    *,
    fps: float | None = None,
    top: int = 5,
    stream: torch.dtype = torch.float32,
    keep: Keep = "direction",
    folder: Path | None = None,
    progress: Stages | None = None,
) -> WholeVideo:
    """One answer for all of the video at `path`, in one pass, however long it is. `predictor` may be an Embedder.

    The network sees `fps` frames of each second, or all of them; a rate above the video's own takes every frame once. The
    last frame is repeated to fill the last tubelet. `top` classes are in the answer. `stream` (fp32 or bf16) is the dtype of
    the residual stream; for `keep` and `folder` see `models.whole`.

    Raises VideoError when the file cannot be read or the pass does not fit in memory, VideoMambaError when it does not fit
    the network or `folder`, or `fps` is not above 0; WeightsError when a Predictor's scores are not finite.
    """
    check_model(predictor, use="whole(Predictor.from_pretrained(NAME_OR_FILE), path)")
    if fps is not None and not fps > 0:
        raise VideoMambaError(f"fps {fps:g}: give frames a second, above 0")
    started = time.perf_counter()
    report = progress or (lambda stage, done, total: None)
    model = predictor.model
    try:
        with open_video(path) as video:
            indices = at_rate(video.timestamps, fps)
            indices += indices[-1:] * (-len(indices) % model.config.tubelet_size)
            try:
                whole_pass = WholePass(model, len(indices), stream=stream, keep=keep, folder=folder)
            except ValueError as error:
                raise VideoMambaError(f"{path}: {error}") from None
            done = 0
            for clip in _read_ahead(video, indices, predictor.preprocess, model.config.tubelet_size):
                whole_pass.push(clip.data)
                done += len(clip.indices)
                report("frames", done, len(indices))
            first = [video.timestamps[index] for index in indices[:: model.config.tubelet_size]]
        result = whole_pass.run(lambda done, total: report("tokens", done, total))
    except VideoError as error:
        raise about(path, error) from None
    except MemoryError as error:
        advice = "use fewer frames a second, keep only states, or give a folder for a file"
        raise VideoError(path, f"{error}; {advice}") from None
    except RuntimeError as error:  # PyTorch has its own class for this on a GPU only
        if "memory" not in str(error):
            raise
        raise VideoError(path, "does not fit in memory in one pass; use fewer frames a second") from error
    predictions: tuple[ScoredLabel, ...] = ()
    if isinstance(predictor, Predictor):
        predictions = best_labels(result.logits.softmax(dim=0), predictor.labels, top=top, of=path)
    return WholeVideo(
        str(path),
        num_frames=len(indices),
        tokens=whole_pass.length,
        frames=result.frames,
        timestamps=torch.tensor(first, dtype=torch.float64),
        features=result.features,
        logits=result.logits,
        predictions=predictions,
        note=whole_pass.note,
        seconds=time.perf_counter() - started,
        model=predictor.name,
    )


def _read_ahead(video: Video, indices: tuple[int, ...], preprocess: Preprocess, tubelet: int) -> Iterator[Clip]:
    """The frames at `indices`, scaled, some tubelets at a time; the next are decoded while these are used."""
    fits = PIXEL_BYTES // (3 * video.info.height * video.info.width)
    size = max(min(fits, MOST_FRAMES) // tubelet, 1) * tubelet
    batches = [indices[i : i + size] for i in range(0, len(indices), size)]
    return ahead(lambda batch: to_clip(video.frames(batch), preprocess), batches)
