"""Bad camera, sheet, plane and weight files, and configurations: a clear line and code 2, or a rejection and code 3."""

from __future__ import annotations

import json
import os
import pickle
import re

import makers
import pytest
from spot_clip import CAMERA, PLANE

pytestmark = pytest.mark.timeout(60)

# ---- camera, sheet and plane files


def camera(**changes):
    return json.dumps({**CAMERA, **changes})


def intrinsics(f=200.0, cx=79.5, cy=59.5):
    return [[f, 0, cx], [0, f, cy], [0, 0, 1]]


def plane(**changes):
    return json.dumps({**PLANE, **changes})


TAG = [[-3, 3], [3, 3], [3, -3], [-3, -3]]


def sheet(**changes):
    tags = {0: TAG}
    whole = {"name": "s", "units": "cm", "size_cm": [70, 132], "family": "DICT_APRILTAG_36h11", "tags": tags}
    return json.dumps({**whole, **changes})


#: name -> (option, the file's content, words of the line)
NONSENSE = {
    "camera is a sheet": ("camera", sheet(), "camera field|not a camera"),
    "camera is a plane": ("camera", plane(), "camera field"),
    "camera is a list": ("camera", "[1, 2]", "not a camera file"),
    "camera is a picture": ("camera", b"\x89PNG\r\n\x1a\n\0\0", "not JSON"),
    "camera is cut off": ("camera", camera()[:60], "not JSON"),
    "camera is empty": ("camera", "", "not JSON"),
    "camera is nested without end": ("camera", "[" * 100_000, "not JSON"),
    "camera of another size": ("camera", camera(width=1000), "another picture size"),
    "camera of no size": ("camera", camera(width=0), "width"),
    "camera of a size that is no number": ("camera", camera(width="wide"), "width"),
    "camera of infinite size": ("camera", camera(width=1).replace('"width": 1', '"width": 1e999'), "width"),
    "camera of negative focal length": ("camera", camera(K=intrinsics(f=-200)), "K"),
    "camera with NaN": ("camera", camera(K=intrinsics(f=float("nan"))), "K"),
    "camera that looks aside": ("camera", camera(K=intrinsics(cx=9e9)), "principal point"),
    "camera of another lens": ("camera", camera(model="mirror"), "pinhole or fisheye"),
    "camera with too few coefficients": ("camera", camera(dist=[0, 0]), "dist"),
    "camera with a huge number": ("camera", camera().replace("200.0", "1" + "0" * 400), "K"),
    "sheet is a camera": ("sheet", camera(), "sheet field"),
    "sheet is a plane": ("sheet", plane(), "sheet field"),
    "sheet is a picture": ("sheet", b"\x89PNG\r\n\x1a\n\0\0", "not YAML"),
    "sheet is empty": ("sheet", "", "sheet field"),
    "sheet in inches": ("sheet", sheet(units="in"), "units"),
    "sheet of unknown tags": ("sheet", sheet(family="DICT_MINE"), "family"),
    "sheet with a tag out of the family": ("sheet", sheet(tags={99999: []}), "tags"),
    "sheet with tags that are points": ("sheet", sheet(tags={0: [[0, 0]] * 4}), "convex"),
    "sheet with NaN": ("sheet", sheet(size_cm=[float("nan"), 1]), "size_cm"),
    "sheet that runs code": ("sheet", "!!python/object/apply:os.system ['touch hacked']", "not YAML"),
    "sheet that makes objects": ("sheet", "!!python/object:heightpose.types.Pose {}", "not YAML"),
    "sheet of a billion laughs": ("sheet", makers.billion_laughs(), "unfolds without end"),
    "sheet of a billion merges": ("sheet", makers.billion_laughs(merge=True), "unfolds without end"),
    "sheet that holds itself": ("sheet", "&a [*a]", "unfolds without end"),
    "sheet that is nested without end": ("sheet", "[" * 600, "nested too deeply|not YAML"),
    "sheet with a list for a key": ("sheet", "? [1]\n: 2", "not YAML|cannot be understood"),
    "plane is a camera": ("plane", camera(), "plane field"),
    "plane that is no rotation": ("plane", plane(R=[[1, 0, 0], [0, 2, 0], [0, 0, 1]]), "R"),
    "plane that mirrors": ("plane", plane(R=[[1, 0, 0], [0, 1, 0], [0, 0, -1]]), "R"),
    "plane over the camera": ("plane", plane(t_cm=[0, 0, -150]), "below the mattress"),
    "plane with NaN": ("plane", plane(t_cm=[0, 0, float("nan")]), "t_cm"),
    "camera with a key twice": ("camera", camera()[:-1] + ', "width": 160}', "has a key twice.*width"),
    "plane with a key twice": ("plane", plane()[:-1] + ', "t_cm": [0, 0, 9]}', "has a key twice.*t_cm"),
    "sheet with a key twice": ("sheet", "tags: {}\nname: a\ntags: {}", "has a key twice.*tags, again in line 3"),
    "sheet with a tag twice": ("sheet", sheet().replace('{"0"', f'{{"0": {TAG}, "0"'), "a key twice.*got 0"),
    "sheet with a tag spelt two ways": ("sheet", sheet(tags={0: TAG, "00": TAG}), "tags.*each tag id once, got 00"),
    "plane of text": ("plane", plane(t_cm="far"), "t_cm"),
    "plane of unknown goodness": ("plane", plane(length_sd="good"), "length_sd"),
    "plane with a number in quotes": ("plane", plane(length_sd="0.02"), "length_sd.*got '0.02'"),
    "plane better than exact": ("plane", plane(length_sd=-0.02), "length_sd.*not negative"),
    "plane with a sheet of nothing": ("plane", plane(sheet={"tags": 5}), "plane.file"),
}  # fmt: skip


@pytest.mark.parametrize("name", NONSENSE)
def test_settings_file(infer, clip, tmp_path, name):
    option, content, words = NONSENSE[name]
    others = {"camera": camera(), "plane": plane()} if option != "sheet" else {"camera": camera()}
    for which, text in {**others, option: content}.items():
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / f"{which}.file").write_bytes(data)
    code, line = infer(
        clip, *[part for which in {**others, option: ""} for part in (f"--{which}", f"{which}.file")]
    )
    assert code == 2, line
    assert re.search(words, line), line
    assert f"{option}.file" in line or "another picture size" in line
    assert len(line) < 900
    assert not (tmp_path / "hacked").exists()
    assert not list((tmp_path / "res").rglob("height.json"))


#: Valid files that describe nothing that exists: measuring with them must end in a rejection, never in a number.
IMPLAUSIBLE = {
    "a camera a kilometre away": (camera(), plane(t_cm=[0, 0, 1e5])),
    "a camera in the mattress": (camera(), plane(t_cm=[0, 0, 1e-3])),
    "a camera that sees a point": (camera(K=intrinsics(f=1e9)), plane()),
    "a camera that sees everything": (camera(K=intrinsics(f=1e-3)), plane()),
    "a lens that folds the picture": (camera(dist=[1e6, -1e6, 1e3, 1e3, 1e9]), plane()),
    "a fisheye that folds the picture": (camera(model="fisheye", dist=[1e6, -1e6, 1e9, 1e9]), plane()),
    "a mattress on edge": (camera(), plane(R=[[1, 0, 0], [0, 0, 1], [0, -1, 0]], t_cm=[0, 50, 100])),
}


@pytest.mark.parametrize("name", IMPLAUSIBLE)
def test_valid_files_of_an_impossible_camera_are_rejected(infer, clip, tmp_path, name):
    for which, text in zip(("camera", "plane"), IMPLAUSIBLE[name], strict=True):
        (tmp_path / f"{which}.json").write_text(text)
    code, line = infer(clip, "--camera", "camera.json", "--plane", "plane.json", "--no-overlay")
    assert code in (2, 3), line
    if code == 3:
        height = json.loads((tmp_path / "res" / "clip" / "height.json").read_text())
        assert height["length_cm"] is None
        assert height["reasons"]


# ---- weights


class Payload:
    def __reduce__(self):
        return os.system, ("touch hacked",)


def safetensors(header, size=0):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(size)


ABOUT = {"kind": "pose", "schema": 1, "joints": ["a"], "input_wh": [256, 256], "heatmap_wh": [64, 64],
         "arch": {"backbone": "hrnet_w18_small", "joints": 1, "head": "concat"}}  # fmt: skip


def described(**changes):
    return {"__metadata__": {"heightpose": json.dumps({**ABOUT, **changes})}}


#: name -> content of the model file, by its suffix
WEIGHTS = {
    "pickle.pt": pickle.dumps(Payload()),
    "pickle.onnx": pickle.dumps(Payload()),
    "pickle.safetensors": pickle.dumps(Payload()),
    "empty.onnx": b"",
    "endless-header.safetensors": (1 << 62).to_bytes(8, "little") + b"{}",
    "absurd-tensor.safetensors": safetensors(
        described() | {"w": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 8]}}, 8
    ),
    "absurd-input.safetensors": safetensors(described(input_wh=[10**9, 10**9])),
    "absurd-map.safetensors": safetensors(described(heatmap_wh=[4096, 4096])),
    "absurd-net.safetensors": safetensors(
        described(arch={"backbone": "hrnet_w18_small", "joints": 10**9, "head": "concat"}, joints=["a"])
    ),
    "code-for-a-net.safetensors": safetensors(described(arch="__import__('os').system('touch hacked')")),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_hostile_weights_are_refused(infer, clip, tmp_path, name):
    (tmp_path / name).write_bytes(WEIGHTS[name])
    code, line = infer(clip, "--model", name)
    assert code == 2
    assert name in line
    assert not (tmp_path / "hacked").exists()


def test_a_model_whose_name_leaves_no_room_for_a_calibrations(infer, clip, tmp_path):
    path = makers.tiny_pose(tmp_path / ("m" * 250 + ".onnx"))
    assert infer(clip, "--model", path)[0] == 3


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("kind", ["allocates", "loops", "elsewhere"])
def test_a_hostile_graph_is_refused_before_it_runs(infer, clip, tmp_path, kind, backend):
    pytest.importorskip(backend)
    code, line = infer(clip, "--model", makers.hostile_onnx(tmp_path / "m.onnx", kind), "--backend", backend)
    assert code == 2
    assert ("100000000000000 values" if kind == "allocates" else "none of our models has") in line


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_weights_that_are_not_numbers(infer, clip, tmp_path, backend):
    pytest.importorskip(backend)
    bad = makers.tiny_detector(tmp_path / "nan.onnx", bad=True)
    code, line = infer(clip, "--detector", bad, "--backend", backend)
    assert code == 2
    assert "nan.onnx: the network gives values that are not numbers" in line
    assert not (tmp_path / "res").exists()


# ---- the other verbs


YAML = {
    "tags": "data: !!python/object/apply:os.system ['touch hacked']",
    "laughs": makers.billion_laughs(),
    "merges": makers.billion_laughs(merge=True),
    "deep": "[" * 600,
    "cut": "data: [1,",
    "noise": b"\x00\xff\xfe\x01",
    "twice": "name: a\nversion: 1\nname: b",
    "list": "- 1",
    "unknown": "dota: {}",
    "type": "optim: {epochs: many}",
    "range": "optim: {epochs: 1000000000000000000000}",
}


@pytest.mark.parametrize("name", YAML)
def test_a_bad_configuration_or_manifest_is_one_line(verb, tmp_path, name):
    data = YAML[name] if isinstance(YAML[name], bytes) else YAML[name].encode()
    (tmp_path / "c.yaml").write_bytes(data)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "testset.yaml").write_bytes(data)
    for args, where in (
        (["train", "c.yaml", "--data", "x", "--out", "res/run"], "c.yaml"),
        (["eval", "--testset", "set", "--out", "res/eval"], "testset.yaml"),
    ):
        code, line = verb(*args)
        assert code == 2, line
        assert where in line
        assert len(line) < 1200
    assert not (tmp_path / "hacked").exists()
    assert not (tmp_path / "res").exists()


def test_weights_to_start_from_that_run_code_or_are_not_numbers(verb, tmp_path):
    torch = pytest.importorskip("torch")
    from heightpose.models.checkpoint import read_state

    for name, content in {"code.pt": Payload(), "nan.pt": {"w": torch.tensor([float("nan")])}}.items():
        torch.save(content, tmp_path / name)
        with pytest.raises(Exception, match=name) as caught:
            read_state(tmp_path / name)
        assert type(caught.value).__name__ == "FileFormatError"
    assert not (tmp_path / "hacked").exists()
