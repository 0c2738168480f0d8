"""Damaged files: a few hundred of the ten thousand of `mutations`, and that the judging itself notices every fault."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from tests.video import judging
from tests.video.judging import Answer, Plain, ask, compare, decode_plainly
from tests.video.mutating import SOURCES, mutated, write_sources
from tests.video.mutations import Result, Watch, _growth, main, run, summary
from videomamba.schema import VideoError

CLEAN = Plain(("a", "b", "c"))

# Files whose pictures once differed from FFmpeg's: a key frame at a wrong time, a false key frame, a decoder that kept
# something from later pictures when the reading went back.
FAILED_ONCE = (877, 989, 1440, 2285, 3385, 3851, 4569, 4803, 5394, 7111, 7183, 7524, 8945, 8986)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    write_sources(folder)
    return folder


class TestDamagedFiles:
    def test_a_few_hundred(self, sources: Path) -> None:
        results = run(sources, 0, [*range(500), *FAILED_ONCE])
        assert [result.fault for result in results if result.fault] == [], "\n".join(summary(results))
        verdicts = {result.verdict for result in results}
        assert {"equal", "refused, FFmpeg reports an error", "read, FFmpeg reports an error"} <= verdicts

    @pytest.mark.slow
    @pytest.mark.timeout(7200)
    def test_ten_thousand(self, sources: Path) -> None:
        results = run(sources, 0, range(10000), workers=2)
        assert [result.fault for result in results if result.fault] == [], "\n".join(summary(results))

    @pytest.mark.parametrize("name", SOURCES)
    def test_the_sound_files_are_read(self, sources: Path, name: str) -> None:
        answer, plain = ask(sources / name, np.random.default_rng(0)), decode_plainly(sources / name)
        assert (len(plain.pictures), plain.error) == (24, "")
        assert compare(answer, plain) == ("equal", "")


class TestMutations:
    def test_the_same_number_is_the_same_file(self, sources: Path, tmp_path: Path) -> None:
        write_sources(tmp_path)
        for number in range(2 * len(SOURCES)):
            assert mutated(tmp_path, 0, number) == mutated(sources, 0, number)

    def test_numbers_and_seeds_give_different_files(self, sources: Path) -> None:
        files = [mutated(sources, seed, number)[1] for seed in (0, 1) for number in range(60)]
        assert len(set(files)) > 110
        sound = [(sources / name).read_bytes() for name in SOURCES]
        assert sum(content in sound for content in files) <= 3

    def test_one_file_by_its_number(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        main(["--number", "3", "--workers", "1", "--keep", str(tmp_path)])
        assert capsys.readouterr().out.strip()[0] == "1"
        (kept,) = tmp_path.iterdir()
        assert kept.name == "0_3_av1.mp4"


class TestJudging:
    @pytest.mark.parametrize(
        ("answer", "plain", "verdict"),
        [
            (Answer(("a", "b", "c")), CLEAN, "equal"),
            (Answer(refused="cut short"), CLEAN, "refused, FFmpeg reports no error"),
            (Answer(refused="not one picture"), Plain(), "refused, FFmpeg gives no picture"),
            (Answer(("a", "b", "c"), early=((2, "c"), (0, "a"))), CLEAN, "equal"),
            (Answer(refused="cut short"), Plain(error="partial file"), "refused, FFmpeg reports an error"),
            (Answer(("a", "x")), Plain(("a",), "partial file"), "read, FFmpeg reports an error"),
        ],
    )
    def test_sound_answers(self, answer: Answer, plain: Plain, verdict: str) -> None:
        assert compare(answer, plain) == (verdict, "")

    @pytest.mark.parametrize(
        ("answer", "fault"),
        [
            (Answer(("a", "b")), "2 pictures, FFmpeg gives 3"),
            (Answer(("a", "c", "c")), "picture 1 is picture 2 of FFmpeg's"),
            (Answer(("a", "x", "c")), "picture 1 is no picture of FFmpeg's"),
            (Answer(("a", "b", "c"), early=((1, "c"),)), "picture 1 alone is picture 2 of FFmpeg's"),
            (Answer(problem="RuntimeError: oh"), "RuntimeError: oh"),
        ],
    )
    def test_faults(self, answer: Answer, fault: str) -> None:
        assert compare(answer, CLEAN) == ("wrong", fault)

    @pytest.mark.parametrize(
        ("error", "problem"),
        [
            (RuntimeError("oh"), "RuntimeError: oh"),
            (VideoError("elsewhere.mp4", "cut short"), "message 'elsewhere.mp4: cut short'"),
        ],
    )
    def test_errors_that_must_not_come(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, problem: str
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(judging, "open_video", fail)
        assert ask(tmp_path / "a.mp4", np.random.default_rng(0)).problem == problem

    @pytest.mark.parametrize("name", ["h264.ts", "hevc.mp4", "h264.mkv"])
    def test_a_plain_decode_reports_damage(self, sources: Path, tmp_path: Path, name: str) -> None:
        """And reports it again for the next file with the same damage."""
        content = bytearray((sources / name).read_bytes())
        middle = len(content) // 2
        content[middle : middle + 400] = np.random.default_rng(0).bytes(400)
        path = tmp_path / name
        path.write_bytes(content)
        for _ in range(2):
            assert decode_plainly(path).error
        assert not decode_plainly(sources / name).error

    def test_memory_that_grows(self) -> None:
        def results(growth: float) -> list[Result]:
            return [Result(n, "h264.mp4", "equal", memory=int(200 + growth * n)) for n in range(300)]

        assert _growth(results(1.0))[0].fault.startswith("memory grew from 299 to ")
        assert _growth(results(0.05))[0].fault == ""
        crash = Result(300, "h264.mp4", "crash")
        assert _growth([*results(1.0), crash, *results(0.0)])[0].fault == ""


def _never(connection: Connection, folder: Path, seed: int) -> None:
    connection.recv()
    threading.Event().wait()


def _end(connection: Connection, folder: Path, seed: int) -> None:
    connection.recv()
    os._exit(3)


class TestWatch:
    @pytest.mark.parametrize(
        ("work", "limit", "verdict", "fault"),
        [(_never, 0.2, "hang", "no answer in 0.2 s"), (_end, 60.0, "crash", "the process ended")],
    )
    def test_a_process_that_hangs_or_ends(self, tmp_path: Path, work, limit: float, verdict: str, fault: str) -> None:
        numbers: Iterator[int] = iter([7, 8])
        results = list(Watch(tmp_path, 0, work=work, limit=limit).results(numbers))
        assert [(result.number, result.verdict, result.fault) for result in results] == [
            (7, verdict, fault),
            (8, verdict, fault),
        ]
