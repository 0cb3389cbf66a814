"""``heightpose infer`` on bad inputs and disks, one test per kind: a clear line and code 2, or a rejection and code 3.

Never a traceback, a hang (each test has a time limit), or a half-written file under its final name.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import subprocess
import sys
import threading

import av
import cv2
import makers
import numpy as np
import pytest
from bad_days import judged
from commandline import environment
from spot_clip import FILES, blobs

from heightpose.geometry.sheet import shipped_sheet

pytestmark = pytest.mark.timeout(60)

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
        "a playlist names videos",
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
        assert not (tmp_path / "res").exists()


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
