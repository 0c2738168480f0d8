"""Video-text models to files and back: our bundle, and released or original checkpoints in any container."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from videomamba.data.text.tokenizer import Tokenizer
from videomamba.files import write_atomically
from videomamba.models.video_questions import VideoQuestions, VideoQuestionsConfig
from videomamba.models.video_text import VideoText, VideoTextConfig
from videomamba.schema import Preprocess, WeightsError
from videomamba.weights import zoo
from videomamba.weights.bert import BERT_BASE, read_vocabulary
from videomamba.weights.convert import UNSEEN
from videomamba.weights.pretrained import preprocess_for, resized_config, widest_dtype
from videomamba.weights.read import (
    WeightsFile,
    check_original,
    read_weights,
    weights_and_target,
    weights_content,
)
from videomamba.weights.report import LoadReport
from videomamba.weights.text_bundle import MAX_LENGTH, write_text_bundle
from videomamba.weights.text_names import TIED, VIDEO, infer_text_config, text_names
from videomamba.weights.text_plan import TextPlan

_UNSEEN = ("heads", "norm_eps")
"""Fields of TextConfig that change the result and do not show in the tensors."""


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """A model with its metadata, on the CPU, in evaluation mode. `name` is what it was opened by; `info`, `assumed`
    and `knows` are those of `weights.pretrained.Pretrained`."""

    path: Path
    preprocess: Preprocess
    tokenizer: Tokenizer
    info: Mapping[str, object]
    report: LoadReport
    name: str
    knows: str = ""

    @property
    def assumed(self) -> str:
        return self.report.assumed


@dataclass(frozen=True, kw_only=True)
class PretrainedVideoText(_Opened):
    """A video-text model; `max_length` is the most tokens of a text."""

    model: VideoText
    max_length: int


@dataclass(frozen=True, kw_only=True)
class PretrainedVideoQuestions(_Opened):
    """A model that answers questions about videos."""

    model: VideoQuestions


def open_video_text(
    name_or_path: str | Path,
    *,
    num_frames: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    tokenizer: str | Path | None = None,
    keep_dtype: bool = False,
) -> PretrainedVideoText:
    """Opens a zoo name or a weights file: a bundle of a video-text model, or a released or original checkpoint.

    A checkpoint may be wrapped or bare, in the names of pretraining or of fine-tuning, with the teacher or without, in any
    dtype. It needs a vocabulary: `tokenizer` is a vocab.txt, a tokenizer.json, a folder with one of them, or the name of a
    BERT on the hub; None is "bert-base-uncased". A bundle has its own. `num_frames` and `image_size` (pixels, or height and
    width) resize the positions of the video tower. The model is float32, or with `keep_dtype` of the widest dtype in the file.

    Raises WeightsError, one line, for a file that is absent, damaged, incomplete, or of another kind, and VideoMambaError for a
    vocabulary that does not fit.
    """
    path = zoo.resolve_weights(name_or_path)
    file = read_video_text(path)
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    config = video_text_config(file, size)
    preprocess = preprocess_for(file, config.video)
    shape = _shape(preprocess, num_frames, size)
    config = config.model_copy(update={"video": resized_config(config.video, shape, path)})
    words = _tokenizer(file, config, tokenizer)
    model = VideoText.without_weights(config)
    if keep_dtype:
        model.to(widest_dtype(file.tensors.values()))
    text = None if file.bundle is None else file.bundle.text
    return PretrainedVideoText(
        path=path,
        report=load_video_text(model, file),
        model=model.eval(),
        preprocess=Preprocess.model_validate({**preprocess.model_dump(), **shape}),
        tokenizer=words,
        max_length=(text and text.max_length) or min(MAX_LENGTH, config.text.max_positions),
        info=file.info,
        name=str(name_or_path),
        knows=file.knows,
    )


def open_questions(
    path: str | Path, *, num_frames: int | None = None, image_size: int | tuple[int, int] | None = None
) -> PretrainedVideoQuestions:
    """Opens a bundle of a model that answers questions, at its own size or, as `open_video_text`, at another.

    Raises WeightsError, one line, for a file that is absent, damaged or of another kind.
    """
    found = zoo.resolve_weights(path)
    file = read_weights(found)
    text = None if file.bundle is None else file.bundle.text
    if text is None or not isinstance(text.config, VideoQuestionsConfig):
        kind = "answers no questions" if file.content != "questions" else "has no settings and no vocabulary"
        raise WeightsError(f"{found}: {kind}; give the weights of `videomamba text train-questions`")
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    shape = _shape(text.preprocess, num_frames, size)
    video = resized_config(text.config.video, shape, found)
    model = VideoQuestions.without_weights(text.config.model_copy(update={"video": video}))
    return PretrainedVideoQuestions(
        path=found,
        report=load_video_text(model, file),
        model=model.eval(),
        preprocess=Preprocess.model_validate({**text.preprocess.model_dump(), **shape}),
        tokenizer=Tokenizer(text.vocabulary, source=str(found)),
        info=file.info,
        name=str(path),
        knows=file.knows,
    )


def load_video_text(
    model: nn.Module,
    weights: str | Path | Mapping[str, object] | WeightsFile,
    *,
    tokenizer: Tokenizer | None = None,
    allow_missing: Sequence[str] = (),
) -> LoadReport:
    """Copies `weights` into a VideoText, or VideoQuestions, whose dtype and device stay: the start of fine-tuning, say.

    `weights` is a path, a zoo name, a state dict (wrapped or bare) or the result of `read_video_text`. Positions are resized;
    all else must fit. Tensors that the model has no part for (teacher, decoders, the head for words) are in `ignored` with the
    reason. `allow_missing` are `fnmatch` patterns of names that may be absent from the file, e.g. "text_encoder.cls.*" for a
    fine-tuned file: the model's values stay. With `tokenizer` the vocabulary of a bundle must be the same.

    Raises WeightsError, before anything is changed, for any other difference.
    """
    weights, target = weights_and_target(weights, model, read_video_text)
    _same_model(weights, model, tokenizer)
    plan = TextPlan(weights, model, allow_missing=allow_missing)
    with torch.no_grad():
        for name, value in plan.values.items():
            target[name].copy_(value)
    return plan.report(_assumed(weights, model))


def read_video_text(path: str | Path) -> WeightsFile:
    """`read_weights` of a video-text model. Raises WeightsError, one line that says what else the file is."""
    file = read_weights(path)
    if file.content == "network":
        raise WeightsError(
            f"{path}: is a network of videos without a text tower, which `videomamba predict` or `videomamba features` takes; "
            "give a video-text model"
        )
    if file.content == "questions":
        raise WeightsError(
            f"{path}: is a model that answers questions, which `videomamba text answer` takes; give a video-text model"
        )
    return file


def is_video_text(path: str | Path) -> bool:
    """Whether the weights file `path` holds a video-text model, from the names of its tensors alone. Raises WeightsError."""
    return weights_content(path) == "video-text"


def video_text_config(file: WeightsFile, image_size: tuple[int, int] | None = None) -> VideoTextConfig:
    """The bundle's config, else that of the shapes, see `infer_text_config`. `image_size` (height, width) in pixels is that of
    pictures whose patches cannot make a square. An original checkpoint is `legacy`."""
    text = None if file.bundle is None else file.bundle.text
    if text is not None and isinstance(text.config, VideoTextConfig):
        return text.config
    tensors = {name: file.tensors[key] for name, key in text_names(file.tensors, source=file.source).items()}
    found = infer_text_config(tensors, image_size=image_size, source=file.source)
    try:
        return VideoTextConfig.model_validate({**found, "legacy": bool(found["teacher_dim"])})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise WeightsError(
            f"{file.source}: {where}: {first['msg']}; these are not weights of a video-text model"
        ) from None


def save_video_text(
    path: str | Path,
    model: VideoText,
    *,
    preprocess: Preprocess,
    tokenizer: Tokenizer,
    max_length: int = MAX_LENGTH,
    info: Mapping[str, object] | None = None,
) -> Path:
    """Writes `model` with its preprocessing, vocabulary, most tokens of a text, and `info` to `path`; returns the path.

    After a failure an old file is unchanged. Raises WeightsError when the file cannot be written, ValueError where `info` is
    not JSON or clips, vocabulary or `max_length` do not fit the model.
    """
    return write_text_bundle(
        path,
        model,
        preprocess=preprocess,
        vocabulary=tokenizer.vocabulary,
        info={**(info or {}), "max_length": max_length},
    )


def save_questions(
    path: str | Path,
    model: VideoQuestions,
    *,
    preprocess: Preprocess,
    tokenizer: Tokenizer,
    info: Mapping[str, object] | None = None,
) -> Path:
    """Writes a model that answers questions, as `save_video_text` does; its possible answers belong into `info`."""
    return write_text_bundle(path, model, preprocess=preprocess, vocabulary=tokenizer.vocabulary, info=dict(info or {}))


def save_original_video_text(model: VideoText, path: str | Path) -> Path:
    """Writes the original's own format, {"model": state dict} in the names of pretraining, which its code and
    `open_video_text` read; without the head for words, in those of fine-tuning.

    It holds tensors alone: no vocabulary, no preprocessing. Raises WeightsError, with `path` unchanged, for a video tower that
    the original cannot run, and when the file cannot be written.
    """
    path = Path(path)
    check_original(path, model.config.video)
    torch_names = {
        key.replace(VIDEO + "norm_f.", VIDEO + "norm."): value.detach().cpu().contiguous()
        for key, value in model.state_dict().items()
    }
    copies: dict[str, Tensor] = {name: torch_names[source] for name, source in TIED.items() if source in torch_names}
    write_atomically(path, lambda target: torch.save({"model": torch_names | copies}, target), error=WeightsError)
    return path


def _shape(preprocess: Preprocess, num_frames: int | None, image_size: tuple[int, int] | None) -> dict[str, object]:
    return {
        "num_frames": preprocess.num_frames if num_frames is None else num_frames,
        "image_size": preprocess.image_size if image_size is None else image_size,
    }


def _tokenizer(file: WeightsFile, config: VideoTextConfig, given: str | Path | None) -> Tokenizer:
    text = None if file.bundle is None else file.bundle.text
    if text is not None:
        own = Tokenizer(text.vocabulary, source=file.source)
        if given is not None and read_vocabulary(given).vocabulary != own.vocabulary:
            raise WeightsError(f"{given}: is not the vocabulary of {file.source}, which has its own; give none")
        return own
    found = read_vocabulary(BERT_BASE if given is None else given)
    if len(found) != config.text.vocab_size:
        raise WeightsError(
            f"{given or BERT_BASE}: has {len(found)} words, the text tower of {file.source} {config.text.vocab_size}; "
            "give the vocabulary that it was trained with"
        )
    return found


def _assumed(file: WeightsFile, model: nn.Module) -> str:
    """One line about settings that neither the file nor its name in the zoo states."""
    if file.bundle is not None or file.entry is not None or not isinstance(model, VideoText):
        return ""
    video, text = model.config.video, model.config.text
    network = ", ".join(f"{name} {getattr(video, name)}" for name in UNSEEN)
    return (
        f"{file.source}: has no settings; assuming those of the released video-text models ({network}, {text.heads} heads of "
        f"attention, texts of {MAX_LENGTH} tokens, stretched pictures, bicubic and the mean and std of ImageNet); answers are "
        "wrong if it was trained otherwise"
    )


def _same_model(file: WeightsFile, model: nn.Module, tokenizer: Tokenizer | None) -> None:
    """Raises WeightsError where settings that do not show in the tensors differ from the bundle's."""
    text = None if file.bundle is None else file.bundle.text
    if text is None:
        return
    if tokenizer is not None and tokenizer.vocabulary != text.vocabulary:
        raise WeightsError(f"{file.source}: has another vocabulary than the model; take that of the file")
    if not isinstance(model, VideoText | VideoQuestions):
        return
    theirs, ours = text.config, model.config
    pairs = [(f"video.{name}", getattr(theirs.video, name), getattr(ours.video, name)) for name in UNSEEN]
    pairs += [(f"text.{name}", getattr(theirs.text, name), getattr(ours.text, name)) for name in _UNSEEN]
    if isinstance(theirs, VideoTextConfig) and isinstance(ours, VideoTextConfig):
        pairs.append(("pool", theirs.pool, ours.pool))
    for name, found, wanted in pairs:
        if found != wanted:
            raise WeightsError(
                f"{file.source}: has {name}={found!r}, the model has {wanted!r}; create the model with the file's value"
            )
