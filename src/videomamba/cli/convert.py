"""`videomamba convert`: a weights file in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from videomamba.cli.model_options import Labels, Weights, class_names
from videomamba.cli.output import note


def convert(
    weights: Weights,
    out: Annotated[Positional[Path], arg(metavar="OUT", help="file to write")],
    /,
    *,
    to: Annotated[
        Literal["bundle", "video", "image"] | None,
        arg(
            help="our bundle (.safetensors), or the original's formats (.pth)",
            help_behavior_hint="(default: what the ending of OUT says)",
        ),
    ] = None,
    labels: Labels = None,
    frames: Annotated[int | None, arg(metavar="T", help="resize the temporal positions to this many frames")] = None,
    size: Annotated[
        int | tuple[int, int] | None,
        arg(metavar="PIXELS", help="resize the spatial positions to this side, or height and width, in pixels"),
    ] = None,
    overwrite: Annotated[bool, arg(help="replace OUT if it exists")] = False,
) -> int:
    """Turn a weights file into a bundle with its class names and preprocessing, or write the original's format.

    The weights need no head. The original's formats have no class names: with --labels these are written next to OUT, to
    NAME.labels.txt. The path of the new file is printed on stdout, the changes to the tensors and all that is assumed on
    stderr.
    """
    from videomamba.weights.pretrained import convert as run

    names = class_names(labels)
    note(str(run(weights, out, to=to, labels=names, num_frames=frames, image_size=size, overwrite=overwrite)))
    print(out)
    return 0
