"""A VideoMamba as a model of Hugging Face transformers (extra `hf`). Importing this registers it with the auto classes.

Source of the interfaces: transformers 5, https://huggingface.co/docs/transformers/custom_models.
"""

from videomamba.schema import VideoMambaError

try:
    from transformers import (
        AutoBackbone,
        AutoConfig,
        AutoImageProcessor,
        AutoModel,
        AutoModelForVideoClassification,
    )
except ModuleNotFoundError as error:
    raise VideoMambaError("the format of transformers needs that package; pip install 'videomamba[hf]'") from error

from videomamba.export.transformers.configuration import VideoMambaHFConfig
from videomamba.export.transformers.modeling import (
    VideoMambaBackbone,
    VideoMambaForVideoClassification,
    VideoMambaModel,
)
from videomamba.export.transformers.pipeline import VideoMambaPipeline
from videomamba.export.transformers.processing import VideoMambaImageProcessor

__all__ = [
    "VideoMambaBackbone",
    "VideoMambaForVideoClassification",
    "VideoMambaHFConfig",
    "VideoMambaImageProcessor",
    "VideoMambaModel",
    "VideoMambaPipeline",
]

AutoConfig.register(VideoMambaHFConfig.model_type, VideoMambaHFConfig)
AutoModel.register(VideoMambaHFConfig, VideoMambaModel)
AutoModelForVideoClassification.register(VideoMambaHFConfig, VideoMambaForVideoClassification)
AutoBackbone.register(VideoMambaHFConfig, VideoMambaBackbone)
AutoImageProcessor.register(VideoMambaHFConfig, image_processor_classes={"pil": VideoMambaImageProcessor})
