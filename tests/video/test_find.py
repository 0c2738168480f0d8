"""Which files of a folder are videos, and that every other one is named or belongs to the system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from videomamba.schema import IgnoredFile, VideoError
from videomamba.video.find import describe_ignored, find_videos, search_videos
from videomamba.video.open import open_video
from videomamba.video.picture import write_png


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


class TestFind:
    def test_file_is_itself(self, tmp_path: Path) -> None:
        (tmp_path / "strange.name").touch()
        assert find_videos(tmp_path / "strange.name") == [tmp_path / "strange.name"]

    def test_tree(self, tmp_path: Path) -> None:
        for name in (
            "b/10.mp4",
            "b/9.MKV",
            "a.webm",
            "b/cover.jpg",
            "b/notes.txt",
            ".hidden/x.mp4",
            ".y.mp4",
            "logo.png",
        ):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        for name in ("frames/1.jpg", "frames/2.jpg", "frames/labels.csv", "nothing/readme.md"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        found = [str(path.relative_to(tmp_path)) for path in find_videos(tmp_path)]
        assert found == ["a.webm", "b/9.MKV", "b/10.mp4", "frames"]

    def test_folder_of_images_is_one_video(self, tmp_path: Path) -> None:
        touch(tmp_path, "1.jpg", "2.jpg")
        assert find_videos(tmp_path) == [tmp_path]

    def test_loop_of_links(self, tmp_path: Path) -> None:
        (tmp_path / "below").mkdir()
        (tmp_path / "below" / "a.mp4").touch()
        (tmp_path / "below" / "up").symlink_to(tmp_path)
        assert find_videos(tmp_path) == [tmp_path / "below" / "a.mp4"]

    def test_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(VideoError, match="no videos in this folder"):
            find_videos(tmp_path)
        with pytest.raises(VideoError, match="no such file"):
            find_videos(tmp_path / "missing")
        with pytest.raises(VideoError, match="cannot be opened"):
            find_videos(tmp_path / ("x" * 300))

    @pytest.mark.skipif(not Path("/dev/null").is_char_device(), reason="needs /dev/null")
    def test_device(self) -> None:
        with pytest.raises(VideoError, match="neither a file nor a folder"):
            find_videos("/dev/null")

    def test_unreadable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def deny(folder: Path) -> None:
            raise PermissionError(13, "Permission denied", str(folder))

        monkeypatch.setattr(os, "scandir", deny)
        with pytest.raises(VideoError, match="Permission denied"):
            find_videos(tmp_path)


class TestIgnored:
    @pytest.mark.parametrize(
        "name",
        [
            *("@eaDir/a.mp4/SYNOVIDEO_VIDEO_SCREENSHOT.jpg", "#recycle/b.mp4", ".thumbnails/a.png", "__MACOSX/._a.mp4"),
            *(
                "Thumbs.db",
                "$RECYCLE.BIN/x/c.mp4",
                "lost+found/d.mp4",
                "System Volume Information/e.mp4",
                "desktop.ini",
            ),
        ],
    )
    def test_what_systems_put_there_is_skipped(self, name: str, tmp_path: Path) -> None:
        touch(tmp_path, "a.mp4", name)
        found = search_videos(tmp_path)
        assert (found.videos, found.ignored) == ((tmp_path / "a.mp4",), ())

    def test_thumbnails_of_frames_are_no_videos(self, tmp_path: Path) -> None:
        touch(tmp_path, "clip/1.jpg", "clip/2.jpg", "clip/@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg")
        assert find_videos(tmp_path) == [tmp_path / "clip"]

    def test_every_other_file_is_named(self, tmp_path: Path) -> None:
        touch(
            tmp_path,
            "run/a.mp4",
            "run/a.srt",
            "run/b.srt",
            "run/cover.jpg",
            "run/noending",
            "frames/1.png",
            "frames/x.md",
        )
        (tmp_path / "up").symlink_to(tmp_path)
        os.mkfifo(tmp_path / "run" / "pipe.mp4")
        found = search_videos(tmp_path)
        assert found.videos == (tmp_path / "frames", tmp_path / "run" / "a.mp4")
        lines = describe_ignored(found.ignored)
        assert sorted(line.removeprefix(f"{tmp_path}/") for line in lines) == [
            "frames/x.md: does not end like a video (.md)",
            "run/a.srt: does not end like a video (.srt) (and 1 more)",
            "run/cover.jpg: is an image beside videos or folders",
            "run/noending: does not end like a video (no ending)",
            "run/pipe.mp4: is neither a file nor a folder",
            "up: is a link back to a folder above it",
        ]

    def test_links_back_to_a_folder_above_the_class(self, tmp_path: Path) -> None:
        touch(tmp_path, "train/run/a.mp4", "train/jump/b.mp4")
        for name, target in (("up", ".."), ("top", "../..")):
            (tmp_path / "train" / "run" / name).symlink_to(target)
        found = search_videos(tmp_path / "train" / "run", within=tmp_path)
        assert found.videos == (tmp_path / "train" / "run" / "a.mp4",)
        assert [one.reason for one in found.ignored] == ["is a link back to a folder above it"] * 2

    def test_a_broken_link_to_a_video_fails_by_its_name(self, tmp_path: Path) -> None:
        (tmp_path / "a.mp4").symlink_to("/nowhere/a.mp4")
        (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
        (tmp_path / "notes").symlink_to("/nowhere/notes")
        found = search_videos(tmp_path)
        assert found.videos == (tmp_path / "a.mp4", tmp_path / "loop.mp4")
        missing = "is a link to /nowhere/notes, which is missing; restore that file or remove the link"
        assert found.ignored == (IgnoredFile(str(tmp_path / "notes"), missing),)
        with pytest.raises(VideoError, match=r"a\.mp4: is a link to /nowhere/a\.mp4, which is missing; restore"):
            open_video(tmp_path / "a.mp4")
        with pytest.raises(VideoError, match=r"loop\.mp4: cannot be opened"):
            open_video(tmp_path / "loop.mp4")

    def test_a_broken_link_among_frames_is_an_error(self, tmp_path: Path) -> None:
        import torch

        write_png(tmp_path / "1.png", torch.zeros(4, 4, 3, dtype=torch.uint8))
        (tmp_path / "2.png").symlink_to("/nowhere/2.png")
        with open_video(tmp_path) as video, pytest.raises(VideoError, match=r"2\.png: this image cannot be read"):
            video.frames([0, 1])

    def test_an_empty_folder_names_what_was_ignored(self, tmp_path: Path) -> None:
        touch(tmp_path, "clip.mpv")
        with pytest.raises(VideoError, match=r"no videos in this folder; .*; ignored .*clip\.mpv: does not end like"):
            find_videos(tmp_path)
        assert search_videos(tmp_path, may_be_empty=True).videos == ()
