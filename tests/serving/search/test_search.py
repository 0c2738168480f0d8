"""What a search answers, and its refusals."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import videomamba
from tests.serving.search.made import contents
from videomamba.schema import VideoError, VideoMambaError
from videomamba.serving.search.facts import FileFacts
from videomamba.serving.search.index import build_index
from videomamba.serving.search.moments import Ask, Moment
from videomamba.serving.search.search import Search
from videomamba.serving.search.table import VideoWindows, WindowTable, path_condition
from videomamba.serving.video_text import TextEmbedder


@pytest.fixture(scope="module")
def search(index: Path) -> Search:
    return videomamba.Search(index)


def test_a_sentence_finds_the_windows_of_the_highest_cosine(search: Search, index: Path, text_model: Path) -> None:
    sentence = "A red square moves left!"
    query = TextEmbedder.from_pretrained(text_model).texts([sentence])[0].numpy()
    rows = [row for row in contents(index) if row[4] is not None]
    scores = {(row[0], row[2]): float(np.frombuffer(row[4], np.float32) @ query) for row in rows}
    found = search.text(sentence, top=30, merge="none")
    assert {(m.path, m.start) for m in found} == set(scores)
    assert [m.score for m in found] == sorted((m.score for m in found), reverse=True)
    for moment in found:
        assert moment.score == pytest.approx(scores[moment.path, moment.start], abs=1e-5)
    assert found[0].thumbnail.startswith(b"\xff\xd8") and found[0].as_dict().keys() == {"path", "start", "end", "score"}


def test_overlapping_windows_are_merged(search: Search) -> None:
    every, moments, videos = (search.text("a circle", top=30, merge=m) for m in ("none", "moments", "videos"))
    assert (len(every), len(videos)) == (19, 8)
    for one in moments:
        others = [m for m in moments if m.path == one.path and m != one]
        assert all(m.end <= one.start or m.start >= one.end for m in others)
    assert moments[0] == every[0] == videos[0]
    assert len({m.path for m in videos}) == 8
    assert [m.path for m in search.text("a circle", top=2, merge="videos")] == [m.path for m in videos[:2]]


def test_a_video_is_nearest_to_itself(search: Search, videos: Path) -> None:
    best = search.video(videos / "odd" / "clip3.mp4", top=1)[0]
    assert best.path == "odd/clip3.mp4" and best.score == pytest.approx(1, abs=1e-5)
    assert search.video(videos / "odd" / "clip7.mp4", top=1)[0].path == "odd/clip7.mp4"


def test_like_a_moment_of_the_index_or_of_a_file(search: Search, videos: Path, tmp_path: Path) -> None:
    by_name = search.like("odd/clip7.mp4@1.4", top=30, merge="none")
    assert search.like(f"{videos}/odd/clip7.mp4@1.4", top=30, merge="none") == by_name
    same = [(m.start, m.end) for m in by_name if m.path == "odd/clip7.mp4"]
    assert sorted(same) == [(0.0, 1.0), (2.0, 3.0)]  # without the windows that overlap 1.0 to 2.0 s
    copy = shutil.copy(videos / "odd" / "clip7.mp4", tmp_path / "copy.mp4")
    best = search.like(f"{copy}@1.4", top=1)[0]
    assert (best.path, best.start) == ("odd/clip7.mp4", 1.0) and best.score == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        ("clip.mp4", "names no moment; write FILE@SECONDS"),
        ("clip.mp4@soon", "names no moment"),
        ("@3", "names no moment"),
        ("clip.mp4@-1", "names no moment"),
        ("absent.mp4@1", "absent.mp4 is neither in .* nor a file"),
        ("odd/clip7.mp4@3.5", "the video ends at 3.0 s"),
    ],
)
def test_moments_that_do_not_exist(search: Search, moment: str, text: str) -> None:
    with pytest.raises(VideoMambaError, match=text):
        search.like(moment)


def test_a_video_of_the_index_that_cannot_be_read_says_why(search: Search) -> None:
    with pytest.raises(VideoError, match=r"videos.*broken\.mp4: not a readable video"):
        search.like("broken.mp4@0")


def test_a_link_to_itself_is_no_file(search: Search, tmp_path: Path) -> None:
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    with pytest.raises(VideoError, match=r"loop\.mp4: cannot be opened"):
        search.like(f"{tmp_path / 'loop.mp4'}@0")


def test_more_moments_than_there_are(search: Search) -> None:
    assert len(search.text("a", top=2**40, merge="none")) == search.windows


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("[!]*", {"[!].mp4"}),  # no set, but text
        ("[!!]*", {"[!].mp4", "^.mp4", "b.mp4"}),
        ("[^]*", {"^.mp4"}),
        ("[^b]*", {"^.mp4", "b.mp4"}),
        ("[a&&b]*", {"b.mp4"}),
        ("[[a]*", {"[!].mp4"}),
        ("[a-c]*", {"b.mp4"}),
    ],
)
def test_sets_of_characters(tmp_path: Path, pattern: str, paths: set[str]) -> None:
    table = WindowTable.create(str(tmp_path / "x.lance"), "{}", 2)
    vectors = np.eye(2, dtype=np.float32)[:1]
    table.append(
        [
            VideoWindows(name, FileFacts(1, 2), b"", 9.0, np.array([[0.0, 1.0]]), vectors, (b"x",))
            for name in ("[!].mp4", "!.mp4", "^.mp4", "b.mp4")
        ]
    )
    assert {hit.path for hit in table.nearest(vectors[0], 9, where=path_condition(pattern))} == paths


def test_filters(search: Search) -> None:
    assert {m.path for m in search.text("a", top=30, path="odd/*")} == {f"odd/clip{i}.mp4" for i in (1, 3, 5, 7)}
    assert {m.path for m in search.text("a", top=30, path="*clip[26].mp?")} == {"even/clip2.mp4", "even/clip6.mp4"}
    assert {m.path for m in search.text("a", top=30, min_duration=2)} == {"odd/clip7.mp4"}
    assert len({m.path for m in search.text("a", top=30, max_duration=2)}) == 7
    assert search.text("a", path="nothing*") == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"top": 0}, "top 0: give at least 1"),
        ({"min_duration": -1.0}, "min_duration -1: give seconds"),
        ({"max_duration": float("nan")}, "max_duration nan"),
        ({"path": "[a-cz-x]*"}, r"path \[a-cz-x\]: z-x is no ascending range; write x-z"),
        ({"merge": "some"}, "merge 'some': choose one of moments, videos, none"),
    ],
)
def test_options_that_mean_nothing(search: Search, options: dict[str, object], text: str) -> None:
    with pytest.raises(VideoMambaError, match=text):
        search.text("a", **options)  # type: ignore[arg-type]


def test_a_model_without_text_searches_by_example(videos: Path, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.lance"
    build_index(videos, out, model=str(bundle), window=1.0, stride=0.5)
    search = Search(out)
    assert search.video(videos / "even" / "clip2.mp4", top=1)[0].path == "even/clip2.mp4"
    with pytest.raises(VideoMambaError, match=r"which reads no text; search by --video or --like"):
        search.text("a red square")
    with pytest.raises(VideoError, match=r"broken\.mp4"):
        search.video(videos / "broken.mp4")


def test_the_model_must_be_that_of_the_index(
    index: Path, bundle: Path, videos: Path, text_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(VideoMambaError, match="was made by other weights than those of"):
        Search(index, model=str(bundle))
    gone = shutil.copy(text_model, tmp_path / "gone.safetensors")
    build_index(videos, tmp_path / "x.lance", model=str(gone))
    Path(gone).unlink()
    search = Search(tmp_path / "x.lance")
    assert search.like("odd/clip1.mp4@0", top=1)  # needs no network
    with pytest.raises(
        VideoMambaError, match=r"gone\.safetensors: no such file; .*x\.lance needs the model that made it"
    ):
        search.text("a")
    assert Search(tmp_path / "x.lance", model=str(text_model)).text("a")


def test_text_without_words(search: Search) -> None:
    with pytest.raises(VideoMambaError, match="has no words"):
        search.text("?!")


def test_what_is_no_index(tmp_path: Path, videos: Path) -> None:
    with pytest.raises(VideoMambaError, match=r"absent\.lance: no such index"):
        Search(tmp_path / "absent.lance")
    assert not (tmp_path / "absent.lance").exists()
    with pytest.raises(VideoMambaError, match="is a folder with other files"):
        Search(videos)
    with pytest.raises(VideoMambaError, match="is a file, not an index"):
        Search(videos / "broken.mp4")


def test_what_cannot_be_reached_is_not_to_be_deleted(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        VideoMambaError, match=r"nowhere://x\.lance: cannot be read .*; check the address and your access"
    ):
        Search("nowhere://x.lance")

    def refuse(self: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_dir", refuse)  # tests may run as root
    with pytest.raises(VideoMambaError, match=r"x\.lance: cannot be read .*; check its permissions"):
        Search(index)


def test_an_index_without_videos_yet(tmp_path: Path, index: Path) -> None:
    table = WindowTable.open(str(index))
    assert table is not None
    WindowTable.create(str(tmp_path / "new.lance"), table.settings, 8).set_state(complete="no")
    with pytest.raises(VideoMambaError, match="has no video yet, its first run was interrupted; run `videomamba index"):
        Search(tmp_path / "new.lance")


def test_an_index_of_another_version(tmp_path: Path) -> None:
    WindowTable.create(str(tmp_path / "new.lance"), '{"layout": "videomamba-index-9"}', 8)
    with pytest.raises(VideoMambaError, match="was made by another version of videomamba"):
        Search(tmp_path / "new.lance")


@pytest.mark.parametrize("part", ["_versions", "data"])
def test_a_damaged_index_is_one_line(tmp_path: Path, index: Path, part: str) -> None:
    broken = Path(shutil.copytree(index, tmp_path / "x.lance"))
    for file in (broken / "windows.lance" / part).iterdir():
        file.write_bytes(file.read_bytes()[:10])
    with pytest.raises(VideoMambaError, match=r"x\.lance: cannot be read \(.*\); delete it and index") as caught:
        Search(broken).like("odd/clip1.mp4@0")
    assert "\n" not in str(caught.value) and ".rs:" not in str(caught.value)


def random_table(address: Path, videos: int, windows: int, dim: int = 16) -> tuple[WindowTable, np.ndarray]:
    generator = np.random.default_rng(0)
    table = WindowTable.create(str(address), "{}", dim)
    vectors = generator.standard_normal((videos, windows, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    spans = np.stack([np.arange(windows) * 1.0, np.arange(windows) + 2.0], axis=1)
    table.append(
        [
            VideoWindows(f"it's {i}.mp4", FileFacts(1, 2), b"", 9.0, spans, vectors[i], (b"x",) * windows)
            for i in range(videos)
        ]
    )
    return table, vectors


def test_merging_looks_as_deep_as_it_must(tmp_path: Path) -> None:
    """One video of a thousand near windows before all others."""
    table, vectors = random_table(tmp_path / "x.lance", 8, 300)
    query = vectors[0].mean(axis=0, keepdims=True)
    found = Ask(table, None, 8, "videos")(query)
    best = {i: float((vectors[i] @ query[0]).max()) for i in range(8)}
    assert [m.path for m in found] == [f"it's {i}.mp4" for i in sorted(best, key=lambda i: -best[i])]


def test_several_queries_are_one_answer(tmp_path: Path) -> None:
    table, vectors = random_table(tmp_path / "x.lance", 5, 60)
    queries = np.stack([vectors[1, 3], vectors[4, 40]])
    found = Ask(table, None, 300, "none")(queries)
    scores = np.sort((vectors.reshape(-1, 16) @ queries.T).max(axis=1))[::-1]
    np.testing.assert_allclose([m.score for m in found], scores, atol=1e-5)
    assert {(m.path, m.start) for m in found[:2]} == {("it's 1.mp4", 3.0), ("it's 4.mp4", 40.0)}
    few = Ask(table, None, 5, "none")(queries)
    assert few == found[:5]


def test_the_approximate_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("videomamba.serving.search.table.ANN_FROM", 1000)
    table, vectors = random_table(tmp_path / "x.lance", 20, 50)
    assert not table.approximate
    exact = table.nearest(vectors[3, 7], 10)
    table.settle()
    assert table.approximate
    found = table.nearest(vectors[3, 7], 10)
    assert found[0].path == "it's 3.mp4" and found[0].score == pytest.approx(1, abs=1e-5)
    assert len({hit[:2] for hit in found} & {hit[:2] for hit in exact}) >= 9  # all partitions are probed
    assert table.nearest(vectors[3, 7], 10, exact=True) == exact
    where = path_condition("it's 5*")
    assert {hit.path for hit in table.nearest(vectors[3, 7], 50, where=where)} == {"it's 5.mp4"}
    table.drop(["it's 3.mp4"])
    assert table.nearest(vectors[3, 7], 10)[0].path != "it's 3.mp4"


def test_a_moment_prints_no_picture() -> None:
    assert repr(Moment("a.mp4", 1.0, 2.0, 0.5, 9.0, b"x")) == "Moment(path='a.mp4', start=1.0, end=2.0, score=0.5)"
