"""The class of a mirrored or turned video, derived from the names of the classes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from videomamba.schema import Symmetries

_TURN = ("clockwise", "counterclockwise")
LEFT_RIGHT = (("left", "right"), ("leftward", "rightward"), ("leftwards", "rightwards"), _TURN)
UP_DOWN = (("up", "down"), ("upward", "downward"), ("upwards", "downwards"), _TURN)

UNLABELLED = Symmetries(mirror=(), upside_down=(), backwards=())
"""Of videos without a class: there is none that a change could make wrong, so every change is allowed.

That includes data sets whose classes depend on left and right: their clips are compared with a teacher's view of the same
clip, mirrored or not. The original's pretraining also mirrors the clips of Something-Something V2.
"""


def swapped_classes(labels: Sequence[str], pairs: Sequence[tuple[str, str]]) -> tuple[int, ...] | None:
    """Entry i is the class whose name is that of class i with the words of each pair swapped.

    A name without such words does not change. None when a name has such a word and no class, or more than one, has the
    swapped name: then the class of a changed video is unknown. Case and separators ("turn_left", "Turn left", "TurnLeft",
    "left2") do not matter; anticlockwise and counter-clockwise mean counterclockwise. A word that contains one of these
    words counts only if another class has the swapped word: turnleft if there is turnright, but never bright.
    """
    swap = {word: other for pair in pairs for word, other in (pair, pair[::-1])}
    within = re.compile("|".join(sorted(swap, key=len, reverse=True)))
    names = [_words(label) for label in labels]
    places: dict[tuple[str, ...], list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    classes = []
    for place, name in enumerate(names):
        swapped = tuple(swap.get(word, word) for word in name)
        if swapped == name:
            glued = tuple(within.sub(lambda match: swap[match[0]], word) for word in name)
            swapped = glued if glued in places else name
        found = [place] if swapped == name else places.get(swapped, [])
        if len(found) != 1:
            return None
        classes.append(found[0])
    return tuple(classes) if len(set(classes)) == len(classes) else None


def _words(label: str) -> tuple[str, ...]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label).lower()
    joined = re.sub(r"\b(?:counter|anti)[\s_-]*clockwise", "counterclockwise", spaced.replace("_", " "))
    return tuple(re.findall(r"[^\W\d]+|\d+", joined))
