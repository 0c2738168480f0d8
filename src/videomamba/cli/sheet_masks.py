"""The masks that `videomamba data sheet` draws: their grid, and for attention a teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videomamba.schema import Preprocess, VideoMambaError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from videomamba.data.augment.sheet import Masks
    from videomamba.data.clips.masks import Grid
    from videomamba.recipes.config import RecipeConfig
    from videomamba.schema import Clip


def grid_of_clip(clip: Preprocess, patch: int, tubelet: int) -> Grid:
    """The grid of patches of `patch` pixels and `tubelet` frames. Raises VideoMambaError where they do not divide the clip."""
    height, width = clip.image_size
    if patch < 1 or height % patch or width % patch:
        raise VideoMambaError(
            f"--patch {patch}: does not divide pictures of {height}x{width}; give a divisor of both sides"
        )
    if tubelet < 1 or clip.num_frames % tubelet:
        raise VideoMambaError(f"--tubelet {tubelet}: does not divide {clip.num_frames} frames; give a divisor")
    return clip.num_frames // tubelet, height // patch, width // patch


def grid_of_run(like: str, config: RecipeConfig) -> Grid:
    """The grid of the network of a run. Raises VideoMambaError where its settings make none."""
    from videomamba.models.registry import build_config

    try:
        return build_config(config.model.name, config.network()).grid
    except ValueError as error:
        raise VideoMambaError(f"{like}: {error}") from None


def masks_of(mask: str, ratio: float, grid: Grid, clip: Preprocess, teacher: str | None) -> Masks:
    """What `training_sheet` covers. Raises VideoMambaError for an unknown mask, an impossible ratio, and a teacher that is
    missing, unfit or not needed."""
    from videomamba.data.clips.masks import visible_count, visible_patches
    from videomamba.data.settings import mask_name

    try:
        name = mask_name(mask)
        visible_count(name, grid, ratio)
    except VideoMambaError as error:
        raise VideoMambaError(
            f"--{error}".replace("--mask.ratio: ", "--ratio: ").replace("mask.name", "--mask")
        ) from None
    if name == "attention":
        return _attention(ratio, grid, clip, teacher)
    if teacher is not None:
        raise VideoMambaError(f"--teacher: mask {name} does not depend on one; remove it, or give --mask attention")
    return lambda _, generator: visible_patches(name, grid, ratio, generator)


def _attention(ratio: float, grid: Grid, clip: Preprocess, name: str | None) -> Masks:
    from videomamba.cli.output import note
    from videomamba.data.clips.masks import attention_draws, attention_visible
    from videomamba.weights.teachers import open_teacher

    if name is None:
        raise VideoMambaError("--mask attention: follows the attention of a teacher; give one with --teacher")
    teacher = open_teacher(name, clip)
    for line in teacher.notes:
        note(line)
    if teacher.grid != grid:
        theirs, ours = ("x".join(map(str, one)) for one in (teacher.grid, grid))
        raise VideoMambaError(
            f"--teacher {name}: has a grid of {theirs} patches, not {ours}; change --clip.image-size, --clip.num-frames, "
            "--patch or --tubelet"
        )

    def visible(shown: Clip, generator: np.random.Generator) -> NDArray[np.int64]:
        attention = teacher(shown.data[None], attention=True).attention
        assert attention is not None
        chosen: NDArray[np.int64] = attention_visible(attention, attention_draws(grid, generator)[None], ratio)[
            0
        ].numpy()
        return chosen

    return visible
