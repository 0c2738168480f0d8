"""The features of a video, and the configuration that computes them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from videomamba.schema import VideoError, VideoMambaError, Views
from videomamba.weights.zoo import resolve_weights

if TYPE_CHECKING:
    from videomamba.serving.embedder import Embedder
    from videomamba.serving.whole import Stages

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False, repr=False)
class Features:
    """Of one video: `data` (d,) float32, or (t, d) with `timestamps` (t,) float64 in seconds. `about` has other facts."""

    data: NDArray[np.float32]
    timestamps: NDArray[np.float64] | None = None
    about: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        times = () if self.timestamps is None else self.timestamps.shape
        if self.data.dtype != np.float32 or self.data.ndim not in (1, 2) or times != self.data.shape[:-1]:
            raise ValueError(f"features {self.data.shape} {self.data.dtype} with timestamps {times}")

    def as_dict(self) -> dict[str, object]:
        """The JSON form: "features", "timestamps" if there are any, and the facts of `about`."""
        times = {} if self.timestamps is None else {"timestamps": self.timestamps.tolist()}
        return {"features": self.data.tolist(), **times, **self.about}

    def __repr__(self) -> str:
        return f"Features({self.data.shape})"


Outcome = Features | VideoError


@dataclass(frozen=True)
class FeatureConfig:
    """The network and its settings. They can be sent to another process, which then calls `open`.

    `model` is a zoo name or a weights file, which needs no head; `num_frames` and `image_size` (pixels) change its clip.
    A video has one vector (d,), the mean over `views`, clips x crops. With `per_frame`, frames a second or "all", it has
    (t, d): one vector for each time step of a whole-video pass.

    Raises VideoMambaError for wrong views, a rate that is not above 0, and views or `num_frames` with `per_frame`.
    """

    model: str
    views: str = "1x1"
    per_frame: float | Literal["all"] | None = None
    num_frames: int | None = None
    image_size: int | None = None
    device: str = "cpu"
    precision: Literal["fp32", "bf16"] = "fp32"

    def __post_init__(self) -> None:
        views = Views.parse(self.views)
        if self.per_frame is None:
            return
        if self.per_frame != "all" and not 0 < self.per_frame < inf:
            raise VideoMambaError(f"--per-frame {self.per_frame:g}: give frames a second above 0, or all")
        if len(views) > 1 or self.num_frames is not None:
            raise VideoMambaError("--per-frame reads all of the video in one pass; remove --views and --frames")

    def open(self, notify: Callable[[str], object] = lambda message: None) -> Embedder:
        """`notify` gets each of the `ClipModel.remarks`. Raises WeightsError for weights that are missing or damaged."""
        from videomamba.serving.embedder import Embedder

        shape = {"num_frames": self.num_frames, "image_size": self.image_size}
        embedder = Embedder.from_pretrained(self.model, **shape, device=self.device, precision=self.precision)
        for remark in embedder.remarks:
            notify(remark)
        return embedder

    def weights_sha256(self) -> str:
        """Of the weights file. Raises WeightsError when it is missing."""
        with resolve_weights(self.model).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def outcomes(self, embedder: Embedder, paths: Sequence[Path], progress: Stages | None = None) -> Iterator[Outcome]:
        """The features of each video, in order and on demand, or the error of a file without any.

        Every video goes through the network alone: its features depend on no other. `progress` follows whole-video passes.
        """
        if self.per_frame is None:
            for answer in embedder.embed_many(paths, self.views):
                if isinstance(answer, VideoError):
                    yield answer
                else:
                    about = {"num_frames": answer.num_frames, "duration": answer.duration}
                    yield Features(answer.data.numpy(), about=about)
            return
        fps = None if self.per_frame == "all" else self.per_frame
        for path in paths:
            try:
                whole = embedder.per_frame(path, fps=fps, progress=progress)
            except VideoError as error:
                yield error
            else:
                yield Features(whole.frames.numpy(), whole.timestamps.numpy(), {"temporal_positions": whole.note})
