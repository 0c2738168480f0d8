"""The bundles of models of video and text: one .safetensors with weights, settings and vocabulary.

The metadata are strings: "format" = "videomamba-text-1" for a video-text model, "videomamba-questions-1" for one that answers
questions, and as JSON "config" (VideoTextConfig or VideoQuestionsConfig), "preprocess" (Preprocess), "vocabulary" (the words of
the tokenizer in the order of their numbers) and "info" (an open object). In the info of a video-text model "max_length" is
the most tokens of a text. Tensors have the names of the model, see `text_names.text_names`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from videomamba.models.text import TextConfig
from videomamba.models.video_questions import VideoQuestions, VideoQuestionsConfig
from videomamba.models.video_text import VideoText, VideoTextConfig
from videomamba.schema import Preprocess, WeightsError
from videomamba.weights.metadata import FORMAT_FAMILY, decoded, info_of, record, write_tensors
from videomamba.weights.text_names import Content

MAX_LENGTH = 32
"""Tokens of a text, with [CLS] and [SEP], in pretraining and on MSRVTT; what a file without settings gets."""

_TEXT, _QUESTIONS = FORMAT_FAMILY + "text-1", FORMAT_FAMILY + "questions-1"
TEXT_FORMATS: Mapping[str, Content] = {_TEXT: "video-text", _QUESTIONS: "questions"}


@dataclass(frozen=True)
class TextBundle:
    """The contents of a bundle of video and text without its tensors. `max_length` is that of texts of a video-text model, else
    None; `info` is open."""

    content: Content
    config: VideoTextConfig | VideoQuestionsConfig
    preprocess: Preprocess
    vocabulary: tuple[str, ...]
    max_length: int | None
    info: Mapping[str, object] = field(default_factory=dict)


def write_text_bundle(
    path: str | Path,
    model: VideoText | VideoQuestions,
    *,
    preprocess: Preprocess,
    vocabulary: Sequence[str],
    info: Mapping[str, object],
) -> Path:
    """Writes `model`. Raises WeightsError when the file cannot be written, ValueError where clips, vocabulary or "max_length"
    do not fit the model, or `info` is not JSON."""
    config = model.config
    video, text = config.video, config.text
    if (preprocess.num_frames, preprocess.image_size) != (video.num_frames, video.image_size):
        raise ValueError(f"the clips of {preprocess!r} do not fit the model: {video!r}")
    if len(vocabulary) != text.vocab_size:
        raise ValueError(f"{len(vocabulary)} words do not fit a model of {text.vocab_size}")
    if isinstance(model, VideoText) and not _fits(length := info.get("max_length"), text):
        raise ValueError(f"max_length must be 3 to {text.max_positions} tokens, got {length}")
    metadata = {
        "format": _TEXT if isinstance(model, VideoText) else _QUESTIONS,
        "config": config.model_dump_json(),
        "preprocess": preprocess.model_dump_json(),
        "vocabulary": json.dumps(list(vocabulary)),
    }
    return write_tensors(Path(path), model.state_dict(), metadata, info)


def parse_text_bundle(path: str | Path, metadata: Mapping[str, str]) -> TextBundle:
    """The parsed `metadata`, whose format is one of TEXT_FORMATS. Raises WeightsError naming the file and the wrong key."""
    content = TEXT_FORMATS[metadata["format"]]
    config: VideoTextConfig | VideoQuestionsConfig
    if content == "video-text":
        config = record(path, metadata, "config", VideoTextConfig)
    else:
        config = record(path, metadata, "config", VideoQuestionsConfig)
    vocabulary = decoded(path, metadata, "vocabulary")
    if not isinstance(vocabulary, list) or not all(isinstance(word, str) for word in vocabulary):
        raise WeightsError(f"{path}: metadata 'vocabulary' must be a list of words; save the file again")
    if len(vocabulary) != config.text.vocab_size:
        raise WeightsError(
            f"{path}: metadata 'vocabulary' has {len(vocabulary)} words for {config.text.vocab_size}; save it again"
        )
    info = info_of(path, metadata)
    length = info.get("max_length")
    if content == "video-text" and not _fits(length, config.text):
        raise WeightsError(
            f"{path}: metadata 'info.max_length' must be 3 to {config.text.max_positions} tokens, got {length!r}; "
            "save the file again"
        )
    return TextBundle(
        content=content,
        config=config,
        preprocess=record(path, metadata, "preprocess", Preprocess),
        vocabulary=tuple(vocabulary),
        max_length=length if content == "video-text" and isinstance(length, int) else None,
        info=info,
    )


def _fits(length: object, text: TextConfig) -> bool:
    """Whether a text of `length` tokens has room for a word, and for the positions of the text tower."""
    return isinstance(length, int) and 3 <= length <= text.max_positions
