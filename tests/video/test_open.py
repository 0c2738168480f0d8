"""Exact frames: whatever the codec, the container and the indices, the pictures of a plain full decode."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tests.video.clips import RECIPES, Picture, Recipe, damage_the_header, draw, encode, read_plainly, remux, replaced
from videomamba.schema import VideoError, VideoMambaError
from videomamba.video import pyav as decode_pyav
from videomamba.video import walk
from videomamba.video.open import Video, open_video
from videomamba.video.packets import ENTRY_AT_KEY, PacketSource
from videomamba.video.pyav import PyavVideo

Clip = Callable[[str], Path]

REAL = ("flipping_a_pancake.mkv", "arm_wrestling.mp4", "nasa_13013.mp4", "av1_video.mkv", "unordered_frames.mov")


def index_sets(count: int) -> list[list[int]]:
    random = np.random.default_rng(count)
    return [
        list(range(count)),
        list(range(count))[::-1],
        np.linspace(0, count - 1, 16).astype(int).tolist(),
        random.integers(0, count, 12).tolist(),
        [count - 1, 0, count // 2, count // 2],
        *([int(i)] for i in random.permutation(count)[:12]),
    ]


def check_against(truth: list[Picture], video: Video) -> None:
    assert video.info.num_frames == len(truth)
    for indices in index_sets(len(truth)):
        frames = video.frames(indices)
        assert frames.indices == tuple(indices)
        for row, index in enumerate(indices):
            np.testing.assert_array_equal(frames.data[row].numpy(), truth[index], err_msg=f"{indices}: {index}")


@pytest.fixture
def count_decodes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by one with every packet that a walk decodes."""
    sent: list[int] = []
    decode = walk.decode

    def counted(stream, packet):
        sent.append(packet.size)
        return decode(stream, packet)

    monkeypatch.setattr(walk, "decode", counted)
    return sent


class TestExactness:
    @pytest.mark.parametrize("name", RECIPES)
    def test_made(self, clip: Clip, name: str) -> None:
        path = clip(name)
        truth = read_plainly(path)
        for threads in (1, 3):
            with open_video(path, threads=threads) as video:
                check_against(truth, video)
                assert (video.info.height, video.info.width) == RECIPES[name].size
                assert video.info.path == str(path)
                assert video.info.num_frames == RECIPES[name].frames

    @pytest.mark.parametrize("name", REAL)
    def test_real(self, real_videos: Path, name: str) -> None:
        truth = read_plainly(real_videos / name)
        for threads in (1, 2):
            with open_video(real_videos / name, threads=threads) as video:
                check_against(truth, video)

    def test_every_codec_that_seeks_is_tried(self, clip: Clip) -> None:
        tried = set()
        for name in RECIPES:
            with av.open(str(clip(name))) as container:
                tried.add(container.streams.video[0].codec.canonical_name)
        assert tried >= ENTRY_AT_KEY

    @pytest.mark.parametrize("name", ["h264 open gop", "hevc open gop", "mpeg2.mpg", "h264.ts"])
    def test_where_seeking_fails_the_file_is_read_from_its_beginning(
        self, clip: Clip, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(PacketSource, "_seek", lambda *_: None)
        with open_video(clip(name), threads=1) as video:
            check_against(read_plainly(clip(name)), video)

    def test_key_flags_that_lie(self, clip: Clip, tmp_path: Path) -> None:
        def all_key(_: int, packet: av.Packet) -> av.Packet:
            packet.is_keyframe = True
            return packet

        path = remux(clip("h264.mkv"), tmp_path / "all_key.mkv", all_key)
        with open_video(path, threads=1) as video:
            check_against(read_plainly(path), video)

    def test_vp8_pictures_that_are_not_shown(self, clip: Clip, tmp_path: Path) -> None:
        def hide(number: int, packet: av.Packet) -> av.Packet:
            content = bytes(packet)
            return replaced(packet, bytes([content[0] & ~0x10]) + content[1:]) if number in (4, 17) else packet

        path = remux(clip("vp8.webm"), tmp_path / "hidden.webm", hide)
        with open_video(path) as video:
            assert video.info.num_frames == 28
            check_against(read_plainly(path), video)

    @pytest.mark.parametrize("name", ["h264.mp4", "h264 open gop", "hevc.mp4", "mpeg4.mp4"])
    def test_edit_list(self, clip: Clip, tmp_path: Path, name: str) -> None:
        def earlier(_: int, packet: av.Packet) -> av.Packet:
            packet.pts -= 7 * 512
            packet.dts -= 7 * 512
            return packet

        path = remux(clip(name), tmp_path / "edited.mp4", earlier)
        with open_video(path) as video:
            assert video.info.num_frames == 23
            check_against(read_plainly(path), video)

    @pytest.mark.parametrize(
        ("name", "lost"),
        [("h264.mkv", 3), ("hevc open gop", 3), ("hevc open gop", 11), ("mpeg2.ts", 3), ("h264.ts", 3)],
    )
    def test_beginning_that_leans_on_lost_pictures(self, clip: Clip, tmp_path: Path, name: str, lost: int) -> None:
        target = tmp_path / f"cut{RECIPES[name].suffix}"
        path = remux(clip(name), target, lambda number, packet: packet if number >= lost else None)
        truth = read_plainly(path)
        assert 0 < len(truth) < 30 - lost
        with open_video(path) as video:
            check_against(truth, video)

    def test_odd_file_names(self, clip: Clip, tmp_path: Path) -> None:
        for name in ("a:b.mp4", "%03d.mp4", "två ord.mp4", "http:x.mp4"):
            path = tmp_path / name
            path.write_bytes(clip("h264.mp4").read_bytes())
            with open_video(path) as video:
                assert video.info.num_frames == 30


class TestEffort:
    def test_jumps_only_over_key_frames(self, clip: Clip, count_decodes: list[int]) -> None:
        with open_video(clip("mpeg4.mp4"), threads=1) as video:
            count_decodes.clear()
            video.frames([21])
            assert len(count_decodes) <= 6  # key frames at 0, 12, 24 at the latest: never from the beginning
            count_decodes.clear()
            video.frames([22, 23])
            assert len(count_decodes) <= 4

    def test_reading_on_decodes_each_packet_once(self, clip: Clip, count_decodes: list[int]) -> None:
        with open_video(clip("h264.mp4"), threads=1) as video:
            for first in range(0, 30, 5):
                video.frames(range(first, first + 5))
        assert len(count_decodes) == 30 + 1  # and the flush

    def test_repeated_indices_decode_and_convert_once(
        self, clip: Clip, count_decodes: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        converted = []
        write = decode_pyav.RgbWriter.write
        monkeypatch.setattr(decode_pyav.RgbWriter, "write", lambda *args: converted.append(1) or write(*args))
        with open_video(clip("h264.mp4"), threads=1) as video:
            frames = video.frames([3, 3, 1, 3, 1])
        assert len(converted) == 2
        assert len(count_decodes) < 12
        assert torch.equal(frames.data[0], frames.data[3])
        assert not torch.equal(frames.data[0], frames.data[2])


class TestInfo:
    def test_plain(self, clip: Clip) -> None:
        with open_video(clip("h264.mp4")) as video:
            assert video.info.fps == pytest.approx(25)
            assert video.info.duration == pytest.approx(30 / 25)
            assert (video.info.codec, video.info.rotation) == ("h264", 0)
            np.testing.assert_allclose(video.timestamps, np.arange(30) / 25)
            assert video.frames([4, 2]).timestamps == pytest.approx((0.16, 0.08))

    def test_codec_is_not_the_decoder(self, clip: Clip) -> None:
        with open_video(clip("av1.mkv")) as video:
            assert video.info.codec == "av1"

    def test_uneven_times(self, clip: Clip) -> None:
        with open_video(clip("h264 uneven times")) as video:
            np.testing.assert_allclose(video.timestamps, [(i * i * 3 + i * 40) / 1000 for i in range(30)])
            assert video.info.fps == pytest.approx(29 / video.timestamps[-1])

    def test_times_start_at_zero(self, clip: Clip) -> None:
        for name in ("h264.ts", "mpeg2.mpg", "h264.flv", "h264.avi", "h264 raw"):
            with open_video(clip(name)) as video:
                np.testing.assert_allclose(video.timestamps, np.arange(30) / 25, atol=1e-3, err_msg=name)

    def test_one_frame(self, clip: Clip) -> None:
        with open_video(clip("h264 one frame")) as video:
            assert (video.info.num_frames, video.info.fps, video.info.duration) == (1, 0.0, 0.0)
            assert video.frames([0, 0, 0]).data.shape == (3, 48, 64, 3)

    @pytest.mark.parametrize("mirrored", [(False, False), (True, False), (False, True)])
    @pytest.mark.parametrize("degrees", [0, 90, -90, 180])
    def test_upright(self, tmp_path: Path, degrees: int, mirrored: tuple[bool, bool]) -> None:
        recipe = RECIPES["h264.mp4"]._replace(frames=3)
        stored = read_plainly(encode(tmp_path / "stored.mp4", recipe))
        path = encode(tmp_path / "turned.mp4", recipe, display=(degrees, *mirrored))
        with open_video(path) as video:
            frames = video.frames(range(3))
            assert video.info.height == (64 if degrees in (90, -90) else 48)
        for shown, picture in zip(frames.data.numpy(), stored, strict=True):
            expected = np.rot90(picture, degrees // 90)
            expected = expected[:, ::-1] if mirrored[0] else expected
            expected = expected[::-1] if mirrored[1] else expected
            np.testing.assert_array_equal(shown, expected)

    def test_rotated_phone_video(self, real_videos: Path) -> None:
        path = real_videos / "rotated_90.mov"
        with open_video(path) as video:
            assert (video.info.height, video.info.width, video.info.rotation) == (568, 320, 90)
            shown = video.frames(range(3)).data.numpy()
        np.testing.assert_array_equal(shown, np.rot90(np.stack(read_plainly(path)), -1, axes=(1, 2)))

    def test_no_indices(self, clip: Clip) -> None:
        with open_video(clip("h264.mp4")) as video:
            assert video.frames([]).data.shape == (0, 48, 64, 3)

    @pytest.mark.parametrize("index", [-1, 30])
    def test_outside(self, clip: Clip, index: int) -> None:
        with (
            open_video(clip("h264.mp4")) as video,
            pytest.raises(ValueError, match=f"frame {index} of a video with 30"),
        ):
            video.frames([0, index])

    def test_backend_that_does_not_exist(self, clip: Clip) -> None:
        with pytest.raises(ValueError, match="backend"):
            open_video(clip("h264.mp4"), backend="decord")


class TestDamage:
    """A picture that cannot be vouched for is an error with the file's name and the frame; the others still come."""

    @pytest.mark.parametrize("threads", [1, 3])
    @pytest.mark.parametrize("name", ["h264.mp4", "hevc.mp4", "vp9.webm", "mpeg4.mp4"])
    def test_in_the_middle(self, clip: Clip, tmp_path: Path, name: str, threads: int) -> None:
        whole = clip(name)
        content = bytearray(whole.read_bytes())
        with av.open(str(whole)) as container:
            packets = [p for p in container.demux(video=0) if p.size]
        keys = [number for number, packet in enumerate(packets) if packet.is_keyframe]
        second = next(key for key in keys if key >= 8)
        third = next((key for key in keys if key > second), len(packets))
        hit = packets[second + 2]
        junk = np.random.default_rng(0).integers(0, 256, hit.size - 6).astype(np.uint8).tobytes()
        content[hit.pos + 6 : hit.pos + hit.size] = junk
        path = tmp_path / f"damaged{whole.suffix}"
        path.write_bytes(content)

        times = sorted(packet.pts for packet in packets)
        untouched = {times.index(p.pts) for p in packets[:second] + packets[third:]}
        truth = read_plainly(whole)
        refused = set()
        with open_video(path, threads=threads) as video:
            for index in np.random.default_rng(1).permutation(30):
                try:
                    shown = video.frames([int(index)]).data[0].numpy()
                except VideoError as error:
                    assert str(error).startswith(f"{path}: frame {index} of 30 ")
                    assert "\n" not in str(error)
                    refused.add(int(index))
                else:
                    np.testing.assert_array_equal(shown, truth[index])
        assert times.index(hit.pts) in refused
        assert not refused & untouched

    def test_real(self, real_videos: Path, capfd: pytest.CaptureFixture[str]) -> None:
        path = real_videos / "corrupted.mp4"
        truth = []
        with av.open(str(path)) as container, pytest.raises(av.error.InvalidDataError):
            for frame in container.decode(video=0):
                truth.append(frame.to_ndarray(format="rgb24"))
        with open_video(path) as video:
            assert video.info.num_frames == 50
            np.testing.assert_array_equal(video.frames(range(28)).data.numpy(), np.stack(truth))
            for indices in ([30], [0, 45], [49]):
                with pytest.raises(VideoError, match=rf"corrupted\.mp4: frame {indices[-1]} of 50 is damaged"):
                    video.frames(indices)
            video.frames([5])
        assert capfd.readouterr() == ("", "")

    def test_packet_without_a_picture(self, clip: Clip, tmp_path: Path) -> None:
        filler = b"\x00\x00\x00\x03\x0c\xff\x80"  # an H.264 unit of filler data, length first as in Matroska
        path = remux(
            clip("h264.mkv"),
            tmp_path / "filler.mkv",
            lambda number, packet: replaced(packet, filler) if number == 14 else packet,
        )
        truth = read_plainly(clip("h264.mkv"))
        with open_video(path) as video:
            assert video.info.num_frames == 30
            np.testing.assert_array_equal(video.frames(range(10)).data.numpy(), truth[:10])
            with pytest.raises(VideoError, match=r"filler\.mkv: frame 1\d of 30 .*re-encode"):
                video.frames(range(10, 20))
            np.testing.assert_array_equal(video.frames(range(20, 30)).data.numpy(), truth[20:])

    def test_size_that_changes(self, tmp_path: Path) -> None:
        recipe = RECIPES["h264 raw"]._replace(frames=5)
        small = encode(tmp_path / "small.h264", recipe)
        large = encode(tmp_path / "large.h264", recipe._replace(size=(96, 64)))
        path = tmp_path / "both.h264"
        path.write_bytes(small.read_bytes() + large.read_bytes())
        with open_video(path) as video:
            assert video.info.num_frames == 10
            with pytest.raises(VideoError, match="size changes from 64x48 to 64x96 by frame 7"):
                video.frames([0, 7])

    @pytest.mark.parametrize("threads", [1, 3])
    def test_counted_file(self, clip: Clip, tmp_path: Path, threads: int) -> None:
        whole = clip("h264.avi")
        content = bytearray(whole.read_bytes())
        with av.open(str(whole)) as container:
            hit = [p for p in container.demux(video=0) if p.size][26]
        start, end = content.index(bytes(hit)) + 8, content.index(bytes(hit)) + hit.size
        content[start:end] = np.random.default_rng(0).integers(0, 256, end - start).astype(np.uint8).tobytes()
        path = tmp_path / "damaged.avi"
        path.write_bytes(content)
        truth = read_plainly(whole)
        with open_video(path, threads=threads) as video:
            np.testing.assert_array_equal(video.frames([0, 5]).data.numpy(), [truth[0], truth[5]])
            with pytest.raises(VideoError, match="is damaged"):
                video.frames([video.info.num_frames - 1])

    @pytest.mark.parametrize("name", ["h264.mp4", "h264.ts", "hevc open gop", "vp9.webm", "av1.mkv", "mpeg2.ts"])
    def test_at_random_places(self, clip: Clip, tmp_path: Path, name: str) -> None:
        """Nothing but VideoError comes out of a broken file, in one line, and no wait without end."""
        random = np.random.default_rng(0)
        content = clip(name).read_bytes()
        path = tmp_path / f"broken{RECIPES[name].suffix}"
        outcomes = {"read": 0, "refused": 0}
        for _ in range(25):
            broken = bytearray(content)
            start, length = int(random.integers(len(content))), int(random.integers(1, 60))
            broken[start : start + length] = random.integers(0, 256, length).astype(np.uint8).tobytes()
            path.write_bytes(broken)
            try:
                with open_video(path, threads=2) as video:
                    video.frames(random.integers(0, video.info.num_frames, 4).tolist())
                outcomes["read"] += 1
            except VideoError as error:
                assert str(error).startswith(f"{path}: ")
                assert "\n" not in str(error)
                outcomes["refused"] += 1
        assert min(outcomes.values()) > 0, outcomes

    def test_header_of_the_codec(self, clip: Clip, tmp_path: Path) -> None:
        with pytest.raises(VideoError, match=r"header\.mp4: frame 0 of 30 is damaged"):
            open_video(damage_the_header(clip("hevc.mp4"), tmp_path / "header.mp4"))

    def test_first_picture(self, clip: Clip, tmp_path: Path) -> None:
        path = remux(clip("vp9.webm"), tmp_path / "late.webm", lambda number, packet: packet if number >= 3 else None)
        with pytest.raises(VideoError, match=r"late\.webm: frame 0 of 27 is damaged"):
            open_video(path)


def damage_a_packet(path: Path) -> None:
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        hit = [packet for packet in container.demux(video=0) if packet.size][15]
    junk = np.random.default_rng(0).integers(0, 256, hit.size - 6).astype(np.uint8).tobytes()
    content[hit.pos + 6 : hit.pos + hit.size] = junk
    path.write_bytes(content)


class TestMemory:
    @pytest.mark.parametrize("damaged", [False, True])
    def test_nothing_waits_for_the_garbage_collector(self, tmp_path: Path, damaged: bool) -> None:
        """Frames and decoders in reference cycles stay until Python looks for such: gigabytes for large pictures."""
        path = encode(tmp_path / "clip.mp4", RECIPES["h264.mp4"], display=(90, False, False))
        if damaged:
            damage_a_packet(path)

        def read() -> bool:
            try:
                with open_video(path, threads=2) as video:
                    video.frames(range(30))
            except VideoError:
                return False
            return True

        gc.collect()
        gc.disable()
        try:
            assert [read() for _ in range(3)] == [not damaged] * 3
            kinds = (av.container.InputContainer, av.CodecContext, PyavVideo)
            objects = gc.get_objects()
            left = [o for o in objects if issubclass(type(o), kinds) or (type(o) is av.VideoFrame and o.width > 2)]
        finally:
            gc.enable()
        assert left == []


def write_audio(path: Path, *, cover: bool = False) -> None:
    with av.open(str(path), "w") as container:
        audio = container.add_stream("aac", rate=16000)
        picture = container.add_stream("mjpeg", rate=1) if cover else None
        if picture is not None:
            picture.height, picture.width, picture.pix_fmt = 16, 16, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
            container.mux(picture.encode(av.VideoFrame(16, 16, "yuvj420p")))
            container.mux(picture.encode(None))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))


class TestNotAVideo:
    def refused(self, path: Path, reason: str) -> None:
        with pytest.raises(VideoError, match=reason) as caught:
            open_video(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)
        assert ";" in str(caught.value)  # what is wrong; what to do

    def test_missing(self, tmp_path: Path) -> None:
        self.refused(tmp_path / "nothing.mp4", "no such file")

    def test_empty(self, tmp_path: Path) -> None:
        (tmp_path / "empty.mp4").touch()
        self.refused(tmp_path / "empty.mp4", "empty")

    @pytest.mark.parametrize(
        "text", ["hello\n" * 99, "a.mp4,1\n", "<html></html>", "#EXTM3U\nhttp://127.0.0.1:9/a.ts\n"]
    )
    def test_text(self, tmp_path: Path, text: str, capfd: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "text.mp4").write_text(text)
        self.refused(tmp_path / "text.mp4", "not a readable video")
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize("name", ["notes.txt", "art.nfo"])
    def test_text_that_ffmpeg_would_draw(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_text("hello\n" * 99)
        self.refused(tmp_path / name, "reads it as text")

    @pytest.mark.skipif(not Path("/dev/null").is_char_device(), reason="needs /dev/null")
    def test_device(self) -> None:
        self.refused(Path("/dev/null"), "neither a file nor a folder")

    def test_long_name(self, tmp_path: Path) -> None:
        self.refused(tmp_path / ("x" * 300), "cannot be opened")

    def test_folder_without_images(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("no pictures")
        self.refused(tmp_path, "no images in this folder")

    @pytest.mark.parametrize("cover", [False, True])
    def test_sound_only(self, tmp_path: Path, cover: bool) -> None:
        write_audio(tmp_path / "sound.mp4", cover=cover)
        self.refused(tmp_path / "sound.mp4", "holds no video")

    def test_unknown_codec(self, clip: Clip, tmp_path: Path) -> None:
        path = tmp_path / "unknown.mkv"
        path.write_bytes(clip("h264.mkv").read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG9/ISO/AVC"))
        self.refused(path, "codec is unknown")

    def test_cut_before_its_index(self, clip: Clip, tmp_path: Path) -> None:
        content = clip("h264.mp4").read_bytes()
        (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
        self.refused(tmp_path / "cut.mp4", "cut short")

    @pytest.mark.parametrize("part", [0.3, 0.6, 0.98])
    def test_cut_after_its_index(self, clip: Clip, tmp_path: Path, part: float) -> None:
        with (
            av.open(str(clip("h264.mp4"))) as old,
            av.open(str(tmp_path / "fast.mp4"), "w", options={"movflags": "faststart"}) as new,
        ):
            stream = new.add_stream_from_template(old.streams.video[0])
            for packet in old.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    new.mux(packet)
        content = (tmp_path / "fast.mp4").read_bytes()
        (tmp_path / "cut.mp4").write_bytes(content[: int(len(content) * part)])
        self.refused(tmp_path / "cut.mp4", "cut short|damaged|not a readable video")

    def test_no_permission(self, clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def deny(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(av, "open", deny)
        self.refused(clip("h264.mp4"), "Permission denied")


class TestTorchcodec:
    def test_absent(self, clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "torchcodec", None)
        monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
        with pytest.raises(VideoMambaError, match=r"pip install 'videomamba\[torchcodec\]'"):
            open_video(clip("h264.mp4"), backend="torchcodec")

    @pytest.mark.parametrize("name", ["h264.mp4", "h264 open gop", "vp9.webm", "av1.mp4"])
    def test_same_pictures(self, clip: Clip, name: str) -> None:
        pytest.importorskip("torchcodec.decoders")
        with open_video(clip(name), backend="torchcodec") as video:
            check_against(read_plainly(clip(name)), video)

    def test_contract_with_a_stand_in(self, clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
        """The calls that are made of TorchCodec, answered by PyAV."""
        calls = []

        class Decoder:
            def __init__(self, source, **settings):
                calls.append((source, settings))
                self.video = PyavVideo(Path(source))
                self.metadata = self.video.info

            def get_frames_at(self, indices):
                return self.video.frames(indices)

        module = type(sys)("torchcodec.decoders")
        module.VideoDecoder = Decoder
        monkeypatch.setitem(sys.modules, "torchcodec", type(sys)("torchcodec"))
        monkeypatch.setitem(sys.modules, "torchcodec.decoders", module)
        path = clip("h264.mp4")
        with open_video(path, backend="torchcodec", threads=2) as video:
            check_against(read_plainly(path), video)
            assert video.frames([]).data.shape == (0, 48, 64, 3)
        settings = {"stream_index": 0, "dimension_order": "NHWC", "num_ffmpeg_threads": 2, "seek_mode": "exact"}
        assert calls == [(str(path), settings)]


def test_the_drawn_pictures_differ() -> None:
    pictures = [draw(i, (48, 64)) for i in range(30)]
    assert all((a != b).mean() > 0.5 for a, b in pairwise(pictures))
    assert Recipe(".mp4", "libx264").frames == 30
