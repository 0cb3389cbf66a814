"""INT8: what it is calibrated on, what it leaves in floating point, and what that costs."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("onnx")

from heightpose.codec.heatmap import HeatmapCodec  # noqa: E402
from heightpose.errors import FileFormatError, InputError  # noqa: E402
from heightpose.export import run  # noqa: E402
from heightpose.export.crops import dataset_views  # noqa: E402
from heightpose.export.quantise import _first_layers, _last_layers  # noqa: E402
from heightpose.models.checkpoint import load_weights  # noqa: E402
from heightpose.models.description import pose_meta  # noqa: E402
from heightpose.models.ensemble import ensemble  # noqa: E402
from heightpose.models.onnx_graph import export_onnx  # noqa: E402
from heightpose.models.pose_net import PoseNet  # noqa: E402
from heightpose.runtime.backends import load_backend  # noqa: E402
from heightpose.runtime.modelfile import read_model_file  # noqa: E402
from heightpose.skeleton import INFANT  # noqa: E402

WH = (64, 64)


def test_what_is_not_quantised_needs_no_pictures_of_the_split_train(weights, tmp_path):
    import drawn

    drawn.nursery(tmp_path / "set", train=1, val=3)
    drawn.rewrite(tmp_path / "set", lambda document: [i.update(split="val") for i in document["images"]])
    request = run.Request(weights, "onnx", tmp_path / "x.onnx", calibration=tmp_path / "set")
    assert any(what.startswith("Mean@0.1 on") for what in run.export(request).facts)
    with pytest.raises(InputError, match=r"'train' to look at .got val"):
        run.export(replace(request, precision="int8"))
    drawn.rewrite(tmp_path / "set", lambda document: document.update(annotations=[]))
    with pytest.raises(InputError, match=r"one infant .*, got 6 pictures without"):
        run.export(request)


def test_pictures_of_no_split_calibrate_or_judge_and_where_they_do_both_it_is_said(weights, stills, tmp_path):
    import drawn

    shutil.copytree(stills, tmp_path / "set")
    drawn.rewrite(tmp_path / "set", lambda document: [i.pop("split") for i in document["images"]])
    file = read_model_file(weights)
    part = dataset_views(tmp_path / "set", "train", 2, file)
    others = dataset_views(tmp_path / "set", "val", 300, file, part)
    assert len(others.pictures) > 0
    assert others.shared_with(part) == 0
    assert not list(run._judged_on_its_own(part, {"scored": others}))
    whole = dataset_views(tmp_path / "set", "train", 300, file)
    again = dataset_views(tmp_path / "set", "val", 300, file, whole)
    n = len(whole.batch)
    assert again.shared_with(whole) == n
    (note,) = run._judged_on_its_own(whole, {"compared": None, "scored": again})
    assert note.startswith(f"{n} of the {n} pictures scored calibrated it too")


@pytest.mark.parametrize(("to", "name"), [("openvino", "q.xml"), ("onnx", "q.onnx")])
def test_int8_is_calibrated_measured_and_smaller(weights, stills, tmp_path, to, name, monkeypatch, caplog):
    pytest.importorskip("nncf")
    monkeypatch.setattr(run, "_CALIBRATION", 4)
    request = run.Request(weights, to, tmp_path / name, "int8", calibration=stills, force=True)
    report = run.export(request)
    assert report.checks["at 64x64"].share == 0.5
    assert "only 4 pictures to calibrate INT8" in caplog.text
    assert "calibrated on 4 pictures" in report.lines()
    assert "more varied, pictures" not in report.why_not  # as many as are taken
    monkeypatch.setattr(run, "_CALIBRATION", 5)
    assert "more varied, pictures" in report.why_not
    assert any(what.startswith("Mean@0.1 on") for what in report.facts)
    backend, file = load_backend(tmp_path / name, {"onnx": "onnxruntime"}.get(to, to), precision="f32")
    assert backend.active.precision == "int8 with f32"
    about = file.meta["export"]["calibration"]
    assert about["pictures"] <= 4
    assert len(about["labels_sha256"]) == 64
    parameters = sum(v.numel() for v in load_weights(weights)[0].parameters())
    # Single precision takes four bytes.
    assert sum(path.stat().st_size for path in report.files) < 1.3 * parameters


def test_onnx_alone_becomes_int8_once(graph, stills, tmp_path, monkeypatch):
    pytest.importorskip("nncf")
    monkeypatch.setattr(run, "_CALIBRATION", 4)
    request = run.Request(graph, "onnx", tmp_path / "q.onnx", "int8", calibration=stills, force=True)
    assert run.export(request).kept
    assert load_backend(tmp_path / "q.onnx", "onnxruntime")[0].active.precision == "int8 with f32"
    with pytest.raises(FileFormatError, match="INT8 already"):
        run.export(replace(request, weights=tmp_path / "q.onnx", out=tmp_path / "r.onnx"))


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_int8_spares_the_layers_that_see_and_that_answer_whatever_the_head(weights, graph, tmp_path, form):
    """Of a net that gives coordinates the last convolution is deep inside, and an ensemble has one of each net."""
    import onnx

    from heightpose.runtime.backends import openvino_core

    ensemble([graph.with_name("half.onnx")] * 2, [0.5, 0.5], tmp_path / "two.onnx")
    net = PoseNet("test_resnet", head="regression", input_wh=WH).eval()
    export_onnx(
        net, tmp_path / "one.onnx", pose_meta(net, INFANT.names, HeatmapCodec(WH, (16, 16))), half=False
    )
    for name, nets in (("one.onnx", [""]), ("two.onnx", ["net0/", "net1/"])):
        path = tmp_path / name
        model = onnx.load(str(path)) if form == "onnx" else openvino_core().read_model(path)
        for layers, place in ((_last_layers, "/head/out"), (_first_layers, "/trunk/model/conv1/conv1.0")):
            found = sorted(layers(model))
            assert len(found) == len(nets)
            assert all(net + place in one for net, one in zip(nets, found, strict=True))
