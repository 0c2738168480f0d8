"""The random scene of a clip, and a sentence that describes it.

Except for the action itself, all random distributions are the same forwards and backwards in time (drift in any direction,
waves of any phase, easing and its mirror image with equal odds): only the action shows which member of a pair a clip is.
"""

from __future__ import annotations

import math

import numpy as np

from videomamba.synthetic.actions import ACTIONS, CASTS, VERBS, Draw
from videomamba.synthetic.look import LOOKS, STYLES, Rgb
from videomamba.synthetic.scene import Background, Part, Scene, Timing


def sample_scene(pair: int, seed: int, style: str) -> Scene:
    """The scene of (pair, seed, style). Raises ValueError for an unknown style or pair, or a negative seed."""
    if style not in LOOKS:
        raise ValueError(f"style: {style!r} is unknown; choose one of {', '.join(STYLES)}")
    if not 0 <= pair < len(CASTS):
        raise ValueError(f"pair: {pair} is not in 0..{len(CASTS) - 1}")
    if seed < 0:
        raise ValueError(f"seed: {seed} is negative; give a number from 0 up")
    look = LOOKS[style]
    draw = Draw(np.random.default_rng([STYLES.index(style), pair, seed]), look)
    cast = CASTS[pair](draw)
    paper, pattern = draw.one_of(tuple(look.papers)), draw.one_of(tuple(look.patterns))
    return Scene(
        pair=pair,
        style=style,
        parts=cast.parts,
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
        subject=cast.subject,
        plural=cast.plural,
        backdrop=f"a drifting {paper} {look.patterns[pattern]} background",
        things=cast.things,
        paper=paper,
    )


def describe(scene: Scene, *, backwards: bool) -> str:
    """One sentence that describes the clip, forwards or backwards."""
    verb = VERBS[ACTIONS[2 * scene.pair + int(backwards)]][int(scene.plural)]
    return f"{scene.subject} {verb} over {scene.backdrop}"


def _background(draw: Draw, paper: Rgb, pattern: str) -> Background:
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


def _distractor(draw: Draw, paper: Rgb) -> Part:
    """A small, dull part that trembles about a point anywhere in the frame, margins included."""
    x, y = draw.between(-0.75, 0.75), draw.between(-0.46, 0.46)
    radius, turn = draw.between(0.03, 0.05), draw.between(0, 6)
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


def _shift(colour: Rgb, amount: float) -> Rgb:
    return (colour[0] + amount, colour[1] + amount, colour[2] + amount)
