"""Is something over the crown or the feet: what the network is shown, and what becomes of its answer."""

from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import makers
import numpy as np
import pytest
from click.testing import CliRunner
from straight import body

from heightpose.cli.infer import infer as infer_command
from heightpose.errors import FileFormatError
from heightpose.geometry.in_view import seen_of
from heightpose.runtime.cover import JOINTS, PATCH, Cover, patches
from heightpose.runtime.modelfile import read_model_file, shipped_path
from heightpose.skeleton import INFANT
from heightpose.types import Detection, Pose

EXAMPLES = Path(__file__).parents[2] / "examples"
CROWN, LEFT_HEEL, RIGHT_HEEL = JOINTS


def pose(kpts, seen=0.9):
    told = None if seen is None else np.full(len(INFANT), seen)
    return Pose(kpts, np.full(len(INFANT), 0.9), Detection(np.array([0, 0, 9.0, 9]), 0.0, 1.0), seen=told)


class Answers:
    """A network that gives the same answer for every patch: log odds were it a crown, were it a heel."""

    def __init__(self, *logits):
        self.logits, self.batches = np.array(logits, np.float32), []

    def run(self, batch):
        self.batches.append(batch)
        return np.tile(self.logits, (len(batch), 1))


def cover(*logits):
    return Cover(Answers(*logits), read_model_file(shipped_path("cover")))


@pytest.mark.parametrize("turn_deg", [0, 70, 180])
@pytest.mark.parametrize("zoom", [2.0, 6.0])
def test_patches_show_each_joint_in_the_middle_with_the_head_up_at_one_size(turn_deg, zoom):
    c, s = np.cos(np.deg2rad(turn_deg)), np.sin(np.deg2rad(turn_deg))
    flat = body()[:, :2] * [1.0, -1.0]
    kpts = zoom * flat @ np.array([[c, s], [-s, c]]) + 500.0
    rgb = np.zeros((1000, 1000, 3), np.uint8)
    beyond = kpts[CROWN] + 0.1 * (kpts[CROWN] - kpts[INFANT.index("pelvis")])
    spots = (kpts[CROWN], kpts[LEFT_HEEL], kpts[RIGHT_HEEL], beyond)
    for channel, spot in zip((0, 1, 2, 2), spots, strict=True):
        rgb[..., channel] = np.maximum(
            rgb[..., channel], makers.scene((1000, 1000), spot, sigma=1.5 * zoom)[..., 0]
        )
    cut = patches(rgb, kpts)
    assert cut.shape == (3, PATCH, PATCH, 3)
    for k in range(3):
        brightest = np.unravel_index(cut[k, :, :, k].argmax(), (PATCH, PATCH))
        assert np.abs(np.array(brightest) - 31.5).max() <= 1.5
    y, x = np.unravel_index(cut[0, :, :, 2].argmax(), (PATCH, PATCH))
    assert x == pytest.approx(31.5, abs=1.5)
    assert y == pytest.approx(31.5 - 0.1 / 0.75 * PATCH, abs=1.5)  # a tenth of the trunk above the crown


def test_a_covered_joint_is_seen_with_the_probability_that_it_is_not_covered():
    kpts = 4 * body()[:, :2] + 300.0
    (judged,) = cover(3.0, -3.0).judged([np.zeros((600, 600, 3), np.uint8)], [pose(kpts)])
    assert seen_of(judged)[CROWN] == pytest.approx(1 / (1 + np.exp(3)), abs=1e-6)
    assert (np.delete(seen_of(judged), CROWN) == 0.9).all()
    assert (judged.seen == 0.9).all()  # what the heatmaps say
    assert judged.covered[[CROWN, LEFT_HEEL]] == pytest.approx(
        [1 / (1 + np.exp(-3)), 1 / (1 + np.exp(3))], abs=1e-6
    )
    assert (np.delete(judged.covered, list(JOINTS)) == 0.0).all()
    assert np.array_equal(judged.kpts_frame, kpts)
    (judged,) = cover(-3.0, 1.0).judged([np.zeros((600, 600, 3), np.uint8)], [pose(kpts, seen=0.1)])
    assert (seen_of(judged) == 0.1).all()  # more hidden than that already
    (judged,) = cover(-3.0, 1.0).judged([np.zeros((600, 600, 3), np.uint8)], [pose(kpts)])
    assert seen_of(judged)[[LEFT_HEEL, RIGHT_HEEL]] == pytest.approx(1 / (1 + np.e), abs=1e-6)


def test_what_is_a_little_likely_covered_is_seen_as_before():
    (judged,) = cover(-0.1, -0.1).judged([np.zeros((600, 600, 3), np.uint8)], [pose(4 * body()[:, :2] + 300)])
    assert (seen_of(judged) == 0.9).all()
    assert judged.covered[list(JOINTS)] == pytest.approx(1 / (1 + np.exp(0.1)), abs=1e-6)


def test_poses_that_tell_nothing_or_have_no_extent_are_left_alone():
    net = cover(9.0, 9.0)
    silent, point = pose(4 * body()[:, :2] + 300, seen=None), pose(np.full((len(INFANT), 2), 50.0))
    assert net.judged([np.zeros((600, 600, 3), np.uint8)] * 2, [silent, point]) == [silent, point]
    assert net.judged([], []) == []
    assert not net.backend.batches


def test_a_network_with_another_answer_is_refused():
    with pytest.raises(FileFormatError, match="output"):
        cover(1.0, 2.0, 3.0).judged([np.zeros((600, 600, 3), np.uint8)], [pose(4 * body()[:, :2] + 300)])


@pytest.fixture(scope="module")
def example():
    with av.open(str(EXAMPLES / "clip.mp4")) as video:
        return [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)][::4]


def painted(rgb, kpts):
    """Bedding over the top third of the head: a plain patch of the picture's commonest colour."""
    axis = kpts[CROWN] - kpts[INFANT.index("pelvis")]
    axis *= np.linalg.norm(kpts[CROWN] - kpts[INFANT.index("upper_neck")]) / np.linalg.norm(axis)
    side = np.array([-axis[1], axis[0]])
    near, far = kpts[CROWN] - 0.35 * axis, kpts[CROWN] + 0.9 * axis
    corners = np.array([near + side, near - side, far - side, far + side])
    colour = np.median(rgb[::7, ::7].reshape(-1, 3), axis=0)
    return cv2.fillPoly(rgb.copy(), [np.rint(corners).astype(np.int32)], colour.tolist())


def test_a_head_under_bedding_is_refused_and_a_bare_one_is_not(example, tmp_path):
    """Painted over, the pose net puts the crown at the paint's edge and is sure of it."""
    scale = ["--camera", str(EXAMPLES / "camera.json"), "--sheet", str(EXAMPLES / "sheet.yaml")]

    def infer(name, frames):
        video = makers.write_video(tmp_path / f"{name}.mp4", frames, fps=5, pix_fmt="yuv420p")
        options = [str(video), *scale, "--out", str(tmp_path), "--no-overlay", "--json"]
        done = CliRunner().invoke(infer_command, options)
        return json.loads(done.stdout), json.loads((tmp_path / name / "poses.json").read_text())["frames"]

    bare, frames = infer("bare", example)
    assert bare["status"] == "measured"
    kpts = [np.array(frame["keypoints"])[:, :2] for frame in frames]
    covered, frames = infer("covered", [painted(*one) for one in zip(example, kpts, strict=True)])
    assert [reason["code"] for reason in covered["reasons"]] == ["head_covered"]
    assert np.mean([frame["seen"][CROWN] < 0.5 for frame in frames]) > 0.7


def test_the_shipped_network_is_of_its_kind():
    file = read_model_file(shipped_path("cover"))
    assert (file.kind, file.input_wh, file.joints) == ("cover", (PATCH, PATCH), ())
    one = Cover.load("torch")  # which reads no ONNX: another runtime is taken
    assert one.backend.active.name != "torch"
