"""Config strings, and what they draw."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from videomamba.data.augment.policy import INCREASING, PLAIN, Policy, Step, parse_policy
from videomamba.schema import VideoMambaError

OPERATIONS = {
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "Posterize",
    "Solarize",
    "SolarizeAdd",
    "Color",
    "Contrast",
} | {
    "Brightness",
    "Sharpness",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
}


def policy(text: str) -> Policy:
    parsed = parse_policy(text)
    assert parsed is not None
    return parsed


def draws(text: str, number: int, seed: int = 0) -> list[tuple[Step, ...]]:
    generator = np.random.default_rng(seed)
    return [policy(text).draw(generator) for _ in range(number)]


class TestString:
    def test_sections(self) -> None:
        p = policy("rand-m7-n4-mstd0.5-inc1")
        assert (p.rounds, p.noise, p.operations) == (4, 0.5, INCREASING)
        assert {name for choice in p.choices for name, _, _ in choice} == OPERATIONS
        assert {(probability, magnitude) for ((_, probability, magnitude),) in p.choices} == {(0.5, 7.0)}

    def test_defaults(self) -> None:
        p = policy("rand")
        assert (p.rounds, p.noise, p.operations, p.choices[0][0][2]) == (2, 0.0, PLAIN, 10.0)

    def test_inc0_is_off(self) -> None:
        assert policy("rand-inc0").operations is PLAIN
        assert policy("rand-inc1").operations is INCREASING

    def test_v0(self) -> None:
        p = policy("v0")
        assert (len(p.choices), p.rounds, p.noise, p.operations) == (25, 1, 0.0, PLAIN)
        assert p.choices[0] == (("Equalize", 0.8, 1.0), ("ShearY", 0.8, 4.0))
        assert p.choices[-1] == (("Color", 0.8, 6.0), ("Rotate", 0.4, 5.0))
        assert {name for choice in p.choices for name, _, _ in choice} <= OPERATIONS
        assert policy("v0-mstd0.5").noise == 0.5

    def test_nothing(self) -> None:
        assert parse_policy("") is None

    @pytest.mark.parametrize(
        ("text", "part"),
        [
            ("rnd-m9", "rnd"),
            ("rand-m11", "m11"),
            ("rand-m9-n0", "n0"),
            ("rand-n1.5", "n1.5"),
            ("rand-m9-w0", "w0"),
            ("rand-mstd", "mstd"),
            ("rand-inc2", "inc2"),
            ("rand-m9-m5", "m5"),
            ("rand--m9", ""),
            ("rand-m-1", "m"),
            ("rand-m9-mstdinf", "mstdinf"),
            ("v0-m9", "m9"),
            ("original", "original"),
        ],
    )
    def test_mistakes_are_named(self, text: str, part: str) -> None:
        with pytest.raises(VideoMambaError) as error:
            parse_policy(text)
        assert repr(text) in str(error.value) and f"{part!r} is not understood" in str(error.value)
        assert "rand-m7-n4-mstd0.5-inc1" in str(error.value) and "\n" not in str(error.value)


class TestArguments:
    @pytest.mark.parametrize(
        ("name", "increasing", "plain"),
        [
            # at magnitudes 0, 5, 7.5, 10
            ("Rotate", (0, 15, 22.5, 30), (0, 15, 22.5, 30)),
            ("Posterize", (4, 2, 1, 0), (0, 2, 3, 4)),
            ("Solarize", (256, 128, 64, 0), (0, 128, 192, 256)),
            ("SolarizeAdd", (0, 55, 82, 110), (0, 55, 82, 110)),
            ("Color", (1, 1.45, 1.675, 1.9), (0.1, 1.0, 1.45, 1.9)),
            ("Contrast", (1, 1.45, 1.675, 1.9), (0.1, 1.0, 1.45, 1.9)),
            ("Brightness", (1, 1.45, 1.675, 1.9), (0.1, 1.0, 1.45, 1.9)),
            ("Sharpness", (1, 1.45, 1.675, 1.9), (0.1, 1.0, 1.45, 1.9)),
            ("ShearX", (0, 0.15, 0.225, 0.3), (0, 0.15, 0.225, 0.3)),
            ("ShearY", (0, 0.15, 0.225, 0.3), (0, 0.15, 0.225, 0.3)),
            ("TranslateX", (0, 0.225, 0.3375, 0.45), (0, 0.225, 0.3375, 0.45)),
            ("TranslateY", (0, 0.225, 0.3375, 0.45), (0, 0.225, 0.3375, 0.45)),
        ],
    )
    def test_levels(self, name: str, increasing: tuple[float, ...], plain: tuple[float, ...]) -> None:
        for operations, expected in ((INCREASING, increasing), (PLAIN, plain)):
            assert [operations[name].argument(m) for m in (0, 5, 7.5, 10)] == pytest.approx(expected)

    def test_both_directions(self) -> None:
        steps = [step for drawn in draws("rand-m10-n2-inc1", 3000) for step in drawn]
        for name, neutral, size in (("Rotate", 0, 30), ("Color", 1, 0.9), ("ShearY", 0, 0.3), ("TranslateX", 0, 0.45)):
            arguments = [step.argument for step in steps if step.name == name]
            signs = [round((a - neutral) / size, 6) for a in arguments]
            assert set(signs) == {-1.0, 1.0}
            assert 0.35 < signs.count(1.0) / len(signs) < 0.65
        assert {step.argument for step in steps if step.name == "Posterize"} == {0}


class TestDraws:
    def test_the_generator_decides(self) -> None:
        text = "rand-m7-n4-mstd0.5-inc1"
        assert draws(text, 20) == draws(text, 20)
        assert draws(text, 20) != draws(text, 20, seed=1)

    def test_frequencies(self) -> None:
        """Four rounds, half executed; 15 operations alike; the same one twice in a clip, as drawn with replacement."""
        drawn = draws("rand-m7-n4-mstd0.5-inc1", 4000)
        names = [step.name for steps in drawn for step in steps]
        assert len(names) / len(drawn) == pytest.approx(2.0, abs=0.08)
        counts = [names.count(name) for name in OPERATIONS]
        assert min(counts) > 0.8 * len(names) / 15 and max(counts) < 1.2 * len(names) / 15
        assert any(len(steps) > len({step.name for step in steps}) for steps in drawn)

    def test_noise_of_the_magnitude(self) -> None:
        def magnitudes(text: str) -> np.ndarray:
            steps = (step for drawn in draws(text, 4000) for step in drawn)
            return np.array([abs(step.argument) / 3 for step in steps if step.name == "Rotate"])

        drawn = magnitudes("rand-m7-n4-mstd0.5-inc1")
        assert drawn.mean() == pytest.approx(7, abs=0.1) and drawn.std() == pytest.approx(0.5, abs=0.06)
        assert magnitudes("rand-m7-n4-inc1") == pytest.approx(7.0)
        clipped = magnitudes("rand-m10-n4-mstd3-inc1")
        assert clipped.max() == pytest.approx(10.0) and clipped.min() < 7

    def test_v0_keeps_its_probabilities(self) -> None:
        drawn = draws("v0", 5000)
        assert {len(steps) for steps in drawn} == {0, 1, 2}
        # Only one line has Invert, with probability 0.4; ShearX is in two, with 0.2 and 0.
        counts = {
            name: sum(s.name == name for steps in drawn for s in steps) for name in ("Invert", "ShearX", "Sharpness")
        }
        assert counts["Invert"] == pytest.approx(5000 * 0.4 / 25, rel=0.3)
        assert counts["ShearX"] == pytest.approx(5000 * 0.2 / 25, rel=0.4)
        assert counts["Sharpness"] == 0


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_operation_treats_all_pictures_alike(name: str) -> None:
    """Equal pictures stay equal, are changed, and the clip that was given is left alone."""
    one = torch.from_numpy(np.random.default_rng(0).integers(20, 200, (1, 24, 36, 3)).astype(np.uint8))
    clip = one.expand(11, -1, -1, -1).contiguous()
    for operations, magnitude in ((INCREASING, 6.0), (PLAIN, 3.0)):
        p = Policy(operations, (((name, 1.0, magnitude),),), rounds=1, noise=0.0)
        changed = p.apply(clip, p.draw(np.random.default_rng(1)), (128, 128, 128))
        assert changed.shape == clip.shape and changed.dtype == torch.uint8
        assert torch.equal(changed, changed[:1].expand_as(changed))
        assert not torch.equal(changed, clip)
        assert torch.equal(clip, one.expand_as(clip))
