"""For the tests of bad days: commands with all that must never happen."""

from __future__ import annotations

import json

import av
import pytest


@pytest.fixture
def verb(here, tmp_path):
    """Run ``heightpose ARGS`` here; returns (code, its one line or answer) after checking what is left."""

    def run(*args):
        done = here(*args)
        return done.returncode, judged(done.returncode, done.stdout, done.stderr, tmp_path / "res")

    return run


@pytest.fixture
def infer(verb, models):
    """``verb`` for ``infer``."""
    return lambda *args: verb("infer", *models, *args, "--out", "res")


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
