"""`videomamba text`: the group of commands, retrieval and multiple choice."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.cli.commands import run_all
from tests.cli.test_main import run
from tests.recipes.runs import write_videos
from tests.recipes.test_processes import environment, torchrun
from tests.recipes.text_models import PREPROCESS, TOKENIZER, caption, tiny_video_text
from videomamba.cli.text import COMMANDS
from videomamba.weights.video_text import save_video_text


def test_the_group_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"]):
        code, out, _ = run(capsys, "text", *arguments)
        assert code == 0 and out.startswith("usage: videomamba text COMMAND")
        assert all(f"  {name} " in out and one.summary in out for name, one in COMMANDS.items())


def test_an_unknown_command_of_the_group_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "text", "retreival")
    assert code == 2 and err == "videomamba: retreival: no such command; did you mean 'retrieval'?\n"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny_5M_f4.safetensors"
    model = tiny_video_text()
    return save_video_text(path, model, preprocess=PREPROCESS, tokenizer=TOKENIZER, max_length=12)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine videos with one or two captions, one of which cannot be read, as a list; and a list of choices."""
    root = tmp_path_factory.mktemp("captions")
    videos = write_videos(root / "videos", each=3)
    paths = sorted(videos.rglob("*.mp4"))
    paths[2].write_text("not a video")
    names = [path.relative_to(root).as_posix() for path in paths]
    captions = [{"video": name, "caption": [caption(i), caption(50 + i)][: 1 + i % 2]} for i, name in enumerate(names)]
    (root / "test.json").write_text(json.dumps(captions))
    questions = [{"video": name, "caption": [caption(i), caption(70 + i)], "answer": 1} for i, name in enumerate(names)]
    (root / "choices.json").write_text(json.dumps(questions))
    return root


def measure(capsys: pytest.CaptureFixture[str], command: str, *arguments: object) -> tuple[int, str, str]:
    return run(capsys, "text", command, *arguments, "--data.workers", 0, "--device", "cpu")


def test_retrieval_prints_a_table(weights: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = measure(capsys, "retrieval", weights, data / "test.json")
    assert code == 0
    lines = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines()]
    assert lines[1][-5:] == ["R@1", "R@5", "R@10", "median rank", "mean rank"]
    assert [line[:2] for line in lines[3:7]] == [
        [method, way] for method in ("dual encoder", "re-ranked") for way in ("text to video", "video to text")
    ]
    assert out.endswith(
        "[9 videos and 13 texts of up to 12 tokens, 4 frames uniform, 32x32, re-ranking of the first 128]\n"
    )
    assert "measuring the test split, 9 videos: " in err and "videomamba: missed " in err and "published" not in out


def test_a_protocol_shows_its_numbers(weights: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--protocol", "msrvtt", "--max-length", 16, "--rerank", 0)
    code, out, err = measure(capsys, "retrieval", weights, data / "test.json", *options)
    assert code == 0 and "re-ranked" not in out and "1k-A" in err
    assert re.search(r"published, 5M +text to video +32.0 +53.1 +63.6 ", out) and "25M" not in out
    code, out, err = measure(capsys, "retrieval", weights, data / "test.json", "--protocol", "msrvtt")
    assert code == 1 and "max_length 32: " in err and "reads texts of at most 16 tokens" in err


def test_results_as_json_and_as_a_file(
    weights: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "result.json"
    code, out, _ = measure(capsys, "retrieval", weights, data / "test.json", "--json", "--out", target, "--rerank", 3)
    printed, written = json.loads(out), json.loads(target.read_text())
    assert code == 0 and {**printed, "queries": written["queries"]} == written
    assert printed["num_missed"] == 1 and printed["dual"]["text_to_video"]["queries"] == 13
    assert len(written["queries"]) == 9 + 13
    found = [query["rank_reranked"] for query in written["queries"] if query["direction"] == "text to video"]
    assert np.mean(found) == pytest.approx(printed["reranked"]["text_to_video"]["mean"])


def test_equal_captions_are_noted(weights: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = json.loads((data / "test.json").read_text())
    records[4]["caption"] = [*records[4]["caption"], records[0]["caption"][0]]
    (data / "equal.json").write_text(json.dumps(records))
    _, out, err = measure(capsys, "retrieval", weights, data / "equal.json")
    assert "1 caption of several videos: only one video counts as right for each; --merge-captions" in err
    assert "14 texts" in out
    _, out, err = measure(capsys, "retrieval", weights, data / "equal.json", "--merge-captions")
    assert "several videos" not in err and "13 texts of up to 12 tokens, equal captions are one text" in out


def test_multiple_choice(weights: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "result.json"
    code, out, err = measure(capsys, "choice", weights, data / "choices.json", "--out", target)
    found = json.loads(target.read_text())
    assert code == 0 and f"accuracy {found['accuracy']:.2%} (" in out and "1 missed and counted as wrong" in out
    assert "videomamba: missed " in err and len(found["queries"]) == 9
    assert sum(query["correct"] for query in found["queries"]) == round(9 * found["accuracy"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--rerank", -1), "--rerank -1: give 0 or more"),
        (("--keep-gb", -1), "--keep-gb -1.0: give 0 or more"),
        (("--keep-gb", "nan"), "--keep-gb nan: give 0 or more"),
        (("--keep-gb", "inf"), "--keep-gb inf: give 0 or more"),
        (("--max-length", 40), "max_length 40: "),
        (("--max-length", 0), "max_length 0: leaves no room for a word"),
        (("--max-length", 2), "max_length 2: leaves no room for a word"),
        (("--out", "absent/result.json"), "--out absent/result.json: its folder does not exist"),
        (("--out", "result.txt"), "--out result.txt: end its name in .json"),
        (("--data.cache", "cache"), "--data.cache: a test decodes the videos themselves"),
        (("--protocol", "msvd", "--data.captions", "paragraph"), "data.captions: is paragraph, and each"),
        (("--data.test", "other.json"), "--data.test other.json: the list is already"),
        (("--device", "warp"), "device warp"),
    ],
)
def test_options_that_do_not_fit(
    weights: Path, data: Path, options: tuple[object, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "text", "retrieval", weights, data / "test.json", *options)
    assert code == 1 and message in err.splitlines()[-1]


def test_a_result_replaces_no_list_that_a_folder_has(
    weights: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "choices.json"
    target.write_bytes(before := (data / "choices.json").read_bytes())
    code, _, err = run(capsys, "text", "choice", weights, tmp_path, "--out", target)
    assert code == 1 and err.endswith("is no earlier result; give another name, or remove the file\n")
    assert target.read_bytes() == before
    again = ("text", "choice", weights, data / "choices.json", "--out", tmp_path / "result.json")
    assert run(capsys, *again)[0] == 0 and run(capsys, *again)[0] == 0


def test_weights_of_another_kind(bundle: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command, file in (("retrieval", "test.json"), ("choice", "choices.json")):
        code, _, err = measure(capsys, command, bundle, data / file)
        assert code == 1 and f"{bundle}: is a network of videos without a text tower" in err


def test_a_list_without_videos(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.json").write_text("[]")
    code, _, err = measure(capsys, "retrieval", weights, tmp_path / "empty.json")
    assert code == 1 and "empty.json" in err and len(err.splitlines()) == 1


def test_two_processes_find_what_one_does(weights: Path, data: Path, tmp_path: Path) -> None:
    """To the last bit, also where the second pass reads the videos again."""
    shared = ["--data.workers", "0", "--device", "cpu"]
    commands = {
        "kept": ["retrieval", weights, data / "test.json", "--rerank", 4],
        "again": ["retrieval", weights, data / "test.json", "--rerank", 4, "--keep-gb", 0],
        "choice": ["choice", weights, data / "choices.json"],
    }
    plans = {
        number: [
            [str(word) for word in ("text", *command, *shared, "--out", tmp_path / f"{name}{number}.json")]
            for name, command in commands.items()
        ]
        for number in (1, 2)
    }
    assert run_all(plans[1]) == 0
    (tmp_path / "plan.json").write_text(json.dumps(plans[2]))
    command = torchrun("-m", "tests.cli.commands", tmp_path / "plan.json")
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("accuracy") == 1  # only the first process prints
    for name in commands:
        assert (tmp_path / f"{name}2.json").read_bytes() == (tmp_path / f"{name}1.json").read_bytes()
    one, other = (json.loads((tmp_path / f"{name}1.json").read_text()) for name in ("kept", "again"))
    assert one == other and one["num_missed"] == 1
