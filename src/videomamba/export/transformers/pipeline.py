"""`pipeline("video-classification")` with the model's own sampling."""

from __future__ import annotations

from typing import Any

from transformers import Pipeline, VideoClassificationPipeline


class VideoMambaPipeline(VideoClassificationPipeline):
    """Answers as `videomamba predict` does: one clip, chosen and transformed as the weights say.

    transformers' own pipeline decodes the first frames of a file. Raises VideoError for a file that cannot be read.
    """

    _load_image_processor = True
    _load_video_processor = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        # The parent's wants a video processor, which needs torchvision.
        Pipeline.__init__(self, *arguments, **options)
        if self.image_processor is None:
            raise ValueError("the pipeline needs image_processor=VideoMambaImageProcessor.from_pretrained(FOLDER)")
        self.model.base_model.network.prepare_constants()

    def preprocess(self, video: Any, num_frames: int | None = None, frame_sampling_rate: int | None = None) -> Any:
        """A path, or frames in a form that the processor accepts -> the input of the model."""
        if num_frames is not None or frame_sampling_rate is not None:
            raise ValueError("num_frames and frame_sampling_rate are those of the model; leave them out")
        return self.image_processor(video, return_tensors="pt").to(self.dtype)
