"""A training clip as a whole: order, labels, randomness, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from videomamba.cli.sheet import sheet
from videomamba.data.augment.pipeline import augment_clip, check_augmentation, choose_frames, color_jitter
from videomamba.data.augment.sheet import covered, training_sheet
from videomamba.data.clips.masks import visible_patches
from videomamba.data.clips.sampling import evaluation_clips, train_clip
from videomamba.data.clips.transforms import to_clip
from videomamba.data.settings import Augmentation
from videomamba.schema import (
    ClassLabel,
    Clip,
    Frames,
    Number,
    Preprocess,
    Symmetries,
    VideoError,
    VideoMambaError,
    VideoRecord,
    VideoSet,
)
from videomamba.synthetic.dataset import render_clip
from videomamba.training.draws import Draws
from videomamba.video.encode import write_video
from videomamba.video.open import open_video

SMALL = Preprocess(image_size=(32, 32))
STILL = Augmentation(crop="shift", flip="off")
FULL = Augmentation(auto_augment="rand-m7-n4-mstd0.5-inc1", color_jitter=0.4, erase=0.25)
EVERYTHING = Symmetries(mirror=(0, 2, 1), upside_down=(0, 1, 2), backwards=(1, 0, 2))


def make(t: int = 4, h: int = 48, w: int = 64, *, still: bool = False) -> Frames:
    data = np.random.default_rng(0).integers(0, 256, (1 if still else t, h, w, 3)).astype(np.uint8)
    pictures = torch.from_numpy(np.repeat(data, t // len(data), 0))
    return Frames(pictures, tuple(range(10, 10 + t)), (0.0,) * t, "clip.mp4")


def changed(
    frames: Frames,
    augmentation: Augmentation,
    seed: int = 0,
    *,
    label: int | None = 1,
    symmetries: Symmetries = EVERYTHING,
) -> tuple[Clip, int | None]:
    return augment_clip(frames, label, SMALL, augmentation, symmetries, np.random.default_rng(seed))


def test_with_everything_off_it_is_the_clip_of_testing() -> None:
    frames = make(h=32, w=32)
    clip, label = changed(frames, STILL)
    assert torch.equal(clip.data, to_clip(frames, SMALL).data)
    assert (label, clip.indices, clip.path) == (1, frames.indices, "clip.mp4")


@pytest.mark.parametrize("before_crop", [True, False])
def test_form_and_determinism(before_crop: bool) -> None:
    frames = make()
    before = frames.data.clone()
    augmentation = FULL.model_copy(update={"before_crop": before_crop, "reverse": True, "flip_vertical": True})
    clips = []
    for seed in range(12):
        clip, label = changed(frames, augmentation, seed)
        again, same = changed(frames, augmentation, seed)
        assert torch.equal(clip.data, again.data) and label == same and clip.indices == again.indices
        assert clip.data.shape == (3, 4, 32, 32) and clip.data.dtype == torch.float32 and clip.data.is_contiguous()
        clips.append(clip.data)
    assert not any(torch.equal(a, b) for i, a in enumerate(clips) for b in clips[:i])
    assert torch.equal(frames.data, before)


@pytest.mark.parametrize("policy", ["rand-m9-n4-mstd0.5-inc1", "v0"])
@pytest.mark.parametrize("before_crop", [True, False])
def test_pictures_are_changed_alike(policy: str, before_crop: bool) -> None:
    """A clip of one picture repeated stays one: no draw is made for a single picture."""
    augmentation = Augmentation(auto_augment=policy, color_jitter=0.4, before_crop=before_crop, flip_vertical=True)
    for seed in range(15):
        clip, _ = changed(make(t=9, still=True), augmentation, seed)
        assert torch.equal(clip.data, clip.data[:, :1].expand_as(clip.data))


def test_symmetries_change_the_label() -> None:
    frames = make(h=32, w=32)
    plain = to_clip(frames, SMALL).data
    seen = set()
    augmentation = STILL.model_copy(update={"flip": "on", "flip_vertical": True, "reverse": True})
    for seed in range(60):
        clip, label = changed(frames, augmentation, seed, label=1)
        matches = [
            (mirrored, upturned, reversed_)
            for mirrored in (False, True)
            for upturned in (False, True)
            for reversed_ in (False, True)
            if torch.equal(clip.data, plain.flip([d for d, on in ((3, mirrored), (2, upturned), (1, reversed_)) if on]))
        ]
        ((mirrored, _, reversed_),) = matches
        after = EVERYTHING.mirror[1] if mirrored else 1  # type: ignore[index]
        assert label == (EVERYTHING.backwards[after] if reversed_ else after)  # type: ignore[index]
        assert clip.indices == (frames.indices[::-1] if reversed_ else frames.indices)
        seen.add(matches[0])
    assert len(seen) == 8


def test_a_value_has_no_class_to_change() -> None:
    labels = {
        changed(make(), Augmentation(), seed, label=None, symmetries=Symmetries(mirror=()))[1] for seed in range(9)
    }
    assert labels == {None}


def test_what_comes_from_outside() -> None:
    """Mid-grey in videos, the mean colour in images, so that normalised it is nearly zero."""
    augmentation = Augmentation(auto_augment="rand-m10-n20-inc1", crop_area=(1.0, 1.0), crop_aspect=(4 / 3, 4 / 3))
    white = [Frames(torch.full((t, 48, 64, 3), 255, dtype=torch.uint8), (0,) * t, (0.0,) * t) for t in (1, 2)]
    mean, std = (torch.tensor(v).view(3, 1) for v in (SMALL.mean, SMALL.std))
    fill = (((torch.tensor([[124.0], [116.0], [104.0]]) / 255 - mean) / std), ((128 / 255 - mean) / std))
    for frames, expected in zip(white, fill, strict=True):
        found = 0
        for seed in range(20):
            pixels = changed(frames, augmentation, seed)[0].data.flatten(1)
            found += int(((pixels - expected).abs() < 1e-3).all(0).any())
        assert found > 0


def test_jitter_is_of_its_strength() -> None:
    pictures = torch.full((2, 8, 8, 3), 100, dtype=torch.uint8)
    levels = [float(color_jitter(pictures, 0.4, np.random.default_rng(i)).float().mean()) for i in range(300)]
    assert 60 <= min(levels) < 70 and 130 < max(levels) <= 140  # of a grey picture, brightness alone counts
    assert torch.equal(color_jitter(pictures, 0.0, np.random.default_rng(0)), pictures)


def test_erasing_as_often_as_asked() -> None:
    frames = Frames(torch.zeros((2, 32, 32, 3), dtype=torch.uint8), (0, 1), (0.0, 1.0))
    augmentation = STILL.model_copy(update={"erase": 0.25})
    erased = [changed(frames, augmentation, seed)[0].data[0].unique().numel() > 1 for seed in range(400)]
    assert 0.18 < sum(erased) / 400 < 0.32


@pytest.mark.parametrize("sampling", ["uniform", "tsn", "segments", "dense"])
def test_frames_are_random_or_those_of_the_test_clip(sampling: str) -> None:
    preprocess = Preprocess.model_validate({"sampling": sampling, "num_frames": 4})
    for length in (1, 3, 50):
        generator, same = np.random.default_rng(0), np.random.default_rng(0)
        chosen = choose_frames(length, preprocess, Augmentation(frames="middle"), generator)
        assert chosen == evaluation_clips(preprocess, length)[0]
        assert choose_frames(length, preprocess, Augmentation(), generator) == train_clip(preprocess, length, same)


def test_no_frames() -> None:
    with pytest.raises(ValueError, match="no frames"):
        changed(make(t=4).part(0, 0), STILL)


class TestCheck:
    classes = VideoSet("train", (VideoRecord("a.mp4", ClassLabel(0)),), ("a", "b"), Symmetries(mirror=(0, 1)))
    values = VideoSet("views", (VideoRecord("a.mp4", Number(0.5)),), (), Symmetries(mirror=()))

    def test_good(self) -> None:
        check_augmentation(FULL.model_copy(update={"flip": "on", "mixup": 0.8, "label_smoothing": 0.1}), self.classes)
        check_augmentation(FULL, self.values)
        check_augmentation(Augmentation(), VideoSet("ssv2", (), ("a", "b")))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"auto_augment": "rand-m9-x2"}, "'x2' is not understood"),
            ({"reverse": True}, "augment.reverse: the data set does not define"),
            ({"crop_area": (0.5, 0.2)}, r"augment.crop_area: got 0.5 0.2; give two numbers, 0 < low <= high <= 1"),
            ({"crop_area": (0.5, 1.2)}, r"augment.crop_area"),
            ({"crop_aspect": (0.0, 1.2)}, r"augment.crop_aspect: got 0.0 1.2; give two numbers, 0 < low <= high$"),
        ],
    )
    def test_bad(self, change: dict[str, object], message: str) -> None:
        with pytest.raises(VideoMambaError, match=message):
            check_augmentation(Augmentation().model_copy(update=change), self.classes)

    @pytest.mark.parametrize("name", ["mixup", "cutmix", "label_smoothing"])
    def test_only_classes_are_mixed(self, name: str) -> None:
        for videos in (self.values, VideoSet("views", (VideoRecord("a.mp4"),), (), Symmetries(mirror=()))):
            with pytest.raises(VideoMambaError, match=f"augment.{name}: views has no classes to mix"):
                check_augmentation(Augmentation().model_copy(update={name: 0.1}), videos)

    @pytest.mark.parametrize("mirror", [(0,), (0, 2)])
    def test_classes_of_another_data_set(self, mirror: tuple[int, ...]) -> None:
        with pytest.raises(VideoMambaError, match="do not fit its 2 classes"):
            check_augmentation(Augmentation(), VideoSet("train", (), ("a", "b"), Symmetries(mirror=mirror)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for i in range(3):
        write_video(folder / f"{i}.mp4", render_clip(i, i, num_frames=8, height=64, width=80), fps=8)
    return folder


def in_patches(picture: torch.Tensor) -> torch.Tensor:
    """(2 x 32, 4 x 48, 3), two clips of four pictures -> clips, pictures, rows and columns of patches, their pixels."""
    return picture.view(2, 4, 8, 4, 6, 8, 3).permute(0, 3, 1, 4, 2, 5, 6)


class TestSheet:
    def test_rows_and_columns(self, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out, clip = tmp_path / "sheet.png", Preprocess(num_frames=5, image_size=(32, 48))
        shown = []
        for seed in (0, 0, 1):
            assert sheet((str(folder),), out=out, clip=clip, augment=FULL, samples=3, videos=2, seed=seed) == 0
            with open_video(out) as picture:
                shown.append(picture.frames([0]).data[0])
        assert shown[0].shape == (2 * 3 * 32, 5 * 48, 3)
        assert torch.equal(shown[0], shown[1]) and not torch.equal(shown[0], shown[2])
        assert capsys.readouterr().out.splitlines()[:3] == [
            f"rows 1 to 3: {folder / '0.mp4'}",
            f"rows 4 to 6: {folder / '1.mp4'}",
            str(out),
        ]

    @pytest.mark.parametrize("mask", ["random", "tube", "clip-row", "tube_row"])
    def test_masked_patches_are_covered(self, folder: Path, tmp_path: Path, mask: str) -> None:
        """They are nearly grey, the others as without a mask; each mask has its form."""
        out, clip = tmp_path / "sheet.png", Preprocess(num_frames=4, image_size=(32, 48))
        shown = []
        for more in ({}, {"mask": mask, "ratio": 0.5, "patch": 8}):
            sheet((str(folder),), out=out, clip=clip, samples=2, videos=1, **more)  # type: ignore[arg-type]
            with open_video(out) as picture:
                shown.append(picture.frames([0]).data[0].float())
        plain, masked = map(in_patches, shown)
        visible = (plain == masked).flatten(4).all(4)
        assert visible.sum() == 2 * 4 * 12
        hidden = masked[~visible]
        assert ((hidden - 128).abs() <= 0.15 * 128 + 1).all()
        if mask == "tube":
            assert (visible == visible[:, :1]).all()
        if mask == "tube_row":
            assert (visible.all(3).sum(2) == 2).all()
        if mask == "clip-row":
            assert (visible.all(3).sum((1, 2)) == 8).all()
        assert not torch.equal(visible[0], visible[1])

    def test_any_source_of_masks(self, folder: Path) -> None:
        """A mask may depend on the clip, and its generator is that of the row."""
        clip, clips = Preprocess(num_frames=4, image_size=(32, 48)), []

        def masks(seen: Clip, generator: np.random.Generator) -> np.ndarray:
            clips.append(seen)
            return visible_patches("random", (2, 4, 6), 0.5, generator)

        paths = sorted(folder.iterdir())[:1]
        arguments = {"samples": 1, "draws": Draws(0).sheet}
        covering = training_sheet(paths, clip, STILL, masks=masks, grid=(2, 4, 6), **arguments)  # type: ignore[arg-type]
        plain = training_sheet(paths, clip, STILL, **arguments)  # type: ignore[arg-type]
        assert clips[0].data.shape == (3, 4, 32, 48)
        same = (plain == covering).all(2).view(32, 4, 48)
        assert torch.equal(same[:, 0], same[:, 1]) and torch.equal(same[:, 2], same[:, 3])
        assert not torch.equal(same[:, 1], same[:, 2])
        with pytest.raises(ValueError, match="need the grid"):
            training_sheet(paths, clip, STILL, masks=masks, **arguments)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="4x32x48 has no grid of 3x4x6"):
            covered(clips[0], np.array([0]), (3, 4, 6), clip)

    def test_the_patches_of_a_run(self, folder: Path, tmp_path: Path) -> None:
        out, run = tmp_path / "sheet.png", tmp_path / "config.yaml"
        run.write_text(
            "model: {tubelet_size: 2}\nclip: {num_frames: 4, image_size: [32, 48]}\naugment: {crop: centre, flip: 'off'}\n"
        )
        shown = []
        for more in ({}, {"mask": "random", "ratio": 0.5}):
            sheet((str(folder),), out=out, like=str(run), samples=1, videos=1, **more)  # type: ignore[arg-type]
            with open_video(out) as picture:
                shown.append(picture.frames([0]).data[0])
        same = (shown[0] == shown[1]).all(2).view(2, 16, 2, 2, 3, 16).permute(0, 2, 4, 1, 3, 5).flatten(3).all(3)
        assert same.sum() == 6

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            ({"mask": "tubes"}, r"^--mask 'tubes': unknown; did you mean 'tube'\?$"),
            ({"mask": "tube", "ratio": 1.0}, "^--ratio: 1 leaves no visible patch; give at least 0 and less than 1$"),
            ({"mask": "clip-row", "ratio": 0.1}, "^--ratio: 0.1 of 2 rows masks nothing; give 0 or at least 0.5$"),
            (
                {"mask": "tube", "patch": 15},
                "^--patch 15: does not divide pictures of 32x32; give a divisor of both sides$",
            ),
            ({"mask": "tube", "patch": 0}, "^--patch 0: does not divide"),
            ({"mask": "attention"}, "^--mask attention: follows the attention of a teacher; give one with --teacher$"),
        ],
    )
    def test_masks_that_cannot_be(self, folder: Path, more: dict[str, object], message: str) -> None:
        with pytest.raises(VideoMambaError, match=message):
            sheet((str(folder),), clip=SMALL, **more)  # type: ignore[arg-type]

    def test_a_run_has_its_patches(self, folder: Path, tmp_path: Path) -> None:
        run = tmp_path / "config.yaml"
        run.write_text("clip: {image_size: [30, 30]}\n")
        with pytest.raises(
            VideoMambaError, match=r"config.yaml: .*image_size 30x30 must be a multiple of patch_size 16"
        ):
            sheet((str(folder),), like=str(run), mask="tube")
        with pytest.raises(VideoMambaError, match="--like: takes clip, augment, patch and tubelet from a run"):
            sheet((str(folder),), like=str(run), patch=8)
        with pytest.raises(VideoMambaError, match="--like: takes clip, augment, patch and tubelet from a run"):
            sheet((str(folder),), like=str(run), tubelet=2)

    def test_mistakes(self, folder: Path, tmp_path: Path) -> None:
        with pytest.raises(VideoMambaError, match="no file given"):
            sheet(())
        with pytest.raises(VideoMambaError, match="--samples 0"):
            sheet((str(folder),), samples=0)
        with pytest.raises(VideoMambaError, match="'m99' is not understood"):
            sheet((str(folder),), augment=Augmentation(auto_augment="rand-m99"))
        with pytest.raises(VideoError, match="no such file"):
            sheet((str(tmp_path / "absent"),))
        with pytest.raises(VideoMambaError, match="cannot be written"):
            sheet((str(folder / "0.mp4"),), out=tmp_path / "absent" / "sheet.png", clip=SMALL)
