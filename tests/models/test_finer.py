"""A pose net's weights with a finer look added: the same network at two sizes, in every form of file."""

import numpy as np
import pytest
import torch

from heightpose.codec.heatmap import HeatmapCodec
from heightpose.models import finer
from heightpose.models.checkpoint import load_weights, save_weights
from heightpose.models.description import detector_meta, pose_meta
from heightpose.models.detector_net import DetectorNet
from heightpose.models.ensemble import ensemble
from heightpose.models.pose_net import PoseNet
from heightpose.runtime.backends import load_backend
from heightpose.runtime.modelfile import read_model_file
from heightpose.skeleton import INFANT

pytestmark = pytest.mark.usefixtures("narrow_head")


def written(path):
    torch.manual_seed(0)
    net = PoseNet("test_resnet", 21, input_wh=(64, 64)).eval()
    torch.nn.init.normal_(net.head.out.weight, std=0.1)
    save_weights(path, net.state_dict(), pose_meta(net, INFANT.names, HeatmapCodec((64, 64), (16, 16))))
    return path


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["finer", *map(str, arguments)])
    finer.main()


def test_every_form_answers_at_both_sizes(tmp_path, monkeypatch, capsys):
    weights, out = written(tmp_path / "p.safetensors"), tmp_path / "out" / "p.safetensors"
    out.parent.mkdir()
    run(monkeypatch, weights, "--size", 96, "--out", out)
    assert "saved to" in capsys.readouterr().out
    ensemble([out.with_suffix(".onnx")], [1.0], tmp_path / "bytes.onnx", in_bytes=True)
    net, meta = load_weights(out)
    assert meta["fine_wh"] == [96, 96]
    for side in (64, 96):
        batch = np.random.default_rng(0).uniform(0, 255, (2, 3, side, side)).astype(np.float32)
        with torch.no_grad():
            expected = load_weights(weights)[0](torch.from_numpy(batch)).numpy()
            assert np.allclose(net(torch.from_numpy(batch)).numpy(), expected, atol=2e-3)
        assert expected.shape[2:] == (side // 4, side // 4)
        for path in (out.with_suffix(".onnx"), tmp_path / "bytes.onnx"):
            assert read_model_file(path).fine_wh == (96, 96)
            for backend in ("openvino", "onnxruntime"):
                answer = load_backend(path, backend, precision="f32")[0].run(batch)
                assert np.abs(answer - expected).max() < 0.06 * np.abs(expected).max()


def test_what_the_network_does_not_take_is_refused_in_one_line(tmp_path, monkeypatch, capsys):
    weights, detector = written(tmp_path / "p.safetensors"), tmp_path / "d.safetensors"
    net = DetectorNet("mobilenetv3_small_100", 8)
    save_weights(detector, net.state_dict(), detector_meta(net))
    for source, size, words in (
        (weights, 64, "not a finer size"),
        (weights, 88, "the network takes no input of this size"),
        (detector, 320, "another kind of model"),
    ):
        with pytest.raises(SystemExit) as stop:
            run(monkeypatch, source, "--size", size, "--out", tmp_path / "x.safetensors")
        assert stop.value.code == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1
        assert not list(tmp_path.glob("x.*"))
