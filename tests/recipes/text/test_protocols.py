"""The published tests of retrieval: how they read a data set, and their numbers."""

from __future__ import annotations

import pytest

from videomamba.data.settings import TextDataSettings
from videomamba.recipes.text.protocols import PROTOCOLS, protocol
from videomamba.schema import VideoMambaError


def test_the_published_numbers() -> None:
    assert list(PROTOCOLS) == ["msrvtt", "didemo", "activitynet", "lsmdc", "msvd"]
    for test in PROTOCOLS.values():
        assert list(test.published) == ["5M", "17M", "25M"]
        for row in test.published.values():
            for shares in row:
                assert list(shares) == sorted(shares)
    assert PROTOCOLS["msrvtt"].published["25M"].t2v == (35.6, 58.1, 69.5)
    assert PROTOCOLS["msvd"].published["5M"].v2t == (57.5, 79.9, 85.4)
    assert {name: test.max_length for name, test in PROTOCOLS.items()} == {
        "msrvtt": 32, "didemo": 64, "activitynet": 150, "lsmdc": 96, "msvd": 64
    }  # fmt: skip


def test_the_row_of_released_weights() -> None:
    msrvtt = protocol("msrvtt")
    assert list(msrvtt.published_for("videomamba_m16_17M_f8_res224.pth")) == ["17M"]
    assert list(msrvtt.published_for("videomamba_middle_25m_f8_224")) == ["25M"]
    assert list(msrvtt.published_for("mine.safetensors")) == ["5M", "17M", "25M"]


def test_a_protocol_decides_how_the_data_is_read() -> None:
    read = protocol("didemo").settings(TextDataSettings(workers=3))
    assert (read.format, read.captions, read.first_seconds, read.workers) == ("didemo", "paragraph", 30.0, 3)
    assert protocol("msvd").settings(TextDataSettings(format="msvd")).captions == "each"
    with pytest.raises(VideoMambaError, match=r"data\.captions: is paragraph, and each in protocol msvd; omit one"):
        protocol("msvd").settings(TextDataSettings(captions="paragraph"))
    with pytest.raises(VideoMambaError, match=r"protocol msrvt: unknown; did you mean 'msrvtt'\?"):
        protocol("msrvt")
