"""The command line as a stranger meets it: answers, errors in one line, exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from videomamba.cli import COMMANDS, main
from videomamba.cli.bench import COMMANDS as BENCH
from videomamba.cli.output import print_json
from videomamba.schema import VideoMambaError
from videomamba.synthetic.actions import ACTIONS
from videomamba.synthetic.camera.motions import MOTIONS
from videomamba.weights.bundle import read_bundle_metadata
from videomamba.weights.released import ACTIONS_MODEL, CAMERA_MODEL
from videomamba.weights.zoo import zoo_entry, zoo_names


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of one command."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return int(stopped.value.code or 0), captured.out, captured.err


def test_predict_prints_a_table(bundle: Path, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "predict", clips / "clip0.mp4", "--model", bundle, "--top", 2)
    assert code == 0 and err == ""
    assert out.startswith(f"{clips / 'clip0.mp4'}  (") and out.count(" %") == 2


def test_a_long_path_is_not_folded(bundle: Path, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = clips / (f"../{clips.name}/" * 20) / "clip0.mp4"
    _, out, _ = run(capsys, "predict", path, "--model", bundle)
    assert out.startswith(f"{path}  (")


def test_a_name_that_is_no_text(bundle: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "caf\udce9.mp4"
    path.symlink_to(clips / "clip0.mp4")
    code, out, _ = run(capsys, "predict", path, "--model", bundle)
    assert code == 0 and "caf\\udce9.mp4" in out
    code, out, _ = run(capsys, "predict", path, "--model", bundle, "--json")
    assert code == 0 and out.isascii() and json.loads(out)["path"] == str(path)


def test_output_is_not_drawn_into_by_the_bar(bundle: Path, clips: Path, tmp_path: Path) -> None:
    """stderr a terminal, stdout a file: the bar goes to the one, every answer to the other."""
    pty = pytest.importorskip("pty")
    leader, terminal = pty.openpty()
    drawn = bytearray()

    def read() -> None:  # meanwhile: a terminal that nobody reads takes a few kilobytes and then blocks whoever writes
        with suppress(OSError):  # how Linux says that a terminal has ended
            while piece := os.read(leader, 65536):
                drawn.extend(piece)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    files = (clips / "clip0.mp4", clips / "clip1.mp4")
    command = [sys.executable, "-m", "videomamba", "predict", *files, "--model", bundle]
    environment = {**os.environ, "TERM": "xterm"}
    for form in ([], ["--json"]):
        with (tmp_path / "out").open("wb") as out:
            subprocess.run([*command, *form], stdout=out, stderr=terminal, check=True, timeout=120, env=environment)
        text = (tmp_path / "out").read_text()
        assert "\x1b" not in text and len(text.splitlines()) >= 2
        assert [name in text for name in ("clip0.mp4", "clip1.mp4")] == [True, True]
    os.close(terminal)
    reader.join()
    os.close(leader)
    assert b"predicting" in drawn and b"clip0" not in drawn


def test_predict_in_json_goes_on_past_a_bad_file(bundle: Path, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "predict", clips, clips / "absent.mp4", "--model", bundle, "--json")
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert [Path(r["path"]).name for r in records] == ["clip0.mp4", "clip1.mp4", "clip2.mp4", "notes.mp4", "absent.mp4"]
    for record in records[:3]:
        assert set(record) == {"path", "model", "predictions"} and record["model"] == str(bundle)
        assert len(record["predictions"]) == 5
        assert all(set(p) == {"label", "score"} for p in record["predictions"])
    assert all(set(record) == {"path", "error"} for record in records[3:])
    assert len(err.splitlines()) == 2 and "notes.mp4" in err and "absent.mp4" in err


def test_an_error_names_the_folder_that_was_given(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "1.png").write_text("no picture")
    code, out, _ = run(capsys, "predict", tmp_path, "--model", bundle, "--json")
    record = json.loads(out)
    assert code == 1 and record["path"] == str(tmp_path) and "1.png" in record["error"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--views", "3"], "views '3'"),
        (["--top", "0"], "--top 0"),
        (["--device", "warp"], "--device warp"),
        (["--device", "meta"], "--device meta"),
        (["--device", "hpu"], "--device hpu"),
        (["--labels", "absent.txt"], "absent.txt"),
        (["--size", "50"], "multiple of patch_size"),
        (["--model", "videomamba_tiny_k400_f8_22"], "did you mean 'videomamba_tiny_k400_f8_224'"),
        (["--model", "absent.pth"], "absent.pth"),
    ],
)
def test_a_bad_option_is_one_clear_line(
    bundle: Path, clips: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = [] if "--model" in arguments else ["--model", bundle]
    code, out, err = run(capsys, "predict", clips / "clip0.mp4", *model, *arguments)
    assert (code, out) == (1, "")
    assert message in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("option", ["--window", "--fps", "--drop", "--timeline"])
def test_predict_has_only_its_own_options(clips: Path, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "predict", clips / "clip0.mp4", option, 2)
    assert code == 2 and option in out + err


def test_predict_without_files_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "predict")
    assert code == 1 and "no file given" in err


def test_synth_writes_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--clips-per-class", 1, "--num-frames", 8, "--height", 64, "--width", 64)
    code, out, _ = run(capsys, "synth", tmp_path / "data", *options)
    assert code == 0 and "16 videos of 16 classes" in out
    assert len(list((tmp_path / "data").rglob("*.mp4"))) == 16
    code, _, err = run(capsys, "synth", tmp_path / "data", *options, "--seed", 5)
    assert code == 1 and "seed=0, not 5" in err


def test_synth_camera_writes_what_it_says(pattern: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--clips-per-class", 1, "--height", 64, "--width", 64, "--fps", 8, "--pictures")
    code, out, err = run(capsys, "synth-camera", tmp_path / "data", *options, pattern)
    assert code == 0, err
    assert "12 videos of 12 classes" in out and len(list((tmp_path / "data").rglob("*.mp4"))) == 12
    code, _, err = run(capsys, "synth-camera", tmp_path / "data", *options, tmp_path / "data" / "cut")
    assert code == 1 and "no pictures in this folder" in err
    code, _, err = run(capsys, "synth-camera", "", *options, pattern)
    assert code == 1 and '""' in err and len(err.splitlines()) == 1


@pytest.fixture
def pattern(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    file = tmp_path / "pictures" / "pattern.png"
    file.parent.mkdir()
    Image.fromarray(pixels).resize((320, 240)).save(file)
    return file.parent


def test_an_answer_that_is_no_number_is_one_line() -> None:
    with pytest.raises(VideoMambaError, match=r"a\.mp4.*cannot be written as JSON"):
        print_json({"path": "a.mp4", "score": float("nan")})


def test_an_empty_name_is_refused(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (("predict", "", "--model", bundle), ("synth", "")):
        code, out, err = run(capsys, *command)
        assert (code, out) == (1, "") and '""' in err and len(err.splitlines()) == 1


def test_zoo_goes_on_without_the_packaged_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("VIDEOMAMBA_WEIGHTS", raising=False)
    monkeypatch.setattr("videomamba.weights.zoo._ASSETS", tmp_path)
    code, out, err = run(capsys, "zoo", "--json")
    facts = {fact["name"]: fact for fact in map(json.loads, out.splitlines())}
    assert (code, err) == (0, "")
    for name, fact in facts.items():
        assert (fact["frames"] is None and fact["resolution"] is None) == zoo_entry(name).packaged
    code, out, _ = run(capsys, "zoo")
    row = next(line for line in out.splitlines() if "videomamba_micro_synthetic" in line)
    assert code == 0 and row.split()[1:3] == ["-", "-"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["zoo", "--json"], ["zoo"], ["--version"], ["--help"]])
def test_a_full_disk_is_one_line(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "videomamba", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 1 and done.stderr == "videomamba: standard output: No space left on device\n"


def test_zoo_lists_every_file(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "zoo", "--json")
    assert code == 0
    assert [json.loads(line)["name"] for line in out.splitlines()] == zoo_names()
    _, table, _ = run(capsys, "zoo")
    assert all(name in table for name in zoo_names())
    code, one, _ = run(capsys, "zoo", "videomamba_middle_breakfast_mask_ft_f64_224")
    assert code == 0 and "32" in one
    _, one, _ = run(capsys, "zoo", "videomamba_middle_5m_f8_224")
    assert "MSRVTT: text to video 32.0 %, video to text 28.2 %" in one and "{" not in one
    _, one, _ = run(capsys, "zoo", "videomamba_micro_synthetic")
    assert "videomamba_micro with depth 5, tubelet_size 2, pool mean" in one
    code, _, err = run(capsys, "zoo", "videomamba_tiny_k401")
    assert code == 1 and "did you mean" in err


def test_convert_goes_there_and_back(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, told = run(capsys, "convert", bundle, tmp_path / "square.safetensors", "--size", 32)
    assert code == 0 and out.strip() == str(tmp_path / "square.safetensors")
    assert "  loaded 41 with the head" in told and "  resized 1: pos_embed" in told
    assert run(capsys, "convert", bundle, tmp_path / "their.pth")[0] == 0
    (tmp_path / "names.txt").write_text("\n".join(reversed(ACTIONS)) + "\n")
    back, named = tmp_path / "back.safetensors", ("--labels", tmp_path / "names.txt")
    assert run(capsys, "convert", tmp_path / "their.pth", back, "--size", 32, 48, *named)[0] == 0
    assert read_bundle_metadata(back).labels == ACTIONS[::-1]
    assert all(torch.equal(value, load_file(bundle)[key]) for key, value in load_file(back).items())


def test_settings_that_a_file_does_not_have_are_mentioned(
    bundle: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare, clip = tmp_path / "bare.safetensors", clips / "clip0.mp4"
    run(capsys, "convert", bundle, tmp_path / "square.safetensors", "--size", 32)
    save_file(load_file(tmp_path / "square.safetensors"), bare)
    expected = f"{bare}: has no settings; assuming those of the released models (scan_order spatial_first, "
    for command in (("predict", clip, "--model"), ("features", clip, "--model"), ("convert",)):
        after = (tmp_path / "new.safetensors",) if command == ("convert",) else ()
        code, _, err = run(capsys, *command, bare, *after)
        assert code == 0 and err.count(expected) == 1 and "pool cls" in err and "sampling uniform" in err
        again = ("--overwrite",) if after else ()
        assert expected not in run(capsys, *command, tmp_path / "square.safetensors", *after, *again)[2]


def test_convert_refuses_in_one_line(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "few.txt").write_text("one\ntwo\n")
    (tmp_path / "twice.txt").write_text("one\none\n")
    for options, reason in (
        ((tmp_path / "image.pth", "--to", "image"), "is no image model"),
        ((tmp_path / "our.safetensors", "--labels", tmp_path / "few.txt"), "2 class names for a model with 16 classes"),
        (
            (tmp_path / "our.safetensors", "--labels", tmp_path / "twice.txt"),
            "twice.txt, line 2: 'one' is also in line 1",
        ),
        ((tmp_path / "our.pth", "--to", "bundle"), "end its name in .safetensors"),
        ((tmp_path / "our.xyz",), "end its name in .safetensors for a bundle or .pth for the original's format"),
        ((tmp_path / "our.safetensors", "--to", "video"), "is no safetensors file; end its name in .pth"),
        ((tmp_path / "few.txt",), "end its name in"),
        ((bundle,), "exists; choose another name, or replace it with --overwrite"),
    ):
        code, out, err = run(capsys, "convert", bundle, *options)
        assert (code, out, len(err.splitlines())) == (1, "", 1) and reason in err


def test_doctor_says_which_backend_serves_what(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "doctor", "--json")
    findings = {f["topic"]: f["finding"] for f in map(json.loads, out.splitlines())}
    assert code == 0
    assert findings["selective_scan on cpu, float32"].split()[0] in ("native", "chunked")
    assert "packaged model" in findings and findings["decoding"].startswith("works: 12 pictures")
    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for extra in set(extras) - {"dev"}:
        for package in (re.split(r"[\[>]", requirement)[0] for requirement in extras[extra]):
            assert package in findings, package
            assert f"videomamba[{extra}]" in findings[package] or "not installed" not in findings[package]


@pytest.mark.parametrize(
    ("broken", "said"),
    [("write_video", "no encoder"), ("open_video", "no decoder"), ("open_video", "")],
)
def test_doctor_says_what_keeps_videos_from_being_read(
    broken: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(said)

    monkeypatch.setattr(f"videomamba.serving.doctor.{broken}", fail)
    code, out, _ = run(capsys, "doctor")
    (line,) = (line for line in out.splitlines() if "decoding" in line)
    assert code == 0 and line.startswith("! ") and f"failed with PyAV {av.__version__}: {said or 'OSError'}" in line


@pytest.mark.parametrize("subcommand", list(BENCH))
def test_the_help_of_a_subcommand_is_about_it(subcommand: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "bench", subcommand, "--help")
    usage, about, *_ = (" ".join(part.split()) for part in out.split("\n\n"))
    assert code == 0 and usage.startswith(f"usage: videomamba bench {subcommand} [-h]")
    assert about == BENCH[subcommand].__doc__


@pytest.mark.parametrize("command", ["predict", "timeline", "whole", "features"])
def test_a_pipe_is_for_live_only(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, command, "-")
    assert (code, out) == (1, "") and err == (
        f"videomamba: {command}: -: only `videomamba live -` reads a pipe; give the file itself\n"
    )


def test_the_packaged_model_says_what_it_knows(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = clips / "clip0.mp4"
    labels = {CAMERA_MODEL: MOTIONS, ACTIONS_MODEL: ACTIONS}
    said = {name: f"{name} knows {zoo_entry(name).knows}" for name in labels}
    defaults = {"predict": CAMERA_MODEL, "timeline": CAMERA_MODEL, "whole": ACTIONS_MODEL, "features": ACTIONS_MODEL}
    for command, name in defaults.items():
        code, out, err = run(capsys, command, clip)
        (line,) = err.splitlines()
        assert code == 0 and name in out and line == f"{said[name]}; its classes: {', '.join(labels[name])}"
        _, out, err = run(capsys, command, clip, "--json")
        assert json.loads(out)["model"] == name and err.startswith(said[name])
        told = " ".join(re.sub("[│\n]", " ", run(capsys, command, "--help")[1]).split())
        assert name in told and "`videomamba zoo` says what the packaged ones know" in told
    code, out, err = run(capsys, "live", clip, "--drop", "all", "--window", 1, "--json")
    assert code == 0 and err.startswith(said[CAMERA_MODEL])
    assert {json.loads(line)["model"] for line in out.splitlines()} == {CAMERA_MODEL}
    table = run(capsys, "zoo")[1]
    for name in labels:
        assert f"{said[name]}." in table and zoo_entry(name).knows in run(capsys, "zoo", name)[1]
        assert run(capsys, "convert", name, tmp_path / f"{name}.safetensors")[0] == 0
        told = run(capsys, "predict", clip, "--model", tmp_path / f"{name}.safetensors")[2]
        assert told.startswith(said[name])  # it travels
    assert len(run(capsys, "predict", tmp_path / "absent.mp4")[2].splitlines()) == 1  # no answer, no remark


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0 and all(f"{name} " in out for name in COMMANDS)


@pytest.mark.parametrize("arguments", [["zoo", "--json"], ["zoo"], ["--version"]])
def test_a_reader_that_leaves_is_no_error(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "videomamba", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0 and error == b""


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
@pytest.mark.parametrize("arguments", ["zoo", "predict --help", "predict absent.mp4"])
def test_closed_output_is_no_traceback(arguments: str) -> None:
    for closed in (">&-", "2>&-"):
        command = f'"$0" -m videomamba {arguments} {closed}'
        done = subprocess.run(["sh", "-c", command, sys.executable], capture_output=True, text=True, timeout=120)
        assert done.returncode == ("absent" in arguments)
        assert (closed, len(done.stderr.splitlines())) == (">&-", done.returncode) or done.stderr == ""


def test_importing_is_light() -> None:
    """Neither PyTorch nor PyAV, for the package nor for --help."""
    loaded = "print('loaded:', *sorted({'torch', 'av'} & set(sys.modules)))"
    script = f"import sys, videomamba.cli\ntry: videomamba.cli.main(['--help'])\nexcept SystemExit: {loaded}"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "predict" in shown and shown.splitlines()[-1] == "loaded:"
    probe = (
        "import sys; import videomamba, videomamba.cli; assert videomamba.__version__; "
        "print(sorted({'torch', 'av', 'numpy', 'pydantic', 'huggingface_hub'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout == "[]\n"
