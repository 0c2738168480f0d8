"""The weights and the vocabulary of a BERT, as transformers saves them, for the text tower of a video-text model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from videomamba.data.text.tokenizer import Tokenizer
from videomamba.models.text import TextConfig, TextTower
from videomamba.schema import WeightsError
from videomamba.weights.hub_folder import fetch_file, fetch_folder, read_config, read_tensors
from videomamba.weights.report import FATES, KeyReport, LoadReport, shortened
from videomamba.weights.zoo import look

BERT_BASE = "bert-base-uncased"
"""The BERT of all released video-text models, by its name on the Hugging Face Hub."""

_ADVICE = "give a BertModel or BertForMaskedLM of transformers"
_VOCABULARY = ("vocab.txt", "tokenizer.json")
_OWNERS = {BERT_BASE: "google-bert/bert-base-uncased"}
"""The full names of models that the hub knows by two; either may be in its cache."""
_FIELDS = {
    "vocab_size": "vocab_size",
    "hidden_size": "dim",
    "num_hidden_layers": "depth",
    "num_attention_heads": "heads",
    "intermediate_size": "hidden_dim",
    "max_position_embeddings": "max_positions",
    "hidden_dropout_prob": "dropout",
    "layer_norm_eps": "norm_eps",
}
_FIXED = {"hidden_act": "gelu", "position_embedding_type": "absolute", "type_vocab_size": 2}
_OLD = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
"""The first files of BERT, among them bert-base-uncased, have TensorFlow's names."""
_IGNORED = {
    "pooler.": "a text is the state of its first token, without a pooler",
    "cls.seq_relationship.": "the next sentence is not predicted",
    "embeddings.position_ids": "the numbers of the positions",
    "cls.predictions.decoder.": "the word embeddings and cls.predictions.bias again",
}
_CROSS = ".crossattention."


def bert_folder(name_or_folder: str | Path) -> Path:
    """The folder of a BERT: `name_or_folder` itself, or that of its name on the hub, from the hub's cache or downloaded.

    Raises WeightsError, one line, for a file, and where neither a folder nor the hub has it.
    """
    path, is_file = look(name_or_folder)
    if path.is_dir():
        return path
    if is_file:
        raise WeightsError(f"{path}: is one file of a BERT; give its folder, with config.json")
    return fetch_folder(_cached_name(str(name_or_folder), "config.json"), beside=_VOCABULARY, advice=_ADVICE)


def read_vocabulary(name_or_path: str | Path) -> Tokenizer:
    """The tokenizer of a BERT: a vocab.txt or tokenizer.json, a folder with one of them, or a name on the hub.

    Raises VideoMambaError, one line, for a file that is absent or no vocabulary of an uncased BERT.
    """
    path, is_file = look(name_or_path)
    if is_file or path.is_dir():
        return Tokenizer.read(path)
    if path.suffix in (".txt", ".json") or path.is_absolute():
        raise WeightsError(f"{path}: no such file; give a vocab.txt, its folder, or the name of a BERT on the hub")
    return Tokenizer.read(fetch_file(_cached_name(str(name_or_path), "vocab.txt"), "vocab.txt"))


def bert_config(name_or_folder: str | Path, **changes: object) -> TextConfig:
    """The config of the text tower that `load_bert` fills with this BERT; `changes` are fields that a BERT does not have,
    such as `fusion_from`. By default the last quarter of the layers reads the video, as in the released models."""
    fields = _read(bert_folder(name_or_folder))
    depth = fields["depth"]
    try:
        return TextConfig.model_validate({"fusion_from": depth - depth // 4, **fields, **changes})
    except ValidationError as error:
        first = error.errors()[0]
        reason = ": ".join([*map(str, first["loc"]), first["msg"].removeprefix("Value error, ")])
        raise WeightsError(f"{name_or_folder}: {reason}") from None


def load_bert(tower: TextTower, name_or_folder: str | Path) -> LoadReport:
    """Copies a BERT into `tower`, whose dtype and device stay: embeddings, layers, and the head for words if both have one.

    The folder is that of a `BertModel`, `BertForMaskedLM` or `BertForPreTraining`; safetensors, or torch without running
    code. What a BERT does not have keeps the values of the tower and is in the report's `missing`: cross-attention, and the
    head for words of a `BertModel`, which `assumed` says.

    Raises WeightsError, before anything is changed, for a BERT of another size, and for every tensor without a place.
    """
    folder = bert_folder(name_or_folder)
    _check_unseen(folder, tower.config)
    found = {_bert_name(key): (key, value) for key, value in read_tensors(folder, advice=_ADVICE).items()}
    target = {_bert_name(key): (key, value) for key, value in tower.state_dict().items()}
    headless = not any(name.startswith("cls.predictions.") for name in found)
    fates: dict[str, list[KeyReport]] = {fate: [] for fate in FATES}
    problems: list[str] = []
    for name, (key, value) in target.items():
        shape = tuple(value.shape)
        if name in found:
            fates["loaded"].append(KeyReport(key, shape, found[name][0], tuple(found[name][1].shape)))
            if found[name][1].shape != value.shape or not found[name][1].is_floating_point():
                problems.append(f"{found[name][0]} is {_shown(found[name][1])}, the tower's {_shown(value)}")
        elif _CROSS in name or (headless and name.startswith("cls.")):
            fates["missing"].append(KeyReport(key, shape, None, None, "not in this BERT; the tower's stays"))
        else:
            problems.append(f"{name} is absent")
    for name, (key, value) in found.items():
        if name in target:
            continue
        why = next((why for part, why in _IGNORED.items() if name.startswith(part)), None)
        if why is None and name.startswith("cls.") and not tower.predicts_words:
            why = "the tower predicts no words"
        if why is None:
            problems.append(f"{key} has no place in the tower")
        else:
            fates["ignored"].append(KeyReport(None, None, key, tuple(value.shape), why))
    if problems:
        raise WeightsError(
            f"{folder}: {shortened(problems, 2)}; give a BERT of the tower's size, or fit text in the config"
        )
    with torch.no_grad():
        for name, (_, value) in target.items():
            if name in found:
                value.copy_(found[name][1])
    fresh = headless and tower.predicts_words
    assumed = f"{folder}: has no head that predicts masked words; the tower's starts as it was drawn" if fresh else ""
    return LoadReport(str(folder), **{fate: tuple(entries) for fate, entries in fates.items()}, assumed=assumed)


def _cached_name(name: str, file: str) -> str:
    """The one of the hub's two names for a model whose `file` is in the cache; `name` where it has one name or none is."""
    from huggingface_hub import try_to_load_from_cache

    full = _OWNERS.get(name)
    if full is None or isinstance(try_to_load_from_cache(name, file), str):
        return name
    return full


def _read(folder: Path) -> dict[str, Any]:
    """The fields of TextConfig that config.json in `folder` states. Raises WeightsError for a BERT of another kind."""
    config = read_config(folder, kinds=("bert",), what="a BERT", advice=_ADVICE)
    for key, wanted in _FIXED.items():
        if config.get(key, wanted) != wanted:
            raise WeightsError(
                f"{folder / 'config.json'}: has {key} {config[key]!r}, a text tower {wanted!r}; {_ADVICE}"
            )
    absent = [key for key in _FIELDS if key not in config and key not in ("hidden_dropout_prob", "layer_norm_eps")]
    if absent:
        raise WeightsError(f"{folder / 'config.json'}: has no {absent[0]}; download it again")
    fields = {name: config[key] for key, name in _FIELDS.items() if key in config}
    if not isinstance(fields["depth"], int):
        raise WeightsError(f"{folder / 'config.json'}: num_hidden_layers must be a whole number; download it again")
    return fields


def _check_unseen(folder: Path, config: TextConfig) -> None:
    """Raises WeightsError where settings that change the result and do not show in the tensors differ."""
    stated = _read(folder)
    for name in ("heads", "norm_eps"):
        if name in stated and stated[name] != getattr(config, name):
            raise WeightsError(
                f"{folder}: has {name} {stated[name]}, the text tower {getattr(config, name)}; set text.{name}"
            )


def _bert_name(key: str) -> str:
    """Without `bert.`, and with today's names of LayerNorm."""
    key = key.removeprefix("bert.")
    for old, new in _OLD.items():
        if key.endswith(old):
            return key.removesuffix(old) + new
    return key


def _shown(value: Tensor) -> str:
    return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
