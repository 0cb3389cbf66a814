"""Bodies put down by rule of thumb: true bones, nothing under the mattress, legs that really hang in the air."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("anny")

from heightpose.cli.main import cli
from heightpose.errors import ConfigError
from heightpose.geometry.lift import group_lengths
from heightpose.skeleton import INFANT
from heightpose.synth import bodies, lying
from heightpose.synth.body import BodyModel
from heightpose.synth.loose import draw_loose, put_down
from heightpose.synth.posture import SIDES
from heightpose.synth.puppet import Puppet


def test_bones_are_kept_and_nothing_lies_below_the_mattress(model: BodyModel) -> None:
    puppet = Puppet(model, model.sample_child(3))
    true = group_lengths(puppet.rest_joints)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        found = put_down(puppet, draw_loose(rng, 3, 4.0), rng)
        assert len(found) == 3
        for body in found:
            np.testing.assert_allclose(group_lengths(body.joints_cm)[1:], true[1:], rtol=0.01)
            assert body.joints_cm[:, 2].min() > lying.JOINT_ABOVE_CM - 1e-9
            assert body.vertices_cm[:, 2].min() > lying.FLAT_CM - 1e-9
            bears = body.joints_cm[INFANT.indices("crown", "thorax", "pelvis"), 2]
            assert bears.max() < 0.25 * puppet.child.length_cm  # on its back, lying


def test_feet_hang_at_any_height_where_the_nurserys_rest(model: BodyModel, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(bodies, "_model", model)
    heels = {}
    for only in ("loose", "back"):
        path = tmp_path / f"{only}.npz"
        bodies._part((path, list(range(20, 32)), 2, only))
        with np.load(path) as data:
            assert set(data["posture"].tolist()) == {0}
            z = data["joints_cm"][:, :, INFANT.indices(*(f"{s}_heel" for s in SIDES)), 2]
            heels[only] = float((z > 6.0).mean())
    assert heels["loose"] > 0.4 > heels["back"]


def test_the_legs_of_loose_bodies_are_not_asked_for(tmp_path) -> None:
    call = ["synth", "--out", str(tmp_path / "o"), "--count", "1", "--seed", "1", "--posture", "loose"]
    error = CliRunner().invoke(cli, [*call, "--legs", "tucked"], standalone_mode=False).exception
    assert isinstance(error, ConfigError)
    assert "--posture loose draws the legs itself" in str(error)
