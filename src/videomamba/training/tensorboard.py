"""TensorBoard events. The one file that imports tensorboard, of the extra `train`."""

from __future__ import annotations

from pathlib import Path

from videomamba.schema import VideoMambaError

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError as error:
    raise VideoMambaError("TensorBoard events need tensorboard; pip install 'videomamba[train]'") from error

EventWriter = SummaryWriter


def open_events(folder: Path, *, first_step: int) -> EventWriter:
    """A writer of a new event file in `folder`. TensorBoard then hides the older records of `first_step` and later."""
    return EventWriter(folder, purge_step=first_step)
