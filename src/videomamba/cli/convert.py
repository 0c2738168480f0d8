"""`videomamba convert`: a weights file in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from videomamba.cli.output import note


def convert(
    weights: Annotated[Positional[str], arg(metavar="WEIGHTS", help="zoo name or weights file")],
    out: Annotated[Positional[Path], arg(metavar="OUT", help="file to write")],
    /,
    *,
    to: Annotated[
        Literal["bundle", "video", "image"], arg(help="our safetensors bundle, or the original's .pth formats")
    ] = "bundle",
    labels: Annotated[
        Path | None, arg(metavar="FILE", help="text file with one class name a line, instead of the file's own names")
    ] = None,
    frames: Annotated[int | None, arg(metavar="T", help="resize the temporal positions to this many frames")] = None,
    size: Annotated[
        int | tuple[int, int] | None,
        arg(metavar="PIXELS", help="resize the spatial positions to this side, or height and width, in pixels"),
    ] = None,
) -> int:
    """Turn a weights file into a bundle with its class names and preprocessing, or write the original's format.

    Any weights are converted, with or without a head. The path of the new file is printed on stdout, and on stderr what
    was done with the tensors.
    """
    from videomamba.data.sets.formats.table import read_names
    from videomamba.weights.pretrained import convert as run

    names = None if labels is None else read_names(labels)
    note(str(run(weights, out, to=to, labels=names, num_frames=frames, image_size=size)))
    print(out)
    return 0
