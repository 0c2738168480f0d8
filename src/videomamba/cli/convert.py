"""`videomamba convert`: a weights file in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from videomamba.cli.model_options import Labels, NewFrames, NewSize, Weights, class_names
from videomamba.cli.output import note


def convert(
    weights: Weights,
    out: Annotated[Positional[Path], arg(metavar="OUT", help="file to write; with --to hf a folder")],
    /,
    *,
    to: Annotated[
        Literal["bundle", "video", "image", "text", "hf"] | None,
        arg(
            help="our bundle (.safetensors), or the original's formats (.pth); text: both towers of a video-text model; "
            "hf: a folder for Hugging Face transformers",
            help_behavior_hint="(default: what the ending of OUT says)",
        ),
    ] = None,
    labels: Labels = None,
    frames: NewFrames = None,
    size: NewSize = None,
    vocabulary: Annotated[
        str | None,
        arg(
            metavar="BERT",
            help="with --to text: vocab.txt, its folder, or the name of a BERT on the Hugging Face Hub",
            help_behavior_hint="(default: the file's own, or bert-base-uncased)",
        ),
    ] = None,
    overwrite: Annotated[bool, arg(help="replace OUT if it exists")] = False,
) -> int:
    """Turn a weights file into a bundle with class names and preprocessing, the original's format, or a Hugging Face folder.

    The weights need no head. Of a video-text model the result is the video tower, or with --to text all of it. The original's
    formats have no class names: with --labels these are written next to OUT, to NAME.labels.txt. The folder of --to hf has a
    model card, README.md: complete it before you publish the model. The path of the new file or folder is printed on stdout,
    the changes to the tensors and all that is assumed on stderr.
    """
    from videomamba.schema import VideoMambaError

    if to == "text":
        from videomamba.weights.text_convert import convert_video_text

        if labels is not None:
            raise VideoMambaError("--labels: a video-text model has no classes; leave it out with --to text")
        note(
            str(
                convert_video_text(
                    weights, out, tokenizer=vocabulary, num_frames=frames, image_size=size, overwrite=overwrite
                )
            )
        )
        print(out)
        return 0
    if vocabulary is not None:
        raise VideoMambaError("--vocabulary: is for --to text; the video tower alone has no words")
    names = class_names(labels)
    if to == "hf":
        from videomamba.export.transformers.convert import convert_to_folder

        report = convert_to_folder(weights, out, labels=names, num_frames=frames, image_size=size, overwrite=overwrite)
    else:
        from videomamba.weights.pretrained import convert as run

        report = run(weights, out, to=to, labels=names, num_frames=frames, image_size=size, overwrite=overwrite)
    note(str(report))
    if any("text_encoder." in (entry.file_key or "") for entry in report.ignored):
        note(f"{out} is the video tower alone; --to text keeps the text tower too")
    print(out)
    return 0
