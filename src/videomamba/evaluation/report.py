"""One HTML file with the results of a test and the training curves: no scripts, nothing to download.

Equal input gives equal bytes. All text from files (names, paths, settings) is escaped. Wrong answers have small pictures,
which are part of the page, and links to their videos, relative to the page where that is possible.
"""

from __future__ import annotations

import base64
import json
import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np

from videomamba.evaluation.plot import confusion_svg, curves_svg, estimates_svg
from videomamba.evaluation.results import ClassificationResult, ClassScore, Estimate, Mistake, RegressionResult
from videomamba.evaluation.thumbnails import thumbnails
from videomamba.files import write_atomically

SHOWN = 30  # rows of the tables of mistakes and confusions
OPEN_CLASSES = 30  # with more, the table of classes is folded

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --faint: #66707f; --line: #d9dee5; --page: #f6f7f9; --card: #fff;
  --blue: #2f6fc4; --warn: #a3470c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --faint: #98a2b3; --line: #343c48; --page: #14181e;
  --card: #1c222b; --blue: #6ea3ec; --warn: #f0a25c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 0 0 12px; }
p { margin: 0 0 10px; }
.faint, figcaption, th { color: var(--faint); }
.warn { color: var(--warn); }
.tiles, .curves { display: grid; gap: 14px; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); margin: 20px 0; }
.curves { grid-template-columns: repeat(auto-fit, minmax(min(400px, 100%), 1fr)); }
.tile, section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.tile { padding: 12px 16px; }
.tile b { display: block; font-size: 25px; line-height: 1.25; font-weight: 650; font-variant-numeric: tabular-nums; }
section { padding: 18px 20px; margin: 0 0 18px; }
figure { margin: 0; }
figure svg { display: block; max-width: 100%; height: auto; }
.curves svg { width: 100%; }
figure svg text { font-family: system-ui, sans-serif !important; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; padding: 5px 12px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 500; }
tr:last-child td { border-bottom: 0; }
.number { text-align: right; padding-right: 22px; white-space: nowrap; font-variant-numeric: tabular-nums; }
td img { display: block; height: 64px; border-radius: 4px; }
a { color: var(--blue); }
.file, code { font-family: ui-monospace, monospace; font-size: 13px; overflow-wrap: anywhere; }
meter { width: 110px; height: 12px; }
summary { cursor: pointer; }
details[open] > summary { margin-bottom: 12px; }
"""


def write_report(
    path: Path,
    *,
    title: str,
    config: Mapping[str, object],
    result: ClassificationResult | RegressionResult,
    history: Sequence[Mapping[str, object]] = (),
    curves: str = "",
    skipped: Sequence[tuple[str, str]] = (),
    note: str = "",
    facts: Mapping[str, str] | None = None,
) -> None:
    """Writes the page: the numbers with their protocol, curves, confusion, classes, mistakes, failures, settings.

    `config` may be nested, with JSON values; `history` are the records of the run's metrics, and `curves` is the protocol of
    the accuracies among them; `skipped` are (path, reason) of the videos that training skipped; `note` is a line under the
    title, `facts` are lines below it, such as those of `facts_of_run`. Raises VideoMambaError when the file cannot be
    written, and on import without matplotlib.
    """
    path = Path(path)
    if isinstance(result, ClassificationResult):
        tiles, answers = _classification(result, path)
    else:
        tiles, answers = _regression(result, path)
    if result.num_missed:
        tiles.append(_tile("missed", str(result.num_missed), f"of {result.num_videos} videos"))
    drawn = curves_svg(history)
    parts = [
        f"<h1>{_text(title)}</h1>",
        f'<p class="faint">{_text(note)}</p>' if note else "",
        *(f'<p><span class="faint">{_text(name)}</span> {_text(value)}</p>' for name, value in (facts or {}).items()),
        f'<div class="tiles">{"".join(tiles)}</div>',
        f'<p><span class="faint">Protocol:</span> {_text(result.protocol)}</p>',
        _training(drawn, _compared(curves, result)) if drawn else "",
        *answers,
        _failures("Missed in the test", "These could not be scored. " + _missed(result), result.failures, path),
        _failures("Skipped in training", "These could not be read.", skipped, path),
        _settings(config),
    ]
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(filter(None, parts))
        + "\n</main>\n</body>\n</html>\n"
    )
    # A name that is not valid Unicode becomes lone surrogates in Python, which UTF-8 cannot encode.
    data = page.encode("utf-8", "backslashreplace")
    write_atomically(path, lambda target: target.write_bytes(data))


def facts_of_run(seconds: float) -> dict[str, str]:
    """Date, duration and command of a run that took `seconds` and ends now, for `write_report`."""
    program, *options = sys.argv or [""]
    if Path(program).name == "__main__.py":  # python -m videomamba
        program = Path(program).parent.name
    facts = {
        "date": datetime.now().astimezone().isoformat(" ", "minutes"),
        "duration": str(timedelta(seconds=round(seconds))),
    }
    return facts | ({"command": shlex.join([Path(program).name, *options])} if program else {})


def _training(drawn: Mapping[str, str], remark: str) -> str:
    return _section("Training", remark + f'<div class="curves">{"".join(map(_curve, drawn, drawn.values()))}</div>')


def _compared(curves: str, result: ClassificationResult | RegressionResult) -> str:
    """Why the last point of a curve is not the headline."""
    if not curves:
        return ""
    if curves == result.protocol:
        return _hint("The curves of the validation split follow the protocol above.")
    return _hint(
        f"The curves of the validation split are not comparable with the result above. Curves: {curves}, as few views take "
        f"little time during a run. Result: {result.protocol}."
    )


def _missed(result: ClassificationResult | RegressionResult) -> str:
    if result.num_missed == 0:
        return "Their videos were scored from their other windows."
    counted = "counted as wrong" if isinstance(result, ClassificationResult) else "excluded from the means"
    return f"Videos without any answer: {result.num_missed}, {counted}."


def _classification(result: ClassificationResult, page: Path) -> tuple[list[str], list[str]]:
    """The tiles and the sections."""
    low, high = result.top1_interval
    interval = f"95% interval {low:.1%} to {high:.1%}"
    tiles = [_tile("top-1", f"{result.top1:.2%}", f"{result.correct1} of {result.num_videos} videos, {interval}")]
    if result.top5 is not None:
        tiles.append(_tile("top-5", f"{result.top5:.2%}", f"{result.correct5} of {result.num_videos} videos"))
    with_videos = sum(score.count > 0 for score in result.per_class)
    tiles.append(_tile("mean class accuracy", f"{result.mean_class_accuracy:.2%}", f"over {with_videos} classes"))
    if result.num_missed and result.top1_readable is not None:
        scored = result.num_videos - result.num_missed
        tiles.append(_tile("top-1 without the missed", f"{result.top1_readable:.2%}", f"{scored} videos"))
    labels = result.labels
    figure = f"<figure>{confusion_svg(result.confusion, labels)}</figure>"
    confusion = _section("Confusion", _hint("Rows are the truth, columns the answers.") + figure)
    off_diagonal = result.confusion * (1 - np.eye(len(labels), dtype=np.int64))
    pairs = sorted(
        ((int(off_diagonal[i, j]), int(i), int(j)) for i, j in np.argwhere(off_diagonal)),
        key=lambda pair: (-pair[0], pair[1:]),
    )
    worst = _table(
        ("truth", "answer", "#videos", "#of the class"),
        [(labels[i], labels[j], str(n), f"{n / result.per_class[i].count:.0%}") for n, i, j in pairs[:SHOWN]],
    )
    mistakes = _table(
        ("truth", "answer", "#confidence", "video", "file"),
        [
            (labels[m.label], labels[m.answer], f"{m.score:.0%}", _pictures(m), _link(m.path, page))
            for m in result.mistakes[:SHOWN]
        ],
    )
    return tiles, [
        confusion,
        _section("Most frequent confusions", _shown(len(pairs)) + worst) if pairs else "",
        _classes(result.per_class),
        _section("Wrong answers, the most confident first", _shown(len(result.mistakes)) + mistakes) if pairs else "",
    ]


def _classes(scores: Sequence[ClassScore]) -> str:
    rows: list[tuple[str, ...]] = []
    for i, score in sorted(enumerate(scores), key=lambda s: 2.0 if s[1].accuracy is None else s[1].accuracy):
        share = "no videos" if score.accuracy is None else f"{score.accuracy:.1%}"
        bar = _Markup("" if score.accuracy is None else f'<meter value="{score.accuracy:.4f}">{share}</meter>')
        rows.append((str(i), score.label, bar, share, str(score.correct), str(score.count), str(score.missed)))
    table = _table(("#index", "class", "", "#accuracy", "#right", "#videos", "#missed"), rows)
    if len(scores) > OPEN_CLASSES:
        table = f"<details><summary>all {len(scores)} classes</summary>{table}</details>"
    return _section("Classes, the weakest first", table)


def _regression(result: RegressionResult, page: Path) -> tuple[list[str], list[str]]:
    """The tiles and the sections."""
    tiles = [
        _tile(name, "none" if value is None else f"{value:.4g}", f"{len(result.estimates)} videos")
        for name, value in (("mean squared error", result.mse), ("mean absolute error", result.mae))
    ]
    if not result.estimates:
        return tiles, []
    figure = estimates_svg([e.target for e in result.estimates], [e.value for e in result.estimates])
    worst = sorted(result.estimates, key=lambda estimate: -abs(estimate.error))
    rows = [
        (f"{e.target:.4g}", f"{e.value:.4g}", f"{e.error:+.4g}", _pictures(e), _link(e.path, page))
        for e in worst[:SHOWN]
    ]
    return tiles, [
        _section("Answers against the truth", f"<figure>{figure}</figure>"),
        _section(
            "Largest errors", _shown(len(worst)) + _table(("#true value", "#answer", "#error", "video", "file"), rows)
        ),
    ]


def _failures(title: str, text: str, failures: Sequence[tuple[str, str]], page: Path) -> str:
    if not failures:
        return ""
    table = _table(("file", "reason"), [(_link(path, page), reason) for path, reason in failures])
    if len(failures) > SHOWN:
        table = f"<details><summary>all {len(failures)}</summary>{table}</details>"
    return _section(f"{title}: {len(failures)}", f'<p class="warn">{_text(text)}</p>{table}')


def _settings(config: Mapping[str, object]) -> str:
    rows = [(_File(key), _File(value)) for key, value in _flat(config)]
    if not rows:
        return ""
    table = _table(("", ""), rows)
    return _section("Settings", f"<details><summary>all {len(rows)} settings</summary>{table}</details>")


def _flat(config: Mapping[str, object], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            plain = isinstance(value, str | Path)
            yield f"{prefix}{key}", str(value) if plain else json.dumps(value, default=str, ensure_ascii=False)


def _pictures(about: Mistake | Estimate) -> _Markup:
    """Small pictures of a video, and the times of a part of it."""
    seen = thumbnails(about.path, about.span)
    image = "" if seen is None else f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(seen).decode()}">'
    times = "" if about.span is None else f"<br>{about.span[0]:g} to {about.span[1]:g} s"
    return _Markup(image + times)


def _link(path: str, page: Path) -> _Markup:
    """A link to the file, relative to `page` except to another drive of Windows."""
    try:
        address = quote(os.fsencode(Path(os.path.relpath(path, page.parent)).as_posix()))
    except ValueError:
        address = Path(path).absolute().as_uri()
    return _Markup(f'<a class="file" href="{escape(address)}">{escape(path)}</a>')


class _Markup(str):
    """Text that is already HTML."""


class _File(str):
    """Text in the font of files and keys."""


def _text(text: str) -> str:
    return text if isinstance(text, _Markup) else escape(text)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A head that starts with # belongs to a column of numbers."""
    kinds = [' class="number"' if head.startswith("#") else "" for head in heads]

    def cell(text: str, kind: str) -> str:
        kind = ' class="file"' if isinstance(text, _File) else kind
        return f"<td{kind}>{_text(text)}</td>"

    head = "".join(f"<th{kind}>{_text(text.removeprefix('#'))}</th>" for text, kind in zip(heads, kinds, strict=True))
    body = "\n".join(f"<tr>{''.join(map(cell, row, kinds))}</tr>" for row in rows)
    head = f"<thead><tr>{head}</tr></thead>\n" if any(heads) else ""
    return f'<div class="scroll"><table>{head}<tbody>\n{body}\n</tbody></table></div>'


def _tile(name: str, value: str, below: str) -> str:
    return f'<div class="tile"><span class="faint">{_text(name)}</span><b>{value}</b><span class="faint">{below}</span></div>'


def _section(title: str, body: str) -> str:
    return f"<section>\n<h2>{_text(title)}</h2>\n{body}\n</section>"


def _curve(title: str, svg: str) -> str:
    return f"<figure><figcaption>{_text(title)}</figcaption>{svg}</figure>"


def _hint(text: str) -> str:
    return f'<p class="faint">{_text(text)}</p>'


def _shown(number: int) -> str:
    return _hint(f"The first {SHOWN} of {number}.") if number > SHOWN else ""
