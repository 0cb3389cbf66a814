"""A camera without a file: found where the sheet tells it, refused where it cannot, and its doubt passed on."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from heightpose.geometry import selfcal, selfcal_fit
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import PlaneError
from heightpose.geometry.plane_fit import plane_from_tags
from heightpose.geometry.plane_length import JOINT_ELEVATION_CM
from heightpose.geometry.selfcal import MAX_LENGTH_SD, self_calibrate
from heightpose.geometry.sheet import TagView, detect_tags

from . import sheet_picture
from .cot import HALF, LAYOUT, PINHOLE, tag_views

PLAIN = Camera(
    "pinhole", (1280, 720), np.array([[914.0, 0, 639.5], [0, 914.0, 359.5], [0, 0, 1]]), np.zeros(5)
)
CHILD = np.array([[3.0, -30.0, JOINT_ELEVATION_CM], [-4.0, 34.0, JOINT_ELEVATION_CM]])


def length_error(camera, R, t, found, views):
    """Relative error of a length at joint elevation through the camera that was found."""
    plane = plane_from_tags(views, found.camera, LAYOUT)
    ends = plane.to_mattress(found.camera, sheet_picture.project(camera, R, t, CHILD), JOINT_ELEVATION_CM)
    return np.linalg.norm(ends[1] - ends[0]) / np.linalg.norm(CHILD[1] - CHILD[0]) - 1


@pytest.mark.parametrize("camera", [PLAIN, PINHOLE], ids=["plain", "bent"])
@pytest.mark.parametrize(("tilt", "spin"), [(14.0, 90.0), (22.0, 20.0), (-28.0, 75.0)])
def test_a_tilted_sheet_tells_the_focal_length(camera, tilt, spin):
    R, t = sheet_picture.pose(150.0, tilt_deg=tilt, spin_deg=spin)
    views = tag_views(camera, R, t, frames=3, seed=3)
    found = self_calibrate(views, LAYOUT, camera.size_wh)
    assert found.source == "self-calibrated"
    truth = camera.K[0, 0]
    assert abs(found.camera.K[0, 0] - truth) < 2.0 * found.focal_sd_px
    assert found.focal_sd_px < 0.12 * truth
    assert abs(found.height_cm - 150.0) < 2.0 * found.height_sd_cm
    assert abs(length_error(camera, R, t, found, views)) < 2.5 * found.length_sd
    assert found.length_sd <= MAX_LENGTH_SD


def test_stated_errors_hold_over_many_cameras():
    """Pulls of the focal length and of a length, over lenses and poses drawn as the priors say."""
    rng = np.random.default_rng(5)
    focal_pulls, length_pulls = [], []
    for seed in range(14):
        focal = 1280 * rng.uniform(0.6, 1.1)
        K = np.array([[focal, 0, 639.5 + rng.normal(0, 9)], [0, focal, 359.5 + rng.normal(0, 9)], [0, 0, 1]])
        dist = np.array([rng.normal(0, 0.1), 0, *rng.normal(0, 0.001, 2), 0])
        camera = Camera("pinhole", (1280, 720), K, dist)
        height = 0.165 * focal
        R, t = sheet_picture.pose(height, tilt_deg=rng.uniform(14, 28), spin_deg=rng.uniform(60, 120))
        views = tag_views(camera, R, t, noise_px=0.2, seed=seed)
        found = self_calibrate(views, LAYOUT, camera.size_wh)
        focal_pulls.append((found.camera.K[0, 0] - focal) / found.focal_sd_px)
        length_pulls.append(length_error(camera, R, t, found, views) / found.length_sd)
    for pulls in (focal_pulls, length_pulls):
        assert np.sqrt(np.mean(np.square(pulls))) < 1.3, pulls
        assert np.abs(pulls).max() < 3.0, pulls


def test_a_picture_of_half_a_sheet():
    R, t = sheet_picture.pose(150.0, tilt_deg=24.0, spin_deg=85.0)
    sheet = sheet_picture.print_sheet(LAYOUT, hidden=HALF)
    view = detect_tags(sheet_picture.photograph(sheet, LAYOUT, PLAIN, R, t), LAYOUT)
    found = self_calibrate([view], LAYOUT, PLAIN.size_wh)
    assert abs(found.camera.K[0, 0] - 914.0) < 2.0 * found.focal_sd_px
    assert abs(length_error(PLAIN, R, t, found, [view])) < 2.0 * found.length_sd


def test_straight_down_the_sheet_does_not_tell():
    R, t = sheet_picture.pose(150.0, spin_deg=90.0, tilt_deg=1.0)
    views = tag_views(PLAIN, R, t)
    with pytest.raises(PlaneError, match="--camera-height-cm") as caught:
        self_calibrate(views, LAYOUT, PLAIN.size_wh)
    assert caught.value.code == "no_camera"
    found = self_calibrate(views, LAYOUT, PLAIN.size_wh, height_cm=151.0)
    assert found.source == "height"
    assert abs(found.camera.K[0, 0] - 914.0) < 2.0 * found.focal_sd_px
    assert abs(length_error(PLAIN, R, t, found, views)) < 2.0 * found.length_sd


def test_where_the_sheet_tells_enough_a_height_makes_it_surer_or_is_contradicted():
    R, t = sheet_picture.pose(150.0, spin_deg=90.0, tilt_deg=20.0)
    views = tag_views(PLAIN, R, t)
    alone = self_calibrate(views, LAYOUT, PLAIN.size_wh)
    found = self_calibrate(views, LAYOUT, PLAIN.size_wh, height_cm=151.0)
    assert found.source == "self-calibrated"
    assert abs(found.height_cm - 150.0) < 2.0
    assert found.length_sd < alone.length_sd
    for height_cm in (80.0, 220.0):
        with pytest.raises(PlaneError, match="--camera-height-cm") as caught:
            self_calibrate(views, LAYOUT, PLAIN.size_wh, height_cm=height_cm)
        assert caught.value.code == "height_contradicted"


def test_a_height_is_compared_with_what_the_sheet_alone_says():
    """The fit takes the given height in, and would agree with it afterwards."""
    R, t = sheet_picture.pose(150.0, spin_deg=90.0, tilt_deg=35.0)
    views = tag_views(PLAIN, R, t)
    alone = self_calibrate(views, LAYOUT, PLAIN.size_wh)
    assert alone.height_check is None
    for given_cm in (150.0, 155.0):
        check = self_calibrate(views, LAYOUT, PLAIN.size_wh, height_cm=given_cm).height_check
        assert (check.found_cm, check.found_sd_cm) == (alone.height_cm, alone.height_sd_cm)
        assert check.given_cm == given_cm
    assert check.doubt == pytest.approx(0.006, abs=0.002)


def test_noise_and_missing_tags_are_doubt():
    R, t = sheet_picture.pose(150.0, spin_deg=90.0, tilt_deg=18.0)
    clear, noisy, few = (
        self_calibrate(tag_views(PLAIN, R, t, noise_px=noise, hidden=hidden), LAYOUT, PLAIN.size_wh)
        for noise, hidden in ((0.2, ()), (1.0, ()), (0.2, (*HALF, 0, 3, 19)))
    )
    assert noisy.length_sd > 1.05 * clear.length_sd
    assert noisy.focal_sd_px > 1.05 * clear.focal_sd_px
    (pushed,) = tag_views(PLAIN, R, t, noise_px=0.2)
    for tag, px in ((4, (5.0, 3.0)), (13, (-4.0, 4.0))):
        pushed.corners_frame[tag] += px
    without = self_calibrate([pushed], LAYOUT, PLAIN.size_wh)
    assert without.length_sd < 1.05 * clear.length_sd  # left out, they are no noise
    assert few.length_sd > clear.length_sd  # little: where the lens's centre lies is most of the doubt here


def test_the_doubt_straight_above_is_the_parallax_of_an_uncertain_height():
    """sd(L) / L = h / (H (H - h)) sd(H), when nothing but focal length and distance is uncertain."""
    size, height, relative = (1280, 720), 150.0, 0.05
    x = np.zeros(14)
    x[0] = np.log(914.0 / 1280)
    R, t = sheet_picture.pose(height)
    along = np.zeros(14)
    along[0], along[13] = 1.0, height  # a longer lens further away: the sheet looks the same
    cov = np.outer(along, along) * relative**2
    fit = selfcal_fit.LensFit(x, cov, R, t, size, 0.0, 0.1)
    h = JOINT_ELEVATION_CM
    assert selfcal.length_sd(fit) == pytest.approx(h / (height - h) * relative, rel=1e-3)


def test_too_few_tags_and_another_sheet():
    R, t = sheet_picture.pose(150.0, spin_deg=90.0, tilt_deg=20.0)
    (view,) = tag_views(PLAIN, R, t)
    few = TagView(view.ids[:3], view.corners_frame[:3])
    shuffled = TagView(np.random.default_rng(0).permutation(view.ids), view.corners_frame)
    for views, words in (([], "not found"), ([few], "only 3"), ([shuffled], "sheet file")):
        with pytest.raises(PlaneError, match=words) as caught:
            self_calibrate(views, LAYOUT, PLAIN.size_wh)
        assert caught.value.code == "no_camera"


@pytest.mark.parametrize("tilt", [18.0, 22.0])
def test_a_picture_cut_out_of_a_larger_one_is_noticed(tilt):
    """A fifth cut off the right: the lens's middle is 128 px off the picture's."""
    cut = Camera("pinhole", (1024, 720), PLAIN.K, np.array([-0.1, 0.02, 0, 0, 0]))
    for seed in range(3):
        R, t = sheet_picture.pose(150.0, tilt_deg=tilt, spin_deg=90.0 + 10 * seed)
        (view,) = tag_views(cut, R, t, seed=seed)
        inside = (view.corners_frame[..., 0] < 1023).all(axis=1)
        views = [TagView(view.ids[inside], view.corners_frame[inside])]
        found = self_calibrate(views, LAYOUT, cut.size_wh)
        off = abs(length_error(cut, R, t, found, views))
        assert off < min(0.007, 1.6449 * found.length_sd)


ANAMORPHIC = Camera(
    "pinhole", (720, 576), np.array([[600.0, 0, 359.5], [0, 546.0, 287.5], [0, 0, 1]]), np.zeros(5)
)


@pytest.mark.parametrize(("roll", "told"), [(0.0, True), (20.0, True), (25.0, False), (35.0, False)])
def test_pixels_that_are_not_square(roll, told):
    """Taken as the file says. Where it does not say, a camera that tilts along neither of its axes shows it."""
    R, t = sheet_picture.pose(180.0, tilt_deg=22.0, spin_deg=20.0)
    rolled = cv2.Rodrigues(np.array([0.0, 0.0, np.radians(roll)]))[0]
    R, t = rolled @ R, rolled @ t
    views = tag_views(ANAMORPHIC, R, t, frames=3, seed=3)
    found = self_calibrate(views, LAYOUT, ANAMORPHIC.size_wh, pixel_aspect=0.91 if told else 1.0)
    assert abs(length_error(ANAMORPHIC, R, t, found, views)) < min(0.004, 2.0 * found.length_sd)
    assert found.camera.K[1, 1] / found.camera.K[0, 0] == pytest.approx(0.91, abs=0.02)


@pytest.mark.parametrize(("size_wh", "squeezed"), [((720, 576), 0.9375), ((704, 576), 0.9167)])
def test_a_recorders_picture_is_not_taken_for_one_of_square_pixels(size_wh, squeezed):
    """Level, at 30 degrees, the tags cannot tell: lengths were 1.4 and 2.5 % short at a stated 0.3 and 0.5 %."""
    width, height = size_wh
    K = np.array([[768 * squeezed, 0, width / 2 - 0.5], [0, 768.0, height / 2 - 0.5], [0, 0, 1]])
    camera = Camera("pinhole", size_wh, K, np.zeros(5))
    R, t = sheet_picture.pose(170.0, tilt_deg=30.0, spin_deg=90.0)
    views = tag_views(camera, R, t, frames=3, seed=3)
    with pytest.raises(PlaneError) as caught:
        self_calibrate(views, LAYOUT, size_wh)
    assert caught.value.code == "no_camera"
    said = self_calibrate(views, LAYOUT, size_wh, pixel_aspect=1 / squeezed)
    assert abs(length_error(camera, R, t, said, views)) < 0.003


@pytest.mark.parametrize(("height", "focal", "stretched"), [(140.0, 700.0, 0.95), (400.0, 2400.0, 1.0)])
def test_a_lens_or_place_of_no_cot_camera_is_not_believed(height, focal, stretched):
    """Narrow pixels, undeclared, seemed to be a camera 37 cm up at a stated 0.3 %, before the fit was followed to its
    end: from there they tell no focal length. A measured height still serves."""
    camera = Camera(
        "pinhole",
        (1280, 720),
        np.array([[focal * stretched, 0, 639.5], [0, focal, 359.5], [0, 0, 1]]),
        np.zeros(5),
    )
    R, t = sheet_picture.pose(height, tilt_deg=16.0, spin_deg=90.0)
    views = tag_views(camera, R, t)
    said = "hardly a cot camera's" if stretched == 1.0 else "does not tell its focal length"
    with pytest.raises(PlaneError, match=said) as caught:
        self_calibrate(views, LAYOUT, camera.size_wh)
    assert caught.value.code == "no_camera"
    assert "--camera-height-cm" in caught.value.text
    found = self_calibrate(views, LAYOUT, camera.size_wh, height_cm=height + 1.0)
    assert found.source == "height"
    assert abs(found.height_cm - height) < 2.5
    assert abs(length_error(camera, R, t, found, views)) < max(0.004, 2.0 * found.length_sd)
