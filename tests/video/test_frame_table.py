"""The table of pictures against its definition, on made-up streams of packets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videomamba.video.frame_table import FrameTable, PacketInfo


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
    table = FrameTable.from_packets(packets, can_seek=True)
    assert table is not None
    shown = [number for number, packet in enumerate(packets) if packet.shown]
    assert len(table) == table.sound == len(shown)
    assert table.number.tolist() == sorted(shown, key=lambda number: packets[number].pts)
    assert (np.diff(table.pts) > 0).all()
    for rank, number in enumerate(table.number):
        earlier = [n for n in shown if n <= number]
        assert table.settled[rank] == max(table.rank_of[packets[n].pts] for n in earlier)
        keys = [n for n in earlier if packets[n].key and packets[n].pts <= packets[number].pts]
        assert table.start[rank] == max(keys)
        assert table.number_of[packets[number].pts] == number
    assert table.first_key == 0


@given(streams())
def test_no_seeking(packets: list[PacketInfo]) -> None:
    table = FrameTable.from_packets(packets, can_seek=False)
    assert table is not None
    assert not table.start.any()


@pytest.mark.parametrize("times", [[], [None], [0, None, 2], [0, 1, 1]])
def test_times_that_do_not_tell(times: list[int | None]) -> None:
    assert FrameTable.from_packets([PacketInfo(t, None, True, True) for t in times], can_seek=True) is None


def test_key_frames_out_of_order_are_not_trusted() -> None:
    packets = [PacketInfo(t, None, True, True) for t in (0, 2, 1)]
    table = FrameTable.from_packets(packets, can_seek=True)
    assert table is not None
    assert table.start.tolist() == [0, 0, 0]


def test_beginning_that_cannot_be_decoded() -> None:
    packets = [PacketInfo(t, None, t == 40, True) for t in (10, 40, 20, 30, 60, 50)]
    table = FrameTable.from_packets(packets, can_seek=True)
    assert table is not None
    assert table.first_key == 3
    rest = table.without_first(3)
    assert rest.pts.tolist() == [40, 50, 60]
    assert rest.number.tolist() == [1, 5, 4]
    assert rest.settled.tolist() == [0, 2, 2]
    assert rest.sound == 3
    assert [packet.shown for packet in rest.packets] == [False, True, False, False, True, True]


@pytest.mark.parametrize("times", [[None, None, None], [0, 5, 5], [3, 1, 2]])
def test_counted_at_a_constant_rate(times: list[int | None]) -> None:
    table = FrameTable.from_count(times, ticks_per_frame=4, sound=2)
    assert table.pts.tolist() == [0, 4, 8]
    assert (table.counted, table.sound, table.start.any()) == (True, 2, False)


def test_counted_with_good_times() -> None:
    assert FrameTable.from_count([7, 9, 30], ticks_per_frame=4, sound=3).pts.tolist() == [7, 9, 30]
