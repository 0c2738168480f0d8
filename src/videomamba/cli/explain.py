"""`videomamba explain`: which frames and places of a video its class comes from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from videomamba.cli.model_options import Files, Model, ModelOptions, each, find_files, without_videos
from videomamba.cli.output import Json, clock, counter, note, print_answers, print_table
from videomamba.cli.targets import check_names

if TYPE_CHECKING:
    from videomamba.serving.explain.answer import Explanation


def explain(
    files: Files,
    /,
    *,
    out: Annotated[
        Path, arg(metavar="FOLDER", help="write NAME.explain.mp4 and NAME.explain.png there; needs matplotlib")
    ] = Path(),
    method: Annotated[
        Literal["attention", "gradient", "integrated"],
        arg(
            help="through the hidden attention of the scans; absolute gradient of the pixels; integrated gradients "
            "(needs captum)"
        ),
    ] = "attention",
    target: Annotated[
        str | None,
        arg(metavar="CLASS", help="the class to explain", help_behavior_hint="(default: the best class of the video)"),
    ] = None,
    comparison: Annotated[
        bool, arg(help="do not compare the map with maps without a meaning, which takes most of the time")
    ] = True,
    model: Model = ModelOptions(),
    json: Json = False,
) -> int:
    """Show which frames and which places of a video its class comes from, as a video, a picture and numbers.

    Deletion is the mean probability of the class while the patches are removed, most relevant first: low is good. Insertion
    is that while they are added to an empty clip: high is good. Both stand beside those of random maps and of one that
    prefers the middle of the picture. A map that is not better than these says nothing. Files that fail are listed on
    stderr; the others are still done, and the exit code is then 1.
    """
    import videomamba.evaluation.lettering  # a missing package is an error before the first answer

    if method == "integrated":
        import videomamba.serving.explain.integrated  # noqa: F401
    from videomamba.files import clear_remains, make_folder
    from videomamba.serving.explain.answer import explain as look

    paths = find_files("explain", files)
    check_names((path for path in paths if isinstance(path, Path)), what="explanation")
    predictor = model.open(silent=without_videos(paths))
    make_folder(out, option="--out")
    clear_remains(out, "*.explain.*")

    def answer(path: Path) -> Explanation:
        with counter(f"comparing {path.name}") as tick:
            found = look(predictor, path, method=method, target=target, comparison=comparison, progress=tick)
        for file in found.write(out):
            note(str(file))
        return found

    return print_answers(each(paths, answer), _print, json=json)


def _print(found: Explanation) -> None:
    print(f"{found.path}  ({found.model}, {found.method}): {found.label} {100 * found.score:.1f} %")
    shares = found.frames.tolist()
    longest = max(*shares, 1e-9)
    rows = [
        [str(index), clock(time), f"{100 * share:.1f} %", "#" * round(30 * share / longest)]
        for index, time, share in zip(found.indices, found.times, shares, strict=True)
    ]
    print_table(["frame", "time", "relevance", ""], rows, left=(3,))
    if found.comparison is not None:
        compared = found.comparison
        named = {"this map": compared.map, "random maps": compared.random, "middle of the picture": compared.centre}
        rows = [[name, f"{score.deletion:.3f}", f"{score.insertion:.3f}"] for name, score in named.items()]
        print_table(["", "deletion (low is good)", "insertion (high is good)"], rows)
