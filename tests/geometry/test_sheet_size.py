"""The file of another sheet, most of whose tags seem to be in their places: by their own size they are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from heightpose.calibrate.sheet_layout import make_layout
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane, PlaneError
from heightpose.geometry.plane_fit import plane_from_tags
from heightpose.geometry.plane_length import length_change
from heightpose.geometry.sheet import TagView

from . import sheet_picture

CAMERA = Camera(
    "pinhole",
    (1280, 720),
    np.array([[620.0, 0, 640], [0, 620.0, 360], [0, 0, 1]]),
    np.array([-0.08, 0, 0, 0, 0]),
)


def numbered(size):
    """The layout of that size with its tags numbered from 0, as all sheets were."""
    layout = make_layout(size)
    return replace(layout, tags=dict(enumerate(layout.tags.values())))


def seen(layout, tilt_deg, seed=0, shape=None):
    """The tags of a sheet 150 cm below, bent to ``z = shape(x, y)`` cm, and the true plane."""
    rng = np.random.default_rng(seed)
    R, t = sheet_picture.pose(150.0, spin_deg=90, tilt_deg=tilt_deg)
    xy = np.concatenate(list(layout.tags.values()))
    z = np.zeros(len(xy)) if shape is None else shape(*xy.T)
    kpts = sheet_picture.project(CAMERA, R, t, np.column_stack([xy, z]))
    corners = (kpts + rng.normal(0, 0.12, kpts.shape)).reshape(-1, 4, 2)
    return TagView(np.array(list(layout.tags)), corners), Plane(R, t)


@pytest.mark.parametrize("tilt_deg", [0, 10, -20])
@pytest.mark.parametrize(
    ("printed", "file"),
    [((70, 132), (72, 136)), ((72, 136), (70, 132)), ((71, 132), (75, 140)), ((72, 136), (75, 140))],
)
def test_another_sheets_file_is_refused(printed, file, tilt_deg):
    """3.5 to 7 % off; before, at a stated 0.1 to 2.6 %."""
    printed, file = (numbered((float(w), float(h))) for w, h in (printed, file))
    with pytest.raises(PlaneError, match=r"sheet|crumpled") as caught:
        plane_from_tags([seen(printed, tilt_deg)[0]], CAMERA, file)
    assert caught.value.code in ("sheet_inconsistent", "plane_imprecise")


@pytest.mark.parametrize("tilt_deg", [0, 3, 5])
def test_a_little_off_widens_the_interval(tilt_deg):
    """One column of tags agrees with itself, 1.8 % off, and the other one is left out."""
    view, true = seen(numbered((65.0, 130.0)), tilt_deg)
    plane = plane_from_tags([view], CAMERA, numbered((70.0, 132.0)))
    assert plane.tags == 10
    off = abs(length_change(true, plane, CAMERA))
    assert off > 0.01
    assert 0.005 < plane.length_sd < 0.025
    assert off < 1.6449 * plane.length_sd


def test_the_reason_is_the_sheet_file():
    view, _ = seen(numbered((71.0, 132.0)), 10)
    with pytest.raises(
        PlaneError, match="6 % larger than it says: it is the file of another sheet"
    ) as caught:
        plane_from_tags([view], CAMERA, numbered((75.0, 140.0)))
    assert caught.value.code == "sheet_inconsistent"


def test_as_sheets_are_numbered_now_another_ones_file_finds_no_tag():
    view, _ = seen(make_layout((71.0, 132.0)), 10)
    with pytest.raises(PlaneError, match="or the sheet file is another sheet's") as caught:
        plane_from_tags([view], CAMERA, make_layout((75.0, 140.0)))
    assert caught.value.code == "sheet_not_found"


@pytest.mark.parametrize("bow_cm", [0.0, 3.0])
def test_bows_and_wrinkles_are_no_other_sheet(bow_cm):
    """Tags lean each way: some come out larger, some smaller; or as the bow says."""
    layout, codes = make_layout((70.0, 132.0)), []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        high, way = rng.uniform(0.5, 2), rng.uniform(0, np.pi)
        kx, ky = 2 * np.pi / rng.uniform(25, 60) * np.array([np.cos(way), np.sin(way)])

        def shape(x, y, high=high, kx=kx, ky=ky):
            return high * np.sin(kx * x + ky * y) + bow_cm * (x / 35) ** 2

        try:
            plane_from_tags([seen(layout, 10 * (seed % 3), seed, shape)[0]], CAMERA, layout)
        except PlaneError as refused:
            codes.append(refused.text)
    assert not [text for text in codes if "of another sheet" in text]
    assert len(codes) < 6


@pytest.mark.parametrize("tilt_deg", [0, 10, -20])
def test_a_fold_and_tags_pushed_aside_change_nothing(tilt_deg):
    layout = make_layout((70.0, 132.0))
    for moved in (
        {tag: (0.0, -5.0) for tag, quad in layout.tags.items() if quad[:, 1].mean() > 0},
        {tag: (1.0 + tag / 10, -1.5) for tag in range(5)},
    ):
        pushed = replace(layout, tags={tag: quad + moved.get(tag, 0) for tag, quad in layout.tags.items()})
        plane = plane_from_tags([seen(pushed, tilt_deg)[0]], CAMERA, layout)
        assert plane.tags <= len(layout.tags) - len(moved)
        assert plane.length_sd < 0.004
