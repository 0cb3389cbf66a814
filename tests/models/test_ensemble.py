"""Several pose nets in one file."""

import numpy as np
import onnx
import pytest
import torch

from heightpose.codec.heatmap import HeatmapCodec
from heightpose.errors import FileFormatError
from heightpose.models import ensemble
from heightpose.models.description import pose_meta
from heightpose.models.onnx_graph import export_onnx
from heightpose.models.onnx_storage import restore, store_bytes
from heightpose.models.pose_net import PoseNet
from heightpose.runtime.backends import load_backend
from heightpose.runtime.modelfile import read_model_file, shipped_path
from heightpose.runtime.networks import PoseModel
from heightpose.skeleton import INFANT


def written(path, seed, input_wh=(64, 64), backbone="test_resnet"):
    torch.manual_seed(seed)
    model = PoseNet(backbone, 21)
    codec = HeatmapCodec(input_wh, (input_wh[0] // 4, input_wh[1] // 4), 1.5)
    export_onnx(model, path, pose_meta(model, INFANT.names, codec, run=f"run{seed}"))
    return path


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    folder = tmp_path_factory.mktemp("members")
    return [
        written(folder / "concat.onnx", 1, backbone="hrnet_w18_small"),
        written(folder / "deconv.onnx", 2),
    ]


def heatmaps(path, batch, backend):
    return load_backend(path, backend, precision="f32")[0].run(batch)


@pytest.fixture(scope="module")
def batch():
    return np.random.default_rng(0).uniform(0, 255, (3, 3, 64, 64)).astype(np.float32)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_the_heatmaps_are_the_weighted_mean_of_the_members(members, batch, backend, tmp_path):
    out = tmp_path / "both.onnx"
    ensemble.ensemble(members, [0.7, 0.3], out)
    each = [heatmaps(path, batch, backend) for path in members]
    assert np.abs(each[0] - each[1]).max() > 0.01
    expected = 0.7 * each[0] + 0.3 * each[1]
    assert np.abs(heatmaps(out, batch, backend) - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_bytes_take_half_the_room_and_move_next_to_nothing(members, batch, backend, tmp_path):
    halves, bytes_ = tmp_path / "halves.onnx", tmp_path / "bytes.onnx"
    ensemble.ensemble(members, [0.5, 0.5], halves)
    ensemble.ensemble(members, [0.5, 0.5], bytes_, in_bytes=True)
    assert bytes_.stat().st_size < 0.62 * halves.stat().st_size
    exact, stored = heatmaps(halves, batch, backend), heatmaps(bytes_, batch, backend)
    assert 0 < np.abs(stored - exact).max() < 0.05 * np.abs(exact).max()


def test_a_byte_is_at_most_half_a_step_off(members):
    proto = onnx.load(str(members[0]))
    restore(proto)
    before = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
    store_bytes(proto)
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
    names = [name.removesuffix(".byte") for name in stored if name.endswith(".byte")]
    assert len(names) > 50
    for name in names:
        step = stored[f"{name}.step"]
        assert len(step) == len(before[name])  # a step for each output channel
        off = np.abs(stored[f"{name}.byte"] * step - before[name])
        assert (off <= 0.5 * step * (1 + 1e-3)).all(), name


def test_it_is_one_net_to_everything_else_and_says_what_it_is_made_of(members, tmp_path):
    out = tmp_path / "both.onnx"
    ensemble.ensemble(members, [0.7, 0.3], out, in_bytes=True)
    file = read_model_file(out)
    assert (file.kind, file.joints, file.input_wh, file.heatmap_wh) == (
        "pose",
        INFANT.names,
        (64, 64),
        (16, 16),
    )
    assert [part["share"] for part in file.meta["ensemble"]] == [0.7, 0.3]
    assert [part["run"] for part in file.meta["ensemble"]] == ["run1", "run2"]
    assert [part["arch"]["head"] for part in file.meta["ensemble"]] == ["concat", "deconv"]
    assert PoseModel.load(str(out)).skeleton.names == INFANT.names


def test_nets_that_do_not_fit_are_refused_with_a_line_and_nothing_is_written(
    members, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "both.onnx"
    with pytest.raises(FileFormatError, match="not a pose net that can be averaged"):
        ensemble.ensemble([members[0], shipped_path("detector")], [0.5, 0.5], out)
    larger = written(tmp_path / "larger.onnx", 3, input_wh=(96, 96))
    monkeypatch.setattr("sys.argv", ["ensemble", str(members[0]), str(larger), "--out", str(out)])
    with pytest.raises(SystemExit) as stop:
        ensemble.main()
    assert stop.value.code == 2
    assert "input_wh differs" in capsys.readouterr().err
    assert not out.exists()


def test_operators_of_another_version_are_refused(members, tmp_path):
    other = tmp_path / "other.onnx"
    proto = onnx.load(str(members[1]))
    proto.opset_import[0].version -= 1
    onnx.save(proto, str(other))
    with pytest.raises(FileFormatError, match="other versions"):
        ensemble.ensemble([members[0], other], [0.5, 0.5], tmp_path / "both.onnx")
    assert not (tmp_path / "both.onnx").exists()


@pytest.mark.parametrize("shares", [[1.0], [0.5, 0.6], [1.5, -0.5]])
def test_shares_that_are_no_mean_are_refused(members, shares, tmp_path):
    with pytest.raises(ValueError, match="add up to 1"):
        ensemble.ensemble(members, shares, tmp_path / "both.onnx")


def test_what_is_written_is_an_onnx_file_and_must_be_called_so(members, tmp_path, monkeypatch, capsys):
    out = tmp_path / "both.safetensors"
    monkeypatch.setattr("sys.argv", ["ensemble", *map(str, members), "--out", str(out)])
    with pytest.raises(SystemExit) as stop:
        ensemble.main()
    assert stop.value.code == 2
    assert "--out ends in .onnx" in capsys.readouterr().err
    assert not out.exists()
