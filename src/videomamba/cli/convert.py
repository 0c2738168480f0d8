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
        Literal["bundle", "video", "image"], arg(help="our bundle, or the original's .pth formats")
    ] = "bundle",
    labels: Labels = None,
    frames: Annotated[int | None, arg(metavar="T", help="resize the temporal positions to this many frames")] = None,
    size: Annotated[
        int | tuple[int, int] | None,
        arg(metavar="PIXELS", help="resize the spatial positions to this side, or height and width, in pixels"),
    ] = None,
) -> int:
    """Turn a weights file into a bundle with its class names and preprocessing, or write the original's format.

    The weights need no head. The path of the new file is printed on stdout, the changes to the tensors on stderr.
    """
    from videomamba.weights.pretrained import convert as run

    note(str(run(weights, out, to=to, labels=class_names(labels), num_frames=frames, image_size=size, notify=note)))
    print(out)
    return 0
