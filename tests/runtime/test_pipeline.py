"""The streaming generator: right place, right order, few frames at a time."""

from __future__ import annotations

import json
from contextlib import nullcontext

import makers
import numpy as np
import pytest

from heightpose.codec.detection import CHANNELS, MAP_WH, SURE, encode_targets
from heightpose.codec.heatmap import HeatmapCodec
from heightpose.errors import FileFormatError
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import Plane
from heightpose.geometry.sheet import SheetLayout
from heightpose.geometry.tag_follow import TagFollower
from heightpose.runtime import poselog, session
from heightpose.runtime.backends import Active, Backend
from heightpose.runtime.clip import Clip, Frame
from heightpose.runtime.modelfile import ModelFile
from heightpose.runtime.networks import Detector, PoseModel
from heightpose.runtime.pipeline import estimate_poses
from heightpose.runtime.scale import Scale
from heightpose.runtime.times import StageTimes
from heightpose.runtime.tta import Tta
from heightpose.skeleton import INFANT
from heightpose.types import Detection


class Fake(Backend):
    """A network that is a Python function."""

    def __init__(self, function, path):
        self._function, self._path, self.sizes = function, path, []
        self.active = Active("fake", "CPU", "f32", 1)

    def _run(self, batch):
        self.sizes.append(len(batch))
        return self._function(batch)


@pytest.fixture
def networks(tmp_path):
    detector = Detector.load(str(makers.tiny_detector(tmp_path / "d.onnx")))
    return detector, PoseModel.load(str(makers.tiny_pose(tmp_path / "p.onnx")))


def moving(count, size_wh=(160, 120)):
    return [Frame(i, 0.1 * i, makers.scene(size_wh, (50.25 + 1.5 * i, 48.75))) for i in range(count)]


@pytest.mark.parametrize(
    ("scores", "looks"),
    [
        ([[0.9]], [1]),  # plainly there
        ([[0.6]], [1, 1]),
        ([[]], [1, 1]),  # nobody yet: the mirror image may show one
        ([[0.9, 0.8]], [1]),
        ([[0.9, 0.5]], [1, 1]),  # the twin is in doubt
        ([[0.9], [0.6], [0.9], []], [4, 2]),
    ],
)
def test_the_detector_looks_mirrored_only_where_the_first_look_is_not_plain(
    tmp_path, monkeypatch, scores, looks
):
    monkeypatch.setattr("heightpose.runtime.networks.part_around", lambda *_: None)  # no closer look
    boxes = np.array([[20.0, 40.0, 100.0, 90.0], [150.0, 120.0, 230.0, 220.0]])
    seen = {i: list(zip(boxes, some, strict=False)) for i, some in enumerate(scores)}

    def answer(batch):
        """The left edge's column says which picture it is; mirrored it is the right edge's, and a second answer."""
        maps = np.zeros((len(batch), CHANNELS, *MAP_WH[::-1]), np.float32)
        for one, picture in zip(maps, batch[:, 0], strict=True):
            mirrored = picture[0, 0] == 0
            for box, score in seen[int(picture.max()) - 1]:
                if mirrored:
                    box = [255 - box[2], box[1], 255 - box[0], box[3]]
                truth = encode_targets(np.array([box]), np.array([-30.0 if mirrored else 30.0]))
                one[0] = np.maximum(one[0], truth["centre"] * (1.0 if mirrored else score))
                near = truth["weight"] > 0
                one[1:, near] = truth["regression"][:, near]
        return maps

    backend = Fake(answer, tmp_path / "fake.onnx")
    file = ModelFile(tmp_path / "fake.onnx", "detector", (), (256, 256), None, None, {})
    rgbs = [np.zeros((256, 256, 3), np.uint8) for _ in scores]
    for i, rgb in enumerate(rgbs):
        rgb[:, 0, 0] = i + 1
        rgb[..., 2] = 220  # not dark: dark pictures are brightened
    found = Detector(backend, file, threshold=0.3).detect(rgbs)
    assert backend.sizes == looks
    for those, some in zip(found, scores, strict=True):
        again = not some or min(some) < SURE
        expected = [(score + again) / (1 + again) for score in some]
        assert [one.score for one in those] == pytest.approx(expected, rel=0.01)
        for one, box in zip(those, boxes, strict=False):
            np.testing.assert_allclose(one.bbox_xyxy, box, atol=1e-3)
            assert one.head_angle_deg == pytest.approx(30.0, abs=1e-3)
    backend.sizes.clear()
    Detector(backend, file, threshold=0.3, mirror=False).detect(rgbs)
    assert backend.sizes == [len(scores)]


@pytest.mark.parametrize("size_wh", [(160, 120), (121, 163), (640, 480)])
def test_joints_come_back_to_where_they_are_in_the_frame(networks, size_wh):
    sigma = 5.0 * max(size_wh) / 160
    blob = (0.4 * size_wh[0] + 0.3, 0.45 * size_wh[1] + 0.6)
    frames = [Frame(0, 0.0, makers.scene(size_wh, blob, sigma))]
    result, _ = next(estimate_poses(frames, *networks))
    # The tiny net's spot is not the codec's Gaussian: a fortieth of its width is as good as it gets.
    np.testing.assert_allclose(result.pose.kpts_frame, np.tile(blob, (21, 1)), atol=0.1 + sigma / 40)


@pytest.mark.parametrize("angle", [0.0, 37.0, -120.0, 180.0])
@pytest.mark.parametrize("flip", [False, True])
def test_a_net_that_sees_its_crop_exactly_gives_exact_joints(tmp_path, angle, flip):
    """Joints drawn into the heatmaps of the very crop that the pose model makes must come back to 1e-3 px."""
    from heightpose.geometry.crop import crop_from_box

    rng = np.random.default_rng(3)
    box = np.array([400.0, 200.0, 900.0, 620.0])
    truth = rng.uniform(box[:2] + 60, box[2:] - 60, (21, 2))
    crop = crop_from_box(box, angle, (256, 256))
    codec = HeatmapCodec()

    def maps(batch):
        labelled = np.ones((1, 21), bool)
        out = []
        for i in range(len(batch)):
            mirrored = flip and i >= len(batch) // 2
            kpts = crop.to_crop(truth)
            if mirrored:  # what a perfect net says about the mirrored crop: places mirrored, sides swapped
                kpts = np.column_stack([255 - kpts[:, 0], kpts[:, 1]])[INFANT.flip_map]
            out.append(codec.encode(kpts[None], labelled)[0][0])
        return np.stack(out)

    path = tmp_path / "fake.onnx"
    file = ModelFile(path, "pose", INFANT.names, (256, 256), (64, 64), 2.0, {})
    model = PoseModel(Fake(maps, path), file, codec, INFANT, Tta(flip=flip))
    rgb = np.zeros((720, 1280, 3), np.uint8)
    (pose,) = model.estimate([rgb], [Detection(box, angle, 0.9)])
    # 0.05 px is the codec's own bound at 256; the crop shows 525 px of the frame.
    np.testing.assert_allclose(pose.kpts_frame, truth, atol=0.05 * 525 / 256)


def test_heatmaps_far_out_of_range_are_a_broken_model(tmp_path):
    codec, path = HeatmapCodec(), tmp_path / "fake.onnx"
    file = ModelFile(path, "pose", INFANT.names, (256, 256), (64, 64), 2.0, {})
    spots, _ = codec.encode(np.full((1, 21, 2), 128.0), np.ones((1, 21), bool))
    detections = [Detection(np.array([10.0, 10.0, 100.0, 100.0]), 0.0, 0.9)]
    rgbs = [np.zeros((120, 160, 3), np.uint8)]
    for scale, broken in ((1.5, False), (1e31, True)):
        backend = Fake(lambda batch, scale=scale: scale * np.repeat(spots, len(batch), axis=0), path)
        model = PoseModel(backend, file, codec, INFANT)
        with pytest.raises(FileFormatError, match="far out of range") if broken else nullcontext():
            model.estimate(rgbs, detections)


def test_batch_size_changes_nothing(networks):
    frames = moving(11)
    frames[4] = Frame(4, 0.4, np.zeros((120, 160, 3), np.uint8))
    runs = [list(estimate_poses(frames, *networks, batch=batch)) for batch in (1, 3, 16)]
    for run in runs:
        assert [r.index for r, _ in run] == list(range(11))
        assert [r.t_s for r, _ in run] == [f.t_s for f in frames]
        assert run[4][0].pose is None
        assert run[4][0].infants == 0
        assert all(rgb is frame.rgb for (_, rgb), frame in zip(run, frames, strict=True))
        for (a, _), (b, _) in zip(run, runs[0], strict=True):
            if a.pose is not None:
                np.testing.assert_allclose(a.pose.kpts_frame, b.pose.kpts_frame, atol=1e-3)


def test_it_streams(networks):
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield moving(1)[0]

    results = estimate_poses(endless(), *networks, batch=4)
    for _ in range(5):
        next(results)
    assert taken == 8


def test_large_frames_make_small_batches(networks):
    rgb = np.zeros((2160, 3840, 3), np.uint8)
    taken = []

    def frames():
        for i in range(6):
            taken.append(i)
            yield Frame(i, 0.1 * i, rgb)

    next(estimate_poses(frames(), *networks, batch=8))
    assert len(taken) == 3  # 8.3 million pixels each


def test_two_infants_are_counted_and_the_surer_one_is_posed(networks):
    faint, sure = makers.scene((320, 240), (60, 120)), makers.scene((320, 240), (250, 100))
    rgb = np.maximum((faint * 0.9).astype(np.uint8), sure)
    result, _ = next(estimate_poses([Frame(0, 0.0, rgb)], *networks))
    assert result.infants == 2
    np.testing.assert_allclose(result.pose.kpts_frame[0], (250, 100), atol=1)


def test_stage_times(networks):
    times = StageTimes()
    list(estimate_poses(moving(5), *networks, times=times))
    assert times.frames == 5
    assert list(times.per_frame_ms()) == ["detect", "crop", "pose", "joints"]
    assert all(ms > 0 for ms in times.per_frame_ms().values())


def test_kinds_of_models_are_not_mixed_up(tmp_path):
    pose, detector = makers.tiny_pose(tmp_path / "p.onnx"), makers.tiny_detector(tmp_path / "d.onnx")
    with pytest.raises(FileFormatError, match="expected detector, got pose"):
        Detector.load(str(pose))
    with pytest.raises(FileFormatError, match="expected pose, got detector"):
        PoseModel.load(str(detector))


def test_an_output_of_another_shape(tmp_path, networks):
    _, good = networks
    file = ModelFile(tmp_path / "x.onnx", "pose", INFANT.names, (256, 256), (96, 96), 2.0, {})
    model = PoseModel(good.backend, file, HeatmapCodec((256, 256), (96, 96)), INFANT)
    with pytest.raises(FileFormatError, match=r"expected \(2, 21, 96, 96\)"):
        model.estimate([moving(1)[0].rgb], [Detection(np.array([20.0, 20, 80, 80]), 0, 1)])


class Recorded(Clip):
    """Frames from memory."""

    def __init__(self, rgbs, hint=None):
        self.name, self.kind, self._rgbs, self.length_hint = "recorded", "video", rgbs, hint
        self.size_wh = (rgbs[0].shape[1], rgbs[0].shape[0])

    def frames(self):
        for i, rgb in enumerate(self._rgbs):
            yield Frame(i, 0.1 * i, rgb)


def sheet_and_camera():
    """Six tags seen from 120 cm straight above, and the plane they lie on."""
    import cv2

    at = [(-24, 30), (24, 30), (-24, 0), (24, 0), (-24, -30), (24, -30)]
    tags = {
        i: [[x - 6, y + 6], [x + 6, y + 6], [x + 6, y - 6], [x - 6, y - 6]] for i, (x, y) in enumerate(at)
    }
    layout = SheetLayout.from_dict(
        {"name": "six", "units": "cm", "size_cm": [70, 90], "family": "DICT_APRILTAG_36h11", "tags": tags}
    )
    K = [[600.0, 0, 319.5], [0, 600.0, 239.5], [0, 0, 1]]
    camera = Camera("pinhole", (640, 480), np.array(K), np.zeros(5))
    grey = np.full((480, 640), 60, np.uint8)  # 5 px per cm; too dark for the tiny detector
    for i, (x, y) in enumerate(at):
        tag = cv2.aruco.generateImageMarker(
            cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11), i, 60
        )
        left, top = 320 + 5 * (x - 6), 240 - 5 * (y + 6)
        grey[top : top + 60, left : left + 60] = np.where(tag > 0, 60, 10)
    return layout, camera, np.repeat(grey[..., None], 3, axis=2)


@pytest.fixture
def estimator(monkeypatch):
    """What the estimator was given."""
    from heightpose.geometry import body
    from heightpose.types import Measurement

    calls = []

    def measure(frames, camera, plane, **_):
        calls.append((frames, camera, plane))
        return Measurement(65.0, (64.0, 66.0), len(frames), len(frames))

    monkeypatch.setattr(body, "measure", measure)
    return calls


@pytest.mark.parametrize("hint", [None, 40, 400])
def test_the_plane_comes_from_tags_on_a_few_frames(networks, estimator, monkeypatch, hint):
    layout, camera, rgb = sheet_and_camera()
    looked, look = [], TagFollower.look
    monkeypatch.setattr(TagFollower, "look", lambda self, gray: looked.append(1) or look(self, gray))
    scene = np.maximum(rgb, makers.scene((640, 480), (320, 240), 12))
    outcome = session.measure_clip(
        Recorded([scene] * 40, hint), *networks, Scale(camera=camera, sheet=layout)
    )
    assert outcome.plane.height_cm == pytest.approx(120, rel=0.01)
    assert outcome.plane.tags == 6
    assert len(looked) <= (15 if hint is None else 6)
    ((frames, _, plane),) = estimator
    assert len(frames) == 40
    assert plane is outcome.plane


def test_a_stored_plane_is_used_and_without_a_sheet_no_tags_are_sought(networks, estimator, monkeypatch):
    _, camera, rgb = sheet_and_camera()
    monkeypatch.setattr(TagFollower, "look", lambda *_: pytest.fail("tags were looked for"))
    plane = Plane(np.diag([1.0, -1.0, -1.0]), np.array([0.0, 0.0, 99.0]))
    scale = Scale(camera=camera, plane=plane)
    assert session.measure_clip(Recorded([rgb] * 3), *networks, scale).plane is plane


def test_a_stored_plane_is_used_and_the_sheet_only_checks_it(networks, estimator):
    layout, camera, rgb = sheet_and_camera()
    seen = session.measure_clip(Recorded([rgb] * 3), *networks, Scale(camera=camera, sheet=layout)).plane
    for plane, code in ((seen, None), (Plane(seen.R, seen.t_cm * 1.04), "plane_outdated")):
        scale = Scale(camera=camera, sheet=layout, plane=plane)
        outcome = session.measure_clip(Recorded([rgb] * 3), *networks, scale)
        if code is None:
            assert outcome.plane is plane
            assert outcome.measurement.details["plane_check"]["length_change"] == pytest.approx(0, abs=1e-6)
        else:
            assert code in [reason.code for reason in outcome.measurement.reasons]


def test_a_camera_file_for_another_shape_is_an_error_before_any_frame(networks):
    _, camera, rgb = sheet_and_camera()
    clip = Recorded([rgb[:, :500]])
    clip.frames = lambda: pytest.fail("frames were read")
    with pytest.raises(FileFormatError, match="640x480"):
        session.measure_clip(clip, *networks, Scale(camera=camera))


def test_a_long_clip_is_measured_from_an_even_sample(networks, estimator, monkeypatch):
    _, camera, rgb = sheet_and_camera()
    monkeypatch.setattr(poselog, "MEASURE_FRAMES", 5)
    plane = Plane(np.diag([1.0, -1.0, -1.0]), np.array([0.0, 0.0, 99.0]))
    scene = np.maximum(rgb, makers.scene((640, 480), (320, 240), 12))
    scale = Scale(camera=camera, plane=plane)
    outcome = session.measure_clip(Recorded([scene] * 12), *networks, scale)
    assert [f.index for f in estimator[0][0]] == [0, 3, 6, 8, 11]
    assert len(outcome.log) == 12


def test_metadata_round_trip_of_the_tiny_models(tmp_path):
    """The makers write what the real exporter writes: JSON under the key ``heightpose``."""
    import onnx

    model = onnx.load(makers.tiny_pose(tmp_path / "p.onnx"))
    entries = {p.key: json.loads(p.value) for p in model.metadata_props}
    assert entries["heightpose"]["joints"] == list(INFANT.names)
