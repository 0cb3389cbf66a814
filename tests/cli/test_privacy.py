"""Nothing leaves the machine: no network by default, no recognisable face in what is shared, no picture in records."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pkgutil
import socket
import subprocess
import sys
from pathlib import Path

import av
import click
import makers
import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "evaluate"))

from evaluated import spot_set

import heightpose.report
from heightpose.cli import main as cli_main


@pytest.fixture
def offline(monkeypatch):
    """Every way out is closed and noted; returns the notes."""
    tried = []

    def refuse(*args, **_):
        tried.append(repr(args)[:200])
        raise OSError(101, "Network is unreachable")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    return tried


def test_the_guard_notices(offline):
    with pytest.raises(OSError, match="unreachable"):
        socket.socket().connect(("127.0.0.1", 9))
    with pytest.raises(OSError, match="unreachable"):
        socket.create_connection(("example.org", 80))
    assert len(offline) == 2


def blobs(count=4):
    """Uneven ground, so that a blurred patch shows."""
    ground = np.random.default_rng(0).integers(0, 90, (120, 160, 3), np.uint8)
    return [np.maximum(makers.scene((160, 120), (60 + 2 * i, 50), 4.0), ground) for i in range(count)]


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_infer_uses_no_network(here, offline, models, tmp_path, backend):
    pytest.importorskip(backend)
    clip = makers.write_video(tmp_path / "clip.mp4", blobs())
    assert here("infer", clip, *models, "--backend", backend).returncode == 3
    assert offline == []


def test_a_fresh_process_asks_no_resolver(models, tmp_path):
    """What a library sends when it is imported is sent once per process, before the guard of the tests above."""
    pytest.importorskip("openvino")
    clip = makers.write_video(tmp_path / "clip.mp4", blobs())
    args = ["infer", clip, *models, "--backend", "openvino", "--no-overlay", "--out", tmp_path / "res"]
    code = (
        "import sys\n"
        "asked = []\n"
        "ways = ('socket.connect', 'socket.getaddrinfo', 'socket.gethostbyname', 'socket.sendto', 'subprocess.Popen')\n"
        "sys.addaudithook(lambda event, args: asked.append((event, args)) if event in ways else None)\n"
        "from heightpose.cli import main\n"
        f"code = main._run({[str(a) for a in args]!r}, False)\n"
        "assert asked == [], asked\n"
        "assert code == 3, code\n"
        "assert sys.modules.get('openvino') and sys.modules.get('openvino_telemetry') is None\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not (home / "intel").exists()


def test_eval_and_its_report_use_no_network(here, offline, models, tmp_path):
    spot_set(tmp_path / "spots")
    assert here("eval", "--testset", "spots", *models, "--out", "res").returncode == 0
    assert offline == []
    page = (tmp_path / "res" / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "https://" not in page


def test_records_hold_hashes_and_settings_but_no_picture(here, models, tmp_path):
    clip = makers.write_video(tmp_path / "clip.mp4", blobs())
    here("infer", clip, *models, "--out", "res")
    folder = tmp_path / "res" / "clip"
    for name in ("provenance.json", "height.json"):
        text = (folder / name).read_text()
        assert len(text) < 20_000
        assert str(tmp_path) not in text
        for value in leaves(json.loads(text)):
            assert not isinstance(value, str) or len(value) < 600, name
        assert all(len(part) <= 64 for part in lists(json.loads(text))), name
    about = json.loads((folder / "provenance.json").read_text())
    for digest in (about["input"]["sha256"], *(w["sha256"] for w in about["weights"].values())):
        assert len(digest) == 64
    assert about["calibration"] is None
    assert {"settings", "versions", "backend"} <= set(about)


def leaves(value):
    if isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from leaves(part)
    else:
        yield value


def lists(value):
    if isinstance(value, (dict, list)):
        if isinstance(value, list):
            yield value
        for part in value.values() if isinstance(value, dict) else value:
            yield from lists(part)


def test_blur_faces_covers_every_frame_of_the_overlay(here, models, tmp_path):
    detector = makers.tiny_detector(tmp_path / "wide.onnx", reach=1.2)
    clip = makers.write_video(tmp_path / "clip.mp4", blobs(), options={"crf": "4"})
    shown = {}
    for name, options in {"plain": [], "blurred": ["--blur-faces"]}.items():
        args = [clip, *models, "--detector", detector, "--out", tmp_path / name, *options]
        assert here("infer", *args).returncode == 3
        with av.open(str(tmp_path / name / "clip" / "overlay.mp4")) as video:
            shown[name] = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        with av.open(str(tmp_path / name / "clip" / "preview.png")) as picture:
            shown[f"{name} preview"] = next(picture.decode(video=0)).to_ndarray(format="rgb24")
    assert len(shown["plain"]) == 4
    for i, (plain, blurred) in enumerate(zip(shown["plain"], shown["blurred"], strict=True)):
        # Every joint lies on the spot, so the head is a circle of 12 px about it: the ground's texture goes in there.
        head, far = np.s_[44:56, 49 + 2 * i : 53 + 2 * i], np.s_[70:95, 110:150]
        assert difference(plain[head], blurred[head]) > 8
        assert difference(plain[far], blurred[far]) > 8  # where others may be
    differs = np.abs(shown["plain preview"].astype(int) - shown["blurred preview"]).max(axis=2) > 20
    assert differs[44:56, 57:69].sum() > 30
    assert differs[70:95, 110:150].mean() > 0.5


def difference(a, b):
    return float(np.abs(a.astype(float).mean(axis=2) - b.astype(float).mean(axis=2)).mean())


def test_what_is_made_to_be_shared_blurs_unless_told_otherwise():
    found = []
    for module in pkgutil.walk_packages(heightpose.report.__path__, "heightpose.report."):
        for name, function in inspect.getmembers(importlib.import_module(module.name), inspect.isfunction):
            parameter = inspect.signature(function).parameters.get("blur")
            if parameter is not None and function.__module__ == module.name:
                found.append(f"{module.name}.{name}")
                assert parameter.default in (True, inspect.Parameter.empty), found[-1]
    assert {
        "heightpose.report.evaluation.write_report",
        "heightpose.report.label_checks.write_findings",
    } <= set(found)


def test_every_verb_with_pictures_to_share_has_a_switch_that_is_off():
    switches = {}
    for path, command in verbs(cli_main.cli, "heightpose"):
        for option in command.params:
            if "blur" in (option.name or ""):
                assert option.is_flag
                assert option.default is not True
                switches[path] = option.name
    # Its own pictures stay where they are written; everything else here is a page for others.
    assert switches.pop("heightpose infer") == "blur_faces"
    assert {"heightpose eval", "heightpose data check"} <= set(switches)
    assert set(switches.values()) == {"no_blur"}


def verbs(group, path):
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from verbs(command, f"{path} {name}")
