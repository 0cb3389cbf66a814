"""A sheet that does not lie flat: what is said of it beside what it does to a length."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane, PlaneError
from heightpose.geometry.plane_fit import plane_from_tags
from heightpose.geometry.plane_length import length_change
from heightpose.geometry.sheet import SheetLayout, TagView, shipped_sheet

from . import sheet_picture

LAYOUT = SheetLayout.load(shipped_sheet())
SIZES = {(1280, 720): 880.0, (960, 540): 660.0, (480, 360): 330.0}


def seen(shape, seed, *, pushed=False):
    """The plane from 8 to 20 tags of a sheet bent to ``z = shape(u, v)`` cm, the true one, and the camera."""
    rng = np.random.default_rng(seed)
    size = list(SIZES)[seed % 3]
    focal = SIZES[size]
    K = np.array([[focal, 0, size[0] / 2], [0, focal, size[1] / 2], [0, 0, 1]])
    camera = Camera("pinhole", size, K, np.zeros(5))
    R, t = sheet_picture.pose(
        rng.uniform(130, 190), spin_deg=rng.uniform(70, 110), tilt_deg=rng.uniform(-15, 15)
    )
    ids = np.sort(rng.choice(20, rng.integers(8, 21), replace=False))
    xy = np.concatenate([LAYOUT.tags[tag] for tag in ids.tolist()])
    z = shape(xy[:, 0] / 35, xy[:, 1] / 66) + np.zeros(len(xy))
    if pushed:
        xy[:4] += (2.0, 1.0)
    corners = sheet_picture.project(camera, R, t, np.column_stack([xy, z])).reshape(-1, 4, 2)
    corners += rng.normal(0, 0.1, corners.shape) + rng.normal(0, 0.1, (len(ids), 1, 2))
    return plane_from_tags([TagView(ids, corners)], camera, LAYOUT), Plane(R, t), camera


@pytest.mark.parametrize("pushed", [False, True], ids=["flat", "one tag pushed"])
def test_a_flat_sheet_widens_nothing(pushed):
    said = [seen(lambda u, v: 0 * u, seed, pushed=pushed)[0].length_sd for seed in range(6)]
    assert max(said) < 0.0007  # what corner noise and the tags' size do


@pytest.mark.parametrize("sagitta_cm", [2.0, 4.0])
@pytest.mark.parametrize("shape", [lambda u, v: u * u, lambda u, v: v * v, lambda u, v: u * v])
def test_a_bowed_sheet_says_how_far_lengths_are_off(shape, sagitta_cm):
    off, said = [], []
    for seed in range(6):
        try:
            plane, truth, camera = seen(lambda u, v: sagitta_cm * shape(u, v), seed)
        except PlaneError:  # crumpled: refused, as before
            continue
        off.append(abs(length_change(truth, plane, camera)))
        said.append(plane.length_sd)
    assert len(off) > 4
    assert max(off) > 0.005
    assert np.mean(np.array(off) <= 1.6449 * np.array(said) + 0.003) >= 0.9
    assert np.sqrt(np.mean(np.square(said))) < 2 * np.sqrt(np.mean(np.square(off)))


def test_wrinkles_count_where_they_show():
    said = [seen(lambda u, v: 0.6 * np.sin(8 * v + 5 * u), seed)[0].length_sd for seed in (0, 3, 6)]
    assert max(said) > 0.005


def as_bent(shape, tilt_deg, spin_deg, height_cm, seed):
    """:func:`seen` of all tags of a 1280x720 camera; None where the plane is refused."""
    rng = np.random.default_rng(seed)
    camera = Camera(
        "pinhole", (1280, 720), np.array([[620.0, 0, 640], [0, 620.0, 360], [0, 0, 1]]), np.zeros(5)
    )
    R, t = sheet_picture.pose(height_cm, spin_deg=spin_deg, tilt_deg=tilt_deg)
    ids = np.array(sorted(LAYOUT.tags))
    model = np.stack([LAYOUT.tags[tag] for tag in ids.tolist()])
    pts = np.concatenate([shape(quad) for quad in model])
    corners = sheet_picture.project(camera, R, t, pts).reshape(-1, 4, 2) + rng.normal(0, 0.12, model.shape)
    try:
        return plane_from_tags([TagView(ids, corners)], camera, LAYOUT), Plane(R, t), camera
    except PlaneError:
        return None


def trough(quad):
    """The sides 3 cm up, as on a mattress that sags along its middle."""
    return np.pad(quad, ((0, 0), (0, 1)), constant_values=4 * min(1.0, abs(quad[:, 0].mean()) / 35))


def one_side_up(quad):
    return np.pad(quad, ((0, 0), (0, 1)), constant_values=4.0 * (quad[:, 0].mean() > 0))


def folded(quad):
    """Half of the sheet pushed by 5 cm under the other."""
    return np.pad(quad - (0.0, 5.0 * (quad[:, 1].mean() > 0)), ((0, 0), (0, 1)))


@pytest.mark.parametrize("shape", [trough, one_side_up])
def test_tags_that_are_left_out_because_they_lie_lower_widen_the_interval(shape):
    off, said = [], []
    for seed, (tilt, spin, height) in enumerate(itertools.product((0, 10, 20), (70, 90), (130, 170))):
        found = as_bent(shape, tilt, spin, height, seed)
        if found is not None:
            plane, truth, camera = found
            off.append(abs(length_change(truth, plane, camera)))
            said.append(plane.length_sd)
    assert len(off) >= 6
    assert max(off) > 0.015
    assert np.mean(np.array(off) <= 1.6449 * np.array(said) + 0.005) >= 0.75


def test_a_fold_does_not_widen_it():
    for seed, tilt in enumerate((0, 10, 20)):
        found = as_bent(folded, tilt, 90, 150, seed)
        assert found is None or found[0].length_sd < 0.004
