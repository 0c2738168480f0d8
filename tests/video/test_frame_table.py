"""The table of pictures against its definition, on made-up streams of packets."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videomamba.video.frame_table import FrameTable, Layout, PacketInfo, longest_silence

LAYOUT = Layout(unit=Fraction(1, 100), can_seek=True, reorders=True)


@st.composite
def streams(draw: st.DrawFn) -> list[PacketInfo]:
    """Groups of pictures, each a key frame and a permutation; open ones hold pictures shown before the key frame."""
    packets: list[PacketInfo] = []
    shown_before = 0
    for _ in range(draw(st.integers(1, 5))):
        leading = draw(st.integers(0, 3)) if packets else 0
        rest = draw(st.integers(0, 6))
        places = [*range(leading), *range(leading + 1, leading + 1 + rest)]
        order = [leading, *draw(st.permutations(places))]
        for position, place in enumerate(order):
            hidden = position > 0 and draw(st.integers(0, 9)) == 0
            packets.append(PacketInfo(10 * (shown_before + place) - 70, None, position == 0, not hidden))
        shown_before += len(order)
    return packets


@given(streams())
def test_definition(packets: list[PacketInfo]) -> None:
    table = FrameTable.forecast(packets, LAYOUT)
    assert table is not None
    shown = [number for number, packet in enumerate(packets) if packet.shown]
    assert len(table) == table.sound == len(shown)
    assert table.number.tolist() == sorted(shown, key=lambda number: packets[number].pts)
    assert table.seconds[0] == 0
    assert (np.diff(table.seconds) > 0).all()
    for rank, number in enumerate(table.number):
        assert table.rank_of[int(number)] == rank
        earlier = [n for n in shown if n <= number]
        assert table.settled[rank] == max(table.rank_of[n] for n in earlier)
        keys = [n for n in earlier if packets[n].key and packets[n].pts <= packets[number].pts]
        assert table.start[rank] == max(keys)
    assert table.first_key == 0
    assert table.in_decode_order == (table.number.tolist() == shown)


@given(streams())
def test_a_count_that_agrees_is_the_same_table(packets: list[PacketInfo]) -> None:
    forecast = FrameTable.forecast(packets, LAYOUT)
    assert forecast is not None
    counted = FrameTable.from_decoder(packets, forecast.number.tolist(), LAYOUT, sound=len(forecast))
    for field in ("number", "start", "settled", "seconds"):
        np.testing.assert_array_equal(getattr(counted, field), getattr(forecast, field))
    assert (counted.counted, counted.by_order) == (True, False)
    assert counted.notes


@given(streams())
def test_no_seeking(packets: list[PacketInfo]) -> None:
    table = FrameTable.forecast(packets, replace(LAYOUT, can_seek=False))
    assert table is not None
    assert not table.start.any()


def at(*times: int | None) -> list[PacketInfo]:
    """Key frames with these presentation times, decoded in this order at the same times."""
    return [PacketInfo(time, time, True, True) for time in times]


@pytest.mark.parametrize("times", [(), (None,), (0, None, 2), (0, 1, 1)])
def test_times_that_do_not_tell(times: tuple[int | None, ...]) -> None:
    assert FrameTable.forecast(at(*times), LAYOUT) is None


def test_guessed_times_do_not_tell() -> None:
    assert FrameTable.forecast(at(0, 1, 2), replace(LAYOUT, timed=False)) is None


def test_equal_times_of_a_codec_that_does_not_reorder() -> None:
    table = FrameTable.forecast(at(0, 10, 10, 30, 5030, 5030), replace(LAYOUT, reorders=False))
    assert table is not None
    assert table.number.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(table.seconds, [0, 0.1, 0.1, 0.3, 50.3, 50.3])
    assert table.notes == ()


def test_clock_that_restarts() -> None:
    table = FrameTable.forecast(at(6000, 6004, 6008, 0, 4, 8), LAYOUT)
    assert table is not None
    assert table.number.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(table.seconds, np.arange(6) * 0.04)
    assert table.doubtful == (3,)
    assert any("clock restarts" in note for note in table.notes)


def test_clock_of_33_bits_that_begins_again() -> None:
    day = 2**33
    mpeg = replace(LAYOUT, unit=Fraction(1, 90000), longest_pause=10_000)
    packets = at(0, 3600, 7200, day, day + 3600, day + 7200)
    table = FrameTable.forecast(packets, mpeg)
    assert table is not None
    np.testing.assert_allclose(table.seconds, np.arange(6) * 0.04)
    pause = FrameTable.forecast(packets, replace(mpeg, longest_pause=1_000_000))
    assert pause is not None
    assert pause.seconds[3] == pytest.approx(day / 90000)


def test_key_frame_that_carries_on_the_old_decoding_time() -> None:
    packets = [*at(6000, 6004), PacketInfo(0, 6008, True, True), PacketInfo(4, 0, False, True)]
    table = FrameTable.forecast(packets, LAYOUT)
    assert table is not None
    assert table.number.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(table.seconds, np.arange(4) * 0.04)


def test_many_restarts_are_counted_at_once() -> None:
    assert FrameTable.forecast(at(*[0, 4, 8] * 30), LAYOUT) is None


def test_steps_of_half_the_usual_length_are_doubtful() -> None:
    table = FrameTable.forecast(at(0, 40, 80, 120, 140, 160, 200), LAYOUT)
    assert table is not None
    assert table.doubtful == (4,)


def test_key_frames_out_of_order_are_not_trusted() -> None:
    table = FrameTable.forecast(at(0, 20, 10), LAYOUT)
    assert table is not None
    assert table.start.tolist() == [0, 0, 0]


def test_beginning_that_cannot_be_decoded() -> None:
    packets = [PacketInfo(t, None, t == 40, True) for t in (10, 40, 20, 30, 60, 50)]
    table = FrameTable.forecast(packets, LAYOUT)
    assert table is not None
    assert table.first_key == 3
    rest = table.without_first(3)
    np.testing.assert_allclose(rest.seconds, [0, 0.1, 0.2])
    assert rest.number.tolist() == [1, 5, 4]
    assert rest.settled.tolist() == [0, 2, 2]
    assert rest.sound == 3
    assert [packet.shown for packet in rest.packets] == [False, True, False, False, True, True]


class TestCounted:
    def test_times_of_decoding_are_sorted(self) -> None:
        """Packets copied from AVI to MP4: the decoder reorders them, their times do not."""
        table = FrameTable.from_decoder(at(0, 4, 8, 12), [0, 2, 3, 1], LAYOUT, sound=4)
        np.testing.assert_allclose(table.seconds, [0, 0.04, 0.08, 0.12])
        assert table.number.tolist() == [0, 2, 3, 1]

    def test_avi(self) -> None:
        """Decoding times in ticks of the header's rate; presentation times are FFmpeg's guesses."""
        packets = [PacketInfo(0, 24 * n, n == 0, True) for n in range(4)]
        avi = Layout(unit=Fraction(1, 600), can_seek=True, reorders=True, timed=False, rate=Fraction(600))
        table = FrameTable.from_decoder(packets, [0, 2, 1, 3], avi, sound=4)
        np.testing.assert_allclose(table.seconds, np.arange(4) / 25)

    def test_second_fields_hold_no_picture(self) -> None:
        table = FrameTable.from_decoder(at(0, 2, 4, 6), [0, 2], LAYOUT, sound=2)
        np.testing.assert_allclose(table.seconds, [0, 0.04])
        assert table.start.tolist() == [0, 2]
        assert table.settled.tolist() == [0, 1]

    @pytest.mark.parametrize("numbers", [[0, 1, 1], [0, None, 2]])
    def test_pictures_that_do_not_tell_their_packets(self, numbers: list[int | None]) -> None:
        table = FrameTable.from_decoder(at(0, 4, 8), numbers, LAYOUT, sound=2)
        assert (table.by_order, table.sound, table.start.any()) == (True, 2, False)
        assert (np.diff(table.seconds) >= 0).all()

    def test_without_times_at_a_constant_rate(self) -> None:
        table = FrameTable.from_decoder(at(None, None, None), [0, 1, 2], LAYOUT, sound=3)
        np.testing.assert_allclose(table.seconds, [0, 0.04, 0.08])


class TestMissingTimes:
    def test_filled_at_the_usual_step(self) -> None:
        """As in program streams, where a packet of bytes with several pictures has one time."""
        steady = replace(LAYOUT, reorders=False)
        table = FrameTable.forecast(at(None, 4, None, None, 16, None, 500, 504, None), steady)
        assert table is not None
        np.testing.assert_allclose(table.seconds, [0, 0.04, 0.08, 0.12, 0.16, 0.2, 5.0, 5.04, 5.08])
        assert FrameTable.forecast(at(0, None, 8), replace(LAYOUT, reorders=True)) is None

    def test_each_part_by_itself(self) -> None:
        steady = replace(LAYOUT, reorders=False)
        table = FrameTable.forecast(at(6000, 6004, None, 6012, 0, 10, None), steady)
        assert table is not None
        np.testing.assert_allclose(np.diff(table.seconds), [0.04, 0.04, 0.04, 0.04, 0.1, 0.1])

    def test_too_few(self) -> None:
        assert FrameTable.forecast(at(0, *[None] * 30), replace(LAYOUT, reorders=False)) is None


def test_packets_in_a_row_without_a_picture() -> None:
    large = [PacketInfo(t, t, True, True, size=100) for t in range(9)]
    assert longest_silence(large, [1, 2, 4, 8]) == 3
    assert longest_silence(large, [0, None]) == 0
    assert longest_silence([replace(packet, size=7) for packet in large], [0]) == 0
