"""The plain form of captions."""

import pytest

from videomamba.data.text.clean import clean_caption


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("A man's dog, barking!", "a mans dog barking"),
        ("3.5-litre and/or more", "35 litre and or more"),
        ("<person> waves; <PERSON> smiles", "person waves person smiles"),
        ('"Quoted" (text) *#:~ here?', "quoted text here"),
        ("  two  spaces\tand\t\ttabs \n", "two spaces\tand tabs"),  # a single tab is left to the tokenizer
        ("a \u201cquoted\u201d word", "a \u201cquoted\u201d word"),
        ("...!?", ""),
        (" - ", ""),
    ],
)
def test_caption_becomes_plain(text: str, plain: str) -> None:
    assert clean_caption(text) == plain
    assert clean_caption(plain) == plain
