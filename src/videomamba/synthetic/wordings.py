"""The words and sentences of captions: phrases of each action, synonyms, and sentences with places for the facts.

Sentences for training and for testing are different, and so are most phrases of actions; but every word of the second occurs
in the first. A network that knows only sentences by heart is thus not right in the test. `captions.py` fills the places:

    {thing}           a red square, two red discs, a red square and a blue disc, a pair of red doors
    {bare}            red square, two red discs, red square and blue disc, pair of red doors
    {thing_coloured}  a square coloured red
    {thing_that}      a square that is red
    {does}, {doing}   moves left, moving left; {is}: is or are
    {ground}          a striped grey background
    {ground_with}     a grey background with stripes
    {setting}         is grey and striped
"""

from __future__ import annotations

from collections.abc import Mapping

VERBS: Mapping[str, tuple[str, str]] = {
    "move": ("moves", "moving"),
    "go": ("goes", "going"),
    "travel": ("travels", "travelling"),
    "slide": ("slides", "sliding"),
    "rise": ("rises", "rising"),
    "fall": ("falls", "falling"),
    "rotate": ("rotates", "rotating"),
    "turn": ("turns", "turning"),
    "spin": ("spins", "spinning"),
    "grow": ("grows", "growing"),
    "get": ("gets", "getting"),
    "become": ("becomes", "becoming"),
    "expand": ("expands", "expanding"),
    "shrink": ("shrinks", "shrinking"),
    "contract": ("contracts", "contracting"),
    "fade": ("fades", "fading"),
    "appear": ("appears", "appearing"),
    "disappear": ("disappears", "disappearing"),
    "vanish": ("vanishes", "vanishing"),
    "approach": ("approaches", "approaching"),
    "come": ("comes", "coming"),
    "separate": ("separates", "separating"),
    "open": ("opens", "opening"),
    "close": ("closes", "closing"),
    "shut": ("shuts", "shutting"),
    "scatter": ("scatters", "scattering"),
    "fly": ("flies", "flying"),
    "spread": ("spreads", "spreading"),
    "gather": ("gathers", "gathering"),
    "collect": ("collects", "collecting"),
}
"""The singular and the participle of each verb."""

Phrase = tuple[str, str]  # a verb and what follows it

PHRASES: Mapping[str, tuple[Phrase, ...]] = {
    "move_left": (("move", "left"), ("go", "to the left"), ("travel", "leftwards"), ("slide", "to the left")),
    "move_right": (("move", "right"), ("go", "to the right"), ("travel", "rightwards"), ("slide", "to the right")),
    "move_up": (("move", "up"), ("rise", ""), ("go", "upwards"), ("slide", "to the top")),
    "move_down": (("move", "down"), ("fall", ""), ("go", "downwards"), ("slide", "to the bottom")),
    "rotate_clockwise": (("rotate", "clockwise"), ("spin", "clockwise"), ("turn", "in a clockwise direction")),
    "rotate_counterclockwise": (
        ("rotate", "counter-clockwise"),
        ("spin", "anticlockwise"),
        ("turn", "in an anticlockwise direction"),
    ),
    "grow": (("grow", ""), ("get", "bigger"), ("become", "larger"), ("expand", "")),
    "shrink": (("shrink", ""), ("get", "smaller"), ("become", "tiny"), ("contract", "")),
    "appear": (("fade", "in"), ("appear", ""), ("become", "visible")),
    "disappear": (("fade", "out"), ("disappear", ""), ("become", "invisible"), ("vanish", "")),
    "approach": (("approach", "each other"), ("move", "towards each other"), ("come", "closer"), ("move", "together")),
    "separate": (("move", "away from each other"), ("separate", ""), ("move", "apart"), ("go", "away from each other")),
    "open": (("open", ""), ("open", "wide"), ("become", "wide open")),
    "close": (("close", ""), ("shut", ""), ("become", "completely shut")),
    "scatter": (("fly", "apart from a point"), ("scatter", ""), ("spread", "out from the middle")),
    "gather": (("gather", "to a point"), ("gather", ""), ("collect", "in the middle")),
}
"""What captions for training say of each action."""

HELD_OUT_PHRASES: Mapping[str, tuple[Phrase, ...]] = {
    "move_left": (("slide", "left"), ("go", "leftwards"), ("move", "to the left")),
    "move_right": (("slide", "right"), ("go", "rightwards"), ("move", "to the right")),
    "move_up": (("slide", "up"), ("move", "upwards"), ("go", "to the top")),
    "move_down": (("slide", "down"), ("move", "downwards"), ("go", "to the bottom")),
    "rotate_clockwise": (("turn", "clockwise"), ("spin", "in a clockwise direction")),
    "rotate_counterclockwise": (
        ("turn", "counter-clockwise"),
        ("rotate", "anticlockwise"),
        ("spin", "in an anticlockwise direction"),
    ),
    "grow": (("become", "bigger"), ("get", "larger")),
    "shrink": (("become", "smaller"), ("get", "tiny")),
    "appear": (("get", "visible"), ("appear", "")),
    "disappear": (("get", "invisible"), ("disappear", "")),
    "approach": (("move", "closer"), ("come", "together"), ("come", "towards each other")),
    "separate": (("separate", "from each other"), ("go", "apart")),
    "open": (("get", "wide open"), ("open", "")),
    "close": (("get", "completely shut"), ("close", "completely")),
    "scatter": (("scatter", "from a point"), ("fly", "out from the middle")),
    "gather": (("gather", "in the middle"), ("collect", "to a point")),
}
"""What captions for testing say. Every word of an action is in its `PHRASES` or in those of another action."""

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "disc": ("disc", "circle"),
    "ring": ("ring", "hoop"),
    "crescent": ("crescent", "moon"),
    "magenta": ("magenta", "pink"),
    "cyan": ("cyan", "turquoise"),
    "navy": ("navy", "dark blue"),
    "crimson": ("crimson", "dark red"),
    "violet": ("violet", "purple"),
}
"""Other names of shapes and colours, from which every caption chooses; anything else has its own name only."""

PATTERNS: Mapping[str, tuple[str, str]] = {
    "clouds": ("cloudy", "clouds"),
    "stripes": ("striped", "stripes"),
    "checks": ("checked", "checks"),
    "gradient": ("shaded", "shades"),
    "grid": ("squared", "a grid"),
    "dots": ("dotted", "dots"),
    "hatching": ("hatched", "hatching"),
}
"""The adjective and the noun of each pattern of a background."""

SENTENCES: tuple[str, ...] = (
    "{thing} {does}",
    "{thing} {does} on {ground}",
    "{thing} {does} over {ground}",
    "{thing} {does} in front of {ground_with}",
    "{bare} {doing}",
    "{bare} {doing} on {ground}",
    "{doing}: {thing} over {ground}",
    "there {is} {thing_coloured} {doing} on {ground}",
    "there {is} {thing} {doing}, and the background {setting}",
    "on {ground}, {thing} {does}",
    "a video of {thing} {doing} over {ground_with}",
    "a short clip of {thing_coloured} {doing}",
    "{thing} can be seen {doing} with {ground} behind",
    "we see {thing_that} {doing} in front of {ground}",
    "the background {setting}, and {thing_coloured} {does}",
    "in this video {thing} {does}",
    "{thing_that} {does} while the background {setting}",
    "the scene shows how {thing} {does} over {ground_with}",
)
"""The sentences of captions for training."""

HELD_OUT_SENTENCES: tuple[str, ...] = (
    "in this short clip {thing} {does} over {ground}",
    "over {ground} there {is} {thing} {doing}",
    "we see how {thing_coloured} {does} on {ground_with}",
    "the video shows {thing} {doing} in front of {ground}",
    "a scene of {thing_that} {doing}, and behind there is {ground}",
    "with {ground_with} behind, {thing} can be seen {doing}",
    "this shows {thing_coloured} {doing} while the background {setting}",
    "the clip shows how {thing} {does}",
)
"""The sentences of captions for testing."""

QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "colour": ("what colour is the {shape}", "which colour does the {shape} have", "tell the colour of the {shape}"),
    "shape": ("which shape is {colour}", "what is the shape of the {colour} object", "what shape does the video show"),
    "action": ("what happens", "what can be seen in the video", "what is going on"),
    "count": ("how many objects are there", "how many objects does the video show", "what is the number of objects"),
    "paper": ("what colour is the background", "which colour does the background have"),
    "pattern": ("what pattern does the background have", "which pattern is behind", "what is on the background"),
}
"""The wordings of each kind of question."""

ANSWERS: Mapping[str, str] = {
    "move_left": "moving left",
    "move_right": "moving right",
    "move_up": "moving up",
    "move_down": "moving down",
    "rotate_clockwise": "rotating clockwise",
    "rotate_counterclockwise": "rotating anticlockwise",
    "grow": "growing",
    "shrink": "shrinking",
    "appear": "appearing",
    "disappear": "disappearing",
    "approach": "approaching",
    "separate": "separating",
    "open": "opening",
    "close": "closing",
    "scatter": "scattering",
    "gather": "gathering",
}
"""The answer to a question after the action."""
