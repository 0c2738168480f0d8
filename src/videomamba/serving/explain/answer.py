"""From a video to the parts of it that its class came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from videomamba.data.clips.views import video_views
from videomamba.evaluation.faithfulness import Comparison, compare
from videomamba.evaluation.scoring import merge_views
from videomamba.files import make_folder
from videomamba.schema import VideoError, VideoMambaError, nearest_name
from videomamba.serving.annotated import constant_rate
from videomamba.serving.clip_model import about, check_model
from videomamba.serving.explain.methods import Method, relevance
from videomamba.serving.predictor import Predictor, best_labels
from videomamba.serving.timeline import timeline_name
from videomamba.video.open import open_video
from videomamba.video.picture import pixels_of


@dataclass(frozen=True, repr=False)
class Explanation:
    """Why a model gave `label` its probability `score` for a video.

    `maps` (T, H, W) fp32 is the relevance of each patch, in a unit of its own. With the method
    "integrated" it may be below 0: then the patch speaks against the class.
    `pictures` (t, h, w, 3) uint8 RGB are the frames as the model saw them, frame `indices[i]` of the video at `times[i]`
    seconds. `duration` is from the first frame to the end of the last one, in seconds, `rate` the frames a second of the
    video. `comparison` says whether the map is better than maps without a meaning; None where that was not asked for.
    """

    path: str
    model: str
    method: Method
    label: str
    score: float
    maps: Tensor
    pictures: Tensor
    indices: tuple[int, ...]
    times: tuple[float, ...]
    duration: float
    rate: Fraction
    comparison: Comparison | None = None

    def __repr__(self) -> str:
        return f"Explanation({self.path!r}, {self.label!r} {100 * self.score:.1f} %, {self.method})"

    @property
    def frames(self) -> Tensor:
        """(t,) fp32: the share of each frame in all that speaks for the class; 0 everywhere where nothing does.

        The frames of one patch share its relevance equally.
        """
        for_class = self.maps.clamp(min=0).sum(dim=(1, 2))
        tubelet = len(self.times) // len(for_class)
        shares = for_class / for_class.sum().clamp(min=torch.finfo(torch.float32).tiny)
        return shares.repeat_interleave(tubelet) / tubelet

    def as_dict(self) -> dict[str, object]:
        """The JSON form; `maps` as nested lists over time, rows and columns."""
        frames = zip(self.indices, self.times, self.frames.tolist(), strict=True)
        record: dict[str, object] = {
            "path": self.path,
            "model": self.model,
            "method": self.method,
            "label": self.label,
            "score": self.score,
            "frames": [{"index": i, "time": round(time, 6), "relevance": share} for i, time, share in frames],
            "maps": self.maps.tolist(),
        }
        if self.comparison is not None:
            record["comparison"] = {kind: score._asdict() for kind, score in vars(self.comparison).items()}
        return record

    def write(self, folder: str | Path) -> tuple[Path, Path]:
        """Writes NAME.explain.mp4 and NAME.explain.png into `folder`, which is made, and returns their paths.

        The video shows the frames that the model saw, at their times, with the relevance as colours; the picture shows
        them side by side with a bar for each frame. Raises VideoMambaError where matplotlib is not installed or they cannot
        be written.
        """
        from videomamba.serving.explain.drawing import write_overlay, write_sheet

        make_folder(Path(folder))
        name = timeline_name(self.path)
        overlay, sheet = (Path(folder) / f"{name}.explain.{ending}" for ending in ("mp4", "png"))
        caption = f"{self.label} {100 * self.score:.1f} %, {self.method}" + (f", {self.model}" if self.model else "")
        shown = self.pictures, self.maps, self.times
        write_overlay(overlay, *shown, duration=self.duration, rate=self.rate, caption=caption)
        write_sheet(sheet, *shown, self.frames, caption=f"{Path(self.path).name}: {caption}")
        return overlay, sheet


def explain(
    predictor: Predictor,
    path: str | Path,
    *,
    method: Method = "attention",
    target: str | int | None = None,
    comparison: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Explanation:
    """Which patches of the video at `path` speak for a class: `target`, a class name or number, or None for the best class.

    The model sees the clip of a 1x1 view, as in a prediction. `method` is one of `methods.relevance`. With `comparison` the
    map is compared with random ones and with the middle of the picture, which takes about 150 passes through the network;
    `progress(done, total)` counts the maps that are compared.

    Raises VideoError when the video cannot be read, VideoMambaError for a class that the model does not have and where the
    package of a method is not installed, WeightsError when the scores are not finite.
    """
    check_model(predictor, use="explain(Predictor.from_pretrained(NAME_OR_FILE), path)")
    number = None if target is None else _class_number(predictor, target)
    try:
        with open_video(path) as video:
            info, rate = video.info, constant_rate(video)
            clip = next(video_views(video, predictor.preprocess))
            times = tuple(float(video.timestamps[i]) for i in clip.indices)
    except VideoError as error:
        raise about(path, error) from None
    scores = merge_views(predictor.logits([clip]))
    best_labels(scores, predictor.labels, top=1, of=path)  # raises where they are not finite
    if number is None:
        number = int(scores.argmax())
    model, pixels = predictor.model, clip.data.to(predictor.device)
    maps = relevance(model, pixels, number, method)

    @torch.inference_mode()
    def probability(clips: Tensor) -> Tensor:
        chances: Tensor = model(clips).float().softmax(dim=1)[:, number]
        return chances

    return Explanation(
        path=str(path),
        model=predictor.name,
        method=method,
        label=predictor.labels[number],
        score=float(scores[number]),
        maps=maps,
        pictures=pixels_of(clip, predictor.preprocess),
        indices=clip.indices,
        times=times,
        duration=info.duration,
        rate=rate,
        comparison=compare(probability, pixels, maps, progress=progress) if comparison else None,
    )


def _class_number(predictor: Predictor, target: str | int) -> int:
    labels = predictor.labels
    if isinstance(target, int):
        if not 0 <= target < len(labels):
            raise VideoMambaError(f"target {target}: the model has the classes 0 to {len(labels) - 1}")
        return target
    if target not in labels:
        some = ", ".join(labels[:5])
        advice = nearest_name(target, labels, otherwise=f"it has {len(labels)}, such as {some}")
        raise VideoMambaError(f"target {target!r}: no class of the model; {advice}")
    return labels.index(target)
