"""Views of one crop: merged maps leave exact joints where they are, and options mean what they say."""

from __future__ import annotations

import makers
import numpy as np
import pytest

from heightpose.codec.heatmap import HeatmapCodec
from heightpose.errors import ConfigError
from heightpose.geometry.crop import CropTransform, crop_from_box
from heightpose.runtime.backends import Active, Backend
from heightpose.runtime.modelfile import ModelFile
from heightpose.runtime.networks import PoseModel
from heightpose.runtime.tta import KINDS, Tta, merge_views
from heightpose.skeleton import INFANT
from heightpose.types import Detection

ALL = ("flip", "rotate", "scale", "flip,rotate", "flip,scale", "rotate,scale", "flip,rotate,scale")


class Exact(Backend):
    """A network that draws the true joints into the heatmaps of whatever crop it is given.

    It cannot see the picture, so it is told which crops come: those of the views, then their mirror images.
    """

    def __init__(self, kpts_frame, crops, flip, codec):
        self._path, self.active = None, Active("exact", "CPU", "f32", 1)
        self.codec, self.batches = codec, []
        w = codec.input_wh[0]
        seen = [crop.to_crop(kpts_frame) for crop in crops]
        if flip:
            seen += [np.column_stack([w - 1 - k[:, 0], k[:, 1]])[INFANT.flip_map] for k in seen]
        self.maps = codec.encode(np.stack(seen), np.ones((len(seen), len(INFANT)), bool))[0]

    def _run(self, batch):
        self.batches.append(batch)
        return self.maps


def model_of(kpts_frame, detection, tta, codec):
    crop = crop_from_box(detection.bbox_xyxy, detection.head_angle_deg, codec.input_wh)
    backend = Exact(kpts_frame, tta.crops(crop), tta.flip, codec)
    file = ModelFile(None, "pose", INFANT.names, codec.input_wh, codec.heatmap_wh, codec.sigma, {})
    return PoseModel(backend, file, codec, INFANT, tta), crop


@pytest.mark.parametrize(
    "codec", [HeatmapCodec(), HeatmapCodec((192, 192), (48, 48), 2.0)], ids=["256", "192"]
)
@pytest.mark.parametrize("kinds", ALL)
def test_merging_exact_maps_moves_no_joint(kinds, codec):
    """Every view of a perfect net agrees, so joints stay to 0.05 px of the crop, wherever the box and its turn."""
    rng = np.random.default_rng(5)
    rgb = np.zeros((600, 800, 3), np.uint8)
    for angle in (0.0, 33.0, -140.0):
        detection = Detection(np.array([150.0, 100.0, 560.0, 480.0]), angle, 0.9)
        # Within what the true box would be: the crop has a quarter of margin around it.
        crop = crop_from_box(detection.bbox_xyxy, angle, codec.input_wh)
        inside = rng.uniform(0.14, 0.86, (len(INFANT), 2)) * (codec.input_wh[0] - 1)
        truth = crop.to_frame(inside)
        model, crop = model_of(truth, detection, Tta.parse(kinds), codec)
        (pose,) = model.estimate([rgb], [detection])
        assert np.abs(crop.to_crop(pose.kpts_frame) - inside).max() <= 0.05
        assert (pose.scores > 0.8).all()


@pytest.mark.parametrize("kinds", ["rotate", "scale", "rotate,scale"])
def test_joints_at_the_border_and_beyond_a_view_are_left_to_the_views_that_see_them(kinds):
    """There the codec's own bound holds, 0.05 px of the heatmap."""
    codec, tta = HeatmapCodec(), Tta.parse(kinds)
    rng = np.random.default_rng(1)
    edge, along = (
        rng.choice([-0.5, 3.0, 9.0, 20.0, 235.0, 252.0, 255.5], (12, 21)),
        rng.uniform(-0.5, 255.5, (12, 21)),
    )
    kpts = np.where(rng.random((12, 21, 1)) < 0.5, np.stack([edge, along], -1), np.stack([along, edge], -1))
    labelled = np.ones(kpts.shape[:2], bool)
    views = [CropTransform(v, codec.input_wh).to_crop(kpts) for v in tta.views(codec.input_wh)]
    maps = np.stack([codec.encode(k, labelled)[0] for k in views])
    merged = merge_views(maps, tta, codec.input_wh, codec.heatmap_wh, codec.sigma)
    assert np.abs(codec.decode(merged)[0] - kpts).max() <= 0.05 * 4


def test_a_wrong_view_is_outvoted():
    """One turned view puts a joint elsewhere; the merged peak is where the others agree, and lower."""
    codec, tta = HeatmapCodec(), Tta.parse("rotate,scale")
    kpts = np.array([[[121.5, 141.5], [89.5, 81.5]]])  # heatmap pixels' centres
    labelled = np.ones((1, 2), bool)
    views = [CropTransform(v, codec.input_wh).to_crop(kpts) for v in tta.views(codec.input_wh)]
    views[1][0, 0] += (70.0, -40.0)
    maps = np.stack([codec.encode(k, labelled)[0] for k in views])
    merged = merge_views(maps, tta, codec.input_wh, codec.heatmap_wh, codec.sigma)
    found, peak = codec.decode(merged)
    np.testing.assert_allclose(found, kpts, atol=0.3)
    assert peak[0, 0] == pytest.approx(0.8, abs=0.03)
    assert peak[0, 1] == pytest.approx(1.0, abs=0.03)


def test_disagreement_of_views_is_evidence():
    codec = HeatmapCodec()
    detection = Detection(np.array([100.0, 100.0, 300.0, 300.0]), 0.0, 0.9)
    truth = np.random.default_rng(0).uniform(150, 250, (21, 2))
    model, crop = model_of(truth, detection, Tta.parse("flip"), codec)
    rgb = np.zeros((400, 400, 3), np.uint8)
    agreeing = model.look([rgb], [crop]).evidence
    np.testing.assert_allclose(agreeing.view_peak, agreeing.peak, atol=1e-6)
    model.backend.maps[1, INFANT.flip_map[3]] = np.roll(model.backend.maps[1, INFANT.flip_map[3]], 12, axis=0)
    other = model.look([rgb], [crop]).evidence
    drop = other.peak / other.view_peak
    assert drop[0, 3] < 0.6
    np.testing.assert_allclose(np.delete(drop[0], 3), 1.0, atol=1e-6)


@pytest.mark.parametrize("kinds", ["none", "flip", "rotate", "flip,rotate,scale"])
def test_the_network_is_run_once_on_all_views(kinds):
    tta, codec = Tta.parse(kinds), HeatmapCodec()
    detection = Detection(np.array([100.0, 100.0, 300.0, 300.0]), 20.0, 0.9)
    model, crop = model_of(np.random.default_rng(0).uniform(150, 250, (21, 2)), detection, tta, codec)
    rgb = makers.scene((400, 400), (210, 190), 20)
    model.estimate([rgb], [detection])
    (batch,) = model.backend.batches
    expected = {"none": 1, "flip": 2, "rotate": 3, "flip,rotate,scale": 10}[kinds]
    assert len(batch) == expected
    for view, picture in zip(tta.crops(crop), batch, strict=False):
        # The bright spot is where the view's own transform says.
        channel = np.maximum(picture[0].astype(float) - 100.0, 0.0)
        y, x = np.mgrid[:256, :256]
        spot = np.array([(channel * x).sum(), (channel * y).sum()]) / channel.sum()
        np.testing.assert_allclose(spot, view.to_crop(np.array([210.0, 190.0])), atol=1.0)


@pytest.mark.parametrize("text", ["none", *ALL])
def test_names_round_trip(text):
    assert str(Tta.parse(text)) == text
    assert Tta.parse(" " + text.replace(",", " , ")) == Tta.parse(text)


def test_order_does_not_matter():
    assert Tta.parse("scale,flip") == Tta(flip=True, scale=True)
    assert str(Tta.parse("scale,flip")) == "flip,scale"


@pytest.mark.parametrize("text", ["", "all", "flip,none", "flip,flip", "mirror", ",", "none,"])
def test_unknown_names_say_what_there_is(text):
    with pytest.raises(ConfigError, match=", ".join(KINDS)):
        Tta.parse(text)
