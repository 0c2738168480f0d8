"""The sources of the models of camera motion: the table, the licence list, and what is made of a package."""

from __future__ import annotations

import csv
import gzip
import hashlib
import importlib.util
import io
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from videomamba.schema import VideoMambaError
from videomamba.video.encode import write_video
from videomamba.video.open import open_video

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def camera_sources() -> ModuleType:
    """The file itself: benchmarks/ is no package."""
    spec = importlib.util.spec_from_file_location("camera_sources", ROOT / "benchmarks" / "camera_sources.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["camera_sources"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def jpeg(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def video(folder: Path, *, frames: int) -> bytes:
    path = folder / "made.mp4"
    write_video(path, np.random.default_rng(0).integers(0, 256, (frames, 64, 96, 3), np.uint8), fps=10)
    return path.read_bytes()


def put(cache: Path, package: str, name: str, files: Mapping[str, bytes]) -> None:
    """An archive of `package` as its client would have left it."""
    folder = cache / package.replace(":", "_")
    folder.mkdir(parents=True)
    if name.endswith(".whl"):
        with zipfile.ZipFile(folder / name, "w") as packed:
            for path, data in files.items():
                packed.writestr(path, data)
    else:
        with tarfile.open(folder / name, "w:gz") as packed:
            for path, data in files.items():
                entry = tarfile.TarInfo(path)
                entry.size = len(data)
                packed.addfile(entry, io.BytesIO(data))


def row(package: str, member: str, data: bytes, **values: str) -> dict[str, str]:
    made = {"kind": "picture", "split": "train", "name": Path(member).stem, "part": "", "licence": "CC0-1.0"}
    return made | {"package": package, "member": member, "author": "", "sha256": digest(data)} | values


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_table_has_no_scene_in_two_splits(camera_sources: ModuleType) -> None:
    sources = camera_sources.read_table()
    splits: dict[tuple[str, str], set[str]] = {}
    for source in sources:
        if source.kind != "real":
            splits.setdefault((source.package, source.member), set()).add(source.split)
    assert all(len(found) == 1 for found in splits.values())
    assert all(source.licence and len(source.sha256) == 64 for source in sources)
    assert max(s.span[1] - s.span[0] for s in sources if s.kind == "footage" and s.span) <= 6


def test_licence_list_is_of_the_table(camera_sources: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert camera_sources.main(["--licences"]) == 0
    assert capsys.readouterr().out == (ROOT / "docs" / "camera_sources.md").read_text(encoding="utf-8")


def test_build_makes_each_kind_and_continues(camera_sources: ModuleType, tmp_path: Path) -> None:
    wheel, packed = "pip:photos==1.0", "npm:films@2.0"
    small, large, film = jpeg(40, 30), jpeg(2400, 200), video(tmp_path, frames=20)
    put(tmp_path / "cache", wheel, "photos-1.0.whl", {"a/small.jpg": small, "a/large.jpg": large})
    put(tmp_path / "cache", packed, "films-2.0.tgz", {"package/film.mp4.gz": (zipped := gzip.compress(film))})
    rows = [
        row(wheel, "a/small.jpg", small, split="val"),
        row(wheel, "a/large.jpg", large),
        row(wheel, "a/large.jpg", large, part="0.25-0.5", name="half"),
        row(packed, "package/film.mp4.gz", zipped, kind="footage", part="0.5-1.5", name="film"),
        row(packed, "package/film.mp4.gz", zipped, kind="real", split="", name="film"),
    ]
    sources = [camera_sources.Source(**values) for values in rows]
    out = tmp_path / "out"
    assert camera_sources.build(sources, out, tmp_path / "cache") == 5
    assert (out / "pictures/val/small.jpg").read_bytes() == small
    assert size(out / "pictures/train/large.jpg") == (1920, 160)
    assert size(out / "pictures/train/half.jpg") == (600, 200)
    assert (out / "real/film.mp4").read_bytes() == film
    with open_video(out / "footage/train/film.mp4") as opened:
        assert opened.info.duration == pytest.approx(1.0)
    (out / "pictures/val/small.jpg").unlink()
    assert camera_sources.build(sources, out, tmp_path / "cache") == 1
    assert not list(out.rglob("*partial*"))


def test_build_refuses_another_file(camera_sources: ModuleType, tmp_path: Path) -> None:
    put(tmp_path, "pip:photos==1.0", "photos-1.0.whl", {"a.jpg": jpeg(40, 30)})
    changed = camera_sources.Source(**row("pip:photos==1.0", "a.jpg", b"before"))
    with pytest.raises(VideoMambaError, match=r"photos==1\.0: a\.jpg is not the file of the table"):
        camera_sources.build([changed], tmp_path / "out", tmp_path)
    gone = camera_sources.Source(**row("pip:photos==1.0", "b.jpg", b""))
    with pytest.raises(VideoMambaError, match=r"has no file b\.jpg"):
        camera_sources.build([gone], tmp_path / "out", tmp_path)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_members_of_a_debian_package(camera_sources: ModuleType, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        "Package: photos\nVersion: 1\nArchitecture: all\nMaintainer: A <a@b.c>\nDescription: a\n", encoding="utf-8"
    )
    (tree / "usr").mkdir()
    (tree / "usr/a.jpg").write_bytes(b"picture")
    subprocess.run(["dpkg-deb", "--build", tree, tmp_path / "photos.deb"], check=True, capture_output=True)
    assert list(camera_sources.members(tmp_path / "photos.deb", ["usr/a.jpg"])) == [("usr/a.jpg", b"picture")]


def test_missing_client_is_named(camera_sources: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VideoMambaError, match="npm is not installed"):
        camera_sources.fetch("npm:photos@1.0", tmp_path / "cache")


@pytest.mark.parametrize(
    ("values", "message"),
    [({"split": "all"}, "line 2: kind, split"), ({"part": "6"}, "line 2: a column"), ({}, "two rows make")],
)
def test_wrong_table(camera_sources: ModuleType, tmp_path: Path, values: dict[str, str], message: str) -> None:
    path = tmp_path / "table.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(camera_sources.Source)])
        writer.writeheader()
        writer.writerows([row("pip:a==1", "a.jpg", b"") | values, row("pip:a==1", "a.jpg", b"")])
    with pytest.raises(VideoMambaError, match=message):
        camera_sources.read_table(path)
