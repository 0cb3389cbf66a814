"""The benchmark on tiny networks: every figure is there and means what its name says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "runtime"))
import makers

from heightpose.bench import machine, nets, run, whole
from heightpose.errors import HeightposeError
from heightpose.runtime import networks
from heightpose.runtime.backends import load_backend
from heightpose.runtime.video import open_clip


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return makers.tiny_pose(folder / "pose.onnx"), makers.tiny_detector(folder / "detector.onnx")


def test_the_machine_is_named():
    about = machine.machine()
    assert about["processor"]
    assert about["cores"] >= 1
    busy = {**about, "cores": 2, "load_before": 7.0}
    assert "other work ran beside (load 7" in machine.described(busy)[1]
    assert len(machine.described({**busy, "load_before": 0.1})) == 1


def test_a_net_without_its_weights_has_no_eager_figure(models):
    result = nets.bench_net(*load_backend(models[0], "openvino"), 0.02)
    assert result["backend"].startswith("openvino")
    assert set(result["ms"]) == {1, 8}
    assert min(result["ms"].values()) > 0
    assert result["eager_ms"] is None
    assert result["times_eager"] is None


def test_eager_pytorch_runs_the_same_weights(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(nets, "usable_cores", lambda: 1)
    from heightpose.models.checkpoint import save_weights
    from heightpose.models.description import detector_meta
    from heightpose.models.detector_net import DetectorNet
    from heightpose.models.onnx_graph import export_onnx

    torch.manual_seed(0)
    net = DetectorNet().eval()
    meta = detector_meta(net)
    save_weights(tmp_path / "d.safetensors", net.state_dict(), meta)
    export_onnx(net, tmp_path / "d.onnx", meta)
    result = nets.bench_net(*load_backend(tmp_path / "d.onnx"), 0.02)
    for batch in (1, 8):
        assert result["times_eager"][batch] == pytest.approx(
            result["eager_ms"][batch] / result["ms"][batch], abs=0.01
        )


def test_the_clip_is_played_to_and_fro_at_the_size_a_camera_fits(tmp_path):
    frames = [makers.scene((160, 90), (20 + 20 * i, 40)) for i in range(4)]
    source = makers.write_video(tmp_path / "s.mp4", frames)
    clip, still, size_wh = whole.make_inputs(source, tmp_path, 8)
    assert size_wh == (1280, 720)
    with open_clip(clip) as made:
        shown = [frame.rgb for frame in made.frames()]
    assert len(shown) == 8
    # 0 1 2 3 2 1 0 1
    places = [int(rgb[:, :, 0].sum(axis=0).argmax()) // 8 for rgb in shown]
    assert [round((x - 20) / 20) for x in places] == [0, 1, 2, 3, 2, 1, 0, 1]
    with open_clip(still) as picture:
        assert picture.size_wh == size_wh
    odd = makers.write_video(tmp_path / "odd.mp4", [makers.scene((96, 64))] * 2)
    assert whole.make_inputs(odd, tmp_path, 2)[2] == (96, 64)


def test_a_whole_run_counts_its_frames_and_its_overlay(models, tmp_path):
    clip = makers.write_video(tmp_path / "c.mp4", [makers.scene((160, 120))] * 5)
    options = ["--model", str(models[0]), "--detector", str(models[1])]
    large = np.ones(600_000_000, np.uint8)  # of this process, not of the one that is measured
    done = whole.run_infer(clip, options, tmp_path, overlay=True)
    del large
    figures = whole.stream_figures(done)
    assert figures["frames"] == 5
    assert figures["frames_per_s"] >= figures["frames_per_s_with_start"] > 0
    assert {"decode", "detect", "pose"} <= set(figures["stage_ms"])
    assert figures["peak_mb"] is None or 50 < figures["peak_mb"] < 600
    assert done.overlay_ms > 0
    with pytest.raises(HeightposeError, match=r"ended with code 2.*no such model"):
        whole.run_infer(clip, ["--model", "absent.onnx"], tmp_path, overlay=False)


def test_the_table_and_the_json(models, tmp_path, monkeypatch, capsys):
    from heightpose.cli import main as cli_main

    monkeypatch.setattr(networks, "find_model", lambda name: models[1] if name == "detector" else models[0])
    loads = []
    monkeypatch.setattr(networks, "load_backend", lambda *args: loads.append(args) or load_backend(*args))
    monkeypatch.setattr(
        run,
        "run_infer",
        lambda path, options, folder, overlay: whole.Process(
            2.0, 300.0, {"input": {"frames": 10}, "wall_s": 0.5, "stage_ms": {"pose": 4.0}, "backend": {}},
            20.0 if overlay else None,
        ),
    )  # fmt: skip
    monkeypatch.setattr(run, "first_answers", lambda *_: {"best_s": 1.25, "median_s": 1.5})
    clip = makers.write_video(tmp_path / "c.mp4", [makers.scene((160, 90))] * 2)
    args = ["bench", "run", str(clip), "--model", "fast", "--frames", "4", "--seconds", "0"]
    assert cli_main._run([*args, "--out", str(tmp_path / "b.json")], False) == 0
    assert len(loads) == 2  # each once: loading tests a shipped network, which takes its time
    text = capsys.readouterr().out
    assert "frames/s, without overlay                20.00  [40]" in text
    assert "frames/s, process start included          5.00" in text
    assert "overlay, frames/s                        50.00  [25]" in text
    assert "one still to its answer, s                1.25  [2]" in text
    about = json.loads((tmp_path / "b.json").read_text())
    assert about["models"]["fast"]["clip"]["frames_per_s"] == 20.0
    assert cli_main._run([*args, "--json"], False) == 0
    assert set(json.loads(capsys.readouterr().out)["models"]) == {"fast"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "fast", "--model", "nosuch"], "nosuch: no such model"),
        (["--model", "nonsense.onnx"], "nonsense.onnx: the model file is damaged"),
        (["--out", "/proc/nothing/b.json"], "/proc/nothing: cannot be written"),
        (["--out", "nonsense.onnx/b.json"], "nonsense.onnx: cannot be written"),
        (["--camera", "nonsense.onnx"], "nonsense.onnx: the camera file is not JSON"),
        (["--out", "new/b.json", "--backend", "torch", "--model", "nosuch"], "no such model"),
    ],
)
def test_what_cannot_be_used_is_told_before_anything_is_measured(
    tmp_path, monkeypatch, capsys, options, words
):
    from heightpose.cli import main as cli_main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "bench_net", lambda *_: pytest.fail("measured"))
    monkeypatch.setattr(run, "run_infer", lambda *_: pytest.fail("measured"))
    makers.write_video(tmp_path / "c.mp4", [makers.scene((160, 90))] * 2)
    (tmp_path / "nonsense.onnx").write_bytes(b"nonsense")
    assert cli_main._run(["bench", "run", "c.mp4", *options], False) == 2
    assert words in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"c.mp4", "nonsense.onnx"}


def test_a_missing_folder_for_the_figures_is_made(tmp_path, monkeypatch, capsys):
    from heightpose.cli import main as cli_main

    monkeypatch.setattr("heightpose.bench.run.bench", lambda *_, **__: {"models": {}})
    monkeypatch.setattr("heightpose.bench.run.lines", lambda about: ["table"])
    clip = makers.write_video(tmp_path / "c.mp4", [makers.scene((160, 90))] * 2)
    assert cli_main._run(["bench", "run", str(clip), "--out", str(tmp_path / "new" / "b.json")], False) == 0
    assert json.loads((tmp_path / "new" / "b.json").read_text()) == {"models": {}}


def test_without_an_example_it_asks_for_a_clip(tmp_path, monkeypatch, capsys):
    from heightpose.cli import main as cli_main

    monkeypatch.chdir(tmp_path)
    assert cli_main._run(["bench"], False) == 2
    assert "Name a clip" in capsys.readouterr().err
