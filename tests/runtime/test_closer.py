"""The detector's closer look: what it looks at, and what becomes of both looks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import makers
import numpy as np
import pytest

from heightpose.codec.detection import CHANNELS, MAP_WH, encode_targets
from heightpose.runtime.backends import Active, Backend
from heightpose.runtime.closer import part_around, together
from heightpose.runtime.modelfile import ModelFile
from heightpose.runtime.networks import Detector
from heightpose.types import Detection


def found(box, score=0.9, angle=0.0):
    return Detection(np.array(box, dtype=float), angle, score)


def test_the_part_has_the_infant_in_its_middle_and_ends_with_the_frame():
    rgb = np.arange(480 * 640, dtype=np.uint32).astype(np.uint8).reshape(480, 640, 1).repeat(3, axis=2)
    part, (x, y) = part_around(rgb, found([300, 200, 400, 260]))
    assert (x, y, *part.shape) == (260, 140, 180, 180, 3)
    np.testing.assert_array_equal(part, rgb[140:320, 260:440])
    part, (x, y) = part_around(rgb, found([600, 400, 700, 480]))
    assert (x, y, *part.shape) == (560, 350, 130, 80, 3)


@pytest.mark.parametrize(
    "box",
    [
        [100, 100, 400, 200],  # 540 px around it: most of the picture
        [300, 200, 308, 204],  # a few pixels
        [-30, -30, 4, 10],  # hardly in the picture
    ],
)
def test_where_a_closer_look_shows_nothing_new_there_is_none(box):
    assert part_around(np.zeros((480, 640, 3), np.uint8), found(box)) is None


def test_whom_both_looks_see_has_both_boxes_and_the_first_ones_score():
    first = [found([100, 100, 200, 150], 0.6, 10.0)]
    (one,) = together(first, [found([110, 104, 210, 154], 0.9, 30.0)])
    np.testing.assert_allclose(one.bbox_xyxy, [105, 102, 205, 152])
    assert (one.score, one.head_angle_deg) == (0.6, 30.0)
    (one,) = together(first, [found([110, 104, 210, 154], 0.5, 30.0)])
    assert (one.score, one.head_angle_deg) == (0.6, 10.0)


def test_a_twin_is_added_and_half_a_body_is_not():
    first = [found([100, 100, 200, 150], 0.7)]
    twin, half = found([100, 140, 200, 190], 0.8), found([100, 100, 140, 150], 0.9)
    assert [d.score for d in together(first, [twin])] == [0.8, 0.7]
    assert [d.score for d in together(first, [half])] == [0.7]
    assert together([], [twin]) == [twin]
    assert together(first, []) == first


def test_two_beside_each_other_where_the_first_look_saw_one_are_two():
    both = [found([100, 100, 200, 200], 0.9)]
    upper, lower = found([100, 100, 200, 150], 0.8), found([100, 145, 200, 200], 0.6)
    assert together(both, [upper, lower]) == [upper, lower]
    (one,) = together(both, [upper, replace(lower, score=0.5)])  # a doubtful one is nobody
    assert one.score == 0.9


def test_of_two_that_lie_in_one_the_first_counts_and_the_other_is_no_further_infant():
    first = [found([100, 100, 200, 150], 0.7)]
    near, other = found([100, 100, 200, 140], 0.8), found([105, 105, 195, 150], 0.6)
    (one,) = together(first, [near, other])
    np.testing.assert_allclose(one.bbox_xyxy, [100, 100, 200, 145])


class Merging(Backend):
    """A detector that sees white figures, and as one those less than 24 px of its input apart."""

    active = Active("fake", "CPU", "f32", 1)

    def __init__(self) -> None:
        self._path, self.pictures = Path("fake"), 0

    def _run(self, batch):
        self.pictures += len(batch)
        maps = np.zeros((len(batch), CHANNELS, *MAP_WH[::-1]), np.float32)
        for one, picture in zip(maps, batch[:, 0], strict=True):
            columns = np.flatnonzero((picture > 128).any(axis=0))
            rows = np.flatnonzero((picture > 128).any(axis=1))
            parts = np.split(columns, np.flatnonzero(np.diff(columns) > 24) + 1) if len(columns) else []
            boxes = [[c[0], rows[0], c[-1] + 1, rows[-1] + 1] for c in parts]
            if boxes:
                truth = encode_targets(np.array(boxes, dtype=float), np.zeros(len(boxes)))
                one[0] = 0.9 * truth["centre"]
                near = truth["weight"] > 0
                one[1:, near] = truth["regression"][:, near]
        return maps


def cot(*lefts):
    rgb = np.zeros((480, 640, 3), np.uint8)
    for left in lefts:
        rgb[200:290, left : left + 30] = 255
    return rgb


def test_twins_who_melt_into_one_in_a_wide_view_are_two():
    backend = Merging()
    file = ModelFile(Path("fake"), "detector", (), (256, 256), None, None, {})
    detector = Detector(backend, file, threshold=0.3)
    alone, twins, empty = detector.detect([cot(300), cot(280, 330), cot()])
    assert backend.pictures == 3 + 1 + 2  # the empty cot is looked at mirrored, two parts closer
    assert [d.bbox_xyxy.round(-1).tolist() for d in alone] == [[300, 200, 330, 290]]
    assert {round(float(d.bbox_xyxy[0]), -1) for d in twins} == {280, 330}
    assert empty == []


def test_the_shipped_shape_of_answer_comes_back_to_the_frame(tmp_path):
    """Through a real graph: the closer look's boxes are in frame pixels."""
    detector = Detector.load(str(makers.tiny_detector(tmp_path / "d.onnx", reach=0.25)))
    ((one,),) = detector.detect([makers.scene((640, 480), (420, 300), 12.0)])
    middle = one.bbox_xyxy.reshape(2, 2).mean(axis=0)
    np.testing.assert_allclose(middle, (420, 300), atol=12)
