"""Light explains a rejection and never causes one."""

import numpy as np
import pytest

from heightpose.runtime.light import Light
from heightpose.types import Measurement, Reason

GREY = np.full((120, 160, 3), 120, np.uint8)
DARK = np.full((120, 160, 3), 30, np.uint8)
BURNT = GREY.copy()
BURNT[:, :40] = 255


def explained(frames, measurement):
    light = Light()
    for rgb in frames:
        light.look(rgb)
    return light.explained(measurement)


def found(frames, *codes):
    return explained(frames, refused(*codes)).details.get("light", [])


def refused(*codes):
    return Measurement.rejected([Reason(code, "Words.") for code in codes], frames_total=4)


@pytest.mark.parametrize(
    ("frames", "more"),
    [
        ([GREY] * 4, []),
        ([BURNT] * 4, ["too_bright"]),
        ([DARK] * 4, ["too_dark"]),
        ([BURNT, BURNT, GREY, GREY], ["too_bright"]),
        ([BURNT, GREY, GREY, GREY], []),
        ([BURNT, BURNT, DARK, DARK], ["too_bright", "too_dark"]),
        ([], []),
    ],
)
def test_half_of_the_frames_decide(frames, more):
    assert found(frames, "no_scale", "no_infant") == more


def test_the_words_say_it_once_and_the_codes_stay():
    told = explained([BURNT], refused("no_scale", "sheet_not_found", "no_infant")).reasons
    assert [reason.code for reason in told] == ["no_scale", "sheet_not_found", "no_infant"]
    assert ["white" in reason.text for reason in told] == [False, True, False]
    assert all(reason.text.startswith("Words.") for reason in told)


def test_a_few_white_things_and_a_dark_corner_are_ordinary():
    shown = GREY.copy()
    shown[:30, :40] = 255  # a sixteenth
    shown[60:] = 10
    assert found([shown], "no_infant") == []


def test_coloured_light_is_not_burnt_out():
    shown = GREY.copy()
    shown[..., 0] = 255
    assert found([shown], "no_infant") == []


def test_what_light_does_not_explain_stays_as_it_is():
    for measurement in (refused("several_infants"), Measurement(60.0, (59.0, 61.0), 1, 1)):
        assert explained([BURNT], measurement) is measurement
