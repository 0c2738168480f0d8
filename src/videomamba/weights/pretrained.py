"""Opening a weights file as a network with its preprocessing and class names, and its conversion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor

from videomamba.files import write_atomically
from videomamba.models.config import VideoMambaConfig, make_config
from videomamba.models.videomamba import VideoMamba
from videomamba.schema import Preprocess, WeightsError, check_labels
from videomamba.weights.bundle import save_bundle
from videomamba.weights.convert import UNSEEN
from videomamba.weights.load import load_weights
from videomamba.weights.read import WeightsFile, read_weights, save_original
from videomamba.weights.report import LoadReport
from videomamba.weights.text_names import Content
from videomamba.weights.zoo import preprocess_of, resolve_weights

MOST_TOKENS = 4_000_000
"""Most tokens of a clip, far more than fit in memory: a larger number is a typing error."""


_HEADLESS: Mapping[Content, str] = {
    "network": "has no classification head, so there is nothing to predict; fine-tune it first",
    "video-text": "is a video-text model, without classes: `videomamba text retrieval` and `videomamba search` take it, "
    "`videomamba features` its video tower",
    "questions": "is a model that answers questions, without classes: `videomamba text answer` takes it, "
    "`videomamba features` its video tower",
}
"""Why there is nothing to predict."""


@dataclass(frozen=True)
class Pretrained:
    """A network with its weights and metadata.

    `labels` is () where the class names are not known. `views` is the published protocol, clips x crops. `regression`: the
    output is a number. `info` is the open part of a bundle's metadata, for a released file its data set and views.
    `assumed`, also in the `report`, is one line about the settings that the file leaves open, "" where they are known. `knows`
    is one line about the small world that the network knows, if its answers about anything else mean nothing; otherwise "".
    """

    path: Path
    model: VideoMamba
    preprocess: Preprocess
    labels: tuple[str, ...]
    views: str
    regression: bool
    info: Mapping[str, object]
    report: LoadReport
    knows: str = ""

    @property
    def assumed(self) -> str:
        return self.report.assumed

    def with_labels(self, labels: Sequence[str]) -> Self:
        """The same network with `labels` instead of its own class names.

        A file that does not say whether its only output is a number or a class becomes one of a class. Raises VideoMambaError
        where their number is not that of the classes, or the network has no classes.
        """
        stated = self.info.get("task") == "regression"
        if stated or not self.model.config.num_classes:
            output = "a number" if stated else "features, without a head"
            raise WeightsError(f"{self.path}: its output is {output}, not classes; give no class names")
        named = check_labels(labels, self.model.config.num_classes, str(self.path))
        return replace(self, labels=named, regression=False)


def open_pretrained(
    name_or_path: str | Path,
    *,
    labels: Sequence[str] | None = None,
    num_frames: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    needs_head: bool = True,
    keep_dtype: bool = False,
) -> Pretrained:
    """Opens a zoo name or a weights file: a bundle, or any file of the original's, wrapped or bare.

    Preprocessing and class names are the bundle's, or those of the zoo entry of that name or file name; any other file gets
    the released models' preprocessing at its own size. `labels` (one name per class) replace the class names. `num_frames`
    and `image_size` (pixels, or height and width) run the network at another length or resolution: its positions are
    resized and the head stays. The network is float32, or with `keep_dtype` of the widest dtype in the file. The final norm
    of masked pretraining, `norm.weight`, is loaded as `norm_f.weight`. Of a model of video and text the network is the video
    tower, without its projection.

    Raises WeightsError for a file that is absent, damaged, incomplete or, where `needs_head`, without a head;
    VideoMambaError for a wrong number of `labels`.
    """
    path = resolve_weights(name_or_path)
    file = read_weights(path)
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    config = file.config(size)
    if needs_head and config.num_classes == 0:
        raise WeightsError(f"{path}: {_HEADLESS[file.content]}")
    preprocess = preprocess_for(file, config)
    shape = {
        "num_frames": preprocess.num_frames if num_frames is None else num_frames,
        "image_size": preprocess.image_size if size is None else size,
    }
    model = VideoMamba.without_weights(resized_config(config, shape, path))
    if keep_dtype:
        model.to(widest_dtype(file.tensors.values()))
    report = load_weights(model, file, rename_norm=True)
    if report.assumed:  # of the preprocessing too
        report = replace(report, assumed=_assumed(path, model.config, preprocess))
    opened = Pretrained(
        path=path,
        model=model,
        preprocess=Preprocess.model_validate({**preprocess.model_dump(), **shape}),
        labels=file.labels,
        views=str(file.info.get("views", "1x1")),
        regression=file.regression,
        info=file.info,
        report=report,
        knows=file.knows,
    )
    return opened if labels is None else opened.with_labels(labels)


Format = Literal["bundle", "video", "image"]
TORCH_SUFFIXES = (".pth", ".pt", ".bin")


def convert(
    name_or_path: str | Path,
    out: str | Path,
    *,
    to: Format | None = None,
    labels: Sequence[str] | None = None,
    num_frames: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    overwrite: bool = False,
) -> LoadReport:
    """Writes a zoo name or a weights file to `out` as a bundle, or as the original's `video` or `image` .pth file. Of a model
    of video and text that is its video tower (`text_convert.convert_video_text` writes all of it).

    Without `to` the ending of `out` decides: .safetensors is a bundle, .pth, .pt and .bin the original's format, `image` for a
    model of one frame. Weights without a head and those of a regression are converted too. The tensors keep their bits,
    except those that `num_frames` or `image_size` resize; the report names them, and the settings that a bundle takes over by
    assumption. A bundle keeps the `info` of its source; unknown class names stay empty. `labels`, `num_frames` and
    `image_size` are as in `open_pretrained`; the original's formats hold only tensors, so that `labels` then are written next
    to `out`, a line each, to the file `labels_beside(out)`.

    Raises WeightsError where the file cannot be read or written, exists without `overwrite`, or its name does not fit `to`;
    VideoMambaError for `labels` that do not fit.
    """
    out = Path(out)
    bundle = _is_bundle(out, to)
    written = (out,) if labels is None or bundle else (out, labels_beside(out))
    check_new(*written, overwrite=overwrite)
    opened = open_pretrained(
        name_or_path, labels=labels, num_frames=num_frames, image_size=image_size, needs_head=False, keep_dtype=True
    )
    if bundle:
        info = {**opened.info, "converted_from": str(name_or_path)}
        if opened.regression:
            info["task"] = "regression"
        if opened.knows:
            info["knows"] = opened.knows
        save_bundle(out, opened.model, opened.preprocess, opened.labels, info)
        return opened.report
    save_original(opened.model, out, to if to == "video" or to == "image" else _kind(opened.model))
    if labels is not None:
        names = "".join(f"{name}\n" for name in opened.labels)
        write_atomically(
            labels_beside(out), lambda target: target.write_text(names, encoding="utf-8"), error=WeightsError
        )
    return opened.report


def check_new(*paths: Path, overwrite: bool) -> None:
    """Raises WeightsError for a file that exists, without `overwrite`."""
    for path in paths:
        if not overwrite and path.exists():
            raise WeightsError(f"{path}: exists; choose another name, or replace it with --overwrite (overwrite=True)")


def labels_beside(out: Path) -> Path:
    """The text file for the class names of weights in a format without any: a.pth has a.labels.txt."""
    return out.with_suffix(".labels.txt")


def _is_bundle(out: Path, to: Format | None) -> bool:
    """Whether `out` becomes a bundle. Raises WeightsError for a name that does not fit `to` or tells no format."""
    bundle = out.suffix == ".safetensors"
    if to is None and not bundle and out.suffix not in TORCH_SUFFIXES:
        raise WeightsError(
            f"{out}: end its name in .safetensors for a bundle or .pth for the original's format, or give --to"
        )
    if bundle and to in ("video", "image"):
        raise WeightsError(f"{out}: the original's {to} format is no safetensors file; end its name in .pth")
    return bundle if to is None else to == "bundle"


def _kind(model: VideoMamba) -> Literal["video", "image"]:
    return "image" if model.config.num_frames == 1 else "video"


def resized_config(config: VideoMambaConfig, shape: Mapping[str, object], path: Path) -> VideoMambaConfig:
    """`config` with the `num_frames` and `image_size` of `shape`. Raises WeightsError naming `path` where they do not fit."""
    try:
        config = make_config({**config.model_dump(), **shape})
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from None
    frames, rows, columns = config.grid
    if frames * rows * columns > MOST_TOKENS:
        raise WeightsError(
            f"{path}: {config.num_frames} frames of {config.image_size[0]}x{config.image_size[1]} pixels are "
            f"{frames * rows * columns} tokens, more than {MOST_TOKENS}; use fewer frames or a smaller size"
        )
    return config


def widest_dtype(tensors: Iterable[Tensor]) -> torch.dtype:
    """The floating point type that holds the values of all of them."""
    known = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
    found = known.intersection(tensor.dtype for tensor in tensors)
    return reduce(torch.promote_types, found) if found else torch.float32


def preprocess_for(file: WeightsFile, config: VideoMambaConfig) -> Preprocess:
    """That of the bundle, or of the zoo entry of its file name, or that of the released models of its kind."""
    if file.bundle is not None:
        return file.bundle.preprocess
    if file.entry is not None:
        return preprocess_of(file.entry)
    size = {"num_frames": config.num_frames, "image_size": config.image_size}
    if file.content != "network":
        of_texts = {"resize": "stretch", "sampling": "segments", "interpolation": "bicubic", "antialias": False}
        return Preprocess.model_validate({**size, **of_texts})
    image = {"interpolation": "bicubic", "crop_ratio": 0.875, "antialias": True}
    return Preprocess.model_validate({**size, **(image if config.num_frames == 1 else {"antialias": False})})


def _assumed(path: Path, config: VideoMambaConfig, preprocess: Preprocess) -> str:
    network = ", ".join(f"{name} {getattr(config, name)}" for name in UNSEEN)
    height, width = config.image_size
    return (
        f"{path}: has no settings; assuming those of the released models ({network}), with clips of {config.num_frames} "
        f"frames of {width}x{height}, sampling {preprocess.sampling}, {preprocess.interpolation}, crop "
        f"{preprocess.crop_ratio:g} and the mean and std of ImageNet; answers are wrong if it was trained otherwise"
    )
