"""``heightpose export``: what it says before any network is built."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from heightpose.cli.export import export
from heightpose.errors import ConfigError
from heightpose.models.ensemble import ensemble
from heightpose.runtime.modelfile import shipped_path

pytest.importorskip("torch")


def test_what_needs_the_network_itself_says_so_of_several_in_one_file(tmp_path):
    alone = tmp_path / "pose.onnx"
    ensemble([shipped_path("fast")] * 2, [0.5, 0.5], alone)
    for args in (
        ["--to", "torchscript", "--out", "a.pt"],
        ["--to", "onnx", "--prune", "0.2", "--out", "a.onnx"],
    ):
        args[args.index("--out") + 1] = str(tmp_path / args[-1])
        with pytest.raises(ConfigError, match="needs the network in PyTorch"):
            CliRunner().invoke(export, [str(alone), *args], catch_exceptions=False, standalone_mode=False)
    assert list(tmp_path.iterdir()) == [alone]
