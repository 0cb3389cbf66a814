"""Garments and the sleeping bag: nothing pokes through, and the bag hides the legs it holds."""

from __future__ import annotations

import numpy as np

from heightpose.skeleton import INFANT
from heightpose.synth.sack import cut_sack


def _legs_and_trunk(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points on capsules round a trunk and two spread, bent legs, and the joints, mattress frame."""
    joints = np.zeros((len(INFANT), 3))
    places = {"thorax": (0, 20, 5), "pelvis": (0, 0, 5), "left_hip": (4, 0, 5), "right_hip": (-4, 0, 5)}
    places |= {"left_knee": (12, -10, 14), "left_ankle": (14, -22, 3)}
    places |= {"right_knee": (-7, -14, 6), "right_ankle": (-9, -27, 3)}
    for name, at in places.items():
        joints[INFANT.index(name)] = at
    bones = [("thorax", "pelvis", 5.0)]
    bones += [
        (f"{s}_{a}", f"{s}_{b}", 2.5)
        for s in ("left", "right")
        for a, b in (("hip", "knee"), ("knee", "ankle"))
    ]
    points = []
    for a, b, radius in bones:
        share = rng.random((600, 1))
        around = rng.standard_normal((600, 3))
        around *= radius / np.linalg.norm(around, axis=1, keepdims=True)
        points.append(joints[INFANT.index(a)] * share + joints[INFANT.index(b)] * (1 - share) + around)
    body = np.concatenate(points)
    body[:, 2] = np.maximum(body[:, 2], 0.05)
    return body, joints


def test_a_sleeping_bag_holds_trunk_and_legs_in_one_closed_convex_tube() -> None:
    from scipy.spatial import Delaunay

    rng = np.random.default_rng(0)
    body, joints = _legs_and_trunk(rng)
    sack = cut_sack(np.arange(len(body)), 1.0, np.ones((4, 4, 3)), 0.8, rng)
    vertices, faces = sack.vertices_cm(body, joints), sack.faces()
    assert vertices[:, 2].min() >= 0.02
    # the axis runs along -y here: every slice of the body below the chest lies inside the bag's slices round it
    rings = vertices[:-1].reshape(44, 48, 3)
    at_y = rings[:, 0, 1]
    below = body[body[:, 1] < at_y[1]][::12]
    outside = 0
    for point in below:
        k = int(np.abs(at_y - point[1]).argmin())
        outside += int(Delaunay(rings[k][:, [0, 2]]).find_simplex(point[[0, 2]] + [0.0, 0.05]) < 0)
    assert outside <= 0.01 * len(below)
    # closed but for the neck end: only the first ring's edges belong to one face
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    once = [e for e, n in zip(*np.unique(edges, axis=0, return_counts=True), strict=True) if n == 1]
    assert len(once) == 48
    assert np.max(once) < 48


def test_the_bag_moves_smoothly_with_the_body() -> None:
    rng = np.random.default_rng(1)
    body, joints = _legs_and_trunk(rng)
    sack = cut_sack(np.arange(len(body)), 1.0, np.ones((4, 4, 3)), 0.8, rng)
    moved = body + np.where(body[:, 1:2] < -8, [0.0, 0.0, 0.2], 0.0)
    step = np.abs(sack.vertices_cm(moved, joints) - sack.vertices_cm(body, joints)).max()
    assert 0.1 < step < 1.5
