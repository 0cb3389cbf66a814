"""eval/story.sh: every command it would run is one that heightpose takes, in an order that makes sense, and resumes."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from heightpose.cli.main import cli
from heightpose.config import TrainConfig

SCRIPT = Path(__file__).parents[2] / "eval" / "story.sh"

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


def story(cwd, *args):
    """The commands of a dry run, each as a list of words."""
    done = subprocess.run(
        ["bash", SCRIPT, "--dry-run", *map(str, args)], cwd=cwd, capture_output=True, text=True, check=True
    )
    return [shlex.split(line)[2:] for line in done.stderr.splitlines()]


def parsed(args):
    """The parameters of a command line, all groups included; usage errors are raised."""
    command, context, values = cli, None, {}
    while True:
        context = command.make_context(command.name, list(args), parent=context)
        values |= context.params
        rest = [*context._protected_args, *context.args] if isinstance(command, click.Group) else []
        if not rest:
            return values
        _, command, args = command.resolve_command(context, rest)


@pytest.fixture(autouse=True)
def paths_need_not_exist(monkeypatch):
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: value)


def test_every_command_is_one_that_heightpose_takes(tmp_path):
    commands = story(tmp_path, "--epochs", 3, "--start-from", "w.safetensors")
    for command in commands:
        parsed(command)
    (wrong,) = (c for c in commands if c[0] == "train" and "poc" in c)
    with pytest.raises(click.UsageError):
        parsed([*wrong, "--no-such-option"])
    trained = parsed(wrong)
    assert (trained["epochs"], trained["start_from"]) == (3, "w.safetensors")
    assert TrainConfig.load(trained["config"]).task == "pose"


def test_each_chunk_is_aimed_by_advice_that_was_written_before_it(tmp_path):
    commands = story(tmp_path)
    given = [
        c[c.index("--advice") + 1]
        for c in commands
        if c[:3] == ["data", "iteration", "new"] and "--advice" in c
    ]
    assert len(given) == 2
    for number, command in enumerate(commands):
        if command[:3] == ["data", "iteration", "new"] and "--advice" in command:
            file = command[command.index("--advice") + 1]
            before = [c for c in commands[:number] if c[0] == "dashboard" and file in c]
            assert len(before) == 1
    assert commands[-1][0] == "dashboard"


def test_shares_are_of_what_is_to_be_annotated(tmp_path):
    def shares(*args):
        return [c[c.index("--share") + 1] for c in story(tmp_path, *args) if "--share" in c]

    assert shares() == ["6%", "24%", "30%"]
    assert shares("--annotate", 100) == ["10%", "40%", "50%"]


def test_test_children_come_from_other_seeds_and_given_sets_are_not_rendered(tmp_path):
    rendered = [parsed(c) for c in story(tmp_path) if c[0] == "synth"]
    assert len({r["seed"] for r in rendered}) == len(rendered) == 3
    given = story(tmp_path, "--data", "d", "--testset", "a", "--testset", "b")
    assert not [c for c in given if c[0] == "synth"]
    judged = [parsed(c)["testset"] for c in given if c[0] == "eval"]
    assert judged == ["a", "b"] * 3


def test_what_is_done_is_not_done_again_and_a_stopped_training_is_resumed(tmp_path):
    out = tmp_path / "story"
    for name in (
        "nursery/annotations.json", "stills/annotations.json", "stills/testset.yaml", "clips/testset.yaml",
        "iterations/poc.json", "runs/poc/metrics.json", "results/poc-stills/result.json",
        "results/poc-clips/result.json", "advice-1.json", "iterations/second.json", "runs/second/last.ckpt",
    ):  # fmt: skip
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("")
    first = story(tmp_path)[0]
    assert first[0] == "train"
    assert parsed(first)["iteration"] == "second"
    assert parsed(first)["resume"]
    whole = story(tmp_path, "--out", "elsewhere")
    assert not any("--resume" in c for c in whole)


def test_mistakes_are_usage_errors(tmp_path):
    for args in (["--cout", "3"], ["--count"]):
        done = subprocess.run(["bash", SCRIPT, *args], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2
        assert args[0] in done.stderr
    assert not list(tmp_path.iterdir())
