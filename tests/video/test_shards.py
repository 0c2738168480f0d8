"""Videos and images in tar shards, and shards that are hostile or damaged."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from videomamba.data.loading.cache import FrameCache
from videomamba.data.loading.record_video import open_record
from videomamba.data.sets.fingerprint import file_keys
from videomamba.schema import VideoError, VideoMambaError, VideoRecord
from videomamba.video.encode import write_video
from videomamba.video.find import find_videos
from videomamba.video.open import IMAGE_SUFFIXES, VIDEO_SUFFIXES, exists, open_video
from videomamba.video.picture import write_png
from videomamba.video.shards import expand_shards, find_member, read_shard, samples

MEDIA = VIDEO_SUFFIXES | IMAGE_SUFFIXES


def write_tar(path: Path, files: Mapping[str, bytes], *, extra: tuple[tarfile.TarInfo, ...] = ()) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in extra:
            tar.addfile(info)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Two videos of 9 and 12 frames, MP4 and Matroska, and a picture."""
    root = tmp_path_factory.mktemp("files")
    noise = np.random.default_rng(0).integers(0, 256, (12, 32, 48, 3), np.uint8)
    write_video(root / "a.mp4", noise[:9], fps=5)
    write_video(root / "b.mkv", noise, fps=5)
    write_png(root / "c.png", torch.from_numpy(noise[0]))
    return {file.name: file.read_bytes() for file in sorted(root.iterdir())}


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> Path:
    content = {
        "x/a.mp4": files["a.mp4"],
        "x/a.txt": b"A caption",
        "./b.mkv": files["b.mkv"],
        "./b.json": b'{"caption": "B"}',
        "c.png": files["c.png"],
    }
    return write_tar(tmp_path_factory.mktemp("shards") / "s.tar", content)


def test_members_are_read_as_files_are(shard: Path, files: dict[str, bytes], tmp_path: Path) -> None:
    for name, key in (("a.mp4", "x/a.mp4"), ("b.mkv", "b.mkv"), ("c.png", "c.png")):
        (tmp_path / name).write_bytes(files[name])
        with open_video(tmp_path / name) as file, open_video(f"{shard}::{key}") as member:
            order = [*range(file.info.num_frames)][::-1]  # backwards, so that the file is opened again and again
            assert torch.equal(file.frames(order).data, member.frames(order).data)
            assert (member.info.path, member.info.codec) == (f"{shard}::{key}", file.info.codec)
            assert np.array_equal(file.timestamps, member.timestamps)


def test_records_cache_and_fingerprint_know_members(shard: Path, tmp_path: Path) -> None:
    record = VideoRecord(f"{shard}::x/a.mp4", span=(0.4, 1.0))
    with open_record(record) as opened:
        expected = opened.frames(range(opened.num_frames)).data
    cache = FrameCache(tmp_path / "cache", num_frames=32, size=64)
    for _ in range(2):
        with cache.open(record) as source:
            assert torch.equal(source.frames(range(source.num_frames)).data, expected)
    keys = file_keys([record, VideoRecord(f"{shard}::b.mkv"), VideoRecord(f"{shard}::gone.mp4")])
    assert list(keys) == [record.path, f"{shard}::b.mkv"] and len(set(keys.values())) == 2
    assert [str(path) for path in find_videos(record.path)] == [record.path]
    assert exists(record.path) and not exists(f"{shard}::gone.mp4")


def test_what_is_missing_is_one_line(shard: Path, tmp_path: Path) -> None:
    def reason(path: str) -> str:
        with pytest.raises(VideoError) as caught:
            open_video(path)
        assert caught.value.path == path and "\n" not in str(caught.value)
        return caught.value.reason

    assert reason(f"{shard}::gone.mp4") == "is not in its shard; check the name"
    assert "its shard cannot be opened" in reason(f"{tmp_path}/no.tar::a.mp4")
    write_tar(tmp_path / "t.tar", {"empty.mp4": b"", "text.mp4": b"no video", "bad.png": b"x"})
    assert "empty" in reason(f"{tmp_path}/t.tar::empty.mp4")
    assert "not a readable video" in reason(f"{tmp_path}/t.tar::text.mp4")
    assert "cannot be read" in reason(f"{tmp_path}/t.tar::bad.png")
    with pytest.raises(VideoError, match="torchcodec reads no tar shards"):
        open_video(f"{shard}::b.mkv", "torchcodec")


def test_playlist_in_a_shard_opens_no_other_file(files: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "secret.mp4").write_bytes(files["a.mp4"])
    playlists = {
        "a.mp4": f"ffconcat version 1.0\nfile '{tmp_path}/secret.mp4'\n".encode(),
        "b.mp4": f"#EXTM3U\n#EXTINF:1,\nfile://{tmp_path}/secret.mp4\n#EXT-X-ENDLIST\n".encode(),
    }
    shard = write_tar(tmp_path / "p.tar", playlists)
    for name in playlists:
        with pytest.raises(VideoError):
            open_video(f"{shard}::{name}")


def test_pairs_are_grouped_as_webdataset_does(shard: Path) -> None:
    from webdataset.tariterators import group_by_keys, tar_file_expander

    with shard.open("rb") as stream:
        theirs = [sample["__key__"] for sample in group_by_keys(tar_file_expander([{"url": "", "stream": stream}]))]
    found, ignored = samples(read_shard(shard), MEDIA)
    assert [sample.key for sample in found] == [key.removeprefix("./") for key in theirs] == ["x/a", "b", "c"]
    assert [dict(sample.others) for sample in found] == [{"txt": "x/a.txt"}, {"json": "b.json"}, {}]
    assert ignored == []


def test_hostile_names_are_ignored_with_a_reason(files: dict[str, bytes], tmp_path: Path) -> None:
    link, hard, pipe = tarfile.TarInfo("l.mp4"), tarfile.TarInfo("h.mp4"), tarfile.TarInfo("p.mp4")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    hard.type, hard.linkname = tarfile.LNKTYPE, "good.mp4"
    pipe.type = tarfile.FIFOTYPE
    names = ("good.mp4", "/abs.mp4", "../up.mp4", "a/../../up.mp4", "c:\\x.mp4", "new\nline.mp4")
    path = write_tar(tmp_path / "h.tar", dict.fromkeys(names, files["a.mp4"]), extra=(link, hard, pipe))
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo("./good.mp4")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    shard = read_shard(path)
    assert list(shard.files) == ["good.mp4"] and shard.damage == ""
    reasons = [file.reason.partition(";")[0] for file in shard.ignored]
    out = "has a name that leads out of the shard"
    assert reasons[:5] == [out, out, out, out, "has control characters in its name"]
    assert reasons[5:] == [
        "is a link to /etc/passwd",
        "is a link to good.mp4",
        "is no ordinary file",
        "is in the shard twice",
    ]
    with pytest.raises(VideoError, match="is a link to /etc/passwd"):
        open_video(f"{path}::l.mp4")


def test_control_characters_never_reach_a_message(files: dict[str, bytes], tmp_path: Path) -> None:
    link = tarfile.TarInfo("l.mp4")
    link.type, link.linkname = tarfile.SYMTYPE, "\x1b[2J\nx"
    content = {"new\nline.mp4": files["a.mp4"], "\x9b2J.mp4": files["a.mp4"]}
    shard = read_shard(write_tar(tmp_path / "h.tar", content, extra=(link,)))
    assert list(shard.files) == []
    assert [str(file).partition("::")[2].partition(";")[0] for file in shard.ignored] == [
        r"new\nline.mp4: has control characters in its name",
        r"\x9b2J.mp4: has control characters in its name",
        r"l.mp4: is a link to \x1b[2J\nx",
    ]


def test_damage_is_found_and_named(shard: Path, files: dict[str, bytes], tmp_path: Path) -> None:
    whole = shard.read_bytes()
    second = whole.index(b"./b.mkv") if b"./b.mkv" in whole else 0

    def damage(content: bytes) -> str:
        path = tmp_path / "d.tar"
        path.write_bytes(content)
        found = read_shard(path)
        assert "x/a.mp4" in found.files and "\n" not in found.damage
        return found.damage

    assert damage(whole) == ""
    assert damage(whole[: second + 512 + 100]).startswith("is cut short in ./b.mkv")
    assert damage(whole[: second + 200]).startswith("is damaged after x/a.txt")
    overwritten = bytearray(whole)
    overwritten[second : second + 300] = b"\xff" * 300
    assert damage(bytes(overwritten)).startswith("is damaged after x/a.txt")
    huge = bytearray(whole)
    info = tarfile.TarInfo("b.mkv")
    info.size = 1 << 60
    huge[second : second + 512] = info.tobuf(tarfile.GNU_FORMAT)[:512]
    assert damage(bytes(huge)).startswith("is cut short in b.mkv")
    with pytest.raises(VideoError, match=r"is missing: the shard is cut short"):
        find_member(f"{tmp_path}/d.tar::c.png")
    negative = bytearray(whole)
    info.size = -1024
    negative[second : second + 512] = info.tobuf(tarfile.GNU_FORMAT)[:512]
    assert damage(bytes(negative)).startswith("is damaged after x/a.txt")


@pytest.mark.parametrize("content", [b"", b"text" * 400, b"\x1f\x8b" + b"x" * 600])
def test_no_tar_at_all(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "n.tar").write_bytes(content)
    with pytest.raises(VideoError, match="a shard is an uncompressed tar file"):
        read_shard(tmp_path / "n.tar")


def test_braces_are_expanded_in_order() -> None:
    assert expand_shards("s-{0009..0011}.tar") == ["s-0009.tar", "s-0010.tar", "s-0011.tar"]
    assert expand_shards("plain.tar") == ["plain.tar"]
    for wrong in ("s-{1..}.tar", "a-{0..1}.tar::b-{0..1}.tar", "${HOME}.tar"):
        with pytest.raises(VideoMambaError, match=r"braces|give the name"):
            expand_shards(wrong)
    for huge in ("s-{0..9999999999}.tar", "s-{000..999}-{0000..9999}.tar"):
        with pytest.raises(VideoMambaError, match=r"names 1000\d* shards, more than 1000000; check its braces"):
            expand_shards(huge)
