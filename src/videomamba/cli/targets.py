"""Files that a command writes: of the right kind, and none of those that it reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path


def check_target(option: str, path: Path | None, *, endings: Sequence[str], inputs: Iterable[object]) -> None:
    """Raises VideoMambaError if `path` has another ending, no folder, or is one of the `inputs`, also by a link.

    `inputs` are names and paths; others are no files.
    """
    from videomamba.schema import VideoMambaError

    if path is None:
        return
    if path.suffix.lower() not in endings:
        raise VideoMambaError(f"{option} {path}: end its name in {' or '.join(endings)}")
    if not path.parent.is_dir():
        raise VideoMambaError(f"{option} {path}: the folder {path.parent} does not exist; create it first")
    for one in inputs:
        if isinstance(one, str | Path) and path.exists() and Path(one).exists() and path.samefile(one):
            raise VideoMambaError(f"{option} {path}: is read by this command and would be replaced; give another name")


def check_names(paths: Iterable[Path], *, what: str) -> None:
    """Raises VideoMambaError if two videos have one name, so that the `what` of one would replace that of the other."""
    from videomamba.schema import VideoMambaError
    from videomamba.serving.timeline import timeline_name

    taken: dict[str, Path] = {}
    for path in paths:
        other = taken.setdefault(timeline_name(path), path)
        if other is not path:
            raise VideoMambaError(f"{path}: its {what} would replace that of {other}; give each its own --out")
