"""Whose joints a calibration is fitted to: children, and what stands for those whom the labels do not name."""

from __future__ import annotations

import cv2
import drawn
import makers
import numpy as np

from heightpose.data.items import Item, Person
from heightpose.skeleton import INFANT
from heightpose.train import evidence
from heightpose.train.evidence import detections
from heightpose.types import Detection, FrameResult, Pose


def item(path, *boxes, child=None, recording=None):
    """A black picture with an infant in each box."""
    cv2.imwrite(str(path), np.zeros((120, 160, 3), np.uint8))
    seen, outside = np.full(len(INFANT), 2), np.zeros(len(INFANT), bool)
    people = tuple(
        Person(np.full((len(INFANT), 2), 60.0), seen, outside, np.array(box, float), child) for box in boxes
    )
    return Item(0, path, None, (160, 120), "val", people, recording=recording)


def test_pictures_of_one_recording_are_of_one_child(tmp_path):
    """Halves and folds are drawn by child: on both sides they would judge what was fitted to them."""
    box = (20, 20, 120, 100)
    items = [item(tmp_path / f"{n}.png", box, recording="a night" if n < 2 else None) for n in range(4)]
    items.append(item(tmp_path / "4.png", box, child="named", recording="a night"))
    found = [child for *_, child in detections([(one, "set") for one in items], None, None)]
    assert found == ["set/a night", "set/a night", "set/2", "set/3", "set/named"]


def test_labelled_frames_of_videos_are_used_as_pictures_are(tmp_path):
    """They were passed over without a word."""
    grey = [np.full((120, 160, 3), 10 * k, np.uint8) for k in range(8)]
    drawn.nursery(tmp_path / "set", train=0, val=1, empty=0)
    makers.write_video(tmp_path / "set" / "night.mp4", grey, fps=5)

    def add_frames(document):
        size = {"width": 160, "height": 120, "split": "val"}
        document["images"] += [size | {"id": 10 + k, "video": "night.mp4", "frame": k} for k in (5, 2)]
        kpts = drawn.infant_kpts((80, 60), 90, 20)
        document["annotations"] += [drawn.annotation(10 + k, 10 + k, kpts, None) for k in (5, 2)]

    drawn.rewrite(tmp_path / "set", add_frames)
    items = evidence.labelled([tmp_path / "set"], "val")
    found = [(rgb, child) for rgb, *_, child in detections(items, None, None)]
    night = f"set/{tmp_path / 'set' / 'night.mp4'}"
    assert [child for _, child in found] == ["set/child-0", night, night]
    assert [round(float(rgb.mean()), -1) for rgb, _ in found[1:]] == [20, 50]


def test_what_is_found_of_a_twin_is_not_held_against_the_other(tmp_path, monkeypatch):
    """Their boxes overlap: the skeleton of one would be a badly wrong one of the other, as sure as it is."""
    one, other = (10, 10, 80, 110), (50, 10, 120, 110)
    pose = Pose(
        np.full((len(INFANT), 2), 60.0), np.ones(len(INFANT)), Detection(np.array(other, float), 0.0, 0.9)
    )
    monkeypatch.setattr(evidence, "estimate_poses", lambda frames, *_: [(FrameResult(0, 0.0, pose, 2), None)])
    twins = item(tmp_path / "twins.png", one, other)
    (found,) = detections([(twins, "set")], object(), None)
    assert found[2] is twins.people[1]
