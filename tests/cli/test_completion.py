"""The scripts of `videomamba completion`: they know what the commands accept, and shells complete by them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from videomamba.cli import main
from videomamba.cli.completion import Word, vocabulary

KNOWN = vocabulary()
LEAVES = [path for path, words in KNOWN.items() if path and words[0].text.startswith("-")]


@pytest.mark.parametrize("path", LEAVES)
def test_the_options_of_a_command_are_those_of_its_help(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*path.split(), "--help"])
    shown = re.findall(r"^[│ ] (?:-h, )?(--[a-z][\w.-]*)(?: \{([\w,.-]+)\})?", capsys.readouterr().out, re.MULTILINE)
    known = {word.text: word for word in KNOWN[path] if word.text.startswith("-")}
    recipe = {"--print-config", "--presets", "--fresh"} if "--preset" in known else set()  # described in words
    assert known.keys() - recipe == {option for option, _ in shown}
    for option, values in shown:
        if values and option != "--preset":  # whose values are the names of presets
            assert {value.lower() for value in values.split(",")} <= {*known[option].values, "none"}, option


def test_every_command_is_known() -> None:
    assert {"predict", "--version"} <= {word.text for word in KNOWN[""]}
    assert {"text", "text train", "data check", "bench ops", "completion"} <= KNOWN.keys()
    assert Word("predict", "classify videos") in KNOWN[""]
    assert "k400-tiny-f8" in next(word.values for word in KNOWN["train"] if word.text == "--preset")


def printed(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(["completion", shell])
    assert stopped.value.code == 0
    return capsys.readouterr().out


TYPED = [
    (["fin"], ["finetune"]),
    (["text", "qu"], ["questions"]),
    (["predict", "--pre"], ["--precision"]),
    (["predict", "clip.mp4", "--precision", ""], ["fp32", "bf16"]),
    (["predict", "--precision", "fp32", "--js"], ["--json"]),
    (["data", "check", "--no"], ["--no-clean"]),
    (["train", "--data.ro"], ["--data.root"]),
    (["evaluate", "m.pth", "--data.ro"], ["--data.root"]),
    (["train", "--preset", "in1k-tiny-4"], ["in1k-tiny-448"]),
    (["completion", "z"], ["zsh"]),
    (["predict", "fin"], []),  # a file
    (["predict", "--labels", ""], []),  # a file
    (["nothing", "--js"], []),
]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "videomamba.bash"
    script.write_text(printed("bash", capsys))
    tried = f"set -u; source {script}\n"
    for words, _ in TYPED:
        line = " ".join(f"'{word}'" for word in ["videomamba", *words])
        tried += f'COMP_WORDS=({line}); COMP_CWORD={len(words)}; _videomamba; echo "${{COMPREPLY[*]}}"\n'
    done = subprocess.run(["bash", "-c", tried], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stderr, [line.split() for line in done.stdout.splitlines()]) == ("", [words for _, words in TYPED])


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
def test_fish_completes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "videomamba.fish"
    script.write_text(printed("fish", capsys))
    for words, expected in TYPED:
        if expected:  # where no word fits, fish offers the files of the folder
            line = " ".join(["videomamba", *words])
            command = f"source {script}; complete --do-complete {json.dumps(line)}"
            done = subprocess.run(["fish", "-N", "-c", command], capture_output=True, text=True, check=True, timeout=60)
            assert {shown.split("\t")[0] for shown in done.stdout.splitlines()} == set(expected)


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_reads_the_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "videomamba.zsh"
    script.write_text(printed("zsh", capsys))
    command = f"autoload -U compinit && compinit -D -u; source {script}; print ${{_comps[videomamba]}}"
    done = subprocess.run(["zsh", "-f", "-c", command], capture_output=True, text=True, check=True, timeout=60)
    assert "_videomamba" in done.stdout and done.stderr == ""


def test_descriptions_reach_fish(capsys: pytest.CaptureFixture[str]) -> None:
    script = printed("fish", capsys)
    assert "-f -a predict -d 'classify videos'" in script
    assert "-l precision -x -a 'fp32 bf16' -d 'of the matrix products; the scan is always fp32'" in script
