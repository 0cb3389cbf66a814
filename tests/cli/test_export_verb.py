"""``heightpose export``: what it says before any network is built."""

from __future__ import annotations

import shutil

import pytest
from click.testing import CliRunner

from heightpose.cli.export import export
from heightpose.errors import ConfigError
from heightpose.runtime.modelfile import shipped_path

pytest.importorskip("torch")


def test_weights_that_are_there_as_onnx_alone_are_named(tmp_path):
    alone = tmp_path / "pose.onnx"
    shutil.copy(shipped_path("fast"), alone)
    args = [str(alone), "--to", "openvino", "--out", str(tmp_path / "pose.xml")]
    with pytest.raises(ConfigError, match="ONNX alone"):
        CliRunner().invoke(export, args, catch_exceptions=False, standalone_mode=False)
    assert not (tmp_path / "pose.xml").exists()
