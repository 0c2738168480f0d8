"""Does what is published work without the repository? `python -m tests.installed_wheel`, or `make wheel-test`.

Builds the wheel, installs it with its dependencies into an empty environment in a temporary folder, and there classifies,
draws a timeline and fine-tunes on clips that it renders. Needs only the standard library. Removes all of it afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ACTIONS_MODEL = "videomamba_micro_synthetic"
CLASSES = ("appear", "disappear", "move_left", "move_right")


class CommandError(Exception):
    """A command of the installed package did not do what it should."""


class Environment:
    """An environment without packages in `folder`, whose commands run in `folder`/work, where nothing of ours is."""

    def __init__(self, folder: Path) -> None:
        self.work, environment = folder / "work", folder / "environment"
        self.work.mkdir()
        venv.create(environment, symlinks=os.name != "nt")
        self.programs = environment / ("Scripts" if os.name == "nt" else "bin")

    def run(self, program: str, *arguments: str | Path, code: int = 0) -> str:
        """What the program prints. Raises CommandError where it ends with another exit code than `code`."""
        shown = " ".join([program, *map(str, arguments)])
        hidden = ("PYTHONPATH", "PYTHONHOME", "VIDEOMAMBA_WEIGHTS")
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        begin = time.monotonic()
        command = [str(self.programs / program), *map(str, arguments)]
        done = subprocess.run(command, cwd=self.work, env=environment, capture_output=True, text=True)
        if done.returncode != code:
            raise CommandError(f"{shown}: exit code {done.returncode}, not {code}\n{done.stdout}{done.stderr}")
        print(f"{time.monotonic() - begin:7.1f} s  {shown}", flush=True)
        return done.stdout

    def install(self, *arguments: str | Path) -> None:
        """With the pip of the Python that runs this: the environment has none."""
        pip = [sys.executable, "-m", "pip", "--python", str(self.programs / "python"), "install", "--quiet"]
        subprocess.run([*pip, "--no-compile", *map(str, arguments)], check=True)

    def see(self, packages: Path) -> None:
        """Makes the packages of another environment importable, after those of this one."""
        own = self.run("python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
        Path(own, "others.pth").write_text(f"{packages.resolve()}\n")


def build(folder: Path) -> Path:
    """The wheel of the working tree, in `folder`."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("videomamba-*.whl")
    return wheel


def check(environment: Environment) -> None:
    """Raises CommandError where an answer of the installed commands is missing or wrong."""
    findings = {one["topic"]: one["finding"] for one in lines(environment.run("videomamba", "doctor", "--json"))}
    print(f"           {findings['videomamba']}; PyTorch {findings['PyTorch']}; kernels: {findings['native kernels']}")
    expect("doctor", not findings["native kernels"].startswith("absent"), findings["native kernels"])

    home = environment.run("python", "-c", "import videomamba; print(videomamba.__file__)").strip()
    expect("import", environment.programs.parent in Path(home).parents, home)

    environment.run("videomamba", "synth", "all", "--clips-per-class", "4", "--num-frames", "16")
    videos = environment.work / "videos"
    videos.mkdir()
    for action in CLASSES:
        (environment.work / "all" / action).rename(videos / action)
    answers = list(lines(environment.run("videomamba", "predict", "videos", "--model", ACTIONS_MODEL, "--json")))
    right = sum(Path(one["path"]).parent.name == one["predictions"][0]["label"] for one in answers)
    print(f"           {right} of {len(answers)} videos have the right class")
    expect("predict", len(answers) == 16 and right >= 12, f"{right} of {len(answers)} right")
    environment.run("videomamba", "predict", "absent.mp4", code=1)

    clip = answers[0]["path"]
    timeline = next(lines(environment.run("videomamba", "timeline", clip, "--json")))
    expect("timeline", timeline["frames"] == 16 and bool(timeline["shots"]), timeline)

    tuned = next(lines(environment.run("videomamba", "finetune", "videos", "--epochs", "2", "--json")))
    expect("finetune", (environment.work / tuned["report"]).is_file(), tuned)
    (answer,) = lines(environment.run("videomamba", "predict", clip, "--model", tuned["model"], "--json"))
    expect("the new model", {one["label"] for one in answer["predictions"]} == set(CLASSES), answer)
    expect("completion", "complete -o default" in environment.run("videomamba", "completion", "bash"), "no script")


def lines(output: str) -> Iterator[dict]:
    return (json.loads(line) for line in output.splitlines())


def expect(what: str, holds: bool, seen: object) -> None:
    if not holds:
        raise CommandError(f"{what}: unexpected answer: {seen}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=Path, help="the wheel; default: built from the working tree")
    parser.add_argument("--torch", default="", help="requirement that is installed first, such as torch==2.13.0")
    parser.add_argument(
        "--packages",
        type=Path,
        metavar="FOLDER",
        help="site-packages of another environment, whose packages serve instead of an installation of our dependencies",
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="videomamba-wheel-") as name:
        folder = Path(name)
        wheel = (options.wheel or build(folder)).resolve()
        print(f"{wheel.name}, {wheel.stat().st_size / 2**20:.1f} MiB, Python {sys.version.split()[0]}", flush=True)
        environment = Environment(folder)
        try:
            if options.torch:
                environment.install(options.torch)
            if options.packages:
                environment.see(options.packages)
            environment.install(f"{wheel}[train]", *["--no-deps"] * bool(options.packages))
            check(environment)
        except CommandError as failed:
            print(f"failed     {failed}", file=sys.stderr)
            return 1
    print("works")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
