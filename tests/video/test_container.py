"""Files whose tags are not valid UTF-8 open with every PyAV."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from videomamba.schema import VideoError
from videomamba.video.container import open_container
from videomamba.video.encode import write_video
from videomamba.video.live.source import LiveSource
from videomamba.video.open import open_video

TITLE = b"a title of old times"


@pytest.fixture
def latin1(tmp_path: Path) -> Path:
    plain, tagged = tmp_path / "plain.mp4", tmp_path / "tagged.mp4"
    write_video(plain, np.zeros((3, 64, 64, 3), np.uint8), fps=5)
    with av.open(str(plain)) as source, av.open(str(tagged), "w") as copy:
        copy.metadata["title"] = TITLE.decode()
        stream = copy.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    content = tagged.read_bytes()
    assert TITLE in content
    tagged.write_bytes(content.replace(TITLE, b"\xe9\xff\xfe".ljust(len(TITLE), b"\xe8")))
    return tagged


def test_tags_that_are_not_utf8_do_not_stop_a_file(latin1: Path) -> None:
    with open_video(latin1) as video:
        assert video.info.num_frames == 3
        assert len(video.frames([0, 2])) == 2


def test_a_file_and_a_stream_are_refused_for_the_same_reason(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello\n" * 99)
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), layout="mono")
        sound.rate = 8000
        container.mux([*stream.encode(sound), *stream.encode(None)])
    for name, reason in (("sound.mkv", "holds no video, only audio; "), ("notes.txt", "FFmpeg reads it as text")):
        path = tmp_path / name
        with pytest.raises(VideoError, match=reason) as of_file:
            open_video(path)
        with pytest.raises(VideoError) as of_stream, LiveSource(str(path)) as live:
            live.take()
        assert str(of_file.value) == str(of_stream.value)


def test_a_file_object_with_such_tags(latin1: Path) -> None:
    with latin1.open("rb") as file, open_container(file) as container:
        assert len(list(container.decode(video=0))) == 3
