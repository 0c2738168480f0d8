"""A command never writes over what it reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.test_main import run
from videomamba.cli.targets import check_target
from videomamba.schema import VideoMambaError

Clip = Callable[[str], Path]


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoMambaError, match=r"^--csv .*film\.mp4: end its name in \.csv$"):
        check_target("--csv", tmp_path / "film.mp4", endings=(".csv",), inputs=())


def test_an_input_is_refused_also_by_a_link(tmp_path: Path) -> None:
    labels, link = tmp_path / "labels.csv", tmp_path / "link.csv"
    labels.write_text("a\n")
    link.symlink_to(labels)
    with pytest.raises(VideoMambaError, match="is read by this command"):
        check_target("--csv", link, endings=(".csv",), inputs=(None, "no such file", labels))
    check_target("--csv", tmp_path / "new.csv", endings=(".csv",), inputs=(labels,))
    check_target("--csv", None, endings=(".csv",), inputs=(labels,))


def test_a_folder_that_does_not_exist_is_an_error_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(VideoMambaError, match=r"^--sheet .*best\.png: the folder .*absent does not exist; create it"):
        check_target("--sheet", tmp_path / "absent" / "best.png", endings=(".png",), inputs=())


@pytest.mark.parametrize("options", [["--csv", "{clip}"], ["--save-video", "{clip}"], ["--save-video", "{other}"]])
def test_videos_stay_as_they_are(
    clip: Clip, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    film, other = tmp_path / "film.mp4", tmp_path / "other.mp4"
    for path in (film, other):
        path.write_bytes(clip("h264.mp4").read_bytes())
    options = [option.format(clip=film, other=other) for option in options]
    code, out, err = run(capsys, "predict", film, *options)
    assert (code, out) == (1, "") and len(err.splitlines()) == 1
    assert film.read_bytes() == other.read_bytes() == clip("h264.mp4").read_bytes()
