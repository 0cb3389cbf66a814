"""A clip without a camera file, and one whose camera moves: through the session, from pictures of a sheet."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import cv2
import makers
import numpy as np
import pytest

from heightpose.geometry import body
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane
from heightpose.geometry.plane_track import PlaneTrack
from heightpose.geometry.sheet import SheetLayout, shipped_sheet
from heightpose.runtime import results, session, sheet_looks
from heightpose.runtime.batch import Settings
from heightpose.runtime.clip import Clip, Frame
from heightpose.runtime.networks import Detector, PoseModel
from heightpose.runtime.scale import Scale
from heightpose.types import Measurement

SIZE = (960, 540)
CAMERA = Camera("pinhole", SIZE, np.array([[640.0, 0, 479.5], [0, 640.0, 269.5], [0, 0, 1]]), np.zeros(5))
LAYOUT = SheetLayout.load(shipped_sheet())
PX_PER_CM = 20


def pose(height_cm, tilt_deg, shift_cm=0.0):
    """A camera with the cot across its picture, tilted over the cot's side."""
    turn = cv2.Rodrigues(np.array([np.deg2rad(tilt_deg), 0.0, 0.0]))[0]
    R = turn @ np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, -1]])
    aim = np.array([shift_cm, shift_cm, 0.0])
    centre = aim - R[2] * height_cm / -R[2, 2]  # the middle of the picture shows the aim
    return R, -R @ centre


@cache
def printed():
    """The sheet, too dark for the tiny detector."""
    width, height = (round(v * PX_PER_CM) for v in LAYOUT.size_cm)
    sheet = np.full((height, width), 60, np.uint8)
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, LAYOUT.family))
    for tag, corners in LAYOUT.tags.items():
        side = round(float(corners[1, 0] - corners[0, 0]) * PX_PER_CM)
        x = round((corners[0, 0] + LAYOUT.size_cm[0] / 2) * PX_PER_CM)
        y = round((LAYOUT.size_cm[1] / 2 - corners[0, 1]) * PX_PER_CM)
        bitmap = cv2.aruco.generateImageMarker(dictionary, tag, side)
        sheet[y : y + side, x : x + side] = np.where(bitmap > 0, 60, 10)
    return cv2.GaussianBlur(sheet, (0, 0), 2.0)


def picture(R, t_cm, spot_px=12):
    """The sheet as this camera sees it, with a blob that the tiny detector takes for an infant."""
    # sheet pixel -> cm -> camera -> frame pixel
    cm = np.array([
        [1 / PX_PER_CM, 0, 0.5 / PX_PER_CM - LAYOUT.size_cm[0] / 2],
        [0, -1 / PX_PER_CM, LAYOUT.size_cm[1] / 2 - 0.5 / PX_PER_CM],
        [0, 0, 1],
    ])  # fmt: skip
    double = np.array([[2.0, 0, 0.5], [0, 2.0, 0.5], [0, 0, 1]])  # drawn at twice the size, then averaged
    to_frame = double @ CAMERA.K @ np.column_stack([R[:, 0], R[:, 1], t_cm]) @ cm
    big = cv2.warpPerspective(printed(), to_frame, (2 * SIZE[0], 2 * SIZE[1]), borderValue=40)
    grey = cv2.resize(big, SIZE, interpolation=cv2.INTER_AREA)
    return np.maximum(grey[..., None], makers.scene(SIZE, (480, 270), spot_px))


class Shown(Clip):
    """Pictures from memory, counted."""

    def __init__(self, poses, spot_px=12):
        drawn = {id(p): picture(*p, spot_px) for p in poses}
        self._pictures = [drawn[id(p)] for p in poses]
        self.name, self.kind, self.size_wh, self.length_hint = "shown", "video", SIZE, len(poses)
        self.readings = 0

    def frames(self):
        self.readings += 1
        for i, rgb in enumerate(self._pictures):
            yield Frame(i, 0.1 * i, rgb)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    detector = Detector.load(str(makers.tiny_detector(folder / "d.onnx")))
    return detector, PoseModel.load(str(makers.tiny_pose(folder / "p.onnx")))


@pytest.fixture
def estimator(monkeypatch):
    """What the estimator was given; it answers 65 cm within 1 cm."""
    calls = []

    def measure(frames, camera, plane, **_):
        calls.append((frames, camera, plane))
        return Measurement(65.0, (64.0, 66.0), len(frames), len(frames), details={"a": 1})

    monkeypatch.setattr(body, "measure", measure)
    return calls


def test_a_tilted_sheet_stands_in_for_the_camera_file(networks, estimator, caplog):
    still = pose(150.0, 24.0)
    clip = Shown([still] * 4)
    outcome = session.measure_clip(clip, *networks, Scale(sheet=LAYOUT))
    found = outcome.calibration
    assert outcome.camera_source == "self-calibrated"
    assert abs(found.camera.K[0, 0] - 640.0) < 2 * found.focal_sd_px
    assert outcome.plane.height_cm == pytest.approx(150.0, rel=0.08)
    low, high = outcome.measurement.interval_cm
    more = 1.6449 * np.hypot(found.length_sd, outcome.plane.length_sd) * 65.0
    assert (65.0 - low, high - 65.0) == pytest.approx((np.hypot(1, more), np.hypot(1, more)), abs=1e-3)
    assert more > 0.05
    document = results.height_of(clip, outcome, "female", 6.5)
    assert document["details"]["camera_source"] == "self-calibrated"
    assert document["details"]["self_calibration"]["focal_px"] == pytest.approx(
        found.camera.K[0, 0], abs=0.01
    )
    assert (document["sex"], document["age_months"], document["z_flagged"]) == ("female", 6.5, False)
    assert results.height_of(clip, outcome, "female", 24.0)["z_flagged"]  # 65 cm at two years
    assert "check age, sex and length" in caplog.text
    assert "z_flagged" not in results.height_of(clip, outcome, None, 24.0)
    by_file = session.measure_clip(clip, *networks, Scale(camera=CAMERA, sheet=LAYOUT))
    assert by_file.measurement.interval_cm == pytest.approx((64.0, 66.0), abs=0.01)
    details = results.height_of(clip, by_file, None, None)["details"]
    assert details == {"a": 1, "camera_source": "file"}
    assert clip.readings == 2  # the camera stands still: no second look


def test_straight_down_it_takes_the_cameras_height(networks, estimator, tmp_path):
    clip = Shown([pose(150.0, 0.5)] * 3)
    refused = session.measure_clip(clip, *networks, Scale(sheet=LAYOUT))
    (reason,) = refused.measurement.reasons
    assert reason.code == "no_camera"
    assert "--camera-height-cm" in reason.text
    assert refused.camera_source is None
    scale = Settings(sheet=shipped_sheet(), camera_height_cm=150.0).load_scale()
    outcome = session.measure_clip(clip, *networks, scale)
    assert outcome.camera_source == "height"
    assert outcome.camera.K[0, 0] == pytest.approx(640.0, rel=0.03)
    assert outcome.measurement.interval_cm[1] > 66.0


def test_a_camera_file_whose_size_is_not_its_lenss_is_told_of(tmp_path, caplog):
    """Doubled by hand, K left as it was: over a stored plane nothing else would object."""
    for name, factor in (("own", 1), ("doubled", 2)):
        size = {"width": factor * CAMERA.size_wh[0], "height": factor * CAMERA.size_wh[1]}
        (tmp_path / f"{name}.json").write_text(json.dumps(CAMERA.to_dict() | size))
        Settings(camera=tmp_path / f"{name}.json").load_scale()
    (warning,) = caplog.records
    assert "doubled.json: the lens's middle" in warning.getMessage()


@pytest.mark.parametrize(
    ("printed", "given_cm", "codes"), [(1.0, 154.0, []), (0.94, 150.0, ["height_contradicted"])]
)
def test_a_measured_height_checks_the_sheet(networks, estimator, printed, given_cm, codes):
    """A sheet printed at 94 % puts the camera 9 cm too high, and makes every length as much too long."""
    clip = Shown([pose(150.0 / printed, 8.0)] * 3)
    scale = Scale(camera=CAMERA, sheet=LAYOUT, height_cm=given_cm)
    outcome = session.measure_clip(clip, *networks, scale)
    assert [reason.code for reason in outcome.measurement.reasons] == codes
    assert (outcome.plane is None) == bool(codes)


def test_a_height_that_does_not_quite_agree_widens_the_interval_to_what_it_says(networks, estimator, caplog):
    """A sheet printed at 97 % puts the camera 4.6 cm too high: sheet or tape is wrong, and the interval holds both."""
    clip = Shown([pose(150.0 / 0.97, 8.0)] * 3)
    plain, tight, wide = (
        session.measure_clip(clip, *networks, Scale(camera=CAMERA, sheet=LAYOUT, height_cm=given_cm))
        for given_cm in (None, 154.0, 150.0)
    )
    assert tight.measurement.interval_cm == pytest.approx(plain.measurement.interval_cm, abs=0.1)
    (warning,) = caplog.records
    assert "by --camera-height-cm; the interval is widened" in warning.getMessage()
    low_cm, high_cm = wide.measurement.interval_cm
    length_cm = wide.measurement.length_cm
    assert length_cm == pytest.approx(plain.measurement.length_cm, abs=0.1)
    assert low_cm < 0.97 * length_cm
    assert high_cm > length_cm / 0.97
    check = wide.measurement.details["height_check"]
    assert check["found_cm"] == pytest.approx(154.6, abs=1.0)
    assert check["given_cm"] == 150.0
    assert check["length_sd"] == pytest.approx(0.018, abs=0.003)


def test_a_knocked_camera_is_followed_on_a_second_reading(networks, estimator, monkeypatch):
    monkeypatch.setattr(sheet_looks, "MOVING_TAG_FRAMES", 10)
    before, after = pose(150.0, 8.0), pose(145.0, 14.0, 4.0)
    clip = Shown([before] * 9 + [after] * 11)
    outcome = session.measure_clip(clip, *networks, Scale(camera=CAMERA, sheet=LAYOUT))
    assert clip.readings == 2
    ((frames, _, track),) = estimator
    assert isinstance(track, PlaneTrack)
    assert len(track.stretches) == 2
    assert isinstance(outcome.plane, Plane)
    joints = np.array([[0.0, 30.0, 7.0], [-8.0, -25.0, 3.0], [10.0, 0.0, 6.0]])
    for frame in frames:
        R, t_cm = before if frame.index < 9 else after
        kpts = CAMERA.project(joints @ R.T + t_cm)
        back = track.at(frame.index).to_mattress(CAMERA, kpts, joints[:, 2])
        assert np.abs(back - joints).max() < 0.3, frame.index
    left_out = outcome.measurement.details["camera_moved"]["frames_left_out"]
    assert len(frames) + left_out == 20
    assert left_out <= 2
    assert outcome.measurement.frames_total == 20


def test_a_camera_that_moves_at_the_very_end_of_a_clip_of_unknown_length_is_noticed(networks, estimator):
    before, after = pose(150.0, 8.0), pose(145.0, 14.0, 4.0)
    clip = Shown([before] * 21 + [after] * 2)  # looks at 0, 4, ... 20
    clip.length_hint = None
    outcome = session.measure_clip(clip, *networks, Scale(camera=CAMERA, sheet=LAYOUT))
    assert outcome.track is not None
    assert len(outcome.track.stretches) == 2


def test_a_stored_plane_is_checked_by_the_sheet_where_it_is_seen(networks, estimator, tmp_path, caplog):
    stored = Plane(*pose(150.0, 8.0), source="tags", sheet=LAYOUT)
    for name, content in (("plane.json", stored), ("camera.json", CAMERA)):
        (tmp_path / name).write_text(json.dumps(content.to_dict()))

    def measured(*poses, **given):
        scale = Settings(camera=tmp_path / "camera.json", plane=tmp_path / "plane.json", **given).load_scale()
        return session.measure_clip(Shown(list(poses)), *networks, scale).measurement

    still = measured(pose(150.0, 8.0), pose(150.0, 8.0))
    assert still.interval_cm == (64.0, 66.0)
    assert still.details["plane_check"]["tags"] > 10
    lowered = measured(pose(146.0, 8.0), sheet=shipped_sheet())
    assert [reason.code for reason in lowered.reasons] == ["plane_outdated"]
    assert "heightpose calibrate plane" in lowered.reasons[0].text
    nudged = measured(pose(149.2, 8.0))
    change = nudged.details["plane_check"]["length_change"]
    assert 0.004 < change < 0.01
    assert nudged.interval_cm[1] - 65.0 == pytest.approx(np.hypot(1.0, 1.6449 * change * 65.0), abs=0.01)
    assert "has the camera moved" in caplog.text
    without = Plane(stored.R, stored.t_cm)
    (tmp_path / "plane.json").write_text(json.dumps(without.to_dict()))
    assert "plane_check" not in measured(pose(146.0, 8.0)).details


def test_a_plane_file_that_holds_its_camera_needs_no_other(networks, estimator, tmp_path):
    stored = Plane(*pose(150.0, 8.0), sheet=LAYOUT)
    for holds, codes in ((CAMERA, []), (None, ["no_camera"])):
        (tmp_path / "plane.json").write_text(json.dumps(replace(stored, camera=holds).to_dict()))
        scale = Settings(plane=tmp_path / "plane.json").load_scale()
        outcome = session.measure_clip(Shown([pose(150.0, 8.0)] * 2), *networks, scale)
        assert [reason.code for reason in outcome.measurement.reasons] == codes
        assert outcome.camera_source == (None if codes else "file")


def test_a_stored_plane_is_checked_by_its_camera_where_no_sheet_is_in_view(
    networks, estimator, tmp_path, caplog
):
    stored = Plane(*pose(150.0, 8.0), source="corners", camera=CAMERA)

    def measured(zoom):
        K = CAMERA.K.copy()
        K[[0, 1], [0, 1]] *= zoom
        scale = Scale(camera=replace(CAMERA, K=K), plane=stored)
        return session.measure_clip(Shown([pose(150.0, 8.0)] * 2), *networks, scale).measurement

    own, near, other = (measured(zoom) for zoom in (1.0, 0.993, 0.95))
    assert own.details["plane_check"] == {"tags": 0, "length_change": 0.0}
    assert near.details["plane_check"]["length_change"] == pytest.approx(0.007, abs=0.001)
    assert near.interval_cm[1] > own.interval_cm[1]
    assert "this camera file differ by 0.7 %" in caplog.text
    assert [reason.code for reason in other.reasons] == ["plane_outdated"]
    assert "another camera file" in other.reasons[0].text


class Mirrored(Shown):
    """The same clip as a selfie camera shows it."""

    def frames(self):
        for frame in super().frames():
            yield Frame(frame.index, frame.t_s, np.ascontiguousarray(frame.rgb[:, ::-1]))


@pytest.mark.parametrize(("beyond_cm", "codes"), [(30.0, []), (50.0, ["off_sheet"])])
def test_an_infant_far_beside_the_sheet_is_not_measured_by_it(networks, estimator, beyond_cm, codes):
    """A little beyond its edge it may lie on the same mattress; farther away the sheet says nothing of it."""
    R, t_cm = pose(150.0, 0.0)
    seen = (R, t_cm - R @ np.array([0.0, LAYOUT.size_cm[1] / 2 + beyond_cm, 0.0]))
    clip = Shown([seen] * 4, spot_px=16)
    outcome = session.measure_clip(clip, *networks, Scale(camera=CAMERA, sheet=LAYOUT))
    assert [reason.code for reason in outcome.measurement.reasons] == codes
    assert outcome.measurement.length_cm == (None if codes else 65.0)


def test_a_mirrored_picture_is_refused_also_under_a_stored_plane(networks, estimator):
    """A stored plane needs no tags, so nothing else would tell that left is right."""
    poses = [pose(150.0, 8.0)] * 3
    stored = Plane(*poses[0], source="tags", sheet=LAYOUT)
    for scale in (
        Scale(camera=CAMERA, sheet=LAYOUT),
        Scale(sheet=LAYOUT),
        Scale(camera=CAMERA, plane=stored, sheet=LAYOUT),
    ):
        refused = session.measure_clip(Mirrored(poses), *networks, scale).measurement
        assert [reason.code for reason in refused.reasons] == ["picture_mirrored"]
        assert refused.length_cm is None
    assert session.measure_clip(Shown(poses), *networks, scale).measurement.length_cm == 65.0


class Padded(Shown):
    """The same clip with black bars left and right."""

    def frames(self):
        for frame in super().frames():
            rgb = frame.rgb.copy()
            rgb[:, :60] = rgb[:, -80:] = 0
            yield Frame(frame.index, frame.t_s, rgb)


def test_what_black_bars_leave_of_the_picture_is_noted(networks, estimator):
    for kind, edges in ((Shown, (-0.5, -0.5, 959.5, 539.5)), (Padded, (59.5, -0.5, 879.5, 539.5))):
        outcome = session.measure_clip(
            kind([pose(150.0, 8.0)] * 3), *networks, Scale(camera=CAMERA, sheet=LAYOUT)
        )
        assert outcome.log.shown_xyxy == edges
