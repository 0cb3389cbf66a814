"""Which frames are looked at, by index and by their own times."""

from __future__ import annotations

import pytest

from heightpose.errors import ConfigError
from heightpose.runtime.selection import Selection


def chosen(selection, times):
    wanted = selection.chooser()
    return [i for i, t_s in enumerate(times) if wanted(i, t_s)]


def test_every_counts_decoded_frames():
    assert chosen(Selection(every=3), [0.04 * i for i in range(8)]) == [0, 3, 6]


@pytest.mark.parametrize("rate", [24, 25, 29.97, 60])
def test_a_rate_is_kept_by_time(rate):
    times = [i / rate for i in range(int(10 * rate))]
    got = [times[i] for i in chosen(Selection(fps=5.0), times)]
    assert len(got) == 50
    for slot, t_s in enumerate(got):
        assert slot / 5 - 2e-3 <= t_s < slot / 5 + 1.01 / rate  # the first frame of each fifth of a second


def test_a_rate_above_the_clips_own_takes_all_and_uneven_times_are_followed():
    assert chosen(Selection(fps=100.0), [0.04 * i for i in range(7)]) == list(range(7))
    assert chosen(Selection(fps=1.0), [0.0, 0.1, 0.95, 1.05, 4.0, 4.5, 5.2]) == [0, 3, 4, 6]


def test_rounded_ticks_do_not_slip_a_frame():
    times = [round(i / 30, 3) for i in range(90)]
    assert chosen(Selection(fps=10.0), times) == list(range(0, 90, 3))


def test_start_and_end():
    times = [0.1 * i for i in range(20)]
    assert chosen(Selection(start_s=0.5, end_s=0.9), times) == [5, 6, 7, 8, 9]
    assert chosen(Selection(every=4, start_s=0.5), times) == [8, 12, 16]
    assert chosen(Selection(fps=2.0, start_s=0.3), times) == [3, 8, 13, 18]
    assert Selection(end_s=0.9).is_past(1.0)
    assert not Selection(end_s=0.9).is_past(0.9)
    assert not Selection().is_past(1e9)


def test_times_count_from_the_first_frame():
    wanted, past = Selection(start_s=0.5, end_s=0.9).of_a_pass()
    times = [1000.0 + 0.1 * i for i in range(20)]
    assert [i for i, t_s in enumerate(times) if not past(t_s) and wanted(i, t_s)] == [5, 6, 7, 8, 9]
    assert past(times[-1])


def test_choices_that_contradict_each_other():
    with pytest.raises(ConfigError, match="--every and --fps"):
        Selection(every=2, fps=5.0)
    with pytest.raises(ConfigError, match="got 5 s to 4 s"):
        Selection(start_s=5.0, end_s=4.0)
    with pytest.raises(ConfigError):
        Selection(start_s=5.0, end_s=4.999)


def test_a_span_without_length_holds_the_frames_at_its_time():
    times = [0.1 * i for i in range(20)]
    assert chosen(Selection(end_s=0.0), times) == [0]
    assert chosen(Selection(start_s=0.5, end_s=0.5), times) == [5]
    assert chosen(Selection(start_s=0.5, end_s=0.5, fps=5.0), times) == [5]
    assert chosen(Selection(start_s=0.55, end_s=0.55), times) == []


@pytest.mark.parametrize(
    "selection",
    [
        Selection(),
        Selection(every=7),
        Selection(fps=5.0),
        Selection(start_s=2.0, end_s=5.0),
        Selection(start_s=90.0),
        Selection(end_s=0.0),
        Selection(fps=3.0, start_s=1.0),
    ],
)
def test_the_expected_number_is_about_right(selection):
    times = [i / 25 for i in range(250)]
    assert selection.expected(250, 25.0) == pytest.approx(len(chosen(selection, times)), abs=2)
    assert selection.expected(None, 25.0) is None
