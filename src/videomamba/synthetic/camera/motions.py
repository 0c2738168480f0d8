"""The twelve classes of camera motion and edits: their names, their order, and each played backwards.

A name says what the camera does. `pan_left`: the camera turns or moves to the left, so the picture moves to the right on the
screen; a truck to the left counts as `pan_left`. `tilt_up`: the picture moves down. `zoom_in`: it grows. `roll_clockwise`: the
camera turns clockwise as seen from behind it, so the picture turns counter-clockwise on the screen. `shake`: a hand-held
camera without a net motion. `cut`: a change of shot. `fade`: from or to black or white, or a cross-fade of two shots.
"""

from __future__ import annotations

MOTIONS: tuple[str, ...] = (
    "static",
    "pan_left",
    "pan_right",
    "tilt_up",
    "tilt_down",
    "zoom_in",
    "zoom_out",
    "roll_clockwise",
    "roll_counterclockwise",
    "shake",
    "cut",
    "fade",
)
"""The index of a name is its label."""

EDITS: tuple[str, ...] = ("cut", "fade")
"""The classes that are made by editing, not by a camera."""

BACKWARDS: tuple[int, ...] = (0, 2, 1, 4, 3, 6, 5, 8, 7, 9, 10, 11)
"""Entry i is the label of a clip of class i that is played from its end."""
