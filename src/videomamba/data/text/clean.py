"""Captions and questions in the plain form that the released weights were trained with."""

from __future__ import annotations

import re

_DELETED = re.compile(r"""[,.'!?"()*#:;~]""")
_SPACES = re.compile(r"\s{2,}")


def clean_caption(text: str) -> str:
    """`text` without punctuation, in lower case; "" if nothing remains.

    In this order: lower case; each of , . ' ! ? " ( ) * # : ; ~ is deleted; "-" and "/" become spaces; "<person>" becomes
    "person"; two or more spaces, tabs or line ends become one space; line ends, then spaces, at the end and spaces at the
    start are removed. So "A man's 3.5-litre car" becomes "a mans 35 litre car". Other punctuation stays, such as curly
    quotation marks. Training and tests do the same with every caption and question, never with an answer.

    Source: the original's `pre_text`, as specified for its released weights.
    """
    plain = _DELETED.sub("", text.lower()).replace("-", " ").replace("/", " ").replace("<person>", "person")
    return _SPACES.sub(" ", plain).rstrip("\n").strip(" ")
