"""The looks of synthetic clips: the inks, shapes and backgrounds of each style. Colours are RGB in 0..255."""

from __future__ import annotations

from dataclasses import dataclass

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Look:
    inks: dict[str, Rgb]
    papers: dict[str, Rgb]
    patterns: dict[str, str]  # pattern -> its adjective in a sentence
    shapes: tuple[str, ...]
    turners: tuple[str, ...]  # shapes without any rotational symmetry
    dot: str
    openers: tuple[str, ...]
    tint: float  # 1: filled with the ink; less: filled with ink and white, outlined with the ink
    contrast: tuple[float, float]
    outline_width: float


LOOKS: dict[str, Look] = {
    "default": Look(
        inks={
            "red": (235, 30, 30),
            "orange": (255, 135, 10),
            "yellow": (255, 230, 30),
            "green": (30, 205, 60),
            "cyan": (30, 220, 240),
            "blue": (45, 80, 255),
            "magenta": (240, 40, 205),
        },
        papers={
            "grey": (112, 112, 112),
            "brown": (122, 98, 78),
            "olive": (104, 110, 76),
            "slate": (82, 98, 118),
            "mauve": (118, 94, 116),
            "sand": (160, 146, 122),
        },
        patterns={"clouds": "cloudy", "stripes": "striped", "checks": "checked", "gradient": "shaded"},
        shapes=("disc", "square", "triangle", "star", "ring"),
        turners=("arrow", "hammer", "spoon"),
        dot="disc",
        openers=("mouth", "doors", "tongs"),
        tint=1.0,
        contrast=(16, 40),
        outline_width=0.016,
    ),
    "line": Look(
        inks={
            "black": (15, 15, 20),
            "navy": (15, 35, 130),
            "crimson": (175, 10, 45),
            "dark green": (0, 95, 45),
            "violet": (105, 25, 145),
            "rust": (180, 75, 5),
        },
        papers={
            "cream": (236, 226, 200),
            "white": (238, 238, 238),
            "pale blue": (208, 224, 238),
            "pale green": (214, 232, 208),
            "pale pink": (238, 214, 214),
        },
        patterns={"grid": "squared", "dots": "dotted", "hatching": "hatched"},
        shapes=("hexagon", "cross", "diamond", "crescent"),
        turners=("key", "boomerang", "arrow"),
        dot="hexagon",
        openers=("mouth", "doors", "tongs"),
        tint=0.35,
        contrast=(14, 30),
        outline_width=0.024,
    ),
}

STYLES: tuple[str, ...] = tuple(LOOKS)
