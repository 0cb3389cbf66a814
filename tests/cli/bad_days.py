"""For the tests of bad days: a small clip with its camera and plane, and ``infer`` with all that must never happen."""

from __future__ import annotations

import json

import av
import makers
import pytest

from heightpose.cli import main as cli_main

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
