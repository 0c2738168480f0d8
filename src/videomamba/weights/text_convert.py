"""A video-text model in another format."""

from __future__ import annotations

from pathlib import Path

from videomamba.schema import WeightsError
from videomamba.weights.pretrained import TORCH_SUFFIXES, check_new
from videomamba.weights.report import LoadReport
from videomamba.weights.video_text import open_video_text, save_original_video_text, save_video_text


def convert_video_text(
    name_or_path: str | Path,
    out: str | Path,
    *,
    tokenizer: str | Path | None = None,
    num_frames: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    overwrite: bool = False,
) -> LoadReport:
    """Writes a video-text model, a zoo name or a weights file, to `out`: both towers and what compares them.

    By the ending of `out` it becomes our bundle (.safetensors), with vocabulary and preprocessing, or the original's format
    (.pth, .pt, .bin), tensors alone. They keep their bits, except those that `num_frames` or `image_size` resize; the report
    names them, and what the source has besides, such as the teacher. `tokenizer` is as in `open_video_text`.

    Raises WeightsError where the file cannot be read or written, exists without `overwrite`, is no video-text model, or the
    name of `out` tells no format.
    """
    out = Path(out)
    bundle = out.suffix == ".safetensors"
    if not bundle and out.suffix not in TORCH_SUFFIXES:
        raise WeightsError(f"{out}: end its name in .safetensors for a bundle or .pth for the original's format")
    check_new(out, overwrite=overwrite)
    opened = open_video_text(
        name_or_path, tokenizer=tokenizer, num_frames=num_frames, image_size=image_size, keep_dtype=True
    )
    if not bundle:
        save_original_video_text(opened.model, out)
        return opened.report
    info = {**opened.info, "converted_from": str(name_or_path), **({"knows": opened.knows} if opened.knows else {})}
    save_video_text(
        out,
        opened.model,
        preprocess=opened.preprocess,
        tokenizer=opened.tokenizer,
        max_length=opened.max_length,
        info=info,
    )
    return opened.report
