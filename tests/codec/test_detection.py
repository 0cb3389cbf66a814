"""The detection codec: boxes and head directions come back, empty cots stay empty, twins stay two."""

import numpy as np
import pytest

from heightpose.codec.detection import (
    CHANNELS,
    MAP_WH,
    SURE,
    SURE_DIRECTION,
    decode,
    decode_and_judge,
    encode_targets,
    iou,
    merge_mirror,
)


def perfect_map(boxes, angles) -> np.ndarray:
    target = encode_targets(np.asarray(boxes, float), np.asarray(angles, float))
    return np.concatenate([target["centre"][None], target["regression"]])


@pytest.mark.parametrize("angle", [0.0, 90.0, -90.0, 179.5, -179.5, 180.0, 37.2])
def test_round_trip(angle):
    rng = np.random.default_rng(0)
    for _ in range(20):
        size = rng.uniform(30, 200, 2)
        middle = rng.uniform(size / 2 - 20, 276 - size / 2)  # may hang out of the picture by a little
        box = np.concatenate([middle - size / 2, middle + size / 2])
        [(found, found_angle, score)] = decode(perfect_map([box], [angle]), 0.3)
        np.testing.assert_allclose(found, box, atol=1e-3)
        assert (found_angle - angle + 180) % 360 - 180 == pytest.approx(0, abs=1e-3)
        assert -180 < found_angle <= 180
        assert score == 1.0


@pytest.mark.parametrize("middle", [(0.5, 100.0), (254.0, 100.0), (100.0, 1.0), (100.0, 255.2), (3.0, 3.0)])
def test_an_infant_whose_middle_lies_in_an_outermost_cell_comes_back_too(middle):
    box = np.array([*middle, *middle]) + [-40.0, -30.0, 40.0, 30.0]
    [(found, angle, score)] = decode(perfect_map([box], [50.0]), 0.3)
    np.testing.assert_allclose(found, box, atol=1e-3)
    assert (angle, score) == (pytest.approx(50.0, abs=1e-3), 1.0)


def test_averaging_angles_across_the_seam():
    """Neighbouring cells that say 179 and -179 mean 180, not 0."""
    m = perfect_map([[60, 60, 190, 200]], [180.0])
    row, col = np.unravel_index(m[0].argmax(), m[0].shape)
    for dc, angle in ((-1, 179.0), (1, -179.0)):
        m[5:, row, col + dc] = np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))
    [(_, angle, _)] = decode(m, 0.3)
    assert abs(angle) > 179.5


def test_empty_cot_has_targets_and_no_detection():
    target = encode_targets(np.zeros((0, 4)), np.zeros(0))
    assert not target["centre"].any()
    assert not target["weight"].any()
    assert target["regression"].shape == (6, *MAP_WH[::-1])
    assert decode(np.zeros((CHANNELS, *MAP_WH[::-1])), 0.0) == []


def test_people_who_are_no_infants_tell_box_and_direction_and_leave_presence_open():
    boxes = np.array([[20.0, 40, 110, 220], [130, 30, 230, 225]])
    all_infants = encode_targets(boxes, np.array([0.0, 170.0]))
    target = encode_targets(boxes, np.array([0.0, 170.0]), np.array([True, False]))
    for same in ("regression", "weight"):
        np.testing.assert_array_equal(target[same], all_infants[same])
    assert all_infants["known"].all()
    left, right = (slice(None), slice(0, 16)), (slice(None), slice(16, 32))
    np.testing.assert_allclose(target["centre"][left], all_infants["centre"][left], atol=1e-6)
    assert target["centre"][right].max() < 1e-3  # nothing but the tail of the infant beside
    rows, cols = np.nonzero(target["known"] == 0)
    assert (cols.min(), cols.max(), rows.min(), rows.max()) == (16, 28, 4, 27)
    held = encode_targets(
        np.array([[10.0, 10, 240, 240], [90, 90, 160, 150]]), np.zeros(2), np.array([False, True])
    )
    assert held["known"][held["centre"] >= 1].all()  # an infant in their arms is one
    assert held["known"].mean() < 0.3
    with pytest.raises(ValueError, match="infant"):
        encode_targets(boxes, np.zeros(2), np.array([True]))


def test_twins_are_two_and_best_comes_first():
    boxes = np.array([[20.0, 40, 110, 220], [130, 30, 230, 225]])
    m = perfect_map(boxes, [0.0, 170.0])
    m[0, :, :16] *= 0.7
    found = decode(m, 0.3)
    assert [round(s, 2) for _, _, s in found] == [1.0, 0.9]
    np.testing.assert_allclose(found[0][0], boxes[1], atol=1e-3)
    np.testing.assert_allclose(found[1][0], boxes[0], atol=1e-3)
    assert found[0][1] == pytest.approx(170)


def test_two_peaks_on_one_infant_are_one_detection():
    m = perfect_map([[40, 40, 200, 220]], [0.0])
    target = encode_targets(np.array([[44.0, 44, 204, 232]]), np.array([5.0]))
    second = target["centre"] > 0.9
    m[0][second], m[1:, second] = 0.8, target["regression"][:, second]
    m[0, 16, 20] = 0.8  # a further peak whose box is the same infant's
    m[1:5, 16, 20] = (np.array([163.5 - 40, 131.5 - 40, 200 - 163.5, 220 - 131.5])) / 64
    m[6, 16, 20] = 1
    assert len(decode(m, 0.3)) == 1


def test_threshold_is_inclusive_and_zero_is_a_threshold():
    m = perfect_map([[40, 40, 100, 90]], [0.0])
    m[0] *= np.float32(0.5)
    [(_, _, score)] = decode(m, 0.0)
    assert score == pytest.approx(0.5, abs=0.02)  # half of what training asks for
    assert len(decode(m, score)) == 1
    assert decode(m, np.nextafter(score, 1.0)) == []


def test_presence_shared_out_among_neighbours_counts_together_and_a_sharp_cell_by_itself():
    sharp, shared = (perfect_map([[40, 40, 100, 90]], [0.0]) for _ in range(2))
    row, col = np.unravel_index(sharp[0].argmax(), sharp[0].shape)
    sharp[0], shared[0] = 0.0, 0.0
    sharp[0, row, col] = 0.9
    shared[0, row - 1 : row + 2, col - 1 : col + 2] = 0.4
    [(_, _, one)], [(_, _, nine)] = decode(sharp, 0.0), decode(shared, 0.0)
    assert one == pytest.approx(0.9)
    assert 0.7 < nine < 0.9


def test_the_mirrored_picture_answers_for_the_same_infants():
    boxes, angles = np.array([[20.0, 40, 110, 220], [130, 30, 230, 225]]), np.array([35.0, -170.0])
    plain = perfect_map(boxes, angles)
    mirrored = perfect_map(boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [255, 0, 255, 0], -angles)
    mirrored[0] *= np.float32(0.5)
    both = merge_mirror(plain[None], mirrored[None])[0]
    known = plain[1:5].any(axis=0)
    np.testing.assert_allclose(both[0], 0.75 * plain[0], atol=1e-6)
    np.testing.assert_allclose(both[1:, known], plain[1:, known], atol=1e-5)
    mirrored[5:, :, :16] *= 3.0  # of the right infant: a longer answer about its direction says no more
    np.testing.assert_allclose(
        merge_mirror(plain[None], mirrored[None])[0][1:, known], plain[1:, known], atol=1e-5
    )
    mirrored[1:5] += 0.3  # the surer view counts more
    moved = merge_mirror(plain[None], mirrored[None])[0][1:5, known] - plain[1:5, known]
    np.testing.assert_allclose(moved, 0.1, atol=1e-5)
    with pytest.raises(ValueError, match="mirrored"):
        merge_mirror(plain[None], mirrored[None, :6])


def test_a_peak_one_cell_off_still_gives_the_box():
    box = [33.0, 41, 187, 222]
    m = perfect_map([box], [25.0])
    row, col = np.unravel_index(m[0].argmax(), m[0].shape)
    m[0] = 0
    m[0, row + 1, col] = 0.9
    [(found, angle, _)] = decode(m, 0.3)
    np.testing.assert_allclose(found, box, atol=1e-3)
    assert angle == pytest.approx(25, abs=1e-3)


@pytest.mark.parametrize(
    ("boxes", "angles", "message"),
    [
        ([[10, 10, 5, 20]], [0], "x0 < x1"),
        ([[10, 10, np.nan, 20]], [0], "finite"),
        ([[10, 10, 50, 20]], [0, 1], "angles_deg"),
    ],
)
def test_bad_boxes_are_refused(boxes, angles, message):
    with pytest.raises(ValueError, match=message):
        encode_targets(np.array(boxes, float), np.array(angles, float))


@pytest.mark.parametrize(("apart", "infants"), [(20.5, 2), (19.5, 1)])
def test_boxes_that_overlap_by_more_than_half_are_one_infant(apart, infants):
    """60 px wide and 20 px apart they share 40 of 80 px."""
    boxes = np.array([[40.0, 60.0, 100.0, 200.0], [40.0 + apart, 60.0, 100.0 + apart, 200.0]])
    maps = [perfect_map([box], [0.0]) for box in boxes]
    left = np.arange(MAP_WH[0]) < 10  # the middles lie in columns 8 and 11 or 12
    both = np.where(left, *maps)
    both[0] = 0.0
    for one in maps:
        both[0][one[0] == 1.0] = 0.9
    assert len(decode(both, 0.3)) == infants


def test_nan_maps_are_refused():
    with pytest.raises(ValueError, match="finite"):
        decode(np.full((CHANNELS, *MAP_WH[::-1]), np.nan), 0.3)


def test_iou():
    assert iou(np.array([0.0, 0, 2, 2]), np.array([1.0, 0, 3, 2])) == pytest.approx(1 / 3)
    assert iou(np.array([0.0, 0, 1, 1]), np.array([1.0, 1, 2, 2])) == 0.0


def test_plain_to_see_is_a_sure_score_with_a_direction_that_the_net_did_not_shorten():
    boxes = np.array([[20.0, 40.0, 100.0, 90.0], [150.0, 120.0, 230.0, 220.0]])
    both = perfect_map(boxes, np.array([30.0, -80.0]))
    assert decode_and_judge(both, 0.3)[1]
    assert not decode_and_judge(np.zeros_like(both), 0.3)[1]
    for changed, channels, times in (("score", [0], SURE - 0.1), ("direction", [5, 6], SURE_DIRECTION - 0.1)):
        doubtful = both.copy()
        doubtful[channels, :, 16:] *= np.float32(times)  # of the right infant alone
        assert len(decode(doubtful, 0.3)) == 2, changed
        assert not decode_and_judge(doubtful, 0.3)[1], changed
