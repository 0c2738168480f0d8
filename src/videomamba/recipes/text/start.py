"""The start of training on videos and texts: vocabulary, sizes and first weights of both towers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from pydantic import ValidationError

from videomamba.data.text.tokenizer import Tokenizer
from videomamba.memory import return_large_blocks
from videomamba.models.init import undrawn
from videomamba.models.text import TextConfig
from videomamba.models.video_text import VideoText, VideoTextConfig
from videomamba.models.videomamba import VideoMamba
from videomamba.recipes.pretrain_config import aligned_layers
from videomamba.recipes.start import with_fitting
from videomamba.recipes.text.config import NO_VOCABULARY, TextSettings, VideoTextTrainConfig
from videomamba.schema import Captions, Question, VideoMambaError, VideoSet
from videomamba.training.run import TrainingRun
from videomamba.weights.bert import BERT_BASE, bert_config, load_bert, read_vocabulary
from videomamba.weights.load import load_weights
from videomamba.weights.read import WeightsFile, read_weights
from videomamba.weights.report import LoadReport
from videomamba.weights.video_text import is_video_text, load_video_text, read_video_text, video_text_config
from videomamba.weights.zoo import resolve_weights

_SIZES = ("dim", "depth", "heads", "hidden_dim", "fusion_from")
_TOWER = ("clip_decoder.*", "pool_norm.*")
"""What a video tower has besides a VideoMamba."""


@dataclass(frozen=True)
class TextStart:
    """What a run starts from: `tokenizer`, the text tower, the space of both, and, if it is one, a `file` of video and text."""

    tokenizer: Tokenizer
    text: TextConfig
    embed_dim: int
    pool: str
    file: WeightsFile | None = None

    def kept(self, run: TrainingRun) -> TextStart:
        """With the vocabulary of the start of `run`; a file of words may have changed since."""
        words = json.loads(run.kept("vocabulary", lambda: json.dumps(self.tokenizer.vocabulary)))
        text = self.text.model_copy(update={"vocab_size": len(words)})
        return replace(self, tokenizer=Tokenizer(words), text=text)


def find_start(config: VideoTextTrainConfig, sets: Iterable[VideoSet]) -> TextStart:
    """Reads or learns the vocabulary, and finds the sizes of the text tower.

    Raises VideoMambaError, naming the key, for a missing vocabulary and for sizes that the weights do not have.
    """
    weights = config.model.weights
    if weights is not None and is_video_text(path := resolve_weights(weights)):
        start = _of_file(config.text, read_video_text(path))
    else:
        start = _of_settings(config.text, sets)
    _check_tower(config, start.text, "text" if start.file is None else start.file.source)
    return start


def _check_tower(config: VideoTextTrainConfig, found: TextConfig, source: str) -> None:
    length, objectives = config.text.max_length, config.objectives
    if length > found.max_positions:
        raise VideoMambaError(
            f"text.max_length: {length} is above the {found.max_positions} positions of {source}; lower it"
        )
    if found.fusion_from == found.depth and (objectives.matching or objectives.words):
        raise VideoMambaError(
            f"text.fusion_from: {found.fusion_from} of {found.depth} layers leave none that reads the video, which "
            "objectives.matching and objectives.words need; lower it"
        )


def _of_settings(text: TextSettings, sets: Iterable[VideoSet]) -> TextStart:
    sizes = {name: value for name in _SIZES if (value := getattr(text, name)) is not None}
    if text.learn_vocabulary is not None:
        tokenizer = Tokenizer.learn(_texts(sets), text.learn_vocabulary)
    elif (source := text.vocabulary or text.weights) is not None:
        tokenizer = read_vocabulary(source)
    else:
        raise VideoMambaError(NO_VOCABULARY)
    if text.weights is not None:
        chosen = {} if text.fusion_from is None else {"fusion_from": text.fusion_from}
        found = bert_config(text.weights, dropout=text.dropout, **chosen)
        _same_sizes(text, found, text.weights)
        if found.vocab_size != len(tokenizer):
            raise VideoMambaError(
                f"text.vocabulary: {text.vocabulary} has {len(tokenizer)} words, {text.weights} {found.vocab_size}; "
                "leave it out"
            )
    else:
        found = _text_config(sizes, text, len(tokenizer))
    return TextStart(tokenizer, found, text.embed_dim, text.pool)


def _text_config(sizes: dict[str, int], text: TextSettings, words: int) -> TextConfig:
    """A tower without weights: BERT-base, but for what is set; the last quarter of its layers reads the video."""
    dim, depth = sizes.get("dim", 768), sizes.get("depth", 12)
    derived = {"hidden_dim": 4 * dim, "heads": max(dim // 64, 1), "fusion_from": depth - max(depth // 4, 1)}
    fields = {**derived, "dim": dim, "depth": depth, **sizes, "vocab_size": words, "dropout": text.dropout}
    try:
        return TextConfig.model_validate({**fields, "max_positions": max(512, text.max_length)})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["text", *map(str, first["loc"])])
        raise VideoMambaError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None


def _of_file(text: TextSettings, file: WeightsFile) -> TextStart:
    if text.weights is not None or text.learn_vocabulary is not None:
        key = "weights" if text.weights is not None else "learn_vocabulary"
        raise VideoMambaError(f"text.{key}: {file.source} has a text tower and its vocabulary; leave text.{key} out")
    found = video_text_config(file)
    _same_sizes(text, found.text, file.source)
    bundle = None if file.bundle is None else file.bundle.text
    if bundle is None:
        tokenizer = read_vocabulary(text.vocabulary or BERT_BASE)
    else:
        tokenizer = Tokenizer(bundle.vocabulary, source=file.source)
        if text.vocabulary is not None and read_vocabulary(text.vocabulary).vocabulary != tokenizer.vocabulary:
            raise VideoMambaError(f"text.vocabulary: {file.source} has another one; leave text.vocabulary out")
    tower = found.text.model_copy(update={"dropout": text.dropout})
    return TextStart(tokenizer, tower, found.embed_dim, found.pool, file)


def _same_sizes(text: TextSettings, found: TextConfig, source: str) -> None:
    for name in _SIZES:
        chosen = getattr(text, name)
        if chosen is not None and chosen != getattr(found, name):
            raise VideoMambaError(f"text.{name}: is {chosen}, and {source} has {getattr(found, name)}; leave it out")


def build_video_text(
    config: VideoTextTrainConfig, start: TextStart, *, teacher_dim: int, fresh: bool
) -> tuple[VideoText, Sequence[LoadReport]]:
    """The network, and the reports of its loaded weights. Without `fresh` the weights are undefined, for a checkpoint.

    Raises WeightsError when weights are missing or unfit.
    """
    video, align = config.video(), config.align
    network = VideoTextConfig(
        video=video,
        text=start.text,
        embed_dim=start.embed_dim,
        pool=start.pool,  # type: ignore[arg-type]  # checked here
        words=config.objectives.words > 0,
        teacher_dim=teacher_dim,
        align_layers=tuple(aligned_layers(video.depth, align.layers, align.student_interval)) if teacher_dim else (-1,),
        legacy=align.legacy if teacher_dim else False,
    )
    model = VideoText(network) if fresh else undrawn(partial(VideoText, network))
    if config.run.recompute_blocks:
        model.recompute_activations(min(config.run.recompute_blocks, video.depth))
        return_large_blocks()
    if not fresh:
        return model, ()
    if start.file is not None:
        missing = ["vision_encoder.clip_decoder.*", "text_encoder.cls.*"]
        return model, (load_video_text(model, start.file, tokenizer=start.tokenizer, allow_missing=missing),)
    reports = []
    if config.model.weights is not None:
        reports.append(_load_tower(model.vision_encoder, config))
    if config.text.weights is not None:
        reports.append(load_bert(model.text_encoder, config.text.weights))
    return model, reports


def _load_tower(tower: VideoMamba, config: VideoTextTrainConfig) -> LoadReport:
    """A VideoMamba of any kind: a classifier without its head, a masked-pretrained one with its decoder where that fits."""
    weights = read_weights(resolve_weights(config.model.weights or ""))
    for pattern in _TOWER:
        weights = with_fitting([pattern], weights, tower)
    rename = config.model.final_norm == "file"
    missing = _TOWER if rename else (*_TOWER, "norm_f.weight")
    return load_weights(tower, weights, rename_norm=rename, head="replace", allow_missing=missing)


def _texts(sets: Iterable[VideoSet]) -> Iterable[str]:
    """All captions, or all questions and their answers."""
    for one in sets:
        for record in one.records:
            if isinstance(record.annotation, Question):
                yield from (record.annotation.text, *record.annotation.answers)
            else:
                assert isinstance(record.annotation, Captions)
                yield from record.annotation.texts
