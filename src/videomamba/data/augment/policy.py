"""RandAugment and AutoAugment: from the usual config string to the operations of one clip.

Sources: arXiv 1909.13719 and 1805.09501; levels, signs and the policy `v0` as in the original's training (timm's table of
"increasing" operations). Magnitudes are 0 to 10. Operations are drawn once per clip, for all its pictures.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from torch import Tensor

from videomamba.data.augment import ops, warp
from videomamba.data.augment.warp import Colour
from videomamba.schema import VideoMambaError


@dataclass(frozen=True)
class Operation:
    """`change(pictures, argument, fill)` and its argument for a magnitude; `signed`: mirrored at `neutral` half of the time."""

    change: Callable[[Tensor, float, Colour], Tensor]
    argument: Callable[[float], float] = lambda magnitude: 0.0
    signed: bool = False
    neutral: float = 0.0


def _enhance(change: Callable[[Tensor, float], Tensor]) -> Operation:
    return Operation(lambda pictures, factor, _: change(pictures, factor), lambda m: 1 + 0.09 * m, True, neutral=1.0)


INCREASING: dict[str, Operation] = {
    "AutoContrast": Operation(lambda pictures, *_: ops.auto_contrast(pictures)),
    "Equalize": Operation(lambda pictures, *_: ops.equalize(pictures)),
    "Invert": Operation(lambda pictures, *_: ops.invert(pictures)),
    "Rotate": Operation(warp.rotate, lambda m: 3 * m, signed=True),
    "Posterize": Operation(lambda pictures, bits, _: ops.posterize(pictures, int(bits)), lambda m: 4 - int(0.4 * m)),
    "Solarize": Operation(lambda pictures, start, _: ops.solarize(pictures, int(start)), lambda m: 256 - int(25.6 * m)),
    "SolarizeAdd": Operation(lambda pictures, add, _: ops.solarize_add(pictures, int(add)), lambda m: int(11 * m)),
    "Color": _enhance(ops.color),
    "Contrast": _enhance(ops.contrast),
    "Brightness": _enhance(ops.brightness),
    "Sharpness": _enhance(ops.sharpness),
    "ShearX": Operation(warp.shear_x, lambda m: 0.03 * m, signed=True),
    "ShearY": Operation(warp.shear_y, lambda m: 0.03 * m, signed=True),
    "TranslateX": Operation(warp.translate_x, lambda m: 0.045 * m, signed=True),
    "TranslateY": Operation(warp.translate_y, lambda m: 0.045 * m, signed=True),
}
# Without `inc1`: some do not grow with the magnitude, or change in one direction only. AutoAugment was searched with these.
PLAIN: dict[str, Operation] = {
    **INCREASING,
    "Posterize": replace(INCREASING["Posterize"], argument=lambda m: int(0.4 * m)),
    "Solarize": replace(INCREASING["Solarize"], argument=lambda m: int(25.6 * m)),
    **{
        name: replace(INCREASING[name], argument=lambda m: 0.1 + 0.18 * m, signed=False)
        for name in ("Color", "Contrast", "Brightness", "Sharpness")
    },
}

# Each clip draws one line of (operation, probability, magnitude), applied in order.
_V0 = """
Equalize 0.8 1, ShearY 0.8 4
Color 0.4 9, Equalize 0.6 3
Color 0.4 1, Rotate 0.6 8
Solarize 0.8 3, Equalize 0.4 7
Solarize 0.4 2, Solarize 0.6 2
Color 0.2 0, Equalize 0.8 8
Equalize 0.4 8, SolarizeAdd 0.8 3
ShearX 0.2 9, Rotate 0.6 8
Color 0.6 1, Equalize 1.0 2
Invert 0.4 9, Rotate 0.6 0
Equalize 1.0 9, ShearY 0.6 3
Color 0.4 7, Equalize 0.6 0
Posterize 0.4 6, AutoContrast 0.4 7
Solarize 0.6 8, Color 0.6 9
Solarize 0.2 4, Rotate 0.8 9
Rotate 1.0 7, TranslateY 0.8 9
ShearX 0.0 0, Solarize 0.8 4
ShearY 0.8 0, Color 0.6 4
Color 1.0 0, Rotate 0.6 2
Equalize 0.8 4, Equalize 0.0 8
Equalize 1.0 4, AutoContrast 0.6 2
ShearY 0.4 7, SolarizeAdd 0.6 7
Posterize 0.8 2, Solarize 0.6 10
Solarize 0.6 8, Equalize 0.6 1
Color 0.8 6, Rotate 0.4 5
"""


class Step(NamedTuple):
    """One operation of a clip with its drawn argument."""

    name: str
    argument: float


@dataclass(frozen=True)
class Policy:
    """Each clip draws `rounds` of `choices` with replacement; a choice is a tuple of (operation, probability, magnitude).

    The magnitude of each executed operation is drawn from Normal(magnitude, noise), clipped to 0..10.
    """

    operations: dict[str, Operation]
    choices: tuple[tuple[tuple[str, float, float], ...], ...]
    rounds: int
    noise: float

    def draw(self, generator: np.random.Generator) -> tuple[Step, ...]:
        steps = []
        for choice in generator.integers(len(self.choices), size=self.rounds):
            for name, probability, magnitude in self.choices[choice]:
                if generator.random() < probability:
                    operation = self.operations[name]
                    argument = operation.argument(float(np.clip(generator.normal(magnitude, self.noise), 0, 10)))
                    mirrored = operation.signed and generator.random() < 0.5
                    steps.append(Step(name, 2 * operation.neutral - argument if mirrored else argument))
        return tuple(steps)

    def apply(self, pictures: Tensor, steps: Sequence[Step], fill: Colour) -> Tensor:
        """(t, h, w, 3) uint8, contiguous -> a new tensor of the same shape; `fill` is the colour outside the picture."""
        for step in steps:
            pictures = self.operations[step.name].change(pictures, step.argument, fill)
        return pictures


_ALLOWED = "rand with m 0..10, n 1.., mstd 0.., inc 0 or 1, as in rand-m7-n4-mstd0.5-inc1; v0, v0-mstd0.5; or nothing"


@lru_cache(maxsize=16)
def parse_policy(text: str) -> Policy | None:
    """The policy that `text` names; None for an empty text.

    `rand` is RandAugment: two operations (n) of magnitude 10 (m), each executed with probability 1/2; mstd is the noise of
    the magnitude; inc1 uses the operations that grow with it, otherwise the plain ones (the original reads inc0 as inc1).
    `v0` is AutoAugment. Raises VideoMambaError for anything else, with the wrong part and the allowed forms.
    """
    if not text:
        return None
    name, *sections = text.split("-")
    if name not in ("rand", "v0"):
        raise _mistake(text, name)
    values = {"mstd": 0.0} if name == "v0" else {"m": 10.0, "n": 2.0, "mstd": 0.0, "inc": 0.0}
    given: set[str] = set()
    for section in sections:
        match = re.fullmatch(r"([a-z]+)(\d+(?:\.\d+)?)", section, re.ASCII)
        if match is None or match[1] not in values or match[1] in given or not _sensible(match[1], float(match[2])):
            raise _mistake(text, section)
        given.add(match[1])
        values[match[1]] = float(match[2])
    if name == "v0":
        return Policy(PLAIN, _table(_V0), rounds=1, noise=values["mstd"])
    operations = INCREASING if values["inc"] else PLAIN
    choices = tuple(((operation, 0.5, values["m"]),) for operation in operations)
    return Policy(operations, choices, rounds=int(values["n"]), noise=values["mstd"])


def _sensible(key: str, value: float) -> bool:
    return {"m": value <= 10, "n": value >= 1 and value.is_integer(), "mstd": True, "inc": value in (0, 1)}[key]


def _mistake(text: str, part: str) -> VideoMambaError:
    return VideoMambaError(f"augment.auto_augment {text!r}: {part!r} is not understood; allowed: {_ALLOWED}")


def _table(text: str) -> tuple[tuple[tuple[str, float, float], ...], ...]:
    lines = [[pair.split() for pair in line.split(",")] for line in text.strip().splitlines()]
    return tuple(tuple((name, float(p), float(m)) for name, p, m in pairs) for pairs in lines)
