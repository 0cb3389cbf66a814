"""Pictures of label checks: nobody's face is shown, labelled or not."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from evaluated import true_kpts

from heightpose.data.checks.finding import Finding
from heightpose.data.coco import Dataset
from heightpose.data.items import Item, Person
from heightpose.report.label_checks import blurred, write_findings
from heightpose.skeleton import INFANT


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)


def infant(size=0.5):
    kpts = true_kpts() * size
    box = np.concatenate([kpts.min(axis=0) - 4, kpts.max(axis=0) + 4])
    nowhere = np.zeros(len(INFANT), dtype=bool)
    return Person(kpts, np.full(len(INFANT), 2, np.int8), nowhere, box, "child-0")


def item(people, in_view=None, path=Path("0.png")):
    return Item(0, path, None, (320, 240), None, tuple(people), in_view)


def hidden(noise, one):
    return (blurred(noise, one, INFANT, ()) != noise).any(axis=-1)


def test_only_the_head_of_a_labelled_infant_is_hidden(noise):
    for in_view in (None, 1):
        assert 0.001 < hidden(noise, item([infant()], in_view)).mean() < 0.3


def test_infants_without_labels_are_hidden_too(noise):
    assert hidden(noise, item([], 1)).mean() > 0.95
    assert hidden(noise, item([])).mean() > 0.95
    person = infant()
    outside = np.ones(noise.shape[:2], dtype=bool)
    x0, y0, x1, y1 = person.bbox_xyxy.astype(int)
    outside[y0 : y1 + 1, x0 : x1 + 1] = False
    assert hidden(noise, item([person], 2))[outside].mean() > 0.95


def test_joints_without_a_label_keep_nothing_sharp(noise):
    """They are at (0, 0), from where all of the box would count as the infant's joints."""
    person = infant()
    few = np.array([2 if n in ("crown", "upper_neck", "thorax") else 0 for n in INFANT.names], np.int8)
    kpts = np.where(few[:, None] > 0, person.kpts_frame, 0.0)
    few_labels = replace(
        person, visibility=few, kpts_frame=kpts, bbox_xyxy=np.array([0.0, 0.0, 319.0, 239.0])
    )
    assert hidden(noise, item([few_labels], 2)).mean() > 0.95


def test_the_page_shows_no_unlabelled_infant(noise, tmp_path):
    cv2.imwrite(str(tmp_path / "0.png"), noise)
    one = item([], 1, tmp_path / "0.png")
    dataset = Dataset(tmp_path / "annotations.json", (one,))
    write_findings(tmp_path, dataset, [Finding("duplicate", 20.0, "twice", one)], 1, model=None)
    (text,) = re.findall(r"base64,([^\"']+)", (tmp_path / "findings.html").read_text())
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR)
    assert shown.astype(float).std() < 0.5 * noise.std()
