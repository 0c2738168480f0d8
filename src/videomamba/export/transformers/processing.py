"""From files or frames to `pixel_values`: our own reader, sampling and transforms, as `Preprocess` says."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor

from videomamba.data.clips.sampling import evaluation_clips
from videomamba.data.clips.transforms import to_clip
from videomamba.data.clips.views import video_views
from videomamba.export.transformers.code_file import SavedWithCode, place, write_code
from videomamba.schema import Clip, Frames, Preprocess
from videomamba.video.open import open_video


class VideoMambaImageProcessor(SavedWithCode, BaseImageProcessor):
    """Makes the clips of a network. `clip` has the fields of `Preprocess`; without it they have their defaults.

    It is an image processor because `AutoVideoProcessor` of transformers needs torchvision. Raises pydantic's ValidationError,
    a ValueError, for fields that `Preprocess` does not have.
    """

    model_input_names = ["pixel_values"]  # noqa: RUF012  # transformers reads it as a list

    def __init__(self, clip: Preprocess | Mapping[str, Any] | None = None, **others: Any) -> None:
        others.pop("auto_map", None)
        super().__init__(**others)
        self.clip = clip if isinstance(clip, Preprocess) else Preprocess.model_validate(dict(clip or {}))

    def __call__(self, videos: Any, **options: Any) -> BatchFeature:
        """`preprocess`."""
        return self.preprocess(videos, **options)

    def preprocess(
        self,
        videos: Any,
        *,
        do_sample_frames: bool = False,
        fps: float | None = None,
        return_tensors: str | None = "pt",
    ) -> BatchFeature:
        """One video or a list of them -> `pixel_values` (b, t, 3, h, w) float32, normalised.

        A video is a path (a file, an image, a folder of images), of which the frames are read that the settings say, as in
        `videomamba predict`; or its frames in RGB: uint8 (V, h, w, 3) or (V, 3, h, w), or a list of V pictures (h, w, 3).
        Frames are used as they are, so V must be the t of the clip, unless `do_sample_frames`: then t of them are chosen as
        from a file of `fps` frames a second (None: unknown; sampling "window" then takes all of the video).

        Raises VideoError for a file that cannot be read, ValueError for frames of another number, shape or dtype.
        """
        found = [self._clip(video, do_sample_frames, fps) for video in self._each(videos)]
        return BatchFeature({"pixel_values": torch.stack(found)}, tensor_type=return_tensors)

    def to_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = super().to_dict()
        clip = self.clip.model_dump(mode="json")
        return {**found, "clip": clip, "auto_map": {"AutoImageProcessor": place(type(self).__name__)}}

    def save_pretrained(self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **others: Any) -> Any:
        """Writes preprocessor_config.json and the code file."""
        write_code(save_directory)
        return super().save_pretrained(save_directory, push_to_hub=push_to_hub, **others)

    def _each(self, videos: Any) -> Sequence[Any]:
        """The videos: `videos` itself is one where it is a path, an array with four dimensions or a list of pictures."""
        if isinstance(videos, str | os.PathLike):
            return [videos]
        if isinstance(videos, list | tuple):
            if not videos:
                raise ValueError("no videos given")
            is_frames = not isinstance(videos[0], str | os.PathLike | list | tuple) and np.ndim(videos[0]) == 3
            return [videos] if is_frames else videos
        return [videos] if np.ndim(videos) == 4 else list(videos)

    def _clip(self, video: Any, sample: bool, fps: float | None) -> Tensor:
        """The clip (t, 3, h, w) of one video."""
        if isinstance(video, str | os.PathLike):
            return _time_first(_read(video, self.clip))
        pictures = _pictures(video)
        chosen: Sequence[int] = range(len(pictures))
        if sample:
            (chosen,) = evaluation_clips(self.clip, len(pictures), 1, spacing=1 / fps if fps else 0.0)
        elif len(pictures) != self.clip.num_frames:
            raise ValueError(
                f"{len(pictures)} frames for a clip of {self.clip.num_frames}; give that many, or choose them from all frames "
                "of the video with do_sample_frames=True"
            )
        indices = tuple(chosen)
        return _time_first(to_clip(Frames(pictures[list(indices)], indices, (0.0,) * len(indices)), self.clip))


def _read(path: str | os.PathLike[str], preprocess: Preprocess) -> Clip:
    """The single clip of a file, its middle in time and picture."""
    with open_video(os.fspath(path)) as video:
        (clip,) = video_views(video, preprocess)
        return clip


def _pictures(video: Any) -> Tensor:
    """Frames in one of the accepted forms -> (V, h, w, 3) uint8."""
    if isinstance(video, list | tuple):
        video = [np.asarray(picture) for picture in video]
        sizes = {picture.shape for picture in video}
        if len(sizes) > 1:
            raise ValueError(f"the frames of a video have one size, got {sorted(sizes)}")
        video = np.stack(video)
    data = torch.as_tensor(video)
    if data.dtype != torch.uint8 or data.ndim != 4 or 3 not in (data.shape[1], data.shape[3]):
        kind = str(data.dtype).removeprefix("torch.")
        raise ValueError(f"frames must be uint8 (V, h, w, 3) or (V, 3, h, w) in RGB, got {kind} {tuple(data.shape)}")
    return data if data.shape[3] == 3 else data.permute(0, 2, 3, 1).contiguous()


def _time_first(clip: Clip) -> Tensor:
    """(3, t, h, w) -> (t, 3, h, w)."""
    return clip.data.transpose(0, 1)
