"""WordPiece against transformers, its vocabularies and their faults."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from videomamba.data.text.tokenizer import SPECIAL, Tokenizer, Tokens
from videomamba.schema import VideoMambaError

WORDS = (
    *SPECIAL,
    "a",
    "red",
    "square",
    "move",
    "##s",
    "left",
    "to",
    "the",
    "cafe",
    "##ing",
    "-",
    ",",
    "b",
    "##c",
    "\u732b",
)
TEXTS = [
    "A red square moves left, to the caf\u00e9",
    "unknownword red",
    "moving to-the \u732b\u732b bc",
    "",
    "a [SEP] red [MASK] [sep]",
    "\u0000 red\u00a0square \u200b",
    "red " * 50,
    "x" * 101,
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(WORDS)


def test_tokens_are_those_of_transformers(tmp_path: Path, tokenizer: Tokenizer) -> None:
    from transformers import BertTokenizer

    file = tmp_path / "vocab.txt"
    file.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    theirs = BertTokenizer(vocab=str(file), do_lower_case=True)
    for length in (3, 8, 64):
        expected = theirs(TEXTS, padding="longest", truncation=True, max_length=length, return_tensors="pt")
        ours = tokenizer(TEXTS, max_length=length)
        assert torch.equal(ours.ids, expected["input_ids"])
        assert torch.equal(ours.mask, expected["attention_mask"].bool())
    assert [tokenizer.count(text) for text in TEXTS] == [len(row) for row in theirs(TEXTS)["input_ids"]]


def test_decode_returns_the_words(tokenizer: Tokenizer) -> None:
    tokens = tokenizer(["red squares moving left", "a"], max_length=32)
    assert [tokenizer.decode(row) for row in tokens.ids] == ["red squares left", "a"]  # "moving" is unknown
    assert (
        tokenizer.decode(tokenizer(["the red square moves left"], max_length=32).ids[0]) == "the red square moves left"
    )
    assert tokenizer.decode([]) == ""


def test_tokens_are_selected_and_joined(tokenizer: Tokenizer) -> None:
    long, short = tokenizer(["a red square"], max_length=9), tokenizer(["a", "red left"], max_length=9)
    both = Tokens.cat([long, short])
    assert torch.equal(both.ids, tokenizer(["a red square", "a", "red left"], max_length=9).ids)
    assert torch.equal(both.rows([2, 0]).mask, both.mask[[2, 0]])
    assert len(both.rows(slice(1, 3)).to("cpu")) == 2
    assert tokenizer([], max_length=9).ids.shape == (0, 2)
    with pytest.raises(ValueError, match="int64"):
        Tokens(torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool))
    with pytest.raises(VideoMambaError, match="max_length 2: leaves no room"):
        tokenizer(["a"], max_length=2)


def test_vocabulary_is_read_from_each_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "vocab.txt").write_bytes(("\r\n".join(WORDS) + "\r\n").encode())
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    content = {"model": {"type": "WordPiece", "vocab": vocabulary}, "normalizer": {"lowercase": True}}
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    for path in ("text", "text/vocab.txt", "json", "json/tokenizer.json"):
        assert Tokenizer.read(tmp_path / path).vocabulary == WORDS


def test_wrong_vocabulary_is_one_line(tmp_path: Path) -> None:
    def refusal(name: str, content: str | bytes) -> str:
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(VideoMambaError) as caught:
            Tokenizer.read(file)
        assert "\n" not in str(caught.value)
        return str(caught.value).removeprefix(str(file))

    assert refusal("a.txt", "\n".join(WORDS[1:])) == ": has no [PAD]; give the vocabulary of an uncased BERT"
    assert refusal("b.txt", "\n".join([*WORDS, "red"])) == ": has 'red' more than once; remove the others"
    assert "in upper case" in refusal("c.txt", "\n".join([*WORDS, "Paris"]))
    assert "not text in UTF-8" in refusal("d.txt", b"\xff\xfe")
    assert "no tokenizer.json of a WordPiece" in refusal("e.json", "[1, 2]")
    assert "of another kind (BPE)" in refusal("f.json", json.dumps({"model": {"type": "BPE", "vocab": {}}}))
    cased = {"model": {"type": "WordPiece", "vocab": {}}, "normalizer": {"lowercase": False}}
    assert "keeps upper case" in refusal("g.json", json.dumps(cased))
    gaps = {"model": {"type": "WordPiece", "vocab": {"a": 0, "b": 2}}}
    assert "with gaps" in refusal("h.json", json.dumps(gaps))
    with pytest.raises(VideoMambaError, match=r"neither vocab\.txt nor tokenizer\.json"):
        Tokenizer.read(tmp_path)
    with pytest.raises(VideoMambaError, match="cannot be read"):
        Tokenizer.read(tmp_path / "missing.txt")


def test_learned_vocabulary_joins_the_frequent_pairs() -> None:
    texts = ["low low low low low", "lower lower newest newest newest newest newest newest", "Widest, widest widest"]
    learned = Tokenizer.learn(texts, 40)
    start = len(SPECIAL)
    letters = sorted({"l", "n", "w", ",", *(f"##{x}" for x in "oweridst")})
    assert learned.vocabulary[: start + len(letters)] == (*SPECIAL, *letters)
    assert learned.vocabulary[start + len(letters) :][:3] == ("##es", "##est", "##ow")
    assert learned.decode(learned(texts, max_length=32).ids[1]) == texts[1]
    assert len(Tokenizer.learn(texts, 20)) == 20
    assert learned.unk not in learned(texts, max_length=32).ids
    with pytest.raises(VideoMambaError, match="vocabulary of 10: its texts need 17"):
        Tokenizer.learn(texts, 10)


def test_learned_vocabulary_does_not_depend_on_order_or_process() -> None:
    texts = [
        f"a {colour} {shape} moves {where}"
        for colour in ("red", "green")
        for shape in ("square", "disc")
        for where in ("up", "left")
    ]
    expected = Tokenizer.learn(texts, 60).vocabulary
    assert Tokenizer.learn(reversed(texts), 60).vocabulary == expected
    code = (
        "import sys, json; from videomamba.data.text.tokenizer import Tokenizer; "
        "print(json.dumps(Tokenizer.learn(json.loads(sys.argv[1]), 60).vocabulary))"
    )
    run = [sys.executable, "-c", code, json.dumps(texts)]
    out = subprocess.run(run, capture_output=True, text=True, check=True, timeout=60).stdout
    assert tuple(json.loads(out)) == expected
