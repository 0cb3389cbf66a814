"""The command line as a whole, each case a real process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import av
import makers
import pytest
from commandline import environment
from spot_clip import FILES, blobs

from heightpose.cli import main as cli_main
from heightpose.errors import InputError

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "pose-fast.yaml"


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
        (["infer", "x.mp4", "--size", "1e-300x1"], "--size"),
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
    for args, words in (
        (["--debug", "infer", "absent.mp4"], "error: absent.mp4: no such file"),
        (["infer", "--debug"], "error: Missing argument"),
    ):
        done = heightpose(*args)
        assert done.returncode == 2
        assert "Traceback" in done.stderr
        assert done.stderr.splitlines()[-1].startswith(words)


#: How a process is started whose standard files are what the name says; the rest is its command.
SHELL = {
    "full": '"$@" >/dev/full',
    "closed": '"$@" >&-',
    "no reader": '{ "$@"; echo $? >&2; } | true',
    "no errors": '"$@" 2>&-',
    "full errors": '"$@" 2>/dev/full',
    "nothing": '"$@" <&- >&- 2>&-',
}


def in_shell(how, *args, **options):
    command = [sys.executable, "-m", "heightpose", *map(str, args)]
    return subprocess.run(
        ["bash", "-c", SHELL[how], "-", *command],
        env=environment(), capture_output=True, text=True, check=False, **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("how", "why"), [("full", "No space left on device"), ("closed", "Bad file descriptor")]
)
@pytest.mark.parametrize("args", [["infer", "--help"], ["--version"]], ids=" ".join)
def test_output_that_cannot_be_written_is_one_line_and_code_2(how, why, args):
    done = in_shell(how, *args)
    assert done.returncode == 2
    assert done.stderr == f"error: standard output cannot be written: {why}\n"


def test_a_reader_that_leaves_early_is_told_nothing():
    done = in_shell("no reader", "infer", "--help")
    assert done.stderr == "141\n"


@pytest.mark.parametrize("how", ["no errors", "full errors", "nothing"])
def test_errors_that_cannot_be_told_leave_the_exit_code(how):
    done = in_shell(how, "infre")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


@pytest.mark.parametrize(("how", "jobs"), [("no errors", 1), ("full", 1), ("nothing", 1), ("nothing", 2)])
def test_infer_without_standard_files(models, clip, tmp_path, how, jobs):
    """Their numbers must not become those of files that libraries then print into."""
    makers.write_video(tmp_path / "b.mp4", blobs(2))
    done = in_shell(how, "infer", clip, "b.mp4", *models, "--jobs", jobs, cwd=tmp_path)
    assert done.returncode == (3 if how == "no errors" else 2)
    folder = tmp_path / "heightpose-results" / "clip"
    assert {path.name for path in folder.iterdir()} == FILES
    with av.open(str(folder / "overlay.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 3


def test_a_name_that_the_output_cannot_show(models, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "heightpose", "infer", "caf\xe9.mp4", os.fsdecode(b"x\xff.mp4"), *models],
        cwd=tmp_path, env={**environment(), "PYTHONIOENCODING": "iso8859-5"}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert [line.split(b":")[0] for line in done.stdout.splitlines()] == [b"caf\\xe9", b"x\\ufffd"]


@pytest.mark.parametrize(
    "words",
    [
        ["train", str(CONFIG), "--data", "LONG"],
        ["data", "validate", "LONG"],
        ["eval", "--data", "LONG"],
        ["eval", "--testset", "LONG"],
        ["growth", "LONG"],
    ],
    ids=" ".join,
)
def test_a_path_that_no_disk_can_have_is_the_users_not_unexpected(words, capsys):
    assert cli_main._run([word.replace("LONG", "a" * 5000) for word in words], False) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "too long" in lines[0]


def test_a_terminal_that_cannot_show_a_name(models, tmp_path):
    ours, theirs = os.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "heightpose", "infer", os.fsdecode(b"x\xff.mp4"), "absent.mp4", *models],
        cwd=tmp_path, env=environment(), stdout=theirs, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert done.returncode == 2, done.stderr
    assert "error: x\\udcff.mp4: no such file" in shown
