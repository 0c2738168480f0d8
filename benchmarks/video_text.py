"""Trains the packaged model of video and text on synthetic actions, and measures it on clips and sentences that it never saw.

    python benchmarks/video_text.py --out runs/video_text [--parts retrieval words choices questions] [--write FILE] [--json]

The data are files of `videomamba synth`: for training 500 clips of each action with six captions each; for testing clips of
other seeds, whose captions are sentences that do not occur in training, of words that do. No two of the 256 clips of the
retrieval test have the same action and objects. The video tower starts from the packaged classifier, the text tower from
random weights and a vocabulary of whole words, in the two stages of the paper: `masked` sees half of the patches of each frame,
and its tokens are drawn towards those of the classifier; `unmasked` sees all. Both see half of the clips; `longer` goes on with
all, and averages the weights. `questions` trains a network that answers from the result.

A finished command is not repeated, and an interrupted one resumes. `--processes 2` trains on two cores.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from commands import videomamba

from videomamba.cli.output import print_table
from videomamba.data.loading.loader import EvaluationLoader
from videomamba.data.sets.texts import read_texts
from videomamba.data.settings import TextDataSettings
from videomamba.data.text.clean import clean_caption
from videomamba.data.text.tokenizer import Tokenizer
from videomamba.data.text.word_masks import IGNORED, mask_words
from videomamba.files import replace_text
from videomamba.schema import Captions, VideoMambaError
from videomamba.synthetic.captions import questions
from videomamba.synthetic.dataset import SyntheticClip, write_dataset, write_distinct
from videomamba.synthetic.texts import CAPTIONS, CHOICES, HELD_OUT, QUESTIONS
from videomamba.synthetic.wordings import QUESTIONS as KINDS
from videomamba.training.tracking import read_metrics
from videomamba.weights.released import ACTIONS_MODEL, TEXT_MODEL
from videomamba.weights.video_text import open_video_text, save_video_text
from videomamba.weights.zoo import zoo_entry

LARGEST = 12_000_000
"""Bytes of the packaged file."""

RENDERED = {"num_frames": 32, "fps": 16, "height": 112, "width": 112, "crf": 23}
PIXELS, CACHED = 96, 112
NETWORK: Sequence[object] = (
    *("--model.name", "none", "--model.dim", 128, "--model.depth", 5, "--model.tubelet-size", 2),
    *("--model.pool", "mean", "--model.init", "fan_in", "--model.drop-path", 0),
)
"""The video tower: that of `ACTIONS_MODEL`."""
VOCABULARY = 600
"""The most words; there are fewer, so each is a whole one."""

LOSSES = ("contrastive", "matching", "words", "align")
STAGES = ("masked", "unmasked", "longer")
ALL = "all"
"""The first word of the lists of all clips for training; those of "train" have the first half."""
PARTS = ("retrieval", "words", "choices", "questions")


@dataclass(frozen=True)
class Row:
    """One line of the report. `value` and `chance` in percent, except that losses are shown as they are."""

    part: str
    what: str
    value: float
    chance: float | None
    note: str = ""


@dataclass(frozen=True)
class Sizes:
    """How much is rendered and trained; `TINY` is for a trial of the script."""

    train: int  # clips of each action; the first two stages see the first half
    test: int
    distinct: int
    masked: int  # epochs
    unmasked: int
    longer: int
    questions: int  # epochs, each with every question of every clip
    batch: int = 32


FULL = Sizes(train=500, test=32, distinct=256, masked=4, unmasked=24, longer=6, questions=1)
TINY = Sizes(train=4, test=2, distinct=24, masked=1, unmasked=1, longer=1, questions=1, batch=16)


class Benchmark:
    """The folder of a run of this script: data, trainings, and what the commands printed."""

    def __init__(self, out: Path, sizes: Sizes, *, processes: int, seed: int) -> None:
        self.out, self.data, self.sizes, self.seed = out, out / "data", sizes, seed
        self._processes = processes
        self.kinds: dict[str, str] = {}

    def write_data(self) -> None:
        """The missing videos, the lists with paths relative to `data`, and the vocabulary; the same call resumes."""
        for split, each, seed in (("train", self.sizes.train, 5000), ("val", 2, 5001), ("test", self.sizes.test, 5002)):
            root = self.data / split
            clips = write_dataset(root, clips_per_class=each, seed=seed, **RENDERED)
            files = [root / name for name in (CAPTIONS, HELD_OUT, QUESTIONS, CHOICES)]
            if split == "test":
                files.append(write_distinct(root, clips, self.sizes.distinct))
                self.kinds = dict(_kinds(clips))
            for file in files:
                self._list(split, file)
        for name in (CAPTIONS, QUESTIONS):
            self._halve(name)
        texts = [text for name in (CAPTIONS, QUESTIONS) for text in _texts(self.data / f"train_{name}")]
        words = Tokenizer.learn(map(clean_caption, texts), VOCABULARY).vocabulary
        replace_text(self.data / "vocab.txt", "".join(f"{word}\n" for word in words))

    def _list(self, split: str, file: Path) -> None:
        """Writes data/<split>_<name>, or data/all_<name> of the training clips; its paths are relative to `data`."""
        records = json.loads(file.read_text(encoding="utf-8"))
        moved = [{**record, "video": f"{split}/{record['video']}"} for record in records]
        name = ALL if split == "train" else split
        replace_text(self.data / f"{name}_{file.name}", json.dumps(moved))

    def _halve(self, name: str) -> None:
        """Writes data/train_<name>, the records of the first half of the clips of each action."""
        clips = json.loads((self.data / f"{ALL}_{CAPTIONS}").read_text(encoding="utf-8"))
        chosen = {record["video"] for record in clips[: len(clips) // 2]}  # clip after clip, each of all actions
        records = json.loads((self.data / f"{ALL}_{name}").read_text(encoding="utf-8"))
        replace_text(
            self.data / f"train_{name}", json.dumps([record for record in records if record["video"] in chosen])
        )

    def train(self) -> Path:
        """All stages; returns the weights of the last."""
        masked = [
            *("--model.weights", ACTIONS_MODEL),
            *("--text.vocabulary", self.data / "vocab.txt", "--text.dim", 128, "--text.depth", 5, "--text.heads", 4),
            *("--text.fusion-from", 3, "--text.embed-dim", 128, "--text.pool", "avg"),
            *("--teacher.weights", ACTIONS_MODEL, "--objectives.align", 1, "--mask.name", "tube", "--mask.ratio", 0.5),
        ]
        weights = self._stage("masked", self.sizes.masked, 1e-3, masked)
        weights = self._stage("unmasked", self.sizes.unmasked, 1e-3, ["--model.weights", weights])
        return self._stage(
            "longer", self.sizes.longer, 5e-4, ["--model.weights", weights, "--optim.ema", 0.998], split=ALL
        )

    def _stage(self, name: str, epochs: int, rate: float, options: Sequence[object], *, split: str = "train") -> Path:
        lists = ["--data.train", f"{split}_{CAPTIONS}", "--data.val", f"val_{HELD_OUT}"]
        command = ["text", "train", *lists, *self._shared(name, epochs, rate), *options, "--text.max-length", 32]
        videomamba(command, processes=self._processes)
        return self.out / name / "last.safetensors"

    def train_questions(self, weights: Path) -> Path:
        lists = ["--data.train", f"train_{QUESTIONS}", "--data.val", f"val_{QUESTIONS}"]
        options = ["--model.weights", weights, *self._shared("questions", self.sizes.questions, 5e-4)]
        videomamba(["text", "train-questions", *lists, *options], processes=self._processes)
        return self.out / "questions" / "last.safetensors"

    def _shared(self, name: str, epochs: int, rate: float) -> list[object]:
        return [
            *("--data.root", self.data, "--data.cache", self.out / "cache", "--data.cache-frames", 16),
            *("--data.cache-size", CACHED, "--data.workers", 0, *NETWORK),
            *("--clip.num-frames", 8, "--clip.image-size", PIXELS, PIXELS, "--clip.crop-ratio", PIXELS / CACHED),
            *("--augment.crop", "shift", "--augment.flip", "off", "--optim.epochs", epochs),
            *("--optim.batch-size", self.sizes.batch, "--optim.lr", rate, "--optim.lr-reference", 0),
            *("--optim.min-lr", rate / 50, "--optim.warmup-epochs", min(1, epochs / 4), "--optim.betas", 0.9, 0.98),
            *("--optim.clip-grad", 1, "--run.evaluate-every", epochs, "--run.device", "cpu", "--run.seed", self.seed),
            *("--run.out", self.out / name),
        ]

    def measured(self, command: str, weights: Path, listed: str) -> dict[str, Any]:
        """The JSON result of `videomamba text <command>` on a list of the test data."""
        options = ["--data.test", f"test_{listed}", "--device", "cpu", "--json"]
        result: dict[str, Any] = json.loads(videomamba(["text", command, weights, self.data, *options]))
        return result


def losses(run: Path, batch: int) -> Iterator[Row]:
    """The mean of each loss in the first and the last tenth of a training."""
    steps = [record for record in read_metrics(run) if record["kind"] == "step"]
    part = max(len(steps) // 10, 1)
    chance = {"contrastive": math.log(batch), "matching": -math.log(1 / 3) / 3 - 2 * math.log(2 / 3) / 3, "align": 2.0}
    for name in LOSSES:
        values = [record[f"{name}_loss"] for record in steps if f"{name}_loss" in record]
        if values:
            start, end = float(np.mean(values[:part])), float(np.mean(values[-part:]))
            yield Row(f"{run.name} training", f"{name} loss", end, chance.get(name), f"{start:.3f} at the start")


def retrieval(result: Mapping[str, Any], clips: int) -> Iterator[Row]:
    methods = {"dual": "dual encoder", "reranked": "re-ranked", "combined": "match and similarity"}
    for method, title in methods.items():
        for direction in ("text_to_video", "video_to_text"):
            found = result[method][direction]
            note = f"R@5 {100 * found['r5']:.1f}, R@10 {100 * found['r10']:.1f}, median rank {found['median']:g}"
            name = f"{direction.replace('_', ' ')}, {title}"
            yield Row("retrieval", f"R@1 {name}", 100 * found["r1"], 100 / clips, note)


@torch.inference_mode()
def masked_words(weights: Path, data: Path, listed: str, *, seed: int = 0) -> Iterator[Row]:
    """The share of hidden words that are predicted from the others and the video; and with the video of another clip.

    Every word of a held-out caption is hidden with probability 0.15. Chance is the most frequent word.
    """
    opened = open_video_text(weights)
    model, tokenizer = opened.model, opened.tokenizer
    settings = TextDataSettings(root=data, test=Path(f"test_{listed}"))
    videos = read_texts(settings, "test", task="captions")
    texts = [record.annotation.texts[0] for record in videos.records if isinstance(record.annotation, Captions)]
    tokens = tokenizer(texts, max_length=opened.max_length)
    ids, targets = mask_words(tokens, tokenizer, 0.15, np.random.default_rng(seed))
    with EvaluationLoader(videos, preprocess=opened.preprocess, data=settings) as loader:
        memory = torch.cat([model.encode_video(batch.video).memory for batch in loader])
    states, hidden = model.encode_text(ids, tokens.mask), targets != IGNORED
    common = Counter(targets[hidden].tolist()).most_common(1)[0][1] / int(hidden.sum())
    for name, seen in (
        ("with the video", memory),
        ("with the video of another clip", memory.roll(len(memory) // 2, 0)),
    ):
        parts = [
            model.predict_words(model.fuse(states[i : i + 32], tokens.mask[i : i + 32], seen[i : i + 32])).argmax(-1)
            for i in range(0, len(texts), 32)
        ]
        right = float((torch.cat(parts) == targets)[hidden].float().mean())
        yield Row("masked words", f"accuracy {name}", 100 * right, 100 * common, f"{int(hidden.sum())} words")


def answers(result: Mapping[str, Any], kinds: Mapping[str, str]) -> Iterator[Row]:
    """The accuracy of all questions and of each kind, where chance is one of the answers to this kind of question."""
    by_kind: dict[str, list[bool]] = defaultdict(list)
    right_ones: dict[str, set[str]] = defaultdict(set)
    for one in result["answers"]:
        kind = kinds[clean_caption(one["question"])]
        by_kind[kind].append(one["given"] in one["answers"])
        right_ones[kind].update(one["answers"])
    chances = {kind: 100 / len(found) for kind, found in right_ones.items()}
    total = sum(map(len, by_kind.values()))
    mean = sum(chances[kind] * len(found) for kind, found in by_kind.items()) / total
    yield Row("questions", "accuracy", 100 * result["accuracy"], mean, f"{result['num_questions']} questions")
    for kind in KINDS:
        if found := by_kind.get(kind):
            yield Row("questions", kind, 100 * sum(found) / len(found), chances[kind], f"{len(found)} questions")


def measure(bench: Benchmark, parts: Sequence[str]) -> Iterator[Row]:
    bench.write_data()
    weights = bench.train()
    for stage in STAGES:
        yield from losses(bench.out / stage, bench.sizes.batch)
    distinct = f"captions_distinct_{bench.sizes.distinct}.json"
    if "retrieval" in parts:
        yield from retrieval(bench.measured("retrieval", weights, distinct), bench.sizes.distinct)
    if "words" in parts:
        yield from masked_words(weights, bench.data, distinct)
    if "choices" in parts:
        found = bench.measured("choice", weights, CHOICES)
        yield Row("choices", "accuracy", 100 * found["accuracy"], 20.0, f"{found['num_videos']} clips, 5 captions each")
    if "questions" in parts:
        answering = bench.train_questions(weights)
        yield from losses(bench.out / "questions", bench.sizes.batch)
        yield from answers(bench.measured("questions", answering, QUESTIONS), bench.kinds)


KEPT = ("task", "objectives", "epochs", "versions", "trained_on")
"""What the packaged file says of its last stage; all of it is in `command`."""


def package(weights: Path, target: Path, rows: Sequence[Row]) -> None:
    """Writes the packaged file with the measured `rows`. Raises VideoMambaError where it is too large."""
    opened = open_video_text(weights)
    info = {key: opened.info[key] for key in KEPT} | {
        "weights": ACTIONS_MODEL,
        "command": "python benchmarks/video_text.py --out runs/video_text --processes 2 --write FILE",
        "data": "videomamba synth",
        "license": "Apache-2.0",
        "knows": f"{TEXT_MODEL} knows {zoo_entry(TEXT_MODEL).knows}",
        "measured": {row.what: round(row.value, 1) for row in rows if row.part == "retrieval"},
    }
    save_video_text(
        target,
        opened.model,
        preprocess=opened.preprocess,
        tokenizer=opened.tokenizer,
        max_length=opened.max_length,
        info=info,
    )
    if (size := target.stat().st_size) > LARGEST:
        raise VideoMambaError(f"{target}: has {size} bytes, more than {LARGEST}; make the text tower smaller")


def _kinds(clips: Sequence[SyntheticClip]) -> Iterator[tuple[str, str]]:
    """Each question, as data sets of texts clean it, and its kind."""
    for clip in clips:
        for question in questions(clip.label, clip.seed):
            yield clean_caption(question.text), question.kind


def _texts(file: Path) -> Iterator[str]:
    """The captions, questions and answers of a list."""
    for record in json.loads(file.read_text(encoding="utf-8")):
        yield from record.get("caption", ())
        yield from (record[key] for key in ("question", "answer") if key in record)


def show(rows: Sequence[Row]) -> None:
    cells = []
    for row in rows:
        number: Callable[[float], str] = "{:.3f}".format if row.what.endswith("loss") else "{:.1f}".format
        cells.append(
            [row.part, row.what, number(row.value), "-" if row.chance is None else number(row.chance), row.note]
        )
    print_table(["", "", "result", "chance", ""], cells, left=(0, 1, 4))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of data and trainings; they are resumed")
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=PARTS, help="what is measured")
    parser.add_argument(
        "--processes", type=int, default=1, help="processes that train, with one thread each if several"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the trainings")
    parser.add_argument("--tiny", action="store_true", help="a trial of a few steps, whose numbers mean nothing")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help=f"write the trained model, the packaged {TEXT_MODEL}"
    )
    parser.add_argument("--json", action="store_true", help="one JSON record a line")
    args = parser.parse_args()
    bench = Benchmark(args.out, TINY if args.tiny else FULL, processes=args.processes, seed=args.seed)
    try:
        rows = []
        for row in measure(bench, args.parts):
            rows.append(row)
            if args.json:
                print(json.dumps(row.__dict__), flush=True)
        if args.write is not None:
            package(args.out / STAGES[-1] / "last.safetensors", args.write, rows)
    except VideoMambaError as error:
        raise SystemExit(f"{Path(sys.argv[0]).name}: {error}") from None
    if not args.json:
        show(rows)


if __name__ == "__main__":
    main()
