"""What happens in a synthetic clip, as numbers: drawn at random, without a pixel and without a frame size.

Units: the centre square of the frame is [-0.5, 0.5] x [-0.5, 0.5], x to the right and y down, so a positive angle turns
clockwise on the screen; time u runs from 0 to 1 over the clip. Every random law but the action's own is the same
forwards and backwards in time (drift in any direction, waves of any phase, easing and its mirror image with equal
odds), so that nothing but the action says which member of a pair a clip shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from videomamba.synthetic.look import LOOKS, STYLES, Look, Rgb

Span = tuple[float, float]  # the values before and after the action

# How a sentence says each action: of one thing, of several.
_VERBS: dict[str, tuple[str, str]] = {
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

ACTIONS: tuple[str, ...] = tuple(_VERBS)  # index 2k and 2k + 1 are a pair


@dataclass(frozen=True)
class Wave:
    """amplitude * sin(2 pi (cycles * u + phase)); with a uniform phase its law has no direction of time."""

    amplitude: float
    cycles: float
    phase: float


@dataclass(frozen=True)
class Part:
    """One drawn shape. Each span is walked from its first to its second value by the action's progress."""

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
    """The first member of pair number `pair`; its twin is the same scene backwards."""

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


class _Draw:
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
        """A centre from which something of this reach stays inside the centre square."""
        slack = max(0.0, 0.48 - reach)
        return self.between(-slack, slack), self.between(-slack, slack)


_Cast = tuple[tuple[Part, ...], str, bool]  # the parts, how a sentence calls them, whether that is a plural


def _move_left(draw: _Draw) -> _Cast:
    radius = draw.between(0.11, 0.18)
    limit = 0.48 - radius
    distance = draw.between(0.34, 2 * limit)
    centre = draw.between(-limit + distance / 2, limit - distance / 2)
    height, slope = draw.between(-limit + 0.04, limit - 0.04), draw.between(-0.04, 0.04)
    shape, ink = draw.one_of(draw.look.shapes), draw.one_of(tuple(draw.look.inks))
    part = draw.part(
        shape,
        ink,
        radius=(radius, radius),
        x=(centre + distance / 2, centre - distance / 2),
        y=(height - slope, height + slope),
    )
    turn = draw.between(0, 2 * math.pi)
    return (replace(part, angle=(turn, turn)),), _a(f"{ink} {shape}"), False


def _move_up(draw: _Draw) -> _Cast:
    (part,), subject, plural = _move_left(draw)
    return (replace(part, x=part.y, y=part.x),), subject, plural


def _rotate_clockwise(draw: _Draw) -> _Cast:
    radius = draw.between(0.27, 0.4)
    x, y = draw.place(radius)
    first = draw.between(0, 2 * math.pi)
    shape, ink = draw.one_of(draw.look.turners), draw.one_of(tuple(draw.look.inks))
    part = draw.part(shape, ink, radius=(radius, radius), x=(x, x), y=(y, y))
    return (replace(part, angle=(first, first + draw.between(2.2, 4.6))),), _a(f"{ink} {shape}"), False


def _grow(draw: _Draw) -> _Cast:
    small = draw.between(0.1, 0.15)
    large = small * draw.between(2.1, 2.8)
    x, y = draw.place(large)
    shape, ink = draw.one_of(draw.look.shapes), draw.one_of(tuple(draw.look.inks))
    turn = draw.between(0, 2 * math.pi)
    part = draw.part(shape, ink, radius=(small, large), x=(x, x), y=(y, y))
    return (replace(part, angle=(turn, turn)),), _a(f"{ink} {shape}"), False


def _appear(draw: _Draw) -> _Cast:
    radius = draw.between(0.16, 0.3)
    x, y = draw.place(radius)
    shape, ink = draw.one_of(draw.look.shapes), draw.one_of(tuple(draw.look.inks))
    turn = draw.between(0, 2 * math.pi)
    part = draw.part(shape, ink, radius=(radius, radius), x=(x, x), y=(y, y))
    opacity = (draw.between(0.02, 0.15), draw.between(0.85, 1.0))
    return (replace(part, angle=(turn, turn), opacity=opacity),), _a(f"{ink} {shape}"), False


def _approach(draw: _Draw) -> _Cast:
    radii = draw.between(0.09, 0.13), draw.between(0.09, 0.13)
    widest = max(radii)
    far, near = draw.between(0.29, 0.47 - widest), widest + draw.between(0.005, 0.03)
    x, y = draw.place(far + widest)
    direction = draw.between(0, 2 * math.pi)
    parts, names = [], []
    for side, radius in zip((-1, 1), radii, strict=True):
        shape, ink = draw.one_of(draw.look.shapes), draw.one_of(tuple(draw.look.inks))
        step = side * math.cos(direction), side * math.sin(direction)
        part = draw.part(
            shape,
            ink,
            radius=(radius, radius),
            x=(x + far * step[0], x + near * step[0]),
            y=(y + far * step[1], y + near * step[1]),
        )
        turn = draw.between(0, 2 * math.pi)
        parts.append(replace(part, angle=(turn, turn)))
        names.append(f"{ink} {shape}")
    alike = names[0] == names[1]
    return tuple(parts), f"two {_plural(names[0])}" if alike else f"{_a(names[0])} and {_a(names[1])}", True


def _open(draw: _Draw) -> _Cast:
    radius = draw.between(0.28, 0.42)
    x, y = draw.place(radius)
    shape, ink = draw.one_of(draw.look.openers), draw.one_of(tuple(draw.look.inks))
    opening = (draw.between(0.0, 0.15), draw.between(0.75, 1.0))
    part = draw.part(shape, ink, radius=(radius, radius), x=(x, x), y=(y, y))
    if shape != "doors":
        turn = draw.between(0, 2 * math.pi)
        part = replace(part, angle=(turn, turn), opening=opening)
        return (part,), f"{ink} tongs" if shape == "tongs" else _a(f"{ink} mouth"), shape == "tongs"
    turn = draw.between(-0.15, 0.15) + int(draw.rng.integers(2)) * math.pi / 2
    part = replace(part, angle=(turn, turn), opening=opening)
    doorway = replace(part, shape="doorway", fill=(12, 12, 16))
    return (doorway, part), f"a pair of {ink} doors", False


def _scatter(draw: _Draw) -> _Cast:
    count = int(draw.rng.integers(6, 10))
    radius = draw.between(0.045, 0.065)
    far = draw.between(0.27, 0.46 - radius)
    x, y = draw.place(far + radius)
    ink, first = draw.one_of(tuple(draw.look.inks)), draw.between(0, 2 * math.pi)
    parts = []
    for k in range(count):
        direction = first + 2 * math.pi * (k + draw.between(-0.25, 0.25)) / count
        near, reach = draw.between(0.0, 0.04), far * draw.between(0.65, 1.0)
        parts.append(
            draw.part(
                draw.look.dot,
                ink,
                radius=(radius, radius),
                x=(x + near * math.cos(direction), x + reach * math.cos(direction)),
                y=(y + near * math.sin(direction), y + reach * math.sin(direction)),
            )
        )
    return tuple(parts), f"{_COUNTS[count]} {_plural(f'{ink} {draw.look.dot}')}", True


_CASTS: tuple[Callable[[_Draw], _Cast], ...] = (
    _move_left,
    _move_up,
    _rotate_clockwise,
    _grow,
    _appear,
    _approach,
    _open,
    _scatter,
)
_COUNTS = {6: "six", 7: "seven", 8: "eight", 9: "nine"}


def sample_scene(pair: int, seed: int, style: str) -> Scene:
    """The scene that (pair, seed, style) names. Raises ValueError for an unknown style, pair or a negative seed."""
    if style not in LOOKS:
        raise ValueError(f"style: {style!r} is unknown; choose one of {', '.join(STYLES)}")
    if not 0 <= pair < len(_CASTS):
        raise ValueError(f"pair: {pair} is not in 0..{len(_CASTS) - 1}")
    if seed < 0:
        raise ValueError(f"seed: {seed} is negative; give a number from 0 up")
    look = LOOKS[style]
    draw = _Draw(np.random.default_rng([STYLES.index(style), pair, seed]), look)
    parts, subject, plural = _CASTS[pair](draw)
    paper, pattern = draw.one_of(tuple(look.papers)), draw.one_of(tuple(look.patterns))
    return Scene(
        pair=pair,
        style=style,
        parts=parts,
        distractors=tuple(_distractor(draw, look.papers[paper]) for _ in range(int(draw.rng.integers(2, 6)))),
        background=_background(draw, look.papers[paper], pattern),
        timing=Timing(
            start=draw.between(0.0, 0.15),
            end=1.0 - draw.between(0.0, 0.15),
            smooth=draw.between(0.0, 1.0),
            power=draw.between(1.0, 1.5),
            late=bool(draw.rng.integers(2)),
        ),
        shake=(draw.wave((0.0, 0.008), (0.5, 3.0)), draw.wave((0.0, 0.008), (0.5, 3.0))),
        flicker=draw.wave((0.0, 0.12), (0.3, 1.5)),
        blur=draw.between(0.0, 0.01),
        outline_width=look.outline_width,
        subject=subject,
        plural=plural,
        backdrop=f"a drifting {paper} {look.patterns[pattern]} background",
    )


def describe(scene: Scene, *, backwards: bool) -> str:
    """One sentence that says what the clip shows, as is or backwards."""
    verb = _VERBS[ACTIONS[2 * scene.pair + int(backwards)]][int(scene.plural)]
    return f"{scene.subject} {verb} over {scene.backdrop}"


def _background(draw: _Draw, paper: Rgb, pattern: str) -> Background:
    contrast, heading, speed = draw.between(*draw.look.contrast), draw.between(0, 2 * math.pi), draw.between(0.06, 0.3)
    return Background(
        pattern=pattern,
        colours=(_shift(paper, -contrast), _shift(paper, contrast if draw.look.tint == 1.0 else 0.0)),
        drift=(speed * math.cos(heading), speed * math.sin(heading)),
        angle=draw.between(0, 2 * math.pi),
        frequency=draw.between(3.0, 9.0),
        noise_weight=1.0 if pattern == "clouds" else draw.between(0.15, 0.45),
        octaves=int(draw.rng.integers(2, 5)),
        noise_seed=int(draw.rng.integers(2**32)),
    )


def _distractor(draw: _Draw, paper: Rgb) -> Part:
    """Something small and dull that trembles about a point anywhere in the frame, the margins included."""
    x, y, radius, turn = (
        draw.between(-0.75, 0.75),
        draw.between(-0.46, 0.46),
        draw.between(0.03, 0.05),
        draw.between(0, 6),
    )
    shade = draw.between(35, 60) * (1 if draw.rng.integers(2) and draw.look.tint == 1.0 else -1)
    return Part(
        shape=draw.one_of(draw.look.shapes),
        fill=_shift(paper, shade),
        outline=_shift(paper, 0.6 * shade),
        x=(x, x),
        y=(y, y),
        radius=(radius, radius),
        angle=(turn, turn),
        wobble=(draw.wave((0.005, 0.03), (1.0, 3.0)), draw.wave((0.005, 0.03), (1.0, 3.0))),
    )


def _mix(a: Rgb, b: Rgb, weight: float) -> Rgb:
    return (a[0] + weight * (b[0] - a[0]), a[1] + weight * (b[1] - a[1]), a[2] + weight * (b[2] - a[2]))


def _shift(colour: Rgb, amount: float) -> Rgb:
    return (colour[0] + amount, colour[1] + amount, colour[2] + amount)


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _plural(noun: str) -> str:
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"
