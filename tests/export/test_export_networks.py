"""Exported files agree with their source, those that do not are refused, and what is cut away was not needed."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("onnx")

from heightpose.codec.heatmap import HeatmapCodec  # noqa: E402
from heightpose.errors import ConfigError, FileFormatError  # noqa: E402
from heightpose.evaluate.result import identity  # noqa: E402
from heightpose.export import run  # noqa: E402
from heightpose.export.check import LIMIT_PX, Agreement, agreement, decoded  # noqa: E402
from heightpose.export.crops import drawn_batch  # noqa: E402
from heightpose.export.prune import prune_blocks  # noqa: E402
from heightpose.export.source import with_network  # noqa: E402
from heightpose.models.checkpoint import load_weights, save_weights  # noqa: E402
from heightpose.models.description import detector_meta  # noqa: E402
from heightpose.models.detector_net import DetectorNet  # noqa: E402
from heightpose.models.ensemble import ensemble  # noqa: E402
from heightpose.models.onnx_graph import export_onnx  # noqa: E402
from heightpose.models.pose_net import PoseNet  # noqa: E402
from heightpose.runtime.backends import load_backend  # noqa: E402
from heightpose.runtime.modelfile import FINE_WH, read_model_file, shipped_path  # noqa: E402
from heightpose.runtime.networks import PoseModel  # noqa: E402
from heightpose.skeleton import INFANT  # noqa: E402

WH = (64, 64)


def test_what_lies_beside_a_file_is_taken_for_it_only_where_it_is_the_same_network(weights, tmp_path):
    beside = tmp_path / "pose.safetensors"
    shutil.copy(weights, beside)
    model, meta = load_weights(beside)
    trained = tmp_path / "pose.onnx"
    export_onnx(model, trained, meta)
    assert with_network(trained) == beside
    run.export(run.Request(beside, "onnx", tmp_path / "other.onnx", prune=0.25, fixed_size=True))
    (tmp_path / "other.onnx").rename(trained)
    assert with_network(trained) == trained
    assert with_network(beside) == beside


@pytest.mark.parametrize(
    ("to", "name", "precision"),
    [
        ("onnx", "a.onnx", "f32"),
        ("onnx", "b.onnx", "fp16"),
        ("openvino", "c.xml", "f32"),
        ("torchscript", "e.pt", "f32"),
    ],
)
def test_a_faithful_export_is_kept_and_takes_any_size(weights, tmp_path, to, name, precision):
    report = run.export(run.Request(weights, to, tmp_path / name, precision))
    assert report.passed
    assert report.kept
    assert sorted(report.checks) == ["at 128x128", "at 64x64"]
    assert all(len(check.distance_px) > 20 for check in report.checks.values())
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in report.files)
    if to == "torchscript":
        scripted = torch.jit.load(str(tmp_path / name))
        assert scripted(torch.zeros(3, 3, 96, 64)).shape == (3, 21, 24, 16)
        return
    backend, file = load_backend(tmp_path / name, "auto", precision="f32")
    assert file.joints == INFANT.names
    assert file.meta["export"]["precision"] == precision
    assert len(file.meta["export"]["source_sha256"]) == 64
    assert str(tmp_path) not in str(file.meta)
    for count, width, height in ((1, 64, 64), (3, 96, 64)):
        assert backend.run(np.zeros((count, 3, height, width), np.float32)).shape == (
            count, 21, height // 4, width // 4,
        )  # fmt: skip


def test_half_precision_is_half_the_size_and_the_typical_joint_stays(weights, tmp_path):
    """Random weights have many equal peaks, so the odd joint jumps: the limit on nearly all is for real networks."""
    report = run.export(run.Request(weights, "openvino", tmp_path / "h.xml", "fp16", force=True))
    assert all(np.median(check.distance_px) < LIMIT_PX for check in report.checks.values())
    model, meta = load_weights(weights)
    assert (tmp_path / "h.bin").stat().st_size < 2.2 * sum(v.numel() for v in model.parameters())
    export_onnx(model, tmp_path / "h.onnx", meta)
    openvino, onnx = (
        load_backend(tmp_path / name, precision="f32")[0].run(drawn_batch(2, WH))
        for name in ("h.xml", "h.onnx")
    )
    np.testing.assert_allclose(openvino, onnx, atol=1e-5)  # biases are in single precision in both


class Foreign(torch.nn.Module):
    """A network with a layer that ONNX has no word for."""

    def forward(self, image):
        return torch.linalg.svdvals(image)


def test_a_network_that_onnx_has_no_words_for_is_told_in_one_line(weights, tmp_path, capfd):
    meta = load_weights(weights)[1]
    with pytest.raises(
        ConfigError, match=r"odd\.onnx: the network cannot be written as ONNX .*--backend torch"
    ):
        export_onnx(Foreign(), tmp_path / "odd.onnx", meta)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr().out == ""


def test_two_networks_of_one_graph_are_told_apart(weights, tmp_path):
    """OpenVINO keeps the weights beside the graph: what a model is called by its hash is both."""
    model, meta = load_weights(weights)
    with torch.no_grad():
        model.head.out.bias += 1.0
    save_weights(tmp_path / "other.safetensors", model.state_dict(), meta)
    for name, source in (("a", weights), ("b", tmp_path / "other.safetensors")):
        (tmp_path / name).mkdir()
        run.export(run.Request(source, "openvino", tmp_path / name / "m.xml", fixed_size=True))
    shutil.copy(tmp_path / "a/m.xml", tmp_path / "b/m.xml")  # the description of its source aside
    one, other = (identity(PoseModel.load(str(tmp_path / name / "m.xml"))) for name in ("a", "b"))
    assert one["name"] == other["name"]
    assert one["sha256"] != other["sha256"]


def test_a_fixed_size_stays_fixed(weights, tmp_path):
    report = run.export(run.Request(weights, "openvino", tmp_path / "f.xml", fixed_size=True))
    assert list(report.checks) == ["at 64x64"]
    backend, _ = load_backend(tmp_path / "f.xml")
    with pytest.raises(FileFormatError, match="cannot run this model"):
        backend.run(np.zeros((1, 3, 96, 64), np.float32))


@pytest.mark.parametrize("fixed", [False, True])
def test_a_finer_look_goes_with_a_free_size_alone(weights, tmp_path, fixed):
    model, meta = load_weights(weights)
    save_weights(tmp_path / "fine.safetensors", model.state_dict(), meta | {FINE_WH: [96, 96]})
    run.export(run.Request(tmp_path / "fine.safetensors", "openvino", tmp_path / "f.xml", fixed_size=fixed))
    assert PoseModel.load(str(tmp_path / "f.xml")).file.fine_wh == (None if fixed else (96, 96))


@pytest.mark.parametrize(("to", "name", "batch"), [("onnx", "a.onnx", -1), ("torchscript", "b.pt", None)])
def test_a_size_that_tracing_fixed_stays_fixed(weights, tmp_path, monkeypatch, to, name, batch):
    """As in MobileViT: the network takes any size, its graph holds numbers that were worked out from one."""
    forward = PoseNet.forward

    def reshaped(self, image):
        maps = forward(self, image)
        if not torch.jit.is_tracing():
            return maps
        return maps.reshape(maps.shape[0] if batch is None else batch, 21, 16, 16)

    monkeypatch.setattr(PoseNet, "forward", reshaped)
    report = run.export(run.Request(weights, to, tmp_path / name))
    assert report.kept
    assert list(report.checks) == ["at 64x64"]


def test_what_no_runtime_loads_names_the_source(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "write", lambda source, meta, to, precision, path, *_: path.write_bytes(b""))
    with pytest.raises(
        FileFormatError, match=r"pose.safetensors: this network cannot be run as onnx .*openvino"
    ):
        run.export(run.Request(weights, "onnx", tmp_path / "x.onnx"))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_does_not_agree_is_not_kept(weights, tmp_path, monkeypatch):
    honest = run.write

    def careless(source, *args):
        with torch.no_grad():
            source.model.normalise.mean += 40.0  # as a forgotten colour order or normalisation would do
        honest(source, *args)
        with torch.no_grad():
            source.model.normalise.mean -= 40.0

    monkeypatch.setattr(run, "write", careless)
    request = run.Request(weights, "openvino", tmp_path / "new" / "x.xml", fixed_size=True)
    report = run.export(request)
    assert not report.passed
    assert not report.kept
    assert list(tmp_path.iterdir()) == []
    assert any("FAILED" in line for line in report.lines())
    assert "does not agree" in report.why_not
    assert run.export(replace(request, force=True)).kept
    assert (tmp_path / "new" / "x.bin").is_file()


def test_a_source_that_is_sure_of_nothing_cannot_be_compared_with(weights, tmp_path):
    model, meta = load_weights(weights)
    with torch.no_grad():
        model.head.out.weight *= 0.01
    unsure = tmp_path / "pose.safetensors"
    save_weights(unsure, model.state_dict(), meta)
    report = run.export(run.Request(unsure, "onnx", tmp_path / "x.onnx", fixed_size=True))
    assert not report.kept
    assert "sure of nothing" in report.why_not
    assert "--calibration" in report.why_not
    text = "\n".join(report.lines())
    assert "nothing to compare, all 84 coordinates" in text
    assert "nan" not in text


def test_agreement_is_of_coordinates_at_256_and_of_scores(weights):
    file = read_model_file(weights)
    batch = drawn_batch(3, WH)
    codec, labelled = HeatmapCodec(WH, (16, 16)), np.ones((3, 21), bool)
    kpts = np.random.default_rng(0).uniform(15, 45, (3, 21, 2))
    maps, moved, far = (codec.encode(kpts + (dx, 0.0), labelled)[0] for dx in (0.0, 0.05, 0.2))
    found = agreement(lambda b: maps[: len(b)], lambda b: moved[: len(b)], batch, file)
    assert len(found.distance_px) == 63
    np.testing.assert_allclose(found.distance_px, 0.05 * 256 / 64, atol=0.03)
    assert found.passed
    found = agreement(lambda b: maps[: len(b)], lambda b: far[: len(b)], batch, file)
    assert np.median(found.distance_px) > LIMIT_PX
    assert not found.passed
    lower = agreement(lambda b: maps[: len(b)], lambda b: 0.9 * maps[: len(b)], batch, file)
    assert not lower.passed  # same places, other scores
    silent = agreement(lambda b: 0 * maps[: len(b)], lambda b: 0 * maps[: len(b)], batch, file)
    assert not silent.passed  # nothing was compared
    assert silent.left_out == 63


def test_pruning_channels_that_do_nothing_changes_nothing(prunable):
    model, _ = load_weights(prunable)
    batch = torch.from_numpy(drawn_batch(2, WH))
    blocks = [m for m in model.modules() if hasattr(m, "conv1") and hasattr(m, "bn2")]
    with torch.no_grad():
        for block in blocks:
            idle = torch.arange(block.conv1.out_channels)[1::2]
            block.conv1.weight[idle] = 0.0
            block.bn1.bias[idle] = 0.0
            block.bn1.running_mean[idle] = 0.0
        before = model.forward_export(batch)
        had, has = prune_blocks(model, 0.4)
        after = model.forward_export(batch)
    assert has < 0.9 * had
    widths = [block.conv1.out_channels for block in blocks]
    assert all(width % 8 == 0 for width in widths if width > 8)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-4)
    with pytest.raises(ConfigError, match="no channel would be cut"):
        prune_blocks(model, 0.01)
    with pytest.raises(ConfigError, match="no residual blocks"):
        prune_blocks(torch.nn.Linear(2, 2), 0.5)


def test_a_pruned_export_agrees_with_what_was_pruned_and_says_what_it_cost(prunable, tmp_path):
    report = run.export(run.Request(prunable, "openvino", tmp_path / "p.xml", prune=0.5))
    assert report.kept
    before, after = report.parameters
    assert after < 0.8 * before
    assert any("what the pruning costs was not measured" in line for line in report.lines())
    assert read_model_file(tmp_path / "p.xml").meta["export"]["pruned"] == 0.5
    assert (tmp_path / "p.bin").stat().st_size < 4.1 * after  # four bytes each, and nothing of what was cut


def test_why_an_accuracy_is_not_measured_is_said(weights, tmp_path):
    import drawn

    drawn.nursery(tmp_path / "set", train=0, val=2)

    def without_crown(document):
        at = 3 * INFANT.index("crown")
        for annotation in document["annotations"]:
            annotation["keypoints"][at : at + 3] = [0, 0, 0]

    drawn.rewrite(tmp_path / "set", without_crown)
    request = run.Request(weights, "onnx", tmp_path / "x.onnx", heldout=tmp_path / "set", fixed_size=True)
    lines = "\n".join(run.export(request).lines())
    assert "not measured: Mean@0.1 and MeanSmS@0.1. None of the 2 true crops" in lines
    assert "crown and upper_neck" in lines


def test_options_that_do_not_go_together(weights, tmp_path):
    for request, words in (
        (run.Request(weights, "onnx", tmp_path / "a.xml"), "expected .onnx"),
        (run.Request(weights, "openvino", tmp_path / "A.XML"), "expected .xml, got .XML"),
        (run.Request(weights, "onnx", tmp_path / "a.onnx", "int8"), "--calibration"),
        (run.Request(weights, "onnx", tmp_path / "a.onnx", prune=float("nan")), "--prune"),
    ):
        with pytest.raises(ConfigError, match=words):
            run.export(request)
    assert list(tmp_path.iterdir()) == []


def test_a_net_of_another_kind_is_refused(tmp_path):
    with pytest.raises(FileFormatError, match="expected pose or detector, got cover"):
        run.export(run.Request(shipped_path("cover"), "onnx", tmp_path / "cover.onnx"))
    assert list(tmp_path.iterdir()) == []


def test_a_source_is_not_replaced_by_its_own_export(graph, tmp_path):
    source, link = tmp_path / "w.onnx", tmp_path / "link.onnx"
    shutil.copy(graph, source)
    link.symlink_to(source)
    for named, out in (
        (source, source),
        (link, source),
        (source, tmp_path / ".." / tmp_path.name / "w.onnx"),
    ):
        with pytest.raises(ConfigError, match="replace its own source"):
            run.export(run.Request(named, "onnx", out, "fp16"))
    assert source.read_bytes() == graph.read_bytes()


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """A detector with random weights that sees somebody everywhere."""
    torch.manual_seed(0)
    model = DetectorNet(width=16).eval()
    with torch.no_grad():
        torch.nn.init.normal_(model.out.weight, std=0.1)
        model.out.bias[0] = 0.0
    path = tmp_path_factory.mktemp("detector") / "detector.safetensors"
    save_weights(path, model.state_dict(), detector_meta(model))
    return path


@pytest.mark.parametrize(("to", "name"), [("onnx", "d.onnx"), ("openvino", "d.xml"), ("torchscript", "d.pt")])
def test_a_detector_is_compared_at_another_size_too(detector, tmp_path, to, name):
    report = run.export(run.Request(detector, to, tmp_path / name))
    assert report.kept
    assert report.passed
    assert sorted(report.checks) == ["at 192x192", "at 256x256"]
    assert all(len(check.distance_px) == 8 for check in report.checks.values())


def test_a_detectors_output_that_its_codec_cannot_read(detector):
    file = read_model_file(detector)
    for shape in ((1, 7, 40, 40), (1, 6, 32, 32), (1, 7)):
        with pytest.raises(FileFormatError, match="not a map of ours"):
            decoded(np.zeros(shape, np.float32), (256, 256), file)


@pytest.mark.parametrize(("to", "name"), [("openvino", "a.xml"), ("onnx", "b.onnx")])
def test_several_networks_in_one_file_are_exported_as_they_answer(graph, tmp_path, to, name):
    half, two = graph.with_name("half.onnx"), tmp_path / "two.onnx"
    ensemble([half, half], [0.5, 0.5], two)
    report = run.export(run.Request(two, to, tmp_path / name))
    assert report.passed
    assert list(report.checks) == ["at 64x64"]  # the graph's size is fixed
    assert report.checks["at 64x64"].distance_px.max() < 0.01
    backend, file = load_backend(tmp_path / name, "auto", precision="f32")
    assert file.joints == INFANT.names
    assert len(file.meta["ensemble"]) == 2
    batch = drawn_batch(2, WH)
    expected = load_backend(two, "onnxruntime")[0].run(batch)
    np.testing.assert_allclose(backend.run(batch), expected, atol=1e-4)


@pytest.mark.parametrize(("to", "name"), [("openvino", "a.xml"), ("torchscript", "c.pt")])
def test_onnx_alone_is_exported_at_any_size(graph, tmp_path, to, name):
    """What its graph fixes, the network that is built from its weights leaves free."""
    report = run.export(run.Request(graph, to, tmp_path / name))
    assert report.passed
    assert len(report.checks) == 2
    assert all(check.distance_px.max() < 0.01 for check in report.checks.values())
    if to != "torchscript":
        batch = drawn_batch(2, WH)
        expected = load_backend(graph, "onnxruntime")[0].run(batch)
        found = load_backend(tmp_path / name, "auto", precision="f32")[0].run(batch)
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_slow_file_is_not_timed_for_minutes(monkeypatch):
    monkeypatch.setattr(run, "_TIMED_ROUNDS", 100)
    monkeypatch.setattr(run, "_TIMED_S", 1e-9)
    calls = []
    run._ms(lambda batch: calls.append(0), np.zeros((1, 1)))
    assert len(calls) == 2  # one to begin with, one that is timed


def test_of_few_coordinates_too_a_tie_of_two_peaks_is_let_through():
    distance, score = np.full(96, 0.01), np.zeros(96)
    distance[7] = 55.0
    assert Agreement(distance, score, 0, 0.99).passed
    assert not Agreement(distance, score, 0).passed
    distance[8] = 55.0
    assert not Agreement(distance, score, 0, 0.99).passed
