"""`videomamba export`: a network for another program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from videomamba.cli.model_options import Labels, NewFrames, NewSize, Weights, class_names
from videomamba.cli.output import Json, note, print_json


def export(
    weights: Weights,
    out: Annotated[Positional[Path], arg(metavar="OUT", help="file to write: .onnx, .xml (OpenVINO) or .pt2 (torch)")],
    /,
    *,
    format: Annotated[
        Literal["onnx", "openvino", "torch"],
        arg(
            help="onnx, and openvino made from it, run without PyTorch; torch is a torch.export program with the operators "
            "of videomamba"
        ),
    ] = "onnx",
    weight_type: Annotated[
        Literal["fp32", "int8"],
        arg(help="of the matrix products; int8, for onnx, makes the file smaller and less exact"),
    ] = "fp32",
    clip: Annotated[
        tuple[str, ...],
        arg(
            metavar="VIDEOS",
            help="compare the new file with PyTorch on clips of these videos",
            help_behavior_hint="(default: rendered videos)",
        ),
    ] = (),
    tolerance: Annotated[
        float | None,
        arg(
            metavar="X",
            help="largest difference of any output from PyTorch's; beyond it nothing is written",
            help_behavior_hint="(default: 0.0001; with int8: every clip keeps its class)",
        ),
    ] = None,
    labels: Labels = None,
    frames: NewFrames = None,
    size: NewSize = None,
    overwrite: Annotated[bool, arg(help="replace OUT if it exists")] = False,
    json: Json = False,
) -> int:
    """Write a network for another program, with its class names and preprocessing inside, and prove that both agree.

    The new file takes any number of clips, and clips of fewer frames than the network's own. It is opened in its runtime and
    compared with PyTorch before it is kept; the largest difference is printed on stderr. Next to an ONNX or OpenVINO file a
    script is written that classifies videos with it and needs no PyTorch. The paths of all files are printed on stdout.
    """
    from videomamba.export.export import export as run
    from videomamba.schema import VideoMambaError

    if tolerance is not None and not tolerance >= 0:
        raise VideoMambaError(f"--tolerance {tolerance:g}: give a number from 0 up")
    done = run(
        weights,
        out,
        to=format,
        weights=weight_type,
        clips=clip,
        tolerance=tolerance,
        labels=class_names(labels),
        num_frames=frames,
        image_size=size,
        overwrite=overwrite,
    )
    if done.knows:
        note(done.knows)
    note(str(done.comparison))
    if json:
        print_json({"files": [str(path) for path in done.files], **done.comparison.as_dict()})
        return 0
    for path in done.files:
        print(path)
    return 0
