"""The command line as a whole, each case a real process."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import environment

from heightpose.cli import main as cli_main
from heightpose.errors import InputError


def test_help_names_the_verbs_that_exist_and_imports_no_heavy_package():
    code = "import sys, heightpose.cli.main as m; m._run(['-h'], False); print(sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    assert "infer" in done.stdout
    loaded = done.stdout.splitlines()[-1]
    for package in ("numpy", "cv2", "av", "openvino", "torch", "scipy", "heightpose.cli.infer"):
        assert f"'{package}'" not in loaded


@pytest.mark.parametrize("given", [None, "2"])
def test_numpy_works_with_one_thread_unless_the_user_says_otherwise(given):
    """NumPy's BLAS threads spin after each small product, on the cores that the networks need."""
    code = """
import atexit, sys, heightpose.cli.main as m
def report():
    import ctypes, glob, numpy
    (library,) = glob.glob(numpy.__path__[0] + ".libs/libscipy_openblas*")
    print("threads", ctypes.CDLL(library).scipy_openblas_get_num_threads64_())
atexit.register(report)
m.main(["--version"])
"""
    env = {k: v for k, v in environment().items() if k not in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")}
    env |= {} if given is None else {"OPENBLAS_NUM_THREADS": given}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == f"threads {given or 1}", done.stderr


def verb_groups():
    from heightpose.cli.bench import bench
    from heightpose.cli.calibrate import calibrate
    from heightpose.cli.data import data
    from heightpose.cli.doctor import doctor

    return [cli_main.cli, bench, data, calibrate, doctor]


@pytest.mark.parametrize("group", verb_groups(), ids=lambda g: g.name)
def test_every_verb_listed_has_a_file_and_every_file_a_line(group):
    import click

    listed = {verb.replace("-", "_") for verb in group.list_commands(click.Context(group))}
    files = {p.stem.removesuffix("_") for p in group._folder.glob("*.py") if p.stem[0] != "_"}
    assert listed == files - {"main", "lazy"}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["infre"], "Did you mean 'infer'"),
        (["infer"], "Missing argument"),
        (["infer", "x.mp4", "--every", "0"], "--every"),
        (["infer", "x.mp4", "--backend", "magic"], "openvino"),
        (["--nonsense"], "--nonsense"),
        (["infer", ""], "name of an input is empty"),
        (["infer", "file://"], "name of an input is empty"),
        (["infer", "x.mp4", "--out", ""], "--out"),
        (["infer", "x.mp4", "--camera="], "--camera"),
        (["bench", "run", ""], "CLIP"),
    ],
)
def test_usage_errors_are_one_line_and_code_2(capsys, args, words):
    assert cli_main._run(args, False) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err


def test_no_verb_prints_the_help(heightpose):
    done = heightpose()
    assert done.returncode == 2
    assert "Verbs:" in done.stderr + done.stdout
    assert "error" not in done.stderr


@pytest.mark.parametrize(
    ("raised", "code", "words"),
    [
        (InputError("no good", where="a.mp4", hint="Do this"), 2, "error: a.mp4: no good. Do this"),
        (
            ZeroDivisionError("two\nlines"),
            1,
            "error: unexpected ZeroDivisionError: two lines. Run again with --debug",
        ),
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 2, "error: not enough memory"),
    ],
)
def test_what_escapes_is_one_line(monkeypatch, capsys, raised, code, words):
    def fail(*_args, **_kwargs):
        raise raised

    monkeypatch.setattr(cli_main.cli, "main", fail)
    assert cli_main._run([], False) == code
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    if code != 130:
        cli_main._run([], True)
        assert "Traceback" in capsys.readouterr().err


def test_debug_is_accepted_anywhere_and_shows_the_traceback(heightpose):
    for args in (["--debug", "infer", "absent.mp4"], ["infer", "absent.mp4", "--debug"]):
        done = heightpose(*args)
        assert done.returncode == 2
        assert "Traceback" in done.stderr
        assert done.stderr.splitlines()[-1].startswith("error: absent.mp4: no such file")


def test_a_reader_that_leaves_early_is_no_traceback(tmp_path):
    done = subprocess.run(
        f"{sys.executable} -m heightpose.cli.main infer --help | head -c 1",
        shell=True, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
