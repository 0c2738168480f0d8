"""Reading every kind of weights file, and writing the original's formats."""

from __future__ import annotations

import argparse
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from videomamba.files import write_atomically
from videomamba.models.config import VideoMambaConfig, make_config
from videomamba.models.videomamba import VideoMamba
from videomamba.schema import WeightsError
from videomamba.weights.bundle import BundleMetadata, check_bundle, read_safetensors
from videomamba.weights.convert import infer_config, to_image_format, to_video_format, trunk_names, unwrap
from videomamba.weights.kind import content_of, unreadable
from videomamba.weights.metadata import FORMAT_FAMILY, read_header
from videomamba.weights.released import ZooEntry
from videomamba.weights.text_bundle import TEXT_FORMATS
from videomamba.weights.text_names import Content, content_of_keys
from videomamba.weights.zoo import entry_for_file, labels_of, resolve_weights

STATE_DICT = "state dict"
"""The `source` of tensors that come from no file."""


_SETTINGS = [(OrderedDict, f"{module}.EasyDict") for module in ("utils.easydict", "easydict")]
"""The original's class of settings in a training checkpoint is read as a dictionary: its code is neither imported nor run."""


@dataclass(frozen=True)
class WeightsFile:
    """A file as read: tensors on the CPU, with the names and dtypes of the file, and the metadata of a bundle."""

    source: str
    tensors: Mapping[str, Tensor]
    bundle: BundleMetadata | None = None

    def config(self, image_size: tuple[int, int] | None = None) -> VideoMambaConfig:
        """The bundle's config, else that of the shapes (`infer_config`). Raises WeightsError that names the file."""
        if self.bundle is not None:
            return self.bundle.config
        try:
            return make_config(infer_config(self.tensors, image_size=image_size, source=self.source))
        except ValueError as error:
            raise WeightsError(f"{self.source}: {error}; these are not weights of a VideoMamba") from None

    @property
    def outputs(self) -> int:
        """Rows of the head; 0 without a head."""
        bias = trunk_names(self.tensors, source=self.source).get("head.bias")
        return 0 if bias is None else self.tensors[bias].numel()

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in index order, of the bundle or, by file name, of released weights; () when they are not known."""
        if self.bundle is not None:
            return self.bundle.labels
        return labels_of(self.entry) if self.entry and self.outputs else ()

    @property
    def entry(self) -> ZooEntry | None:
        """The zoo's entry of a released file, by its file name. None for a bundle, which has its own metadata."""
        return entry_for_file(self.source) if self.bundle is None else None

    @property
    def content(self) -> Content:
        """Whether it has a text tower too, or a decoder of answers."""
        text = None if self.bundle is None else self.bundle.text
        return content_of_keys(self.tensors) if text is None else text.content

    @property
    def info(self) -> Mapping[str, object]:
        """The open part of a bundle's metadata; of a released file, by its name, its data set and views."""
        if self.bundle is not None:
            return self.bundle.info
        if self.entry is None:
            return {}
        return {"dataset": self.entry.dataset, "views": f"{self.entry.clips}x{self.entry.crops}"}

    @property
    def knows(self) -> str:
        """The line of `Pretrained.knows`: from the metadata of a bundle, or from the zoo's entry for a file of that name."""
        if self.bundle is not None and "knows" in self.bundle.info:
            return str(self.bundle.info["knows"])
        entry = entry_for_file(self.source)
        if entry is None or not entry.knows:
            return ""
        classes = f"; its classes: {', '.join(self.labels)}" if self.labels else ""
        return f"{entry.name} knows {entry.knows}{classes}"

    @property
    def regression(self) -> bool:
        """Whether the output is a number: by the task of a bundle, otherwise a head of one output without a class name."""
        task = None if self.bundle is None else self.bundle.info.get("task")
        return task == "regression" if task else self.outputs == 1 and not self.labels


def read_weights(path: str | Path) -> WeightsFile:
    """Reads safetensors (ours or plain) or anything that `torch.save` wrote, without running code from the file.

    The content counts, not the ending of the name. Raises WeightsError when the file is absent, damaged, or holds objects
    other than tensors, plain containers and the settings of the original's training, `argparse.Namespace` and `EasyDict`.
    """
    path = Path(path)
    if content_of(path) == "safetensors":
        tensors, metadata = read_safetensors(path)
        ours = metadata.get("format", "").startswith(FORMAT_FAMILY)
        bundle = check_bundle(path, tensors, metadata) if ours else None
        return WeightsFile(str(path), unwrap(tensors, source=str(path)), bundle)
    return WeightsFile(str(path), unwrap(_load(path), source=str(path)))


def weights_and_target(
    weights: str | Path | Mapping[str, object] | WeightsFile,
    model: nn.Module,
    read: Callable[[Path], WeightsFile],
) -> tuple[WeightsFile, dict[str, Tensor]]:
    """Weights to copy and the tensors of `model` that take them. `read` opens a path or the file of a zoo name.

    Raises WeightsError for tensors that cannot be copied, ValueError for a model without values.
    """
    if isinstance(weights, str | Path):
        weights = read(resolve_weights(weights))
    elif not isinstance(weights, WeightsFile):
        weights = WeightsFile(STATE_DICT, unwrap(weights, source=STATE_DICT))
    target = model.state_dict()
    if any(tensor.is_meta for tensor in target.values()):
        raise ValueError("the model is on the meta device, without values: call model.to_empty(device=...) first")
    for key, value in weights.tensors.items():
        if value.is_meta or value.layout != torch.strided:
            raise WeightsError(f"{weights.source}: {key} has no values or is sparse; save dense tensors")
    return weights, target


def weights_content(path: str | Path) -> Content:
    """What the weights file `path` holds, from the names of its tensors: their values are not read, except those of old files
    of PyTorch, before 1.6. Raises WeightsError as `read_weights` does."""
    path = Path(path)
    if content_of(path) == "safetensors":
        names, metadata = read_header(path)
        return TEXT_FORMATS.get(metadata.get("format", ""), content_of_keys(names))
    return content_of_keys(unwrap(_load(path, mapped=zipfile.is_zipfile(path)), source=str(path)))


def _load(path: Path, *, mapped: bool = False) -> object:
    """What torch.save wrote, on the CPU; `mapped` tensors stay in the file until they are used."""
    try:
        with (
            path.open("rb") as file,
            torch.serialization.safe_globals([argparse.Namespace, *_SETTINGS]),
            warnings.catch_warnings(),
        ):
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # an error says so
            # An open file: PyTorch would choose another reader by the ending of the name.
            source = str(path) if mapped and path.suffix != ".safetensors" else file
            return torch.load(source, map_location="cpu", weights_only=True, mmap=isinstance(source, str))
    except Exception as error:  # a damaged pickle makes torch.load raise anything: AssertionError, struct.error, ...
        unsafe = re.search(r"unsupported (?:global|class):? (?:GLOBAL )?(\S+)", str(error), re.IGNORECASE)
        if unsafe is None:
            raise unreadable(path) from error
        reason = f"holds {unsafe[1].rstrip('.')}, which could run code; ask its author for a file of tensors only"
        raise WeightsError(f"{path}: {reason}") from None


def save_original(model: VideoMamba, path: str | Path, kind: Literal["video", "image"] = "video") -> Path:
    """Writes the original's own format, which its code and `load_weights` read.

    "video": the bare state dict, always with a temporal embedding. "image": {"model": state dict} with a 4-D patch
    kernel and without temporal embedding, for a model of one frame. Raises WeightsError, with `path` unchanged, for a model
    that the original cannot run, for a video model as "image", and when the file cannot be written.
    """
    path = Path(path)
    check_original(path, model.config)
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    image = kind == "image"
    content = {"model": to_image_format(tensors, source=str(path))} if image else to_video_format(tensors)
    write_atomically(path, lambda target: torch.save(content, target), error=WeightsError)
    return path


def check_original(path: str | Path, config: VideoMambaConfig) -> None:
    """Raises WeightsError naming `path` for a network that the original cannot run."""
    for field in ("scan_order", "merge", "discretization", "num_registers", "pool", "norm_eps"):
        value, original = getattr(config, field), VideoMambaConfig.model_fields[field].default
        if value != original:
            raise WeightsError(f"{path}: the original has no {field}={value!r} (only {original!r}): save a bundle")
