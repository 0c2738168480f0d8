"""From weights to a file for another program: written, opened again, compared with the network, and only then kept."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from videomamba.export import runner
from videomamba.export.comparison import Comparison, Run, clips_for, compare
from videomamba.export.description import describe
from videomamba.export.program import frames_are_free
from videomamba.files import write_atomically
from videomamba.models.videomamba import VideoMamba
from videomamba.schema import WeightsError
from videomamba.weights.pretrained import check_new, open_pretrained

Format = Literal["onnx", "openvino", "torch"]
WeightType = Literal["fp32", "int8"]
ENDINGS: Mapping[Format, str] = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}
TOLERANCE = 1e-4
"""The largest difference of an output from PyTorch's that passes, for weights that keep their values."""


@dataclass(frozen=True)
class Exported:
    """The files that were written, the network's first, and their comparison with it. `knows` is that of `Pretrained`."""

    files: tuple[Path, ...]
    comparison: Comparison
    knows: str


def export(
    name_or_path: str | Path,
    out: str | Path,
    *,
    to: Format = "onnx",
    weights: WeightType = "fp32",
    clips: Sequence[str | Path] = (),
    tolerance: float | None = None,
    labels: Sequence[str] | None = None,
    num_frames: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    overwrite: bool = False,
) -> Exported:
    """Writes a zoo name or a weights file to `out` for another program: video (b, 3, t, h, w) fp32, normalised -> (b, classes).

    b is free, and t too, up to the network's own number of frames, except for a network with registers or of one frame.
    The file is opened in its runtime and compared with the network, on clips of the videos `clips`, or on rendered ones.
    Nothing is written unless every output is within `tolerance` (absolute). Its default is TOLERANCE; for int8 weights, which
    change the values, there is none, and every clip must keep its class. Next to an ONNX or OpenVINO file a script is written
    that runs it without PyTorch. `labels`, `num_frames` and `image_size` are as in `open_pretrained`; a network without a head
    returns its features.

    Raises WeightsError where the weights cannot be read, `out` exists without `overwrite` or has another ending, or the file
    does not agree; VideoError for a clip that cannot be read; VideoMambaError where a package is missing.
    """
    out = Path(out)
    if out.suffix != ENDINGS[to]:
        raise WeightsError(f"{out}: end its name in {ENDINGS[to]} for {to}")
    if weights == "int8" and to != "onnx":
        raise WeightsError(f"{out}: int8 weights are for ONNX; choose the format onnx, or the weights fp32")
    targets = _targets(out, to)
    check_new(*targets, overwrite=overwrite)
    writer = _writer(to, weights)  # a missing package is an error before the work
    opened = open_pretrained(
        name_or_path, labels=labels, num_frames=num_frames, image_size=image_size, needs_head=False
    )
    model = opened.model.eval()
    metadata = describe(opened, str(name_or_path), frames_free=frames_are_free(model))
    seen, source = clips_for(clips, opened.preprocess)
    with _folder_beside(out) as folder:
        made = Path(folder) / out.name
        comparison = compare(model, writer(model, made, metadata), seen, source)
        _check(comparison, out, weights, tolerance)
        for target in reversed(targets):  # the network last: where it is, the rest is too
            kept = made.with_name(target.name)
            content = kept if kept.exists() else Path(runner.__file__)
            write_atomically(target, partial(shutil.copyfile, content), error=WeightsError)
    return Exported(targets, comparison, opened.knows)


def _targets(out: Path, to: Format) -> tuple[Path, ...]:
    script = out.with_name(f"run_{out.stem}.py")
    if to == "openvino":
        return out, out.with_suffix(".bin"), script
    return (out, script) if to == "onnx" else (out,)


def _writer(to: Format, weights: WeightType) -> Callable[[VideoMamba, Path, Mapping[str, str]], Run]:
    """A function that writes the network to a path and opens the file."""
    if to == "torch":
        from videomamba.export.torch_file import open_program, write_program

        def write_torch(model: VideoMamba, path: Path, metadata: Mapping[str, str]) -> Run:
            write_program(model, path, metadata)
            return open_program(path)

        return write_torch
    from videomamba.export.onnx_file import open_onnx, quantize, write_onnx

    if to == "openvino":
        from videomamba.export.openvino_file import open_openvino, write_openvino

        def write_ir(model: VideoMamba, path: Path, metadata: Mapping[str, str]) -> Run:
            between = path.with_suffix(".onnx")
            write_onnx(model, between, metadata)
            write_openvino(between, path, metadata)
            return open_openvino(path)

        return write_ir

    def write_standard(model: VideoMamba, path: Path, metadata: Mapping[str, str]) -> Run:
        write_onnx(model, path, metadata)
        if weights == "int8":
            quantize(path)
        return open_onnx(path)

    return write_standard


def _folder_beside(out: Path) -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.")
    except OSError as error:
        raise WeightsError(f"{out}: cannot be written ({error.strerror}); choose another folder") from None


def _check(comparison: Comparison, out: Path, weights: WeightType, tolerance: float | None) -> None:
    """Raises WeightsError where the exported network does not agree."""
    allowed = TOLERANCE if tolerance is None and weights == "fp32" else tolerance
    if allowed is not None and not comparison.error <= allowed:
        raise WeightsError(f"{out}: not written, {comparison}; more than {allowed:g} is not allowed")
    if weights == "int8" and tolerance is None and comparison.same_class < 1:
        raise WeightsError(f"{out}: not written, {comparison}; give --tolerance to accept it")
