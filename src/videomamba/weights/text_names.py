"""Names of the tensors of a video-text model, in files and here, and the config that follows from their shapes.

Pure functions on names and dictionaries of tensors: nothing here opens a file or uses a module. Here a tensor has the name of
the original's pretraining form, except the final norm of the video tower, which is `norm_f` as in every network of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal

from torch import Tensor

from videomamba.schema import WeightsError
from videomamba.weights.convert import infer_config

Content = Literal["video-text", "questions", "network"]

VIDEO, TEXT, DECODER, TEACHER = "vision_encoder.", "text_encoder.", "text_decoder.", "clip_teacher."
WORDS = TEXT + "cls."
"""The head that predicts masked words, which fine-tuned files do not have."""
TIED = {
    f"{tower}cls.predictions.decoder.{kind}": f"{tower}{source}"
    for tower in (TEXT, DECODER)
    for kind, source in (
        ("weight", "bert.embeddings.word_embeddings.weight"),
        ("bias", "cls.predictions.bias"),
    )
}
"""{name of a copy: name of the tensor that it shares}: BERT predicts words with its own word embeddings."""

_WRAPPERS = ("module.", "_orig_mod.", "model.", "net.", "network.")
_BARE = tuple(f"{tower}{part}" for tower in (TEXT, DECODER) for part in ("embeddings.", "encoder.", "pooler."))
_LAYER = re.compile(r"text_encoder\.bert\.encoder\.layer\.(\d+)\.(crossattention\.)?")
_HEAD_WIDTH = 64
"""Of the attention of every released BERT."""


def text_name(key: str) -> str:
    """The name here of a file's `key`: without prefixes of DDP and torch.compile, from either form of the original's."""
    while prefix := next((p for p in _WRAPPERS if key.startswith(p)), ""):
        key = key.removeprefix(prefix)
    if key == VIDEO + "norm.weight":
        return VIDEO + "norm_f.weight"
    for bare in _BARE:
        if key.startswith(bare):
            tower = key.split(".", 1)[0] + "."
            return f"{tower}bert.{key.removeprefix(tower)}"
    return key


def text_names(keys: Iterable[str], *, source: str = "state dict") -> dict[str, str]:
    """{name here: key in the file}. Raises WeightsError when two keys have the same name."""
    names: dict[str, str] = {}
    for key in keys:
        name = text_name(key)
        if name in names:
            raise WeightsError(f"{source}: {names[name]} and {key} are both {name}; keep only one of the two models")
        names[name] = key
    return names


def content_of_keys(keys: Iterable[str]) -> Content:
    """What a file with these keys holds: a video-text model, one that answers questions, or a network of videos alone."""
    names = {text_name(key) for key in keys}
    if not {VIDEO, TEXT} <= {name[: name.find(".") + 1] for name in names}:
        return "network"
    return "questions" if any(name.startswith(DECODER) for name in names) else "video-text"


def infer_text_config(
    tensors: Mapping[str, Tensor], *, image_size: tuple[int, int] | None = None, source: str = "state dict"
) -> dict[str, object]:
    """The fields of VideoTextConfig that follow from the shapes of `tensors`, whose names are those of `text_names`.

    `video` is what `infer_config` finds (`image_size` as there). The number of attention heads does not show: it is that of
    heads 64 wide, as in every released BERT. The k decoders of token alignment, if there are any, belong to the last k
    layers. Raises WeightsError that names the tensor that is absent or has a shape that no such model has.
    """

    def shape(name: str, dims: int) -> tuple[int, ...]:
        if name not in tensors:
            raise WeightsError(f"{source}: no {name}; these are not weights of a video-text model")
        found = tuple(tensors[name].shape)
        if len(found) != dims or not all(found):
            raise WeightsError(f"{source}: {name} has shape {found}, expected {dims} dimensions")
        return found

    video = infer_config(
        {name.removeprefix(VIDEO): value for name, value in tensors.items() if name.startswith(VIDEO)} or tensors,
        image_size=image_size,
        source=source,
    )
    vocabulary, dim = shape(TEXT + "bert.embeddings.word_embeddings.weight", 2)
    found = [match for name in tensors if (match := _LAYER.match(name))]
    layers, fused = ({int(m[1]) for m in found if m[2] or not cross} for cross in (False, True))
    absent = next((i for i in range(len(layers)) if i not in layers), None)
    if absent is not None or not layers:
        raise WeightsError(f"{source}: no text_encoder.bert.encoder.layer.{absent or 0}; the weights are incomplete")
    depth = len(layers)
    fusion_from = min(fused, default=depth)
    if fused != set(range(fusion_from, depth)):
        raise WeightsError(
            f"{source}: cross-attention is in the layers {sorted(fused)} of {depth} of the text tower; "
            "in a video-text model it is in the last ones"
        )
    decoders = [name for name in tensors if re.fullmatch(r"vision_encoder\.clip_decoder\.\d+\.head\.weight", name)]
    return {
        "video": {**video, "num_classes": 0},
        "text": {
            "vocab_size": vocabulary,
            "dim": dim,
            "depth": depth,
            "heads": max(dim // _HEAD_WIDTH, 1),
            "hidden_dim": shape(TEXT + "bert.encoder.layer.0.intermediate.dense.weight", 2)[0],
            "fusion_from": fusion_from,
            "max_positions": shape(TEXT + "bert.embeddings.position_embeddings.weight", 2)[0],
        },
        "embed_dim": shape("vision_proj.weight", 2)[0],
        "words": any(name.startswith(WORDS) for name in tensors),
        "teacher_dim": shape(VIDEO + "clip_decoder.0.head.weight", 2)[0] if decoders else 0,
        "align_layers": tuple(range(-len(decoders), 0)) or (-1,),
    }
