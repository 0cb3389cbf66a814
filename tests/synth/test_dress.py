"""Garments, headwear and the sleeping bag: nothing pokes through, and the bag hides the legs it holds."""

from __future__ import annotations

import numpy as np
from click.testing import CliRunner

from heightpose.cli.main import cli
from heightpose.skeleton import INFANT
from heightpose.synth import generate, textures
from heightpose.synth.body import BodyModel, Child
from heightpose.synth.dress import Shell, _headwear, dress
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


def _heads(model: BodyModel, age_months: float, count: int) -> tuple[Child, np.ndarray, list[list[Shell]]]:
    child = model.sample_child(7, age_months=age_months)
    rest = model.pose(child).vertices_cm
    rng = np.random.default_rng(int(age_months))
    heads = [_headwear(model, rest, child, np.array([0.7, 0.5, 0.4]), rng) for _ in range(count)]
    return child, rest, heads


def test_hats_bonnets_and_hair_lie_over_the_skull_and_leave_the_face_free(model: BodyModel) -> None:
    _, rest, heads = _heads(model, 12.0, 60)
    crown = 881
    names = {shell.name for shells in heads for shell in shells}
    assert names == {"hat", "bonnet", "hair", "headband"}
    # the tip of the nose: the foremost vertex (least y) of the head's upper third of the body
    head = np.flatnonzero(rest[:, 2] > rest[crown, 2] - 15)
    nose = head[rest[head, 1].argmin()]
    for shells in heads:
        for shell in shells:
            assert (crown in shell.vertices) == (shell.name != "headband")
            assert nose not in shell.vertices
            assert shell.thickness_cm > 0
        if len(shells) == 2:  # a band round the hair, not under it
            assert [s.name for s in shells] == ["hair", "headband"]
            assert shells[1].thickness_cm > shells[0].thickness_cm


def test_newborns_are_often_bald_and_toddlers_hardly_ever(model: BodyModel) -> None:
    bald = [sum(not shells for shells in _heads(model, age, 75)[2]) / 75 for age in (0.5, 20.0)]
    assert bald[0] > 0.3
    assert bald[1] < 0.1


def test_cloth_has_many_kinds_and_stays_a_reflectance() -> None:
    rng = np.random.default_rng(4)
    pieces = [textures.cloth(rng) for _ in range(40)]
    assert all(p.shape == (256, 256, 3) and p.min() >= 0 and p.max() <= 1 for p in pieces)
    contrast = np.array([p.mean(axis=2).std() / p.mean() for p in pieces])
    assert (contrast < 0.05).mean() > 0.1  # plain ones
    assert (contrast > 0.15).mean() > 0.2  # printed or coarse ones
    assert len({tuple(np.round(p.mean((0, 1)), 2)) for p in pieces}) > 35


def test_an_outfit_asked_for_is_worn(model: BodyModel) -> None:
    for seed in range(3):
        child, rng = model.sample_child(seed), np.random.default_rng(seed)
        worn = dress(model, child, rng, "separates and socks")
        assert worn.outfit == "separates and socks"
        assert {"nappy", "shirt", "trousers", "socks"} <= {shell.name for shell in worn.shells}
    assert dress(model, child, rng, "sleeping bag").sack is not None


def test_the_command_line_asks_for_an_outfit(tmp_path, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(generate, "generate", lambda recipe, *_: asked.append(recipe.options))
    call = ["synth", "--out", str(tmp_path / "out"), "--count", "1", "--seed", "1"]
    run = CliRunner()
    assert run.invoke(cli, [*call, "--outfit", "sleeping bag"]).exit_code == 0
    assert run.invoke(cli, [*call, "--easy", "--clips"]).exit_code == 0
    assert [options.outfit for options in asked] == ["sleeping bag", None]
    refused = run.invoke(cli, [*call, "--outfit", "toga"])
    assert refused.exit_code == 2
    assert "'sleeping bag'" in refused.output
