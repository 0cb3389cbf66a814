"""Weights between two sets of weights."""

import numpy as np
import pytest
import torch

from heightpose.codec.heatmap import DARK, EXPECTATION, HeatmapCodec
from heightpose.errors import FileFormatError
from heightpose.models import average
from heightpose.models.checkpoint import load_weights, save_weights
from heightpose.models.description import pose_meta
from heightpose.models.onnx_graph import export_onnx
from heightpose.models.pose_net import PoseNet
from heightpose.runtime.backends import load_backend
from heightpose.skeleton import INFANT

pytestmark = pytest.mark.usefixtures("narrow_head")


def written(path, seed, decoder=DARK, **net):
    torch.manual_seed(seed)
    model = PoseNet("test_resnet", 21, input_wh=(64, 64), **net)
    meta = pose_meta(model, INFANT.names, HeatmapCodec((64, 64), (16, 16), 1.5, decoder))
    save_weights(path, model.state_dict(), meta | {"validation": {"MeanSmS@0.1": 50.0}})
    return path


def test_between_lie_the_means_and_at_the_ends_the_weights_themselves(tmp_path):
    before, after = (written(tmp_path / f"{seed}.safetensors", seed) for seed in (1, 2))
    states = [load_weights(path)[0].state_dict() for path in (before, after)]
    for share in (0.0, 0.25, 1.0):
        out = tmp_path / f"share-{share}.safetensors"
        average.average(before, after, share, out)
        model, meta = load_weights(out)
        for name, value in model.state_dict().items():
            expected = (1 - share) * states[0][name] + share * states[1][name]
            assert torch.allclose(
                value.float(), expected.float(), atol=2e-3 * float(expected.abs().max()) + 1e-7
            ), name
        assert "validation" not in meta  # other weights were
        assert meta["averaged"]["share"] == share
        batch = np.random.default_rng(0).uniform(0, 255, (1, 3, 64, 64)).astype(np.float32)
        ran = load_backend(out.with_suffix(".onnx"), precision="f32")[0].run(batch)
        with torch.no_grad():
            assert np.allclose(ran, model(torch.from_numpy(batch)).numpy(), atol=1e-3)


def test_a_folder_that_is_not_there_is_told_in_one_line(tmp_path, monkeypatch, capsys):
    before, after = (written(tmp_path / f"{seed}.safetensors", seed) for seed in (1, 2))
    out = tmp_path / "nodir/x.safetensors"
    monkeypatch.setattr("sys.argv", ["average", str(before), str(after), "--out", str(out)])
    with pytest.raises(SystemExit) as stop:
        average.main()
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{out}: cannot be written: No such file or directory" in error


def test_another_network_is_refused_with_one_line(tmp_path, monkeypatch, capsys):
    before = written(tmp_path / "a.safetensors", 1)
    after = written(tmp_path / "b.safetensors", 1, head="upsample")
    with pytest.raises(FileFormatError, match="another network"):
        average.average(before, after, 0.5, tmp_path / "c.safetensors")
    monkeypatch.setattr(
        "sys.argv", ["average", str(before), str(after), "--out", str(tmp_path / "c.safetensors")]
    )
    with pytest.raises(SystemExit) as stop:
        average.main()
    assert stop.value.code == 2
    assert "another network" in capsys.readouterr().err
    assert not list(tmp_path.glob("c.*"))


def test_heatmaps_and_logits_have_no_common_weights(tmp_path):
    before = written(tmp_path / "a.safetensors", 1)
    after = written(tmp_path / "b.safetensors", 1, decoder=EXPECTATION)
    with pytest.raises(FileFormatError, match="maps of another kind"):
        average.average(before, after, 0.5, tmp_path / "c.safetensors")
    assert not list(tmp_path.glob("c.*"))


def test_folded_weights_are_not_averaged_with_others(tmp_path):
    """A graph's convolutions hold their normalisations: half of those and half of a training's are neither."""
    path = written(tmp_path / "a.safetensors", 1)
    net, meta = load_weights(path)
    for name, value in net.state_dict().items():
        if name.endswith(".running_mean"):
            value.fill_(0.1)
    save_weights(path, net.state_dict(), meta)
    export_onnx(net, tmp_path / "a.onnx", meta)
    for before, after in ((path, tmp_path / "a.onnx"), (tmp_path / "a.onnx", path)):
        with pytest.raises(FileFormatError, match="normalisations folded"):
            average.average(before, after, 0.5, tmp_path / "c.safetensors")
    average.average(tmp_path / "a.onnx", tmp_path / "a.onnx", 0.5, tmp_path / "c.safetensors")
