"""Infants who are seen in more detail than the pose net's input holds are looked at again with a larger one."""

from __future__ import annotations

from dataclasses import replace

import makers
import numpy as np
import pytest
from lying_figure import World

from heightpose.errors import FileFormatError
from heightpose.runtime.modelfile import read_model_file
from heightpose.runtime.networks import PoseModel
from heightpose.runtime.refine import own_look
from heightpose.runtime.tta import Tta
from heightpose.types import Detection

#: Figures 150 and 420 px long: crops of 210 and 560 px of the frame.
SMALL, LARGE = ((400.0, 300.0), 150.0, 30.0, 0.9), ((400.0, 300.0), 420.0, 30.0, 0.9)


@pytest.fixture
def world(monkeypatch):
    world = World([SMALL, LARGE, SMALL], monkeypatch)
    world.pose_model = replace(
        world.pose_model, file=replace(world.pose_model.file, fine_wh=(320, 320)), tta=Tta()
    )
    return world


def sizes_looked_at(world, monkeypatch):
    sizes, plain = [], PoseModel.look

    def look(self, rgbs, crops, *, times=None):
        sizes.append((self.file.input_wh, [int(rgb[0, 0, 0]) for rgb in rgbs]))
        return plain(self, rgbs, crops, times=times)

    monkeypatch.setattr(PoseModel, "look", look)
    return sizes


def test_only_who_is_seen_in_detail_is_looked_at_finely(world, monkeypatch):
    sizes = sizes_looked_at(world, monkeypatch)
    rgbs = [frame.rgb for frame in world.frames]
    first = world.pose_model.estimate(rgbs, [world.boxes[i] for i in range(3)])
    assert sizes == [((256, 256), [0, 1, 2])]
    for i, pose in enumerate(own_look(world.pose_model, rgbs, first)):
        assert np.linalg.norm(pose.kpts_frame - world.truth[i][0], axis=1).max() < 0.5
    assert sizes[1:] == [((256, 256), [0, 2]), ((320, 320), [1])]


def test_without_a_finer_size_every_look_has_the_nets_own(world, monkeypatch):
    sizes = sizes_looked_at(world, monkeypatch)
    world.pose_model = replace(world.pose_model, file=replace(world.pose_model.file, fine_wh=None))
    assert world.pose_model.fine is None
    world.run()
    assert {wh for wh, _ in sizes} == {(256, 256)}


def test_the_path_of_infer_looks_finely_once_at_each_large_infant(world, monkeypatch):
    sizes = sizes_looked_at(world, monkeypatch)
    results = world.run()
    assert [frames for wh, frames in sizes if wh == (320, 320)] == [[1]]
    error = np.linalg.norm(results[1].pose.kpts_frame - world.truth[1][0], axis=1)
    assert error.max() < 0.5


def test_the_finer_network_has_its_own_calibration_else_the_coarse_one(world):
    own, other = object(), object()
    model = replace(world.pose_model, calibrations={"flip": own, "none": own, "flip fine": other})
    assert model.calibration is own
    assert model.fine.calibration is other
    assert model.fine.fine is None
    bare = replace(model, calibrations={"flip": own})
    assert bare.fine.calibration is own


def test_a_finer_pixel_is_a_smaller_part_of_the_frame(tmp_path):
    """The same spread of a heatmap, in its px, is less of the frame."""
    model = PoseModel.load(str(makers.tiny_pose(tmp_path / "p.onnx", fine_wh=(320, 320))))
    assert model.fine.codec.heatmap_wh == (80, 80)
    assert model.fine.codec.sigma_crop == model.codec.sigma_crop
    rgb = makers.scene((640, 480), (300, 240))
    whom = Detection(np.array([100.0, 40.0, 500.0, 440.0]), 0.0, 0.9)
    (coarse,), (fine,) = (one.estimate([rgb], [whom]) for one in (model, model.fine))
    assert np.abs(coarse.kpts_frame - [300, 240]).max() < 2.0
    assert np.abs(fine.kpts_frame - [300, 240]).max() < 2.0
    assert np.array_equal(model.estimate_finely([rgb], [whom])[0].kpts_frame, fine.kpts_frame)
    assert model.estimate_finely([], []) == []


@pytest.mark.parametrize("fine_wh", [(256, 256), (320, 288), (300, 300, 3), (258, 258), (4096, 4096), "x"])
def test_a_size_that_is_none_is_refused(fine_wh, tmp_path):
    path = makers.tiny_pose(tmp_path / "p.onnx", fine_wh=fine_wh)
    with pytest.raises(FileFormatError, match="metadata is not what it must be"):
        read_model_file(path)


def test_a_graph_of_one_size_that_claims_two_is_told_of(tmp_path):
    path = makers.tiny_pose(tmp_path / "p.onnx")
    model = PoseModel.load(str(path))
    model = replace(model, file=replace(model.file, fine_wh=(320, 320)))
    whom = Detection(np.array([100.0, 40.0, 500.0, 440.0]), 0.0, 0.9)
    with pytest.raises(FileFormatError, match="Export it again"):
        model.estimate_finely([makers.scene((640, 480), (300, 240))], [whom])
