"""Simulated clips of joints: one moving child each, resumable."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("anny")

from heightpose.cli.main import cli
from heightpose.errors import ConfigError
from heightpose.geometry.lift import group_lengths
from heightpose.skeleton import INFANT
from heightpose.synth import bodies, scenario
from heightpose.synth.body import BodyModel
from heightpose.synth.dress import Wardrobe
from heightpose.synth.puppet import Puppet


def test_a_clip_shows_one_child_whose_bones_keep_their_length(
    model: BodyModel, monkeypatch, tmp_path
) -> None:
    monkeypatch.setattr(bodies, "_model", model)
    path = tmp_path / "part.npz"
    assert bodies._part((path, [11, 12], 3, None)) == 2
    with np.load(path) as data:
        joints, rest = data["joints_cm"].astype(float), data["rest_cm"].astype(float)
        assert joints.shape == (2, 3, len(INFANT), 3)
        assert data["child"].tolist() == [11, 12]
    posed, true = group_lengths(joints), group_lengths(rest)[:, None]
    np.testing.assert_allclose(
        posed[..., 1:], np.broadcast_to(true[..., 1:], posed[..., 1:].shape), rtol=0.01
    )
    assert np.abs(np.diff(joints, axis=1)).max() > 0.1  # it moves
    before = path.stat().st_mtime_ns
    monkeypatch.setattr(bodies, "_clip", lambda *_: pytest.fail("drawn twice"))
    bodies._part((path, [11, 12], 3, None))
    assert path.stat().st_mtime_ns == before


def test_legs_that_cannot_be_lain_on_are_drawn_again(model: BodyModel, monkeypatch) -> None:
    """As with a leg raised for long while the infant lies on its front: here the first kind never can."""
    drawn, real = [], scenario.lie

    def kinds(legs, rng):
        drawn.append(legs)
        return ("straight", "straight")

    monkeypatch.setattr(scenario, "draw_leg_kinds", kinds)
    monkeypatch.setattr(scenario, "lie", lambda *given: "flesh" if len(drawn) == 1 else real(*given))
    puppet = Puppet(model, model.sample_child(5))
    how = {"posture": "back", "frames": 3, "fps": 5.0, "wardrobe": Wardrobe("none", np.zeros((0, 3)), ())}
    found = scenario.lie_down(puppet, np.random.default_rng(0), legs="extended", **how)
    assert (len(found), drawn) == (3, ["extended", "extended"])
    monkeypatch.setattr(scenario, "lie", lambda *_: "flesh")
    with pytest.raises(ConfigError, match=r"3 frames on the back with legs tucked.*flesh"):
        scenario.lie_down(puppet, np.random.default_rng(0), legs="tucked", **how)


@pytest.mark.parametrize("mode", ["--bodies", "--fit"])
def test_options_about_pictures_are_refused_where_there_are_none(tmp_path, mode):
    about = ["--clips", "--easy", "--size", "64x64", "--twins", "0"]
    base = ["synth", "--out", str(tmp_path / "out"), "--count", "1", "--seed", "1", mode]
    error = CliRunner().invoke(cli, [*base, *about], standalone_mode=False).exception
    assert isinstance(error, ConfigError)
    assert "--clips, --size, --easy, --twins would change nothing" in str(error)
    assert not (tmp_path / "out").exists()
