"""Synthetic actions: exact reversal within a pair, the motion that the name says, and a repeatable data set on disk."""

import csv
import itertools
import os
import signal
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from videomamba.schema import VideoError, VideoMambaError
from videomamba.synthetic import writing
from videomamba.synthetic.actions import ACTIONS
from videomamba.synthetic.dataset import caption, render_clip, reversed_action, scene_seed, write_dataset
from videomamba.synthetic.look import LOOKS, STYLES
from videomamba.synthetic.sample import sample_scene
from videomamba.synthetic.shapes import SHAPES

PAIRS = range(len(ACTIONS) // 2)
SMALL = {"num_frames": 8, "height": 64, "width": 80}


def sorted_frames(clip: np.ndarray) -> list[bytes]:
    return sorted(frame.tobytes() for frame in clip)


# --- what a bag of frames can know ------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("pair", PAIRS)
def test_a_pair_is_the_same_bag_of_frames_in_opposite_order(pair: int, style: str) -> None:
    for seed in (0, 1, 17, 3_000_005):
        first = render_clip(2 * pair, seed, style=style, num_frames=12, height=64, width=80)
        second = render_clip(2 * pair + 1, seed, style=style, num_frames=12, height=64, width=80)
        assert np.array_equal(second, first[::-1])
        assert sorted_frames(first) == sorted_frames(second)
        assert not np.array_equal(first, second)


def test_reversed_action_pairs_neighbours() -> None:
    assert len(ACTIONS) == len(set(ACTIONS)) == 16
    assert [reversed_action(k) for k in range(4)] == [1, 0, 3, 2]
    assert all(reversed_action(reversed_action(k)) == k != reversed_action(k) for k in range(16))


@pytest.mark.parametrize("style", STYLES)
def test_all_but_the_action_runs_alike_in_both_directions_of_time(style: str) -> None:
    scenes = [sample_scene(pair, seed, style) for pair in PAIRS for seed in range(100)]
    drift = np.array([scene.background.drift for scene in scenes])
    # 800 draws of mean 0 and deviation about 0.13: their mean is within 4 deviations of the mean.
    assert np.abs(drift.mean(axis=0)).max() < 4 * 0.13 / np.sqrt(len(scenes))
    late = np.mean([scene.timing.late for scene in scenes])
    assert abs(late - 0.5) < 4 * 0.5 / np.sqrt(len(scenes))
    before = np.array([scene.timing.start for scene in scenes])
    after = np.array([1 - scene.timing.end for scene in scenes])
    assert abs(before.mean() - after.mean()) < 4 * 0.15 / np.sqrt(6 * len(scenes))
    for scene in scenes:
        assert all(part.wobble is not None and part.x[0] == part.x[1] for part in scene.distractors)


# --- what is drawn ----------------------------------------------------------------------------------------------


def ink(clip: np.ndarray) -> np.ndarray:
    """Where the saturated colours of the default style's objects are: (t, h, w) bool."""
    return np.ptp(clip.astype(np.int16), axis=3) > 100


def track(clip: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre (t, 2) as (x, y), spread (t,) and area (t,) of the object's colour, in pixels."""
    mask = ink(clip)
    places = [np.argwhere(frame)[:, ::-1] for frame in mask]
    centre = np.array([place.mean(axis=0) for place in places])
    spread = np.array([np.sqrt(place.var(axis=0).sum()) for place in places])
    return centre, spread, mask.sum(axis=(1, 2))


@pytest.mark.parametrize("seed", range(6))
def test_moves_go_where_they_say(seed: int) -> None:
    for name, axis, sign in (("move_left", 0, -1), ("move_right", 0, 1), ("move_up", 1, -1), ("move_down", 1, 1)):
        centre, _, _ = track(render_clip(ACTIONS.index(name), seed, height=96, width=96))
        path = sign * centre[:, axis]
        assert path[-1] - path[0] > 0.3 * 96, name
        assert np.diff(path).min() > -2, name  # never back by more than the shake of the camera
        assert abs(centre[-1, 1 - axis] - centre[0, 1 - axis]) < 0.15 * 96, name


@pytest.mark.parametrize("seed", range(12))
def test_clockwise_is_clockwise_on_the_screen(seed: int) -> None:
    side, action = 128, ACTIONS.index("rotate_clockwise")
    scene = sample_scene(action // 2, seed, "default")
    (part,) = scene.parts
    shapes = ink(render_clip(action, seed, num_frames=8, height=side, width=side))

    def overlap(first: np.ndarray, last: np.ndarray, angle: float) -> float:
        """Of the last frame's shape with the first one's, turned about its centre by `angle` clockwise."""
        y, x = np.mgrid[:side, :side] - np.array([part.y[0], part.x[0]])[:, None, None] * side - (side - 1) / 2
        # Where the pixel came from: one turn clockwise takes the right (x > 0) to the bottom (y > 0).
        from_x, from_y = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
        column = np.rint(from_x + part.x[0] * side + (side - 1) / 2).astype(int)
        row = np.rint(from_y + part.y[0] * side + (side - 1) / 2).astype(int)
        known = (row >= 0) & (row < side) & (column >= 0) & (column < side)
        turned = known & first[np.clip(row, 0, side - 1), np.clip(column, 0, side - 1)]
        return float((turned & last).sum() / (turned | last).sum())

    angle = part.angle[1] - part.angle[0]
    assert 120 < np.degrees(angle) < 270
    assert overlap(shapes[0], shapes[-1], angle) > 0.75
    steps = list(itertools.pairwise(shapes))
    onward, back = (np.mean([overlap(*step, turn) for step in steps]) for turn in (angle / 7, -angle / 7))
    assert onward > back + 0.15


@pytest.mark.parametrize("seed", range(6))
def test_sizes_opacities_and_gaps_change_as_they_say(seed: int) -> None:
    def changes(name: str) -> tuple[float, float, np.ndarray, np.ndarray]:
        clip = render_clip(ACTIONS.index(name), seed, num_frames=8, height=128, width=128)
        _, spread, area = track(clip)
        return spread[-1] / spread[0], area[-1] / area[0], spread, clip

    assert changes("grow")[0] > 1.7
    assert changes("shrink")[0] < 1 / 1.7
    assert changes("approach")[0] < 0.8
    assert changes("separate")[0] > 1.25
    assert changes("scatter")[0] > 2.5
    assert changes("gather")[0] < 1 / 2.5
    for name, later, earlier in (("appear", -1, 0), ("disappear", 0, -1)):
        clip = render_clip(ACTIONS.index(name), seed, num_frames=8, height=128, width=128)
        assert ink(clip)[later].sum() > 4 * ink(clip)[earlier].sum()


def test_every_opener_opens() -> None:
    action, seen = ACTIONS.index("open"), set()
    for seed in range(20):
        scene = sample_scene(action // 2, seed, "default")
        _, spread, area = track(render_clip(action, seed, num_frames=8, height=128, width=128))
        seen.add(scene.parts[-1].shape)
        if scene.parts[-1].shape == "tongs":
            assert spread[-1] > 1.1 * spread[0]
        else:
            assert area[-1] < 0.85 * area[0]
    assert seen == set(LOOKS["default"].openers)


def test_appearing_changes_nothing_but_opacity() -> None:
    for seed in range(20):
        (part,) = sample_scene(ACTIONS.index("appear") // 2, seed, "default").parts
        assert part.opacity[0] < 0.2 < 0.8 < part.opacity[1]
        assert all(span[0] == span[1] for span in (part.x, part.y, part.radius, part.angle, part.opening))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("pair", PAIRS)
def test_the_action_stays_inside_the_centre_square(pair: int, style: str) -> None:
    for seed in range(100):
        scene = sample_scene(pair, seed, style)
        shake = max(wave.amplitude for wave in scene.shake)
        for part in scene.parts:
            for x, y, radius in zip(part.x, part.y, part.radius, strict=True):
                assert max(abs(x), abs(y)) + radius + shake < 0.5


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_fit_the_unit_circle_and_are_not_empty(shape: str) -> None:
    axis = np.linspace(-1.5, 1.5, 301, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    for opening in (0.0, 0.5, 1.0) if shape in ("mouth", "tongs", "doors") else (0.0,):
        distance = SHAPES[shape](x, y, np.full((1, 1), opening, np.float32))
        assert distance.dtype == np.float32
        inside = distance < 0
        assert 0.1 < inside.sum() * 0.01**2 < np.pi + 0.05
        assert np.hypot(x, y)[inside].max() < 1.02


@pytest.mark.parametrize("style", STYLES)
def test_looks_name_shapes_that_can_be_drawn(style: str) -> None:
    look = LOOKS[style]
    assert {*look.shapes, *look.turners, look.dot, *look.openers} <= set(SHAPES)


# --- sizes, seeds, determinism ------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("height", "width"), [(64, 64), (65, 97), (200, 72), (64, 300), (480, 640)])
def test_any_frame_size(height: int, width: int, style: str) -> None:
    for action in range(0, 16, 2) if height < 480 else (0, 12):
        clip = render_clip(action, 4, num_frames=8, height=height, width=width, style=style)
        assert clip.shape == (8, height, width, 3)
        assert clip.dtype == np.uint8
        assert clip.flags.c_contiguous
        assert clip.std() > 5


@pytest.mark.parametrize("action", [0, 9, 15])
def test_the_scene_does_not_depend_on_the_number_of_frames(action: int) -> None:
    few, many = (render_clip(action, 8, num_frames=n, height=64, width=64) for n in (33, 65))
    assert np.array_equal(many[::2], few)


def test_arguments_alone_decide() -> None:
    clip = render_clip(3, 11, **SMALL)
    np.random.seed(0)
    assert np.array_equal(render_clip(3, 11, **SMALL), clip)
    others = [render_clip(3, 12, **SMALL), render_clip(1, 11, **SMALL), render_clip(3, 11, style="line", **SMALL)]
    assert all(np.abs(clip.astype(np.int16) - other).mean() > 5 for other in others)


def test_no_scene_is_shared_between_data_sets_or_members_of_a_pair() -> None:
    indices = (0, 1, 999, 999_999)
    seeds = [scene_seed(seed, action, index) for seed in range(5) for action in (4, 5) for index in indices]
    assert len(set(seeds)) == len(seeds)
    assert scene_seed(3, 5, 7, paired=True) == scene_seed(3, 4, 7, paired=True) == scene_seed(3, 4, 7)
    for seed, index in ((-1, 0), (0, -1), (0, 1_000_000)):
        with pytest.raises(ValueError, match="at least 0 and index"):
            scene_seed(seed, 0, index)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"action": 16}, "action: 16"),
        ({"action": -1}, "action: -1"),
        ({"seed": -1}, "seed: -1"),
        ({"style": "oil"}, "choose one of default, line"),
        ({"num_frames": 7}, "num_frames: 7"),
        ({"height": 63}, "63x160"),
        ({"width": 63}, "128x63"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        render_clip(**{"action": 0, "seed": 0, **arguments})


# --- captions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
def test_a_caption_names_what_is_drawn(style: str) -> None:
    inks = LOOKS[style].inks
    for pair in PAIRS:
        for seed in range(10):
            scene = sample_scene(pair, seed, style)
            sentence = caption(2 * pair, seed, style)
            for part in scene.parts:
                colour = part.fill if LOOKS[style].tint == 1.0 else part.outline
                names = [name for name, value in inks.items() if value == colour]
                assert all(name in sentence for name in names)
                assert part.shape in sentence or part.shape == "doorway"
            paper = next(name for name in LOOKS[style].papers if name in sentence.split(" drifting ")[1])
            mean = np.mean(scene.background.colours, axis=0)
            assert np.abs(mean - LOOKS[style].papers[paper]).max() < 30


def test_a_caption_differs_from_its_twin_in_the_verb_only() -> None:
    assert caption(0, 0) == "a magenta star moves left over a drifting sand checked background"
    for pair in PAIRS:
        first, second = caption(2 * pair, 5), caption(2 * pair + 1, 5)
        subject = sample_scene(pair, 5, "default").subject
        assert first != second
        assert first.startswith(subject)
        assert second.startswith(subject)
        assert first.split(" over ")[1] == second.split(" over ")[1]


def test_captions_count_and_agree() -> None:
    sentences = [caption(ACTIONS.index("approach"), seed, style) for seed in range(300) for style in STYLES]
    assert any(sentence.startswith("two ") for sentence in sentences)
    assert all(" approach each other " in sentence for sentence in sentences)
    scattered = caption(ACTIONS.index("scatter"), 0)
    assert scattered.split()[0] in ("six", "seven", "eight", "nine")
    assert " discs fly apart " in scattered


# --- the data set on disk -------------------------------------------------------------------------------------------


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthetic")
    write_dataset(root, clips_per_class=2, seed=7, **SMALL)
    return root


def test_files_annotations_and_labels_agree(dataset: Path) -> None:
    assert (dataset / "labels.txt").read_text().splitlines() == list(ACTIONS)
    with (dataset / "annotations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "label", "name", "caption"]
    assert len(rows) == 32
    assert {row["path"] for row in rows} == {path for path in contents(dataset) if path.endswith(".mp4")}
    for row in rows:
        label, seed = int(row["label"]), int(Path(row["path"]).stem.rsplit("_", 1)[1])
        assert row["path"] == f"{ACTIONS[label]}/{ACTIONS[label]}_{seed}.mp4"
        assert row["name"] == ACTIONS[label]
        assert row["caption"] == caption(label, seed)
        assert seed in {scene_seed(7, label, 0), scene_seed(7, label, 1)}
    assert len({(row["path"].rsplit("_", 1)[1], int(row["label"]) // 2) for row in rows}) == 32


def test_files_hold_the_rendered_clips(dataset: Path) -> None:
    for action in (0, 5, 13):
        seed = scene_seed(7, action, 1)
        with av.open(str(dataset / ACTIONS[action] / f"{ACTIONS[action]}_{seed}.mp4")) as container:
            assert container.streams.video[0].codec_context.name == "h264"
            decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
        error = np.abs(decoded.astype(np.int16) - render_clip(action, seed, **SMALL)).mean()
        assert decoded.shape == (8, 64, 80, 3)
        assert error < 8


def test_two_runs_give_equal_bytes_whatever_the_workers(dataset: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "again", clips_per_class=2, seed=7, workers=2, **SMALL)
    assert contents(tmp_path / "again") == contents(dataset)


def test_a_script_that_worker_processes_cannot_import_is_told_so(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path\n"
        "from videomamba.synthetic.dataset import write_dataset\n"
        f"write_dataset(Path({str(tmp_path)!r}), clips_per_class=1, seed=0, num_frames=8, height=64, width=64, workers=2)\n"
    )
    done = subprocess.run([sys.executable, "-"], input=script, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].startswith("videomamba.schema.VideoMambaError: workers: 2 processes")


def test_an_interrupted_run_goes_on_and_grows(dataset: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path, clips_per_class=1, seed=7, progress=stop, **SMALL)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mp4")}
    assert len(kept) == 5
    assert not (tmp_path / "annotations.csv").exists()
    calls: list[tuple[int, int]] = []
    clips = write_dataset(
        tmp_path, clips_per_class=2, seed=7, progress=lambda done, total: calls.append((done, total)), **SMALL
    )
    assert calls == [(done, 32) for done in range(6, 33)]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert contents(tmp_path) == contents(dataset)
    assert [clip.label for clip in clips] == list(range(16)) * 2
    assert all(clip.path.is_file() and clip.name == ACTIONS[clip.label] for clip in clips)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 8}, "has seed=7, not 8"),
        ({"style": "line"}, "has style=default, not line"),
        ({"height": 96}, "has height=64, not 96"),
        ({"paired": True}, "has paired=False, not True"),
        ({"clips_per_class": 1}, "give at least as many"),
        ({"clips_per_class": 0}, "clips_per_class: 0"),
        ({"workers": 0}, "workers: 0"),
        ({"layout": "tree"}, "choose folders or flat"),
        ({"seed": -1}, "seed -1"),
        ({"style": "oil"}, "choose one of default, line"),
        ({"num_frames": 4}, "num_frames: 4"),
        ({"width": 32}, "64x32"),
        ({"width": 81}, "even height and width, got 64x81"),
        ({"fps": 0}, "fps: 0"),
        ({"fps": -16}, "fps: -16"),
        ({"crf": -1}, "crf: -1"),
        ({"crf": 52}, "crf: 52"),
    ],
)
def test_settings_that_cannot_be_met_are_refused_and_harm_nothing(
    dataset: Path, change: dict[str, object], message: str
) -> None:
    before = contents(dataset)
    with pytest.raises(VideoMambaError, match=message) as caught:
        write_dataset(dataset, **{"clips_per_class": 2, "seed": 7, **SMALL, **change})
    assert "\n" not in str(caught.value)
    assert contents(dataset) == before


def test_a_folder_of_other_videos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.mp4").write_bytes(b"mine")
    with pytest.raises(VideoMambaError, match="no synthetic data set"):
        write_dataset(tmp_path, clips_per_class=1, seed=0, **SMALL)
    assert contents(tmp_path) == {"mine.mp4": b"mine"}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"clips_per_class": "two"}', "\udcff"])
def test_broken_settings_are_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.mp4").write_bytes(b"mine")
    (tmp_path / "synthetic.json").write_bytes(text.encode(errors="surrogateescape"))
    before = contents(tmp_path)
    with pytest.raises(VideoMambaError, match=r"synthetic\.json: is damaged") as caught:
        write_dataset(tmp_path, clips_per_class=1, seed=0, **SMALL)
    assert "\n" not in str(caught.value) and contents(tmp_path) == before


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("a file")
    with pytest.raises(VideoMambaError, match="cannot be created"):
        write_dataset(tmp_path / "root", clips_per_class=1, seed=0, **SMALL)


def test_settings_can_be_mended_before_the_first_file(tmp_path: Path) -> None:
    for workers in (1, 2):
        with pytest.raises(VideoError, match="choose one of libx264, libx265"):
            write_dataset(tmp_path, clips_per_class=1, seed=0, codec="mpeg4", workers=workers, **SMALL)
    assert len(write_dataset(tmp_path, clips_per_class=1, seed=0, **SMALL)) == 16


def test_an_interrupt_while_processes_start_waits_until_all_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pool(ThreadPoolExecutor):
        """Interrupted with every clip that it is given; a pool starts its processes then."""

        given = 0

        def __init__(self, workers: int, **_: object) -> None:
            super().__init__(workers)

        def submit(self, *call: Any) -> Future[None]:
            os.kill(os.getpid(), signal.SIGINT)
            Pool.given += 1
            return super().submit(*call)

    monkeypatch.setattr(writing, "ProcessPoolExecutor", Pool)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path, clips_per_class=1, seed=0, workers=2, **SMALL)
    assert Pool.given == 16


def test_paired_and_flat(tmp_path: Path) -> None:
    clips = write_dataset(tmp_path, clips_per_class=1, seed=2, paired=True, layout="flat", style="line", **SMALL)
    assert {clip.path.parent for clip in clips} == {tmp_path}
    for first, second in zip(clips[::2], clips[1::2], strict=True):
        assert first.seed == second.seed
        assert reversed_action(first.label) == second.label
        assert first.caption != second.caption
