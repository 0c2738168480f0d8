"""The content of a synthetic clip as numbers, independent of pixels and frame size.

Units: the centre square of the frame is [-0.5, 0.5] x [-0.5, 0.5], x to the right and y down, so a positive angle turns
clockwise on the screen; time u runs from 0 to 1 over the clip.
"""

from __future__ import annotations

from dataclasses import dataclass

from videomamba.synthetic.look import Rgb

Span = tuple[float, float]  # the values before and after the action


@dataclass(frozen=True)
class Wave:
    """amplitude * sin(2 pi (cycles * u + phase)); with a uniform phase its distribution has no direction of time."""

    amplitude: float
    cycles: float
    phase: float


@dataclass(frozen=True)
class Part:
    """One drawn shape. With the progress of the action each span goes from its first to its second value."""

    shape: str
    fill: Rgb
    outline: Rgb
    x: Span
    y: Span
    radius: Span
    angle: Span = (0.0, 0.0)
    opacity: Span = (1.0, 1.0)
    opening: Span = (0.0, 0.0)
    wobble: tuple[Wave, Wave] | None = None


@dataclass(frozen=True)
class Thing:
    """What a sentence says of one object: its ink and its shape, as `look.py` names them."""

    colour: str
    shape: str


@dataclass(frozen=True)
class Background:
    """A drifting texture between two colours; its noise is drawn from `noise_seed`."""

    pattern: str
    colours: tuple[Rgb, Rgb]
    drift: tuple[float, float]
    angle: float
    frequency: float
    noise_weight: float
    octaves: int
    noise_seed: int


@dataclass(frozen=True)
class Timing:
    """The action lasts from u = start to u = end, eased; `late` mirrors the easing curve in time."""

    start: float
    end: float
    smooth: float
    power: float
    late: bool


@dataclass(frozen=True)
class Scene:
    """The first member of pair number `pair`; the second is the same scene backwards.

    `subject`, `plural` and `backdrop` are the words of one sentence; `things` (one for each object that acts) and `paper` are
    the facts from which other sentences are written.
    """

    pair: int
    style: str
    parts: tuple[Part, ...]
    distractors: tuple[Part, ...]
    background: Background
    timing: Timing
    shake: tuple[Wave, Wave]
    flicker: Wave
    blur: float
    outline_width: float
    subject: str
    plural: bool
    backdrop: str
    things: tuple[Thing, ...]
    paper: str
