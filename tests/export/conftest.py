"""A small network, its ONNX graph and some pictures, for all tests of exports."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "data"))

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("onnx")

from heightpose.codec.heatmap import HeatmapCodec  # noqa: E402
from heightpose.export import run  # noqa: E402
from heightpose.export.crops import drawn_batch  # noqa: E402
from heightpose.models.checkpoint import load_weights, save_weights  # noqa: E402
from heightpose.models.description import pose_meta  # noqa: E402
from heightpose.models.ensemble import ensemble  # noqa: E402
from heightpose.models.heads import DeconvHead  # noqa: E402
from heightpose.models.onnx_graph import export_onnx  # noqa: E402
from heightpose.models.pose_net import PoseNet  # noqa: E402
from heightpose.skeleton import INFANT  # noqa: E402

WH = (64, 64)


@pytest.fixture(autouse=True)
def one_timed_round(monkeypatch):
    """How fast a file is is told, and not tested."""
    monkeypatch.setattr(run, "_TIMED_ROUNDS", 1)


@pytest.fixture(scope="module", autouse=True)
def narrow_head():
    """The published 256 channels would be four fifths of a small network's work; fewer are the same layers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DeconvHead, "WIDTH", 96)
        yield


def written(backbone, folder):
    """A residual network with random weights, its peaks high enough to be compared."""
    torch.manual_seed(0)
    model = PoseNet(backbone, input_wh=WH).eval()
    for layer in model.head.modules():  # its own initialisation is meant for training: next to nothing
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            torch.nn.init.kaiming_normal_(layer.weight)
    with torch.no_grad():
        peak = model(torch.from_numpy(drawn_batch(4, WH))).amax(dim=(0, 2, 3)).clamp(min=1e-6)
        model.head.out.weight *= (0.8 / peak)[:, None, None, None]
    path = folder / "pose.safetensors"
    meta = pose_meta(model, INFANT.names, HeatmapCodec(WH, (16, 16)))
    save_weights(path, model.state_dict(), meta)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small one, for all that is not about its trunk."""
    return written("test_resnet", tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def prunable(tmp_path_factory):
    """One whose residual blocks are wide enough to lose channels in groups of eight."""
    return written("resnet10t", tmp_path_factory.mktemp("prunable"))


@pytest.fixture(scope="module", autouse=True)
def few_pictures():
    saved = run._COMPARED
    run._COMPARED = 8
    yield
    run._COMPARED = saved


@pytest.fixture(scope="session")
def stills(tmp_path_factory):
    import drawn

    folder = tmp_path_factory.mktemp("stills")
    drawn.nursery(folder / "set", train=4, val=3)
    return folder / "set"


@pytest.fixture(scope="module")
def graph(weights, tmp_path_factory):
    """The same network as ONNX alone, its weights in bytes, as ``accurate`` is shipped."""
    folder = tmp_path_factory.mktemp("graph")
    export_onnx(*load_weights(weights)[:1], folder / "half.onnx", load_weights(weights)[1])
    ensemble([folder / "half.onnx"], [1.0], folder / "pose.onnx", in_bytes=True)
    return folder / "pose.onnx"
