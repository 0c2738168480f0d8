"""The sixteen actions: their names, their verbs in captions, and the random parts that the first of each pair moves.

Except for the action itself, all random distributions are the same forwards and backwards in time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from videomamba.synthetic.look import Look, Rgb
from videomamba.synthetic.scene import Part, Span, Thing, Wave

# The verb of each action: singular, plural.
VERBS: dict[str, tuple[str, str]] = {
    "move_left": ("moves left", "move left"),
    "move_right": ("moves right", "move right"),
    "move_up": ("moves up", "move up"),
    "move_down": ("moves down", "move down"),
    "rotate_clockwise": ("rotates clockwise", "rotate clockwise"),
    "rotate_counterclockwise": ("rotates counter-clockwise", "rotate counter-clockwise"),
    "grow": ("grows", "grow"),
    "shrink": ("shrinks", "shrink"),
    "appear": ("fades in", "fade in"),
    "disappear": ("fades out", "fade out"),
    "approach": ("approaches", "approach each other"),
    "separate": ("separates", "move away from each other"),
    "open": ("opens", "open"),
    "close": ("closes", "close"),
    "scatter": ("scatters", "fly apart from a point"),
    "gather": ("gathers", "gather to a point"),
}

ACTIONS: tuple[str, ...] = tuple(VERBS)  # index 2k and 2k + 1 are a pair


class Draw:
    """The random choices that all scenes share."""

    def __init__(self, rng: np.random.Generator, look: Look) -> None:
        self.rng = rng
        self.look = look

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def one_of(self, options: tuple[str, ...]) -> str:
        return options[int(self.rng.integers(len(options)))]

    def wave(self, amplitude: Span, cycles: Span) -> Wave:
        return Wave(self.between(*amplitude), self.between(*cycles), self.between(0, 1))

    def part(self, shape: str, ink: str, *, radius: Span, x: Span = (0.0, 0.0), y: Span = (0.0, 0.0)) -> Part:
        colour = self.look.inks[ink]
        if self.look.tint == 1.0:
            bright = 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2] > 140
            return Part(shape, colour, (10, 10, 10) if bright else (250, 250, 250), x, y, radius)
        return Part(shape, _mix((250, 250, 250), colour, self.look.tint), colour, x, y, radius)

    def place(self, reach: float) -> tuple[float, float]:
        """A centre at which something of this reach stays inside the centre square."""
        slack = max(0.0, 0.48 - reach)
        return self.between(-slack, slack), self.between(-slack, slack)


@dataclass(frozen=True)
class Cast:
    """What acts in a scene: the parts, the objects that they show, their name in a sentence, whether it is a plural."""

    parts: tuple[Part, ...]
    things: tuple[Thing, ...]
    subject: str
    plural: bool = False


def _one(part: Part, ink: str) -> Cast:
    return Cast((part,), (Thing(ink, part.shape),), article(f"{ink} {part.shape}"))


def _move_left(draw: Draw) -> Cast:
    radius = draw.between(0.11, 0.18)
    limit = 0.48 - radius
    distance = draw.between(0.34, 2 * limit)
    centre = draw.between(-limit + distance / 2, limit - distance / 2)
    height, slope = draw.between(-limit + 0.04, limit - 0.04), draw.between(-0.04, 0.04)
    shape, ink = draw.one_of(draw.look.shapes), draw.one_of(tuple(draw.look.inks))
    x, y = (centre + distance / 2, centre - distance / 2), (height - slope, height + slope)
    part = draw.part(shape, ink, radius=(radius, radius), x=x, y=y)
    turn = draw.between(0, 2 * math.pi)
    return _one(replace(part, angle=(turn, turn)), ink)


def _move_up(draw: Draw) -> Cast:
    cast = _move_left(draw)
    (part,) = cast.parts
    return replace(cast, parts=(replace(part, x=part.y, y=part.x),))


def _rotate_clockwise(draw: Draw) -> Cast:
    radius = draw.between(0.27, 0.4)
    x, y = draw.place(radius)
    first = draw.between(0, 2 * math.pi)
    shape, ink = draw.one_of(draw.look.turners), draw.one_of(tuple(draw.look.inks))
    part = draw.part(shape, ink, radius=(radius, radius), x=(x, x), y=(y, y))
    return _one(replace(part, angle=(first, first + draw.between(2.2, 4.6))), ink)


def _fixed(draw: Draw, radius: Span) -> Cast:
    """One shape that neither moves nor rotates."""
    x, y = draw.place(max(radius))
    shape, ink = draw.one_of(draw.look.shapes), draw.one_of(tuple(draw.look.inks))
    turn = draw.between(0, 2 * math.pi)
    part = draw.part(shape, ink, radius=radius, x=(x, x), y=(y, y))
    return _one(replace(part, angle=(turn, turn)), ink)


def _grow(draw: Draw) -> Cast:
    small = draw.between(0.1, 0.15)
    return _fixed(draw, (small, small * draw.between(2.1, 2.8)))


def _appear(draw: Draw) -> Cast:
    radius = draw.between(0.16, 0.3)
    cast = _fixed(draw, (radius, radius))
    (part,) = cast.parts
    return replace(cast, parts=(replace(part, opacity=(draw.between(0.02, 0.15), draw.between(0.85, 1.0))),))


def _approach(draw: Draw) -> Cast:
    radii = draw.between(0.09, 0.13), draw.between(0.09, 0.13)
    widest = max(radii)
    far, near = draw.between(0.29, 0.47 - widest), widest + draw.between(0.005, 0.03)
    x, y = draw.place(far + widest)
    direction = draw.between(0, 2 * math.pi)
    parts, things = [], []
    for side, radius in zip((-1, 1), radii, strict=True):
        shape, ink = draw.one_of(draw.look.shapes), draw.one_of(tuple(draw.look.inks))
        step = side * math.cos(direction), side * math.sin(direction)
        across, down = (x + far * step[0], x + near * step[0]), (y + far * step[1], y + near * step[1])
        part = draw.part(shape, ink, radius=(radius, radius), x=across, y=down)
        turn = draw.between(0, 2 * math.pi)
        parts.append(replace(part, angle=(turn, turn)))
        things.append(Thing(ink, shape))
    names = [f"{thing.colour} {thing.shape}" for thing in things]
    subject = f"two {plural(names[0])}" if names[0] == names[1] else f"{article(names[0])} and {article(names[1])}"
    return Cast(tuple(parts), tuple(things), subject, True)


def _open(draw: Draw) -> Cast:
    radius = draw.between(0.28, 0.42)
    x, y = draw.place(radius)
    shape, ink = draw.one_of(draw.look.openers), draw.one_of(tuple(draw.look.inks))
    opening = (draw.between(0.0, 0.15), draw.between(0.75, 1.0))
    part = draw.part(shape, ink, radius=(radius, radius), x=(x, x), y=(y, y))
    if shape != "doors":
        turn = draw.between(0, 2 * math.pi)
        part = replace(part, angle=(turn, turn), opening=opening)
        subject = f"{ink} tongs" if shape == "tongs" else article(f"{ink} mouth")
        return Cast((part,), (Thing(ink, shape),), subject, shape == "tongs")
    turn = draw.between(-0.15, 0.15) + int(draw.rng.integers(2)) * math.pi / 2
    part = replace(part, angle=(turn, turn), opening=opening)
    doorway = replace(part, shape="doorway", fill=(12, 12, 16))
    return Cast((doorway, part), (Thing(ink, shape),), f"a pair of {ink} doors")


def _scatter(draw: Draw) -> Cast:
    count = int(draw.rng.integers(6, 10))
    radius = draw.between(0.045, 0.065)
    far = draw.between(0.27, 0.46 - radius)
    x, y = draw.place(far + radius)
    ink, first = draw.one_of(tuple(draw.look.inks)), draw.between(0, 2 * math.pi)
    parts = []
    for k in range(count):
        direction = first + 2 * math.pi * (k + draw.between(-0.25, 0.25)) / count
        near, reach = draw.between(0.0, 0.04), far * draw.between(0.65, 1.0)
        across = (x + near * math.cos(direction), x + reach * math.cos(direction))
        down = (y + near * math.sin(direction), y + reach * math.sin(direction))
        parts.append(draw.part(draw.look.dot, ink, radius=(radius, radius), x=across, y=down))
    subject = f"{NUMBERS[count]} {plural(f'{ink} {draw.look.dot}')}"
    return Cast(tuple(parts), count * (Thing(ink, draw.look.dot),), subject, True)


CASTS: tuple[Callable[[Draw], Cast], ...] = (
    _move_left,
    _move_up,
    _rotate_clockwise,
    _grow,
    _appear,
    _approach,
    _open,
    _scatter,
)
NUMBERS = {1: "one", 2: "two", 6: "six", 7: "seven", 8: "eight", 9: "nine"}


def _mix(a: Rgb, b: Rgb, weight: float) -> Rgb:
    return (a[0] + weight * (b[0] - a[0]), a[1] + weight * (b[1] - a[1]), a[2] + weight * (b[2] - a[2]))


def article(noun: str) -> str:
    """The noun with "a" or "an"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def plural(noun: str) -> str:
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"
