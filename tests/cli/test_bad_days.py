"""``heightpose infer`` on bad days, one test per kind: a clear line and code 2, or a rejection and code 3.

Never a traceback, a hang (each test has a time limit), or a half-written file under its final name.
"""

from __future__ import annotations

import ctypes
import json
import os
import pickle
import re
import subprocess
import sys
import threading

import av
import cv2
import makers
import numpy as np
import pytest
from conftest import environment

from heightpose.cli import main as cli_main
from heightpose.geometry.sheet import shipped_sheet

pytestmark = pytest.mark.timeout(60)

FILES = {"height.json", "poses.json", "overlay.mp4", "preview.png", "provenance.json"}
SIZE = (160, 120)
CAMERA = {
    "model": "pinhole", "width": 160, "height": 120, "dist": [0] * 5,
    "K": [[200.0, 0.0, 79.5], [0.0, 200.0, 59.5], [0.0, 0.0, 1.0]],
}  # fmt: skip
PLANE = {"R": [[1, 0, 0], [0, -1, 0], [0, 0, -1]], "t_cm": [0, 0, 150]}


def blobs(count=3, size_wh=SIZE):
    return [makers.scene(size_wh, (60 + 2 * i, 50)) for i in range(count)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return makers.write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", blobs())


@pytest.fixture
def infer(capsys, caplog, models, tmp_path, monkeypatch):
    """Run ``heightpose infer ARGS`` here; returns (code, its one line or answer) after checking what is left."""
    monkeypatch.chdir(tmp_path)

    def run(*args):
        code = cli_main._run(["infer", *models, *map(str, args), "--out", "res"], False)
        out, err = capsys.readouterr()
        return code, judged(code, out, err, tmp_path / "res")

    return run


def judged(code, out, err, results):
    """The line that says why, for codes 2 and 3; everything that must never happen is an assertion."""
    assert "Traceback" not in err
    assert "unexpected" not in err
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    for path in results.rglob("*") if results.exists() else ():
        assert not path.name.startswith("."), f"{path} was left behind"
        if path.suffix == ".json":
            json.loads(path.read_text())
        if path.name == "overlay.mp4":
            with av.open(str(path)) as video:
                assert next(video.decode(video=0)).width > 0
    if code == 2:
        assert len(errors) == 1, err
        return errors[0]
    assert code in (0, 3), err
    assert errors == []
    answer = out.splitlines()[-1]
    assert answer.startswith("rejected: ") == (code == 3)
    return answer


# ---- inputs


def truncated(folder, rng):
    frames = [np.maximum(rgb, rng.integers(0, 40, rgb.shape, np.uint8)) for rgb in blobs(12)]
    whole = makers.write_video(folder / "w.mp4", frames, container={"movflags": "faststart"})
    return cut(whole, 0.6)


def cut(path, share):
    target = path.with_name("cut" + path.suffix)
    target.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return target


def twice_as_large(folder, rng):
    rgb = cv2.resize(blobs(1)[0], (3840, 2160))
    return makers.write_video(
        folder / "4k.mp4", [rgb] * 2, options={"preset": "ultrafast"}, pix_fmt="yuv420p"
    )


def no_index(folder, rng):
    return cut(makers.write_video(folder / "w.mp4", blobs()), 0.6)


def filled(folder, name, data):
    (folder / name).write_bytes(data)
    return folder / name


def one_bad_picture(folder, rng):
    shots = folder / "shots"
    shots.mkdir()
    for i, rgb in enumerate(blobs(3)):
        cv2.imwrite(str(shots / f"{i}.png"), rgb)
    cut(shots / "1.png", 0.5).rename(shots / "1.png")
    return shots


def write(name, **options):
    frames = options.pop("frames", None)
    return lambda folder, rng: makers.write_video(
        folder / name, blobs() if frames is None else frames, **options
    )


#: name -> (maker, exit code, words of its line); without a scale whatever can be read is rejected with 3.
INPUTS = {
    "truncated": (truncated, 3, "how large"),
    "truncated, index lost": (no_index, 2, "not a video|no picture.*cut off"),
    "empty": (lambda folder, rng: filled(folder, "e.mp4", b""), 2, "e.mp4: the file is empty"),
    "noise": (lambda folder, rng: filled(folder, "n.mp4", rng.bytes(9000)), 2, "not a video"),
    "text": (lambda folder, rng: filled(folder, "t.mp4", b"no video\n" * 99), 2, "not a video|text"),
    "no frames": (lambda folder, rng: makers.write_no_frames(folder / "z.mp4"), 2, "no picture|not a video"),
    "zero duration": (lambda folder, rng: makers.zero_duration(write("d.mp4")(folder, rng)), 3, "how large"),
    "sound only": (lambda folder, rng: makers.write_audio(folder / "s.m4a"), 2, "sound but no picture"),
    "variable rate": (write("v.mp4", times_s=[0.0, 0.9, 0.95]), 3, "how large"),
    "turned": (write("r.mp4", matrix=makers.CLOCKWISE[90]), 3, "how large"),
    "odd size": (write("o.mp4", frames=blobs(3, (161, 121))), 3, "how large"),
    "tiny": (write("o.mp4", frames=[np.zeros((2, 2, 3), np.uint8)] * 2), 3, "how large"),
    "strip": (write("o.mp4", frames=[np.zeros((16, 2000, 3), np.uint8)] * 2), 3, "how large"),
    "grey": (write("g.mp4", pix_fmt="gray"), 3, "how large"),
    "ten bits": (write("b.mkv", pix_fmt="yuv420p10le"), 3, "how large"),
    "4K": (twice_as_large, 3, "how large"),
    "one frame": (write("1.mp4", frames=blobs(1)), 3, "how large"),
    "one bad picture": (one_bad_picture, 2, "1.png: (the picture is cut off|this is not a picture)"),
    "playlist": (
        lambda folder, rng: filled(folder, "p.m3u8", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n"),
        2,
        "not a video|no picture",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", INPUTS)
def test_input(infer, tmp_path, name):
    make, code, words = INPUTS[name]
    path = make(tmp_path, np.random.default_rng(0))
    got, line = infer(path)
    assert got == code, line
    assert re.search(words, line), line
    if code == 3:
        folder = tmp_path / "res" / path.stem
        assert set(os.listdir(folder)) == FILES
        frames = json.loads((folder / "poses.json").read_text())["frames"]
        times = [frame["t_s"] for frame in frames]
        assert times == sorted(set(times))
    else:
        assert not list((tmp_path / "res").rglob("height.json"))


@pytest.mark.parametrize("suffix", [".ts", ".mkv"])
def test_a_file_that_grows_while_it_is_read_is_measured_as_it_was_at_first(infer, caplog, tmp_path, suffix):
    """A recorder appends faster than we read: following it would never end."""
    path = makers.write_video(tmp_path / f"live{suffix}", blobs(40), pix_fmt="yuv420p")
    data, done = path.read_bytes(), threading.Event()

    def append():
        with path.open("ab", buffering=0) as file:
            while not done.is_set() and file.tell() < 200 << 20:
                file.write(data)

    from heightpose.runtime import video

    opened = video.VideoClip.__init__

    def open_and_let_grow(self, *args, **kwargs):
        opened(self, *args, **kwargs)
        writer.start()
        while path.stat().st_size == len(data):
            pass

    writer = threading.Thread(target=append)
    video.VideoClip.__init__ = open_and_let_grow
    try:
        code, _ = infer(path)
    finally:
        video.VideoClip.__init__ = opened
        done.set()
        writer.join()
    assert code == 3
    folder = tmp_path / "res" / "live"
    assert len(json.loads((folder / "poses.json").read_text())["frames"]) == 40
    with av.open(str(folder / "overlay.mp4")) as drawn:
        assert sum(1 for _ in drawn.decode(video=0)) == 40
    assert json.loads((folder / "provenance.json").read_text())["input"]["changed_while_read"] is True
    assert "changed while it was read" in caplog.text


# ---- folders and disks

#: Run infer with each of the argument lists on stdin, one process for all of them; prints a JSON line each.
SEVERAL = """
import contextlib, io, json, sys
from heightpose.cli.main import _run
for args in json.load(sys.stdin):
    err, out = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(out):
        code = _run(["infer", *args], False)
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""
#: capabilities(7): what lets root read and write everything.
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH, _PR_CAPBSET_DROP = 1, 2, 24


def as_anybody():
    """Give up root's right to ignore permissions, for the process that is started next."""
    libc = ctypes.CDLL(None)
    for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="permissions of root")
def test_unreadable_inputs_and_read_only_results(models, clip, tmp_path):
    sealed, frozen, file = tmp_path / "sealed", tmp_path / "frozen", tmp_path / "sealed.mp4"
    for folder in (sealed, frozen):
        folder.mkdir()
    file.write_bytes(clip.read_bytes())
    (tmp_path / "sheet.yaml").write_text(shipped_sheet().read_text())
    modes = {sealed: 0o000, frozen: 0o555, file: 0o000, tmp_path / "sheet.yaml": 0o000}
    cases = [
        ([sealed], "sealed: the folder cannot be read: Permission denied"),
        ([file], "sealed.mp4: cannot be read: Permission denied"),
        ([clip, "--sheet", tmp_path / "sheet.yaml"], "sheet.yaml' is not readable"),
        ([clip, "--out", frozen], "clip: cannot be written: Permission denied"),
        ([clip, "--out", "/proc/nothing"], "cannot be written"),
        ([clip, "--out", file], "sealed.mp4' is not readable"),
    ]
    try:
        for path, mode in modes.items():
            path.chmod(mode)
        done = subprocess.run(
            [sys.executable, "-c", SEVERAL],
            input=json.dumps([[*models, *map(str, args)] for args, _ in cases]),
            cwd=tmp_path, env=environment(), capture_output=True, text=True, preexec_fn=as_anybody, check=True,
        )  # fmt: skip
    finally:
        for path in modes:
            path.chmod(0o755)
    for (_, words), line in zip(cases, done.stdout.splitlines(), strict=True):
        code, out, err = json.loads(line)
        assert (code, out) == (2, ""), err
        assert words in judged(code, out, err, tmp_path / "res")
    assert os.listdir(frozen) == []


# ---- camera, sheet and plane files


def camera(**changes):
    return json.dumps({**CAMERA, **changes})


def intrinsics(f=200.0, cx=79.5, cy=59.5):
    return [[f, 0, cx], [0, f, cy], [0, 0, 1]]


def plane(**changes):
    return json.dumps({**PLANE, **changes})


def sheet(**changes):
    tags = {0: [[-3, 3], [3, 3], [3, -3], [-3, -3]]}
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
    "sheet that is nested without end": ("sheet", "[" * 1_500, "nested too deeply|not YAML"),
    "sheet with a list for a key": ("sheet", "? [1]\n: 2", "not YAML|cannot be understood"),
    "plane is a camera": ("plane", camera(), "plane field"),
    "plane that is no rotation": ("plane", plane(R=[[1, 0, 0], [0, 2, 0], [0, 0, 1]]), "R"),
    "plane that mirrors": ("plane", plane(R=[[1, 0, 0], [0, 1, 0], [0, 0, -1]]), "R"),
    "plane over the camera": ("plane", plane(t_cm=[0, 0, -150]), "below the mattress"),
    "plane with NaN": ("plane", plane(t_cm=[0, 0, float("nan")]), "t_cm"),
    "plane of text": ("plane", plane(t_cm="far"), "t_cm"),
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
    assert os.listdir(tmp_path / "res" / "clip") == []


# ---- the other verbs


@pytest.fixture
def verb(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*args):
        code = cli_main._run([str(a) for a in args], False)
        out, err = capsys.readouterr()
        return code, judged(code, out, err, tmp_path / "res")

    return run


YAML = {
    "tags": "data: !!python/object/apply:os.system ['touch hacked']",
    "laughs": makers.billion_laughs(),
    "merges": makers.billion_laughs(merge=True),
    "deep": "[" * 1_500,
    "cut": "data: [1,",
    "noise": b"\x00\xff\xfe\x01",
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
