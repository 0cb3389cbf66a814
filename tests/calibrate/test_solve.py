"""The fit: known lenses come back, their errors are honest, and what cannot be told is not claimed."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import shots

from heightpose.calibrate.boards import Chessboard, Corners
from heightpose.calibrate.bundle import NOTHING, Freedom, fit, parameters, with_parameters
from heightpose.calibrate.check import check
from heightpose.calibrate.solve import Trial, solve, view_rms
from heightpose.calibrate.views import choose, distance
from heightpose.errors import HeightposeError, InputError
from heightpose.geometry.camera import Camera

CAMERAS = pytest.mark.parametrize("camera", [shots.PINHOLE, shots.FISHEYE], ids=lambda c: c.model)


@CAMERAS
def test_the_lens_comes_back_and_its_model_is_chosen(camera):
    boards = shots.corners(camera, shots.poses(camera, 12))
    solution = solve(shots.views(boards), shots.SIZE, ["pinhole", "fisheye"])
    assert solution.camera.model == camera.model
    assert solution.camera.K[0, 0] == pytest.approx(camera.K[0, 0], rel=0.005)
    assert np.abs(solution.camera.K[:2, 2] - camera.K[:2, 2]).max() < 2.0
    assert 0.1 < solution.bundle.rms_px < 0.18  # the noise put in is 0.14 in two dimensions
    assert solution.outliers == []
    # The lens itself, not only its numbers: rays out to the picture's corners.
    x, y = np.meshgrid(np.linspace(20, 459, 8), np.linspace(20, 339, 6))
    kpts = np.stack([x.ravel(), y.ravel()], axis=1)
    angles = [np.arctan(np.linalg.norm(c.undistort(kpts), axis=1)) for c in (solution.camera, camera)]
    assert np.abs(angles[0] - angles[1]).max() < np.deg2rad(0.5)


def test_agrees_with_opencv():
    boards = shots.corners(shots.PINHOLE, shots.poses(shots.PINHOLE, 10))
    start = with_parameters(shots.PINHOLE, np.array([350.0, 350, 239.5, 179.5, 0, 0, 0, 0, 0]))
    ours = fit(boards, start, Freedom(dist=("k1", "k2", "p1", "p2")))
    pts = [b.pts_cm.astype(np.float32) for b in boards]
    kpts = [b.kpts.astype(np.float32)[:, None] for b in boards]
    error, K, dist, _, _ = cv2.calibrateCamera(
        pts, kpts, shots.SIZE, np.eye(3), np.zeros(5), flags=cv2.CALIB_FIX_K3
    )
    assert ours.rms_px == pytest.approx(error, rel=0.02)
    theirs = np.concatenate([K[[0, 1, 0, 1], [0, 1, 2, 2]], np.ravel(dist)])
    free = ours.errors > 0
    assert (np.abs(parameters(ours.camera) - theirs)[free] < 1.0 * ours.errors[free]).all()


@CAMERAS
def test_standard_errors_are_what_repetition_shows(camera):
    placed = shots.poses(camera, 8)
    names = ("k1", "k2", "p1", "p2") if camera.model == "pinhole" else ("k1", "k2", "k3")
    fits = [fit(shots.corners(camera, placed, seed=s), camera, Freedom(dist=names)) for s in range(20)]
    spread = np.std([parameters(f.camera) for f in fits], axis=0, ddof=1)
    stated = np.median([f.errors for f in fits], axis=0)
    free = stated > 0
    assert ((spread / np.where(free, stated, 1))[free] > 0.5).all()
    assert ((spread / np.where(free, stated, 1))[free] < 1.6).all()
    pull = (np.mean([parameters(f.camera) for f in fits], axis=0) - parameters(camera))[free] / stated[free]
    assert np.abs(pull[:4]).max() < 1.0  # no bias to speak of


@pytest.mark.parametrize(("ratio", "seed"), [(0.75, 0), (1.07, 0), (1.33, 2)])
def test_pixels_that_are_not_square_are_fitted_so(ratio, seed):
    """Held square, the principal point strays: it was put in the middle, and no lens fitted."""
    K = np.array([[400.0, 0, 246.3], [0, 400.0 * ratio, 175.1], [0, 0, 1]])
    camera = Camera("pinhole", shots.SIZE, K, [-0.1, 0, 0, 0, 0])
    boards = shots.corners(camera, shots.poses(camera, 12, seed=seed, reach=0.5), seed=seed)
    found = solve(shots.views(boards), shots.SIZE, ["pinhole"]).camera
    assert found.K[0, 0] == pytest.approx(400, rel=0.006)
    assert found.K[1, 1] == pytest.approx(400 * ratio, rel=0.006)
    assert np.abs(found.K[:2, 2] - K[:2, 2]).max() < 2.5


def test_stray_corners_and_a_bent_board_do_little():
    boards = shots.corners(shots.PINHOLE, shots.poses(shots.PINHOLE, 12))
    boards[2].kpts[5] += (6.0, -4.0)  # one corner taken for its neighbour's edge
    bend = boards[7].pts_cm[:, :1] ** 2 / 40
    boards[7].kpts[:] += bend * (0.7, 0.5)
    solution = solve(shots.views(boards), shots.SIZE, ["pinhole"])
    assert [view.index for view in solution.outliers] == [7]
    assert solution.camera.K[0, 0] == pytest.approx(400, rel=0.005)
    errors = view_rms(solution)
    assert sorted(errors) == list(range(12))
    assert errors[7][0] > 3 * np.median([e for e, _ in errors.values()])


def test_a_held_lens_stays_and_only_poses_move():
    boards = shots.corners(shots.PINHOLE, shots.poses(shots.PINHOLE, 3))
    bundle = fit(boards, shots.PINHOLE, NOTHING)
    assert np.array_equal(parameters(bundle.camera), parameters(shots.PINHOLE))
    assert not bundle.errors.any()
    assert bundle.rms_px < 0.16


def test_boards_that_all_face_the_camera_are_refused():
    placed = shots.poses(shots.PINHOLE, 7, tilt_deg=0.0, reach=0.1)
    boards = shots.corners(shots.PINHOLE, [(np.diag([1.0, -1, -1]), t) for _, t in placed], noise=0.2)
    with pytest.raises(HeightposeError, match=r"do not tell the focal length.*20 to 45 degrees"):
        solve(shots.views(boards), shots.SIZE, ["pinhole"])


def test_a_board_that_is_not_as_described_is_refused():
    boards = shots.corners(shots.PINHOLE, shots.poses(shots.PINHOLE, 8))
    wrong = [Corners(b.ids, b.pts_cm + 0.3 * np.sin(b.pts_cm[:, [1, 0, 2]]), b.kpts) for b in boards]
    with pytest.raises(HeightposeError, match=r"no lens fits these views.*description"):
        solve(shots.views(wrong), shots.SIZE, ["pinhole"])


@pytest.mark.parametrize("seed", [1, 36, 45, 53])
def test_corners_that_are_no_board_at_all_are_refused(seed):
    """Markers' insides taken for a small chessboard: the fit throws whole boards to one point on its way."""
    rng = np.random.default_rng(seed)
    pts = np.array([[2.5 * column, -2.5 * row, 0.0] for row in range(3) for column in range(3)])
    places = [rng.uniform(60, 300, 2) + rng.uniform(-60, 60, (9, 2)) for _ in range(6)]
    boards = [Corners(np.arange(9), pts, kpts) for kpts in places]
    with pytest.raises(HeightposeError, match="no lens fits these views"):
        solve(shots.views(boards), shots.SIZE, ["pinhole"])


@pytest.mark.parametrize("focal_px", [172.0, 230.0])
def test_a_fisheye_seen_in_its_inner_part_is_not_taken_for_a_pinhole(focal_px):
    """Both fit there, and towards the picture's edge they are far apart. The same lens seen all over comes back."""
    lens = Camera(
        "fisheye",
        shots.SIZE,
        [[focal_px, 0, 240.0], [0, focal_px, 180.0], [0, 0, 1]],
        [0.05, -0.01, 0.003, 0],
    )
    seed = 1 if focal_px < 200 else 0
    inner = shots.views(shots.corners(lens, shots.poses(lens, 14, seed, reach=0.2, far=2.0), seed=seed))
    with pytest.raises(
        HeightposeError, match=r"towards the picture's edge .*agree there to 5 %.*into the corners"
    ):
        solve(inner, shots.SIZE, ["pinhole", "fisheye"])
    known = solve(inner, shots.SIZE, ["fisheye"])
    assert known.camera.K[0, 0] == pytest.approx(focal_px, rel=0.006)
    everywhere = shots.views(shots.corners(lens, shots.poses(lens, 14, seed), seed=seed))
    found = solve(everywhere, shots.SIZE, ["pinhole", "fisheye"])
    assert found.camera.model == "fisheye"
    assert found.edge_doubt < 0.02


def test_boards_in_the_middle_get_advice():
    boards = shots.corners(shots.PINHOLE, shots.poses(shots.PINHOLE, 8, reach=0.2))
    advice = " ".join(solve(shots.views(boards), shots.SIZE, ["pinhole"]).advice)
    assert "move the board into the corners" in advice
    assert "Only 8 views" in advice


def test_choice_leaves_out_blurred_alike_and_scant_views():
    boards = shots.corners(shots.PINHOLE, shots.poses(shots.PINHOLE, 8))
    views = shots.views([*boards, boards[0], boards[1]])
    views = [
        type(v)(v.name, v.index, v.corners, 9.5 if v.index == 3 else 2.0 + 0.01 * v.index) for v in views
    ]
    few = Corners(*(part[:5] for part in (boards[4].ids, boards[4].pts_cm, boards[4].kpts)))
    views[4] = type(views[4])("frame 4", 4, few, 2.0)
    used, fates = choose(views, Chessboard((9, 6)), shots.SIZE)
    states = {fate.index: fate.state for fate in fates}
    assert {i for i, s in states.items() if s == "used"} == {0, 1, 2, 5, 6, 7}
    assert states[3] == "blurred"
    assert states[4] == "few corners"
    assert states[8] == states[9] == "alike"
    assert [v.index for v in used] == [0, 1, 2, 5, 6, 7]


def test_of_many_views_the_most_different_are_kept():
    placed = shots.poses(shots.PINHOLE, 6)
    # every pose five times, a little moved: more than alike, less than new
    near = [(R, t + (0.5 * k, 0.3 * k, 0)) for R, t in placed for k in range(5)]
    views = shots.views(shots.corners(shots.PINHOLE, near))
    used, fates = choose(views, Chessboard((9, 6)), shots.SIZE, most=6)
    assert sorted(v.index // 5 for v in used) == [0, 1, 2, 3, 4, 5]
    assert sum(f.state == "spare" for f in fates) > 6
    assert distance(views[0].corners, views[1].corners) < distance(views[0].corners, views[5].corners)


def bowed(camera, height_mm, count=16, across=False, seed=1, wider=1.0):
    """Views of a board whose rim lies higher than its middle, printed so much wider than described."""
    rng = np.random.default_rng(seed)
    pts = shots.grid()
    radius = pts[:, 0] / pts[:, 0].max() if across else np.linalg.norm(pts, axis=1) / np.linalg.norm(pts[0])
    bent = pts * (wider, 1, 1) + np.column_stack([0 * radius, 0 * radius, height_mm / 10 * radius**2])
    found = []
    for R, t in shots.poses(camera, count, seed):
        kpts = shots.sheet_picture.project(camera, R, t, bent)
        inside = np.flatnonzero(((kpts > 0) & (kpts < np.array(shots.SIZE) - 1)).all(axis=1))
        found.append(Corners(inside, pts[inside], kpts[inside] + rng.normal(0, 0.05, (len(inside), 2))))
    return shots.views(found)


class TestBow:
    def test_a_flat_board_has_none(self):
        found = solve(bowed(shots.PINHOLE, 0.0), shots.SIZE, ["pinhole"])
        assert found.bow.height_mm == found.bow.stretch == 0
        assert not [line for line in found.advice if "bowed" in line]

    @pytest.mark.parametrize("across", [False, True])
    def test_a_little_bow_is_said_and_counted(self, across):
        found = solve(bowed(shots.PINHOLE, 0.4, across=across), shots.SIZE, ["pinhole"])
        assert found.bow.height_mm == pytest.approx(0.4, abs=0.15)
        assert abs(found.bow.stretch) < 0.002
        off = abs(found.camera.K[0, 0] / 400 - 1)
        assert off > 0.003
        assert off < 1.6449 * found.focal_error
        assert any("looks bowed by 0." in line for line in found.advice)

    def test_a_large_bow_is_no_calibration(self):
        with pytest.raises(HeightposeError, match=r"bowed by \d\.\d mm") as caught:
            solve(bowed(shots.PINHOLE, 2.0), shots.SIZE, ["pinhole"])
        assert "glass" in str(caught.value)

    def test_a_board_that_was_printed_stretched_is_said_and_counted(self):
        found = solve(bowed(shots.PINHOLE, 0.0, wider=0.99), shots.SIZE, ["pinhole"])
        assert found.bow.stretch == pytest.approx(-0.01, abs=0.001)
        assert abs(found.camera.K[0, 0] / 400 - 1) < 1.6449 * found.focal_error
        assert any("looks 1.0 % narrower for its height" in line for line in found.advice)

    def test_a_board_of_other_proportions_is_no_calibration(self):
        with pytest.raises(HeightposeError, match=r"looks \d\.\d % wider for its height") as caught:
            solve(bowed(shots.PINHOLE, 0.0, wider=1.05), shots.SIZE, ["pinhole"])
        assert "across and down" in str(caught.value)


class TestCheck:
    views = shots.views(shots.corners(shots.PINHOLE, shots.poses(shots.PINHOLE, 6)))

    def changed(self, index, factor=1.0, add=0.0):
        values = parameters(shots.PINHOLE)
        for i in index:
            values[i] = values[i] * factor + add
        return with_parameters(shots.PINHOLE, values)

    def test_the_right_file_fits(self):
        verdict = check(self.views, shots.PINHOLE, shots.SIZE)
        assert (verdict.fits, verdict.code) == (True, "fits"), verdict.text
        assert verdict.numbers["p_value"] > 1e-3
        # and the same file for a resized video
        assert check(self.views, shots.PINHOLE.for_frames((960, 720)), shots.SIZE).fits

    @pytest.mark.parametrize(
        ("index", "factor", "add"),
        [((0, 1), 1.02, 0.0), ((0, 1), 0.9, 0.0), ((4,), 1.0, 0.08), ((2,), 1.0, 12.0)],
        ids=["zoomed a little", "zoomed", "other distortion", "cropped"],
    )
    def test_a_changed_lens_is_noticed(self, index, factor, add):
        verdict = check(self.views, self.changed(index, factor, add), shots.SIZE)
        assert (verdict.fits, verdict.code) == (False, "lens"), verdict.text
        assert "Calibrate again" in verdict.text

    def test_another_picture_shape_is_noticed(self):
        verdict = check(self.views, shots.PINHOLE, (480, 270))
        assert (verdict.fits, verdict.code) == (False, "picture_size")

    @pytest.mark.parametrize("k1", [-0.6, -0.38], ids=["before the edge", "before the corners"])
    def test_a_lens_that_folds_inside_the_picture_is_called_that(self, k1):
        folded = with_parameters(shots.PINHOLE, np.array([*parameters(shots.PINHOLE)[:4], k1, 0, 0, 0, 0]))
        far = shots.views(shots.corners(shots.PINHOLE, shots.poses(shots.PINHOLE, 6, reach=1.0)))
        verdict = check(far, folded, shots.SIZE)
        assert (verdict.fits, verdict.code) == (False, "folded"), verdict.text
        assert "folds inside the picture" in verdict.text
        assert "Calibrate anew" in verdict.text

    def test_a_board_of_other_proportions_is_no_lens(self):
        wrong = [
            type(v)(
                v.name, v.index, Corners(v.corners.ids, v.corners.pts_cm * (1, 1.08, 1), v.corners.kpts), 2.0
            )
            for v in self.views
        ]
        verdict = check(wrong, shots.PINHOLE, shots.SIZE)
        assert (verdict.fits, verdict.code) == (False, "board"), verdict.text

    def test_seen_squarely_the_focal_length_cannot_be_judged(self):
        square = [(np.diag([1.0, -1.0, -1.0]), np.array([0.0, 0.0, 40.0]))]
        views = shots.views(shots.corners(shots.PINHOLE, square))
        verdict = check(views, shots.PINHOLE, shots.SIZE)
        assert (verdict.fits, verdict.code) == (True, "fits_focal_unknown")
        assert "focal length is not judged" in verdict.text
        assert "too squarely" in verdict.text
        zoomed = check(views, self.changed((0, 1), 1.1), shots.SIZE)
        assert zoomed.code == "fits_focal_unknown", zoomed.text  # 10 % off, and nothing shows it

    def test_another_lens_seen_squarely_is_told_without_a_focal_length(self):
        square = [(np.diag([1.0, -1.0, -1.0]), np.array([0.0, 0.0, 30.0]))]
        views = shots.views(shots.corners(shots.PINHOLE, square))
        verdict = check(views, self.changed((4,), add=0.15), shots.SIZE)
        assert (verdict.fits, verdict.code) == (False, "lens"), verdict.text
        assert verdict.numbers["focal_change_sd"] > 0.02
        assert "too squarely to tell how far the focal length is off" in verdict.text
        assert "sure to" not in verdict.text

    def test_no_board_is_no_verdict(self):
        with pytest.raises(InputError, match="too little of the board"):
            check([], shots.PINHOLE, shots.SIZE)


def test_a_trial_that_folds_before_the_corners_is_told_as_unknown():
    """JSON has no infinity, and a report that cannot be written is a calibration that is lost."""
    folding = Trial("pinhole", ("k1",), float("inf"), (float("inf"),))
    assert json.loads(json.dumps(folding.to_dict(), allow_nan=False))["held_out_rms_px"] is None
    wide = Camera(
        "pinhole", shots.SIZE, [[300, 0, 243.0], [0, 300, 178.0], [0, 0, 1]], [-0.25, 0.08, 0, 0, 0]
    )
    solution = solve(
        shots.views(shots.corners(wide, shots.poses(wide, 12))), shots.SIZE, ["pinhole", "fisheye"]
    )
    assert solution.camera.K[0, 0] == pytest.approx(300, rel=0.01)
    json.dumps([trial.to_dict() for trial in solution.trials], allow_nan=False)
