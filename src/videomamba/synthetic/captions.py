"""Captions, questions and multiple choice of synthetic clips, written from the facts of a scene.

Everything is a function of (action, seed, style) and, for a caption, of the index of its wording: no draw depends on another
clip. The words are in `wordings.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from videomamba.synthetic.actions import ACTIONS, NUMBERS, article, plural
from videomamba.synthetic.look import LOOKS, STYLES, Look
from videomamba.synthetic.sample import sample_scene
from videomamba.synthetic.scene import Thing
from videomamba.synthetic.wordings import (
    ANSWERS,
    HELD_OUT_PHRASES,
    HELD_OUT_SENTENCES,
    PATTERNS,
    PHRASES,
    QUESTIONS,
    SENTENCES,
    SYNONYMS,
    VERBS,
)

_CAPTIONS, _HELD_OUT, _QUESTIONS, _CHOICES = range(4)  # the last number of the seed of each kind of text
_PAIRS_OF = ("doors", "tongs")  # one object with a name in the plural


@dataclass(frozen=True)
class Facts:
    """What captions say of a clip: its action, the objects that act, the colour and the pattern of the background."""

    action: str
    things: tuple[Thing, ...]
    paper: str
    pattern: str

    @property
    def subject(self) -> tuple[str, frozenset[Thing], int]:
        """Equal for two clips if and only if captions without the background can be the same for both."""
        return self.action, frozenset(self.things), len(self.things)


@dataclass(frozen=True)
class Question:
    """A question with its answer; `kind` is a key of `wordings.QUESTIONS`."""

    kind: str
    text: str
    answer: str


@dataclass(frozen=True)
class Choice:
    """Captions of which the one at index `right` is true of the clip, and each other is wrong in one fact."""

    captions: tuple[str, ...]
    right: int


@lru_cache(maxsize=1)  # one clip has captions, questions and choices
def facts(action: int, seed: int, style: str = "default") -> Facts:
    """The facts of the clip of `render_clip` for the same arguments, whose ValueErrors it shares."""
    if not 0 <= action < len(ACTIONS):
        raise ValueError(f"action: {action} is not in 0..{len(ACTIONS) - 1}")
    scene = sample_scene(action // 2, seed, style)
    return Facts(ACTIONS[action], scene.things, scene.paper, scene.background.pattern)


def captions(action: int, seed: int, style: str = "default", *, count: int = 6, held_out: bool = False) -> list[str]:
    """`count` captions of a clip in different sentences; the first ones are the same for every count.

    Each names the colour and the shape of the objects and the action, most also the background. With `held_out` the
    sentences, and the phrases of most actions, are others, which consist of the same words.

    Raises ValueError for arguments without a clip, and for more captions than there are sentences.
    """
    sentences = HELD_OUT_SENTENCES if held_out else SENTENCES
    if not 1 <= count <= len(sentences):
        raise ValueError(f"count: {count} captions are not in 1..{len(sentences)}")
    what = facts(action, seed, style)
    rng = _generator(action, seed, style, _HELD_OUT if held_out else _CAPTIONS)
    order = rng.permutation(len(sentences))[:count]
    return [_sentence(sentences[i], what, rng, held_out=held_out) for i in order]


def questions(action: int, seed: int, style: str = "default") -> list[Question]:
    """The questions about a clip, at most one of each kind.

    Some clips are not asked for their shape or number, so that over many clips each answer to a kind of question is as
    frequent as the others. Raises ValueError for arguments without a clip.
    """
    what, look = facts(action, seed, style), LOOKS[style]
    rng = _generator(action, seed, style, _QUESTIONS)
    thing = what.things[0] if len(what.things) == 1 else None
    answers = {"action": ANSWERS[what.action], "paper": what.paper, "pattern": PATTERNS[what.pattern][0]}
    if thing is not None:
        answers["colour"] = thing.colour
    ask_shape, ask_count = rng.random(2)
    if thing is not None and ask_shape < _share_of_shape(what.action, look):
        answers["shape"] = thing.shape
    if ask_count < _SHARE_OF_COUNT.get(len(what.things), 1.0):
        answers["count"] = NUMBERS[len(what.things)]
    words = {} if thing is None else {"colour": thing.colour, "shape": _pair_of(thing.shape, thing.shape)}
    found = []
    for kind, wordings in QUESTIONS.items():
        wording = _one_of(wordings, rng)  # drawn for every kind: what is asked changes no other wording
        if kind in answers:
            found.append(Question(kind, wording.format(**words), answers[kind]))
    return found


def choices(action: int, seed: int, style: str = "default") -> Choice:
    """Five captions in a sentence for testing: the true one, and one each with another colour, shape, action, background.

    The wrong action is the clip played backwards. Raises ValueError for arguments without a clip.
    """
    what, look = facts(action, seed, style), LOOKS[style]
    rng = _generator(action, seed, style, _CHOICES)
    i = int(rng.integers(len(what.things)))
    of_same = {i} if len(set(what.things)) > 1 else set(range(len(what.things)))

    def changed(change: Callable[[Thing], Thing]) -> Facts:
        return replace(what, things=tuple(change(one) if k in of_same else one for k, one in enumerate(what.things)))

    colour = _other(what.things[i].colour, tuple(look.inks), rng)
    shape = _other(what.things[i].shape, _shapes_beside(what, look), rng)
    candidates = [
        what,
        changed(lambda one: replace(one, colour=colour)),
        changed(lambda one: replace(one, shape=shape)),
        replace(what, action=ACTIONS[ACTIONS.index(what.action) ^ 1]),
        replace(what, paper=_other(what.paper, tuple(look.papers), rng)),
    ]
    sentence = _one_of(tuple(one for one in HELD_OUT_SENTENCES if "ground" in one), rng)
    same = int(rng.integers(2**32))  # the same choices of words in every caption
    written = [_sentence(sentence, one, np.random.default_rng(same), held_out=True) for one in candidates]
    order = rng.permutation(len(written)).tolist()
    return Choice(tuple(written[k] for k in order), order.index(0))


def distinct(clips: Sequence[Facts], count: int) -> list[int]:
    """The indices of `count` clips of which no two have the same subject and action, in order; as many of each action.

    An action with too few distinct clips is replaced by clips of the others. Raises ValueError where there are not enough.
    """
    first_of: dict[tuple[object, ...], int] = {}
    for i, clip in enumerate(clips):
        first_of.setdefault(clip.subject, i)
    queues = {action: [i for i in first_of.values() if clips[i].action == action] for action in ACTIONS}
    rounds = max(map(len, queues.values()), default=0)
    chosen = [queue[k] for k in range(rounds) for queue in queues.values() if k < len(queue)]
    if len(chosen) < count:
        raise ValueError(f"{count} distinct clips were asked for, and the {len(clips)} clips have {len(chosen)}")
    return sorted(chosen[:count])


_SHARE_OF_COUNT = {1: 1 / 24, 2: 1 / 4}
"""Of 16 actions 12 show one object, 2 show two, and 2 show six to nine: each number is then asked for equally often."""


def _share_of_shape(action: str, look: Look) -> float:
    """With these shares each shape is the answer equally often: 8 actions show `shapes`, 2 show each of the others."""
    own = _shapes_of(action, look)
    actions = sum(_shapes_of(one, look) == own for one in ACTIONS if one not in ("approach", "separate"))
    return min(2 / len(look.turners), 2 / len(look.openers)) / (actions / len(own))


def _shapes_of(action: str, look: Look) -> tuple[str, ...]:
    if action.startswith("rotate"):
        return look.turners
    if action in ("open", "close"):
        return look.openers
    return (look.dot,) if action in ("scatter", "gather") else look.shapes


def _shapes_beside(what: Facts, look: Look) -> tuple[str, ...]:
    shapes = _shapes_of(what.action, look)
    return shapes if len(shapes) > 1 else look.shapes


def _generator(action: int, seed: int, style: str, kind: int) -> np.random.Generator:
    return np.random.default_rng([STYLES.index(style), action, seed, kind])


def _one_of(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _other(value: str, options: Sequence[str], rng: np.random.Generator) -> str:
    return _one_of([option for option in options if option != value], rng)


def _sentence(sentence: str, what: Facts, rng: np.random.Generator, *, held_out: bool) -> str:
    """The sentence with the facts; takes as many numbers from `rng` whatever the facts are."""
    pick = rng.random(4)
    phrases = (HELD_OUT_PHRASES if held_out else PHRASES)[what.action]
    verb, rest = phrases[int(pick[0] * len(phrases))]
    one, doing = VERBS[verb]
    many = len(what.things) > 1

    def named(word: str, share: float) -> str:
        names = SYNONYMS.get(word, (word,))
        return names[int(share * len(names))]

    things = [(named(thing.colour, pick[1]), named(thing.shape, pick[2])) for thing in what.things]
    adjective, noun = PATTERNS[what.pattern]
    first, second = (adjective, what.paper) if pick[3] < 0.5 else (what.paper, adjective)
    return sentence.format(
        thing=_listed(things, lambda colour, shape: f"{colour} {shape}"),
        bare=_listed(things, lambda colour, shape: f"{colour} {shape}", articles=False),
        thing_coloured=_listed(things, lambda colour, shape: f"{shape} coloured {colour}"),
        thing_that=_listed(
            things, lambda colour, shape: f"{shape} that {'are' if _repeated(things) else 'is'} {colour}"
        ),
        does=f"{verb if many else one} {rest}".strip(),
        doing=f"{doing} {rest}".strip(),
        ground=article(f"{first} {second} background"),
        ground_with=f"{article(what.paper)} background with {noun}",
        setting=f"is {first} and {second}",
        **{"is": "are" if many else "is"},
    )


def _pair_of(shape: str, phrase: str) -> str:
    return f"pair of {phrase}" if shape in _PAIRS_OF else phrase


def _repeated(things: Sequence[tuple[str, str]]) -> bool:
    return len(things) > 1 and len(set(things)) == 1


def _listed(things: Sequence[tuple[str, str]], write: Callable[[str, str], str], *, articles: bool = True) -> str:
    """The objects as one noun phrase; `write` gives the phrase of one from its colour and its shape."""
    if _repeated(things):
        colour, shape = things[0]
        return f"{NUMBERS[len(things)]} {write(colour, plural(shape))}"
    named = []
    for colour, shape in things:
        phrase = _pair_of(shape, write(colour, shape))
        named.append(article(phrase) if articles else phrase)
    return " and ".join(named)
