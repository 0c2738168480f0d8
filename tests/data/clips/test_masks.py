"""Masks: exact counts, order, form, chances, and the same mask from the same generator everywhere."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from videomamba.data.clips.masks import Grid, attention_draws, attention_visible, visible_count, visible_patches
from videomamba.data.settings import MaskName, MaskSettings, mask_name
from videomamba.schema import VideoMambaError

NAMES: tuple[MaskName, ...] = get_args(MaskName)
DRAWN = NAMES[:-1]
PAPER = (8, 14, 14)
grids = st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 9))
ratios = st.one_of(st.floats(0, 1, exclude_max=True), st.integers(0, 99).map(lambda percent: percent / 100))


def expected_count(name: MaskName, grid: Grid, ratio: float) -> int | None:
    """The original's arithmetic; None where a ratio above 0 masks nothing."""
    steps, h, w = grid
    units = {"random": steps * h * w, "clip-row": h, "frame-row": h}.get(name, h * w)
    masked = int(ratio * units)
    if ratio > 0 and masked == 0:
        return None
    return {
        "random": steps * h * w - masked,
        "clip-row": (steps * h - steps * masked) * w,
        "frame-row": steps * (h - masked) * w,
    }.get(name, steps * (h * w - masked))


def drawn(name: MaskName, grid: Grid, ratio: float, generator: np.random.Generator) -> np.ndarray:
    """The mask of one clip; that of attention for a teacher that attends to all patches alike."""
    if name != "attention":
        return visible_patches(name, grid, ratio, generator)
    draws = attention_draws(grid, generator)[None]
    return attention_visible(torch.ones_like(draws), draws, ratio)[0].numpy()


class TestForm:
    @given(st.sampled_from(NAMES), grids, ratios, st.integers(0, 99))
    def test_counts_order_and_units(self, name: MaskName, grid: Grid, ratio: float, seed: int) -> None:
        steps, h, w = grid
        count = expected_count(name, grid, ratio)
        if count is None:
            for attempt in (visible_count, lambda *given: drawn(*given, np.random.default_rng(0))):
                with pytest.raises(VideoMambaError, match=r"^mask.ratio: .* masks nothing; give 0"):
                    attempt(name, grid, ratio)
            return
        visible = drawn(name, grid, ratio, np.random.default_rng(seed))
        assert (visible.dtype, visible.shape) == (np.int64, (count,))
        assert visible_count(name, grid, ratio) == count >= 1
        assert (np.diff(visible) > 0).all() and visible[0] >= 0 and visible[-1] < steps * h * w
        seen = np.zeros(steps * h * w, dtype=bool)
        seen[visible] = True
        seen = seen.reshape(grid)
        if name != "random" and name != "clip-row":
            assert (seen.sum((1, 2)) == count // steps).all()
        if name == "tube":
            assert (seen == seen[0]).all()
        if name in ("clip-row", "frame-row"):
            assert (seen.all(2) == seen.any(2)).all()
        if ratio == 0:
            assert seen.all()

    @pytest.mark.parametrize(
        ("name", "count"), [("random", 314), ("tube", 320), ("clip-row", 336), ("frame-row", 336), ("attention", 320)]
    )
    def test_counts_of_the_paper(self, name: MaskName, count: int) -> None:
        assert visible_count(name, PAPER, 0.8) == count
        seen = np.bincount(drawn(name, PAPER, 0.8, np.random.default_rng(0)) // 14, minlength=112).reshape(8, 14)
        if name in ("clip-row", "frame-row"):
            assert (seen == 14).sum() == 24
        if name == "frame-row":
            assert ((seen == 14).sum(1) == 3).all()
        if name in ("tube", "attention"):
            assert (seen.sum(1) == 40).all()

    @given(st.integers(1, 99), st.integers(1, 2000))
    def test_products_are_of_floats(self, percent: int, places: int) -> None:
        """A product that is a whole number in decimals may be one less in floats: the original's count."""
        masked, exact = int(percent / 100 * places), Fraction(percent, 100) * places
        assert masked == exact.__floor__() or (exact.denominator == 1 and masked == exact - 1)
        if masked:
            assert visible_count("tube", (1, 1, places), percent / 100) == places - masked

    def test_a_product_below_a_whole_number(self) -> None:
        assert visible_count("random", (1, 10, 10), 0.29) == 72

    @given(st.sampled_from(NAMES), grids)
    def test_the_largest_ratio_leaves_a_patch(self, name: MaskName, grid: Grid) -> None:
        ratio = float(np.nextafter(1, 0))
        if expected_count(name, grid, ratio) is not None:
            assert len(drawn(name, grid, ratio, np.random.default_rng(0))) >= 1

    @pytest.mark.parametrize("name", NAMES)
    def test_impossible(self, name: MaskName) -> None:
        for ratio, reason in ((1.0, "1 leaves no visible patch"), (1.5, "1.5 leaves"), (-0.1, "-0.1 is no share")):
            for attempt in (visible_count, lambda *given: drawn(*given, np.random.default_rng(0))):
                with pytest.raises(
                    VideoMambaError, match=rf"^mask.ratio: {reason}.*; give at least 0 and less than 1$"
                ):
                    attempt(name, PAPER, ratio)
        with pytest.raises(VideoMambaError, match=r"^mask.ratio: nan"):
            visible_count(name, PAPER, float("nan"))
        with pytest.raises(ValueError, match="a grid is"):
            drawn(name, (0, 4, 4), 0.5, np.random.default_rng(0))

    def test_advice(self) -> None:
        with pytest.raises(
            VideoMambaError, match=r"^mask.ratio: 0.05 of 14 rows masks nothing; give 0 or at least 0.072$"
        ):
            visible_count("clip-row", PAPER, 0.05)
        with pytest.raises(VideoMambaError, match=r"0.8 of 1 row masks nothing; give 0, or choose another mask.name$"):
            visible_count("frame-row", (8, 1, 14), 0.8)
        with pytest.raises(ValueError, match="drawn by attention_visible"):
            visible_patches("attention", PAPER, 0.8, np.random.default_rng(0))


class TestChances:
    @pytest.mark.parametrize("name", NAMES)
    def test_every_patch_alike(self, name: MaskName) -> None:
        grid, draws, generator = (3, 4, 5), 3000, np.random.default_rng(0)
        counts = np.zeros(60)
        for _ in range(draws):
            counts[drawn(name, grid, 0.5, generator)] += 1
        rows = name in ("clip-row", "frame-row")
        # Units that are always seen together count once.
        units = counts.reshape(12, 5)[:, 0] if rows else counts[:20] if name == "tube" else counts
        statistic = ((units - draws / 2) ** 2 / (draws / 4)).sum()
        assert statistic < len(units) + 4 * np.sqrt(2 * len(units))

    @pytest.mark.parametrize("name", ["random", "clip-row", "frame-row", "attention"])
    def test_time_steps_are_drawn_separately(self, name: MaskName) -> None:
        """Only in a tube does the first patch of a step say anything of the next step's, but for the count of the clip."""
        generator = np.random.default_rng(1)
        both = 0
        for _ in range(3000):
            visible = drawn(name, (2, 8, 2), 0.5, generator)
            both += int(0 in visible and 16 in visible)
        expected = 3000 * (0.5 * {"random": 15 / 31, "clip-row": 7 / 15}.get(name, 0.5))
        assert abs(both - expected) < 4 * np.sqrt(expected)

    def test_clips_by_rows_have_steps_with_more_and_fewer(self) -> None:
        generator, counts = np.random.default_rng(2), set()
        for _ in range(30):
            counts |= set(np.bincount(drawn("clip-row", PAPER, 0.8, generator) // 196, minlength=8) // 14)
        assert {0, 3, 6} <= counts


class TestAttention:
    @given(st.integers(2, 5), st.integers(1, 4), st.integers(0, 1000))
    def test_chances_are_those_of_drawing_without_replacement(self, places: int, visible: int, seed: int) -> None:
        """Each set of patches as often as its probability says, within chance."""
        if visible >= places:
            visible = places - 1
        generator = np.random.default_rng(seed)
        weights = generator.dirichlet(np.full(places, 0.7)) + 0.02
        weights /= weights.sum()
        draws = attention_draws((4000, 1, places), generator)[None]
        # 1 - visible / places may be a rounding above: a quarter of a patch less
        chosen = attention_visible(torch.tensor(weights).expand_as(draws), draws, 1 - (visible - 0.25) / places)
        found = chosen.view(4000, visible) - torch.arange(4000)[:, None] * places
        sets, counts = np.unique(found.numpy(), axis=0, return_counts=True)
        observed = dict(zip(map(tuple, sets.tolist()), counts.tolist(), strict=True))
        for one in combinations(range(places), visible):
            chance = probability(weights, frozenset(one))
            error = np.sqrt(4000 * chance * (1 - chance))
            assert abs(observed.get(one, 0) - 4000 * chance) < 5.5 * error + 3

    def test_zero_weights_are_drawn_last_and_alike(self) -> None:
        steps = 2000
        draws = attention_draws((steps, 2, 3), np.random.default_rng(0))[None]
        weights = torch.tensor([0.0, 3.0, 0.0, 1e-4, 0.0, 0.0]).expand_as(draws)
        first = attention_visible(weights, draws, 4 / 6 - 0.01).view(steps, -1) % 6
        assert first.shape[1] == 3 and {1, 3} <= set(first[0].tolist())
        assert (first == 1).any(1).all() and (first == 3).any(1).all()
        others = np.bincount(first.flatten(), minlength=6)[[0, 2, 4, 5]]
        assert others.sum() == steps and (abs(others - steps / 4) < 4 * np.sqrt(steps * 3 / 16)).all()

    def test_a_draw_of_zero_does_not_prefer_a_weight_of_zero(self) -> None:
        draws = torch.tensor([[[0.0, 0.999999, 0.5]]])
        assert attention_visible(torch.tensor([[[0.0, 1e-12, 0.0]]]), draws, 0.5).tolist() == [[0, 1]]
        assert attention_visible(torch.tensor([[[0.0, 1e-12, 0.0]]]), draws, 0.7).tolist() == [[1]]

    def test_a_patch_without_a_number_is_drawn_last(self) -> None:
        draws = torch.tensor([[[0.1, 0.9, 0.5, 0.2]]])
        weights = torch.tensor([[[float("nan"), 0.1, 0.0, 0.1]]])
        assert attention_visible(weights, draws, 0.25).tolist() == [[1, 2, 3]]

    def test_a_clip_does_not_depend_on_its_batch_or_dtype(self) -> None:
        draws = torch.stack([attention_draws((3, 4, 4), np.random.default_rng(seed)) for seed in range(4)])
        weights = torch.rand(4, 3, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
        together = attention_visible(weights, draws, 0.75)
        assert together.shape == (4, 12) and together.dtype == torch.int64
        for i in range(4):
            assert torch.equal(attention_visible(weights[i : i + 1], draws[i : i + 1], 0.75)[0], together[i])
        assert torch.equal(attention_visible(weights.double() * 3, draws.double(), 0.75), together)

    def test_no_value_is_read_back_from_the_device(self) -> None:
        """A tensor on "meta" has no values, so reading one fails."""
        weights = torch.empty((2, 8, 196), device="meta")
        visible = attention_visible(weights, torch.empty_like(weights), 0.8)
        assert (visible.device.type, visible.shape, visible.dtype) == ("meta", (2, 320), torch.int64)

    def test_draws(self) -> None:
        draws = attention_draws((50, 10, 10), np.random.default_rng(0))
        assert (draws.shape, draws.dtype) == ((50, 100), torch.float32)
        assert 0 <= float(draws.min()) < 0.001 and 0.999 < float(draws.max()) < 1
        raw = np.random.default_rng(0).random((50, 100))
        assert (np.abs(draws.numpy().astype(np.float64) - raw) < 2**-24).all()

    def test_shapes(self) -> None:
        with pytest.raises(ValueError, match=r"\(n, T, p\), got \(2, 3, 4\) and \(2, 3, 5\)"):
            attention_visible(torch.ones(2, 3, 4), torch.ones(2, 3, 5), 0.5)


def probability(weights: np.ndarray, wanted: frozenset[int]) -> float:
    """That drawing without replacement by `weights`, of sum 1, yields this set first."""
    if not wanted:
        return 1.0
    # The one that is drawn last is any of them; the others were drawn before it.
    total = 0.0
    for last in wanted:
        before = wanted - {last}
        total += probability(weights, before) * weights[last] / (1 - sum(weights[i] for i in before))
    return total


class TestGolden:
    """The masks of generators whose output NumPy has promised to keep."""

    @pytest.mark.parametrize(
        ("name", "patches"),
        [
            ("random", [1, 6, 7, 12, 13, 14, 16, 17, 18, 21]),
            ("tube", [1, 5, 6, 7, 8, 13, 17, 18, 19, 20]),
            ("clip-row", [3, 4, 5, 15, 16, 17, 18, 19, 20, 21, 22, 23]),
            ("frame-row", [3, 4, 5, 6, 7, 8, 18, 19, 20, 21, 22, 23]),
            ("attention", [1, 5, 6, 7, 8, 13, 16, 17, 18, 21]),
        ],
    )
    def test_small(self, name: MaskName, patches: list[int]) -> None:
        generator = np.random.Generator(np.random.PCG64([5, 1]))
        assert drawn(name, (2, 4, 3), 0.6, generator).tolist() == patches

    @pytest.mark.parametrize("name", NAMES)
    def test_the_same_generator_the_same_mask(self, name: MaskName) -> None:
        one, same, other = (drawn(name, PAPER, 0.8, np.random.default_rng(seed)) for seed in (0, 0, 1))
        assert (one == same).all() and not (one == other).all()


class TestNames:
    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ("random_row", "clip-row"),
            ("tube_row", "frame-row"),
            ("tube-row", "frame-row"),
            ("clip_row", "clip-row"),
            ("frame_row", "frame-row"),
            (" Tube ", "tube"),
            *((name, name) for name in NAMES),
        ],
    )
    def test_known(self, text: str, name: MaskName) -> None:
        assert mask_name(text) == name
        assert MaskSettings.model_validate({"name": text, "ratio": "0.5"}) == MaskSettings(name=name, ratio=0.5)

    def test_unknown(self) -> None:
        for text, advice in (("tubes", "did you mean 'tube'?"), ("qqq", "choose one of random, tube, clip-row")):
            with pytest.raises(VideoMambaError, match=rf"^mask {text!r}: unknown; {advice}".replace("?", r"\?")):
                mask_name(text)
            with pytest.raises(ValidationError, match=advice.replace("?", r"\?")):
                MaskSettings.model_validate({"name": text})

    def test_settings(self) -> None:
        assert (MaskSettings().name, MaskSettings().ratio) == ("attention", 0.8)
        for ratio in (-0.1, 1.0):
            with pytest.raises(ValidationError):
                MaskSettings(ratio=ratio)
