"""Weights survive their files, exports agree with torch, and files that lie are refused."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from heightpose.codec.heatmap import HeatmapCodec
from heightpose.errors import FileFormatError
from heightpose.models.checkpoint import load_weights, read_state, save_weights
from heightpose.models.description import detector_meta, pose_meta
from heightpose.models.detector_net import DetectorNet
from heightpose.models.lite_hrnet import LITE_HRNETS
from heightpose.models.onnx_graph import export_onnx
from heightpose.models.pose_net import PoseNet
from heightpose.runtime.backends import load_backend
from heightpose.runtime.modelfile import read_model_file
from heightpose.runtime.networks import PoseModel
from heightpose.skeleton import INFANT

CODEC = HeatmapCodec((64, 64), (16, 16), 1.5)


def spots(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of one bright spot each, ``(count, 3, 64, 64)``, and where it is, ``(count, 2)`` px."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform(10, 54, (count, 2))
    grid = np.arange(64)
    gx, gy = (np.exp(-0.5 * ((grid - xy[:, i, None]) / 5) ** 2) for i in (0, 1))
    return (20 + 220 * np.repeat((gy[:, :, None] * gx[:, None])[:, None], 3, 1)).astype(np.float32), xy


def settle(model: torch.nn.Module, image: np.ndarray) -> torch.nn.Module:
    """Give the normalisation layers the statistics of these pictures, as training would."""
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.momentum = None  # the plain mean over what is seen
            norm.reset_running_stats()
    with torch.no_grad():
        model.train()(torch.from_numpy(image))
    return model.eval()


@pytest.fixture(scope="module")
def pose() -> PoseNet:
    """A pose network trained for a moment to find the spot, so that its heatmaps have real peaks."""
    torch.manual_seed(0)
    model = PoseNet(joints=21).train()
    optimiser = torch.optim.AdamW(model.parameters(), 4e-3)
    for step in range(30):
        image, xy = spots(6, step)
        target, _ = CODEC.encode(np.repeat(xy[:, None], 21, 1), np.ones((6, 21), bool))
        loss = (model(torch.from_numpy(image)) - torch.from_numpy(target)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return settle(model, spots(24, 1000)[0])


@pytest.fixture(scope="module")
def pose_files(pose, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    meta = pose_meta(pose, INFANT.names, CODEC, note="test")
    save_weights(folder / "pose.safetensors", pose.state_dict(), meta)
    export_onnx(pose, folder / "pose.onnx", meta)
    return folder


def test_round_trip(pose, pose_files):
    model, meta = load_weights(pose_files / "pose.safetensors")
    assert not model.training
    assert meta["note"] == "test"
    assert meta["joints"] == list(INFANT.names)
    state = model.state_dict()
    for name, value in pose.state_dict().items():
        loaded = state[name]
        assert loaded.dtype == value.dtype
        torch.testing.assert_close(loaded, value, rtol=1e-3, atol=1e-6)
    assert (pose_files / "pose.safetensors").stat().st_size < 2.2 * sum(p.numel() for p in pose.parameters())
    assert [p.name for p in pose_files.iterdir() if p.name.startswith(".")] == []


def test_files_are_readable_as_any_other(pose_files, tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    modes = {p.stat().st_mode for p in (*pose_files.iterdir(), tmp_path / "plain")}
    assert len(modes) == 1


def test_both_files_say_the_same(pose_files):
    files = [read_model_file(pose_files / f"pose.{s}") for s in ("onnx", "safetensors")]
    assert files[0].meta == files[1].meta
    assert (files[0].input_wh, files[0].heatmap_wh, files[0].sigma) == ((64, 64), (16, 16), 1.5)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime", "torch"])
@pytest.mark.parametrize("batch", [1, 3])
def test_pose_export_agrees_with_torch(pose, pose_files, backend, batch):
    """To 0.01 in score and 0.3 px in the decoded joints, for any batch size."""
    pytest.importorskip(backend)
    image, xy = spots(batch, 99)
    with torch.no_grad():
        want = pose(torch.from_numpy(image)).numpy()
    network, _ = load_backend(pose_files / "pose.onnx", backend, precision="f32", threads=1)
    got = network.run(image)
    assert got.shape == want.shape
    (kpts, scores), (want_kpts, want_scores) = CODEC.decode(got), CODEC.decode(want)
    assert want_scores.min() > 0.2  # there is something to agree on
    assert np.abs(want_kpts - xy[:, None]).max() < 8
    assert np.abs(scores - want_scores).max() <= 1e-2
    assert np.hypot(*(kpts - want_kpts).T).max() <= 0.3


def test_onnx_stores_half_and_computes_single(pose, pose_files):
    onnx = pytest.importorskip("onnx")
    proto = onnx.load(str(pose_files / "pose.onnx"))
    large = [t for t in proto.graph.initializer if np.prod(t.dims) >= 1024]
    assert large
    assert {t.data_type for t in large} == {onnx.TensorProto.FLOAT16}
    assert proto.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert [i.name for i in proto.graph.input] == ["image"]
    assert [o.name for o in proto.graph.output] == ["heatmaps"]
    modes = {
        (a.s for a in n.attribute if a.name == "mode").__next__(): {
            a.s for a in n.attribute if a.name == "coordinate_transformation_mode"
        }
        for n in proto.graph.node
        if n.op_type == "Resize"
    }
    assert modes[b"linear"] == {b"half_pixel"}


def test_export_leaves_the_model_alone(pose, tmp_path):
    model = DetectorNet(width=16).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    export_onnx(model, tmp_path / "detector.onnx", detector_meta(model))
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_detector_export_agrees_with_torch(tmp_path):
    torch.manual_seed(0)
    image = np.random.default_rng(0).uniform(0, 255, (2, 3, 256, 256)).astype(np.float32)
    model = settle(DetectorNet(), image)
    torch.nn.init.normal_(model.out.weight, std=0.2)
    meta = detector_meta(model)
    export_onnx(model, tmp_path / "d.onnx", meta)
    save_weights(tmp_path / "d.safetensors", model.state_dict(), meta)
    with torch.no_grad():
        want = model.forward_export(torch.from_numpy(image)).numpy()
    assert want[:, 0].std() > 1e-3  # not agreeing on a constant
    for backend in ("openvino", "onnxruntime", "torch"):
        network, file = load_backend(tmp_path / "d.onnx", backend, precision="f32", threads=1)
        got = network.run(image)
        assert file.kind == "detector"
        assert np.abs(got[:, 0] - want[:, 0]).max() <= 1e-2
        np.testing.assert_allclose(got, want, atol=5e-2)  # distances in units of 64 px, random weights


@pytest.mark.parametrize(
    ("backbone", "head", "heatmap_wh"),
    [
        ("lite_hrnet_18", "auto", None),
        ("hourglass_2_slim", "auto", None),
        ("test_resnet", "deconv", (32, 32)),
        ("test_vit2", "auto", None),
        ("test_resnet", "upsample", (24, 24)),
        ("hrnet_w18_small", "single", (24, 24)),
        ("test_resnet", "regression", None),
    ],
)
def test_files_of_every_kind_of_network_give_what_the_network_gives(
    tmp_path, monkeypatch, backbone, head, heatmap_wh
):
    monkeypatch.setitem(LITE_HRNETS, "lite_hrnet_18", (1, 1, 1))  # each kind of layer once
    torch.manual_seed(0)
    model = PoseNet(backbone, 21, head, input_wh=(64, 64), heatmap_wh=heatmap_wh)
    torch.nn.init.normal_(model.head.out.weight, std=0.05)
    model.eval()
    image = spots(3)[0]
    meta = pose_meta(model, INFANT.names, HeatmapCodec((64, 64), model.heatmap_wh, 1.5))
    save_weights(tmp_path / "pose.safetensors", model.state_dict(), meta)
    export_onnx(model, tmp_path / "pose.onnx", meta)
    # Untrained weights make much of what half precision rounds off: compared is what the file holds.
    stored = load_weights(tmp_path / "pose.safetensors")[0]
    with torch.no_grad():
        want = stored(torch.from_numpy(image)).numpy()
    scale = np.abs(want).max()
    assert want.std() > 1e-3 * scale > 0
    for backend in ("openvino", "onnxruntime", "torch"):
        network, file = load_backend(tmp_path / "pose.onnx", backend, precision="f32", threads=1)
        assert file.heatmap_wh == model.heatmap_wh
        np.testing.assert_allclose(network.run(image), want, rtol=0, atol=1e-3 * scale)
    if head == "regression":
        with pytest.raises(FileFormatError, match="coordinates instead of heatmaps"):
            PoseModel.load(str(tmp_path / "pose.onnx"), backend="onnxruntime")
    else:
        PoseModel.load(str(tmp_path / "pose.onnx"), backend="onnxruntime")


def test_a_file_that_describes_a_network_of_billions_of_weights_is_refused_unbuilt(tmp_path):
    import resource

    from safetensors.torch import save_file

    arch = {"backbone": "vit_giant_patch14_clip_224", "joints": 21, "head": "deconv"}  # four gigabytes
    meta = {"schema": 1, "kind": "pose", "arch": arch, "joints": list(INFANT.names), "sigma": 2.0}
    meta |= {"input_wh": [224, 224], "heatmap_wh": [64, 64]}
    save_file({"a": torch.zeros(1)}, str(tmp_path / "huge.safetensors"), {"heightpose": json.dumps(meta)})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FileFormatError, match=r"huge\.safetensors: .*do not fit"):
        load_weights(tmp_path / "huge.safetensors")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # a gigabyte, in KiB


def test_nan_weights_are_refused(pose, tmp_path):
    state = {k: v.clone() for k, v in pose.state_dict().items()}
    state["head.out.bias"][3] = float("nan")
    meta = pose_meta(pose, INFANT.names, CODEC)
    with pytest.raises(FileFormatError, match=r"not numbers .*head\.out\.bias"):
        save_weights(tmp_path / "x.safetensors", state, meta)
    assert list(tmp_path.iterdir()) == []
    from safetensors.torch import save_file

    save_file(state, str(tmp_path / "x.safetensors"), {"heightpose": json.dumps(meta)})
    with pytest.raises(FileFormatError, match="not numbers"):
        load_weights(tmp_path / "x.safetensors")


def test_values_beyond_half_precision_survive(tmp_path):
    model = DetectorNet(width=8)
    with torch.no_grad():
        model.out.weight[0, 0] = 1e6
        model.tower[1].running_var[0] = 1e7
    save_weights(tmp_path / "d.safetensors", model.state_dict(), detector_meta(model))
    loaded, _ = load_weights(tmp_path / "d.safetensors")
    assert loaded.out.weight[0, 0].item() == 1e6
    assert loaded.tower[1].running_var[0].item() == 1e7


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code from a file was run')",))


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    for name in ("x.pt", "x.ckpt"):
        torch.save({"state_dict": Bomb()}, tmp_path / name)
        with pytest.raises(FileFormatError, match="refused"):
            read_state(tmp_path / name)
    (tmp_path / "y.pt").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(FileFormatError, match="plain weights"):
        read_state(tmp_path / "y.pt")


def test_state_dicts_of_training_checkpoints(tmp_path):
    torch.save({"state_dict": {"a": torch.ones(2).half()}, "epoch": 3}, tmp_path / "x.ckpt")
    state, meta = read_state(tmp_path / "x.ckpt")
    assert meta is None
    assert torch.equal(state["a"], torch.ones(2))
    torch.save([1, 2], tmp_path / "y.pt")
    with pytest.raises(FileFormatError, match="not a state dict"):
        read_state(tmp_path / "y.pt")


@pytest.mark.parametrize("module", [None, "numpy.core.multiarray", "numpy._core.multiarray"])
def test_numpys_numbers_beside_published_weights_are_read_over(tmp_path, module):
    """The published code's own ``checkpoint.pth`` has its best score as a number of numpy, old or new."""
    path, score = tmp_path / "x.pth", np.float64(88.1)
    published = {"epoch": 3, "state_dict": {"a": torch.ones(2)}, "perf": score, "best": np.float32(1)}
    torch.save(published, path, _use_new_zipfile_serialization=module is None)
    if module is not None:
        own = f"c{score.__reduce__()[0].__module__}\nscalar\n".encode()
        assert own in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(own, f"c{module}\nscalar\n".encode()))
    assert torch.equal(read_state(path)[0]["a"], torch.ones(2))


def rewritten(source: Path, target: Path, **changes) -> Path:
    """A copy of a weights file whose description was changed."""
    from safetensors.torch import load_file, save_file

    meta = read_model_file(source).meta | changes
    save_file(load_file(str(source)), str(target), {"heightpose": json.dumps(meta)})
    return target


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arch": {"backbone": "hrnet_w18_small", "joints": 21, "head": "single"}}, "do not fit"),
        ({"arch": {"backbone": "os.system", "joints": 21, "head": "concat"}}, "not one of ours"),
        ({"arch": {"backbone": "hrnet_w18_small", "joints": 10**9, "head": "concat"}}, "not one of ours"),
        (
            {"arch": {"backbone": "hrnet_w18_small", "joints": 21, "head": "concat", "x": 1}},
            "not one of ours",
        ),
        ({"arch": None}, "not one of ours"),
        ({"joints": ["crown"]}, "joint names do not fit"),
        ({"schema": 2}, "expected schema 1, got 2"),
        ({"kind": "cat"}, "kind"),
    ],
)
def test_lying_descriptions_are_refused(pose_files, tmp_path, changes, message):
    path = rewritten(pose_files / "pose.safetensors", tmp_path / "x.safetensors", **changes)
    with pytest.raises(FileFormatError, match=message):
        load_weights(path)


def test_damaged_and_foreign_files_are_refused(pose_files, tmp_path):
    whole = (pose_files / "pose.safetensors").read_bytes()
    for name, content in {
        "cut": whole[:-1000],
        "empty": b"",
        "text": b"hello" * 100,
        "zero": bytes(64),
    }.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match=name):
            load_weights(path)
    with pytest.raises(FileFormatError, match="no such"):
        load_weights(tmp_path / "absent.safetensors")
    (tmp_path / "pose.xml").write_bytes((pose_files / "pose.onnx").read_bytes())
    with pytest.raises(FileFormatError, match="not a weights file"):
        load_weights(tmp_path / "pose.xml")
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, str(tmp_path / "foreign.safetensors"))
    with pytest.raises(FileFormatError, match="of this project"):
        load_weights(tmp_path / "foreign.safetensors")


@pytest.mark.parametrize("content", [{}, {"state_dict": {}}])
def test_a_file_without_weights_is_named(tmp_path, content):
    torch.save(content, tmp_path / "none.pth")
    with pytest.raises(FileFormatError, match=r"none\.pth: the file holds no weights"):
        read_state(tmp_path / "none.pth")
