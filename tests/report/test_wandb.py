"""W&B: what a run logs is in its offline file, nobody is contacted, and its failure is nobody else's."""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil
import socket
import sys
import threading
from pathlib import Path

import drawn
import evaluated
import numpy as np
import pytest
from torch import nn
from wandb_file import Logged

from heightpose.config import DataConfig, HardwareConfig, OptimConfig, PoseConfig, TrainConfig
from heightpose.errors import ConfigError
from heightpose.evaluate.people import People
from heightpose.evaluate.records import Log
from heightpose.evaluate.summary import summarise
from heightpose.report import wandb_log, wandb_views
from heightpose.report.runs import read_runs
from heightpose.report.wandb_eval import log_evaluation
from heightpose.report.wandb_log import Tracker, resolve_mode, worst_pictures
from heightpose.report.wandb_train import TrainTracking
from heightpose.report.worst import worst_people
from heightpose.runtime.atomic import write_json
from heightpose.runtime.output import plain
from heightpose.skeleton import INFANT
from heightpose.train import loop
from heightpose.train.pose_task import PoseTask


class Net(nn.Module):
    """Two convolutions: what is learned does not matter here."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.ReLU(), nn.Conv2d(8, len(INFANT), 3, 1, 1))

    def forward(self, image):
        return self.net(image / 255.0)


def settings(data, **optim):
    return TrainConfig(
        pose=PoseConfig(input_wh=(64, 64), sigma=1.5),
        data=DataConfig(dirs=(str(data),)),
        optim=OptimConfig(**({"epochs": 4, "batch_size": 2, "val_every_epochs": 2} | optim)),
        hardware=HardwareConfig(threads=1, accelerator="cpu", precision="32-true"),
    )


def small(patch):
    """Runs train a tiny net; what only real networks can do is replaced by files of a few bytes."""
    patch.setattr(PoseTask, "net", lambda self: Net())
    patch.setattr(PoseTask, "meta", lambda self, net, **extra: {"kind": "pose", **extra})

    def finish(out, task, module, trainer, keeper, about, training):
        (out / "pose.safetensors").write_bytes(b"weights")
        (out / "pose.onnx").write_bytes(b"graph")
        metrics = {
            "kind": "pose",
            "best": keeper.best,
            "on train": keeper.best,
            "overfit": 0.0,
            "minutes": 0.1,
            **about,
        }
        write_json(out / "metrics.json", metrics)
        return loop.Run(out, out / "pose.safetensors", out / "pose.onnx", metrics)

    patch.setattr(loop, "_finish", finish)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "set"
    drawn.nursery(folder, train=22, val=2)
    drawn.rewrite(folder, lambda d: [a["strata"].update(annotator="Zoe Q") for a in d["annotations"]])
    return folder


@pytest.fixture(scope="module")
def listener():
    """A server that counts who connects; W&B believes that it is W&B."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        calls = []

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                calls.append(1)
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", calls


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory, listener):
    """A run tracked by default settings, with a key at hand that must not be used."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WANDB_MODE")
        patch.setenv("WANDB_BASE_URL", listener[0])
        patch.setenv("WANDB_API_KEY", "0" * 40)
        small(patch)
        with TrainTracking(folder, resolve_mode(None)) as tracking:
            run = loop.train(
                settings(data), folder, note="first", labels={"lr": "high"}, callbacks=[tracking]
            )
            tracking.conclude(run)
    return folder


def test_every_step_of_the_logged_series_is_in_the_offline_file(trained):
    logged = Logged(trained)
    rows = list(csv.DictReader((trained / "log.csv").open()))
    assert len(rows) == 4
    losses = logged.series("train/loss", "trainer/step")
    assert losses == [(int(r["step"]), pytest.approx(float(r["loss"]))) for r in rows]
    validated = [r for r in rows if int(r["epoch"]) % 2 == 0]
    for name, column in (
        ("val/loss", "val loss"), ("val/MeanSmS@0.1", "MeanSmS@0.1"), ("val/Mean@0.1", "Mean@0.1"),
        ("train/MeanSmS@0.1", "train MeanSmS@0.1"), ("train/Mean@0.1", "train Mean@0.1"),
        ("overfit/Mean@0.1", "overfit"),
    ):  # fmt: skip
        want = [(int(r["step"]), pytest.approx(float(r[column]))) for r in validated]
        assert logged.series(name, "trainer/step") == want, name
    joints = [name for name in INFANT.names if logged.series(f"val per joint/{name}", "trainer/step")]
    assert joints == list(INFANT.names)
    steps = [x for x, _ in logged.series("train/step loss", "trainer/step")]
    assert steps == list(range(10, int(rows[-1]["step"]) + 1, 10))
    # W&B drops a row whose own step is not above the last one's: none has to be.
    own = [row["_step"] for row in logged.rows]
    assert own == sorted(set(own))
    assert logged.exit == 0


def test_the_parts_of_the_loss_are_logged(trained):
    rows = list(csv.DictReader((trained / "losses.csv").open()))
    logged = Logged(trained)
    for joint in ("crown", "left_heel"):
        want = [(int(r["step"]), pytest.approx(float(r[joint]))) for r in rows]
        assert logged.series(f"train loss of/{joint}", "trainer/step") == want


def test_a_net_without_onnx_keeps_its_weights_as_an_artifact(trained, tmp_path):
    """The training keeps such a run; W&B lost the artifact, and the run was never closed."""
    shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("wandb", "pose.onnx"))
    run = loop.Run(
        tmp_path / "run", tmp_path / "run/pose.safetensors", tmp_path / "run/pose.onnx",
        json.loads((trained / "metrics.json").read_text()),
    )  # fmt: skip
    with TrainTracking(tmp_path / "run", "offline") as tracking:
        tracking.record = json.loads((trained / "run.json").read_text())
        tracking.tracker = Tracker(tmp_path / "run", "offline", {})
        tracking.conclude(run)
    logged = Logged(tmp_path / "run")
    (files,) = [files for kind, _, files, _ in logged.artifacts if kind == "model"]
    assert files == ["pose.safetensors"]
    assert logged.exit == 0


def test_a_run_says_what_it_is_and_names_no_machine_child_or_picture(trained, data):
    logged = Logged(trained)
    record = json.loads((trained / "run.json").read_text())
    assert logged.config["data_hash"] == record["data"]["hash"]
    assert logged.config["code"] == record["code"]
    assert logged.config["settings"]["optim"]["epochs"] == 4
    assert logged.config["labels"] == {"lr": "high"}
    assert (logged.group, logged.job) == (f"data {record['data']['hash'][:8]}", "train")
    kinds = {kind: (files, about) for kind, _, files, about in logged.artifacts}
    assert kinds["dataset"] == (["data-manifest.json"], {"hash": record["data"]["hash"], "iteration": None})
    assert sorted(kinds["model"][0]) == ["pose.onnx", "pose.safetensors"]
    assert kinds["model"][1]["run"] == record["id"]
    everything = json.dumps([logged.config, logged.rows, logged.summary, logged.artifacts])
    everything += (trained / "wandb" / "data-manifest.json").read_text()
    tables = [p.read_text() for p in trained.glob("wandb/offline-run-*/files/media/table/*.json")]
    assert any("extended" in text for text in tables)
    everything += "".join(tables)
    for private in (str(data), str(Path.home()) + "/", "child-", "Zoe", socket.gethostname() + '"'):
        assert private not in everything
    assert logged.summary["best/val/MeanSmS@0.1"] == logged.summary["best/train/MeanSmS@0.1"]


def test_worst_cases_are_logged_and_name_nobody(trained):
    import cv2

    logged = Logged(trained)
    (row,) = [r for r in logged.rows if "worst cases/val._type" in r]
    assert row["worst cases/val.count"] == 2
    assert all("child" not in text for text in row["worst cases/val.captions"])
    pictures = sorted(trained.glob("wandb/offline-run-*/files/media/images/worst cases/*.jpg"))
    assert len(pictures) == 2
    assert {cv2.imread(str(p)).shape for p in pictures} == {(384, 384, 3)}


def test_nobody_is_contacted_by_default_and_nothing_is_written_outside_the_run(trained, listener):
    assert listener[1] == []
    assert "WANDB_DATA_DIR" not in os.environ
    assert {p.name for p in (trained / "wandb").iterdir()} >= {"staging", "cache"}


def test_a_resumed_run_starts_its_file_with_the_epochs_before(trained, data, tmp_path, monkeypatch):
    small(monkeypatch)
    with TrainTracking(tmp_path / "run", "off") as tracking:
        loop.train(settings(data, epochs=2), tmp_path / "run", callbacks=[tracking])
    first, last = csv.DictReader((tmp_path / "run" / "log.csv").open())
    with (tmp_path / "run" / "log.csv").open("a") as log:  # an epoch that the checkpoint does not know of
        after = {"epoch": 3, "step": 2 * int(last["step"]) - int(first["step"]), "loss": 99.0}
        csv.DictWriter(log, list(last), lineterminator="\n").writerow(last | after)
    with TrainTracking(tmp_path / "run", "offline", resume=True) as tracking:
        loop.train(settings(data), tmp_path / "run", resume=True, callbacks=[tracking])
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    assert [r["epoch"] for r in rows] == ["1", "2", "3", "4"]
    logged = Logged(tmp_path / "run").series("train/loss", "trainer/step")
    assert logged == [(int(r["step"]), pytest.approx(float(r["loss"]))) for r in rows]


def broken(*_, **__):
    raise RuntimeError("no space left on device")


@pytest.mark.parametrize("how", ["init raises", "log raises", "absent"])
def test_a_failing_wandb_is_told_once_and_stops_nothing(data, tmp_path, monkeypatch, caplog, how):
    small(monkeypatch)
    if how == "absent":
        monkeypatch.setitem(sys.modules, "wandb", None)
    else:
        import wandb

        closed = []
        run = type(
            "Run", (), {"log": broken, "define_metric": lambda *a, **k: None,
                        "finish": lambda *a, **k: closed.append(k)}
        )  # fmt: skip
        monkeypatch.setattr(wandb, "init", broken if how == "init raises" else lambda **_: run())
    with caplog.at_level(logging.WARNING), TrainTracking(tmp_path / "run", "offline") as tracking:
        run = loop.train(settings(data, epochs=2), tmp_path / "run", callbacks=[tracking])
        tracking.conclude(run)
    assert (tmp_path / "run" / "pose.onnx").is_file()
    told = [r.getMessage() for r in caplog.records if "W&B" in r.getMessage()]
    assert len(told) == 1
    assert ("not installed" if how == "absent" else "no space left") in told[0]
    if how == "log raises":  # what it has is kept
        assert closed == [{"exit_code": 0}]
    assert "WANDB_DATA_DIR" not in os.environ


@pytest.mark.parametrize(
    ("asked", "env", "key", "mode"),
    [
        (None, None, "k", "offline"),
        (None, "disabled", None, "off"),
        (None, "dryrun", None, "offline"),
        (None, "online", "k", "online"),
        (None, "online", None, "offline"),
        ("online", "disabled", "k", "online"),
        ("online", None, None, "offline"),
        ("off", "online", "k", "off"),
        (None, "nonsense", "k", "offline"),
    ],
)
def test_online_only_when_asked_and_logged_in(asked, env, key, mode, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))  # whoever runs this may be logged in
    monkeypatch.delenv("NETRC", raising=False)
    for name, value in (("WANDB_MODE", env), ("WANDB_API_KEY", key)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert resolve_mode(asked) == mode


def result_of(folder, frames, clips):
    """A result as ``heightpose eval`` makes it, of records."""
    log = Log(folder / "records")
    for one in frames:
        log.add([one])
    for one in clips:
        log.add((), one)
    iteration = {"name": "poc", "order": 1, "hash": "f" * 64}
    about = {
        "testset": {"name": "ward", "version": 1, "sha256": "a" * 64},
        "models": {"pose": {"name": "p", "sha256": "b"}},
    }
    trained = {"id": "one", "data": {"hash": "c" * 64, "iteration": iteration}}
    return plain({**about, "settings": {}, "run": "pose", "trained": trained, **summarise(frames, clips)})


def test_an_evaluation_is_drawn_over_its_data_iteration(tmp_path):
    (tmp_path / "records").mkdir()
    frames = [
        evaluated.frame(
            f"{i}.png", f"child-{i}", off=0.05 * i, strata={"posture": "side", "annotator": "Zoë Q"}
        )
        for i in range(4)
    ]
    for one in frames:
        (tmp_path / one.file).write_bytes(_png())
    clips = [evaluated.clip("a", "child-0", 1.0), evaluated.clip("b", "child-1", -2.0)]
    result = result_of(tmp_path, frames, clips)
    log_evaluation(tmp_path, result, tmp_path, "offline")
    logged = Logged(tmp_path)
    assert (logged.group, logged.job) == ("poc", "eval")
    assert logged.series("test/MeanSmS@0.1", "iteration/order") == [(1, result["headline"]["mean_sms_0.1"])]
    assert logged.series("test/Mean@0.1", "iteration/order") == [(1, result["headline"]["mean_0.1"])]
    assert logged.series("height/mae_cm", "iteration/order") == [(1, pytest.approx(1.5))]
    assert logged.config["data_hash"] == "c" * 64
    tables = {name for row in logged.rows for name in row if name.endswith("._type")}
    assert {"test joints._type", "test strata._type", "worst cases/test._type"} <= tables
    captions = next(r["worst cases/test.captions"] for r in logged.rows if "worst cases/test.captions" in r)
    assert all("child" not in text and "posture side" in text for text in captions)
    kept = b"".join(p.read_bytes() for p in (tmp_path / "wandb").rglob("*") if p.is_file())
    assert b"posture" in kept
    assert b"Zo\\u00eb" not in kept
    assert "Zoë".encode() not in kept


@pytest.mark.parametrize("beside", ["result.json", "run.json"])
def test_a_result_that_is_logged_again_is_the_same_run(tmp_path, beside):
    """Else a sync of both folders would show one result as two runs."""
    (tmp_path / "records").mkdir()
    frames = [evaluated.frame(f"{i}.png", f"child-{i}") for i in range(2)]
    result = result_of(tmp_path, frames, [])
    for name in ("offline-run-20260101_000000-zzzzzzzz", "offline-run-20260102_000000-abcd1234"):
        (tmp_path / "wandb" / name).mkdir(parents=True)
    (tmp_path / beside).write_text("{}")
    log_evaluation(tmp_path, result, tmp_path, "offline")
    (path,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    # In a training's folder those are the training's.
    assert (path.name == "run-abcd1234.wandb") == (beside == "result.json")
    assert len(Logged(tmp_path).rows) > 0


def _png():
    import cv2

    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3))
    return cv2.imencode(".png", noise.astype(np.uint8))[1].tobytes()


def test_faces_are_blurred_in_what_is_logged(tmp_path):
    record = evaluated.frame("a.png", "child-0", off=0.1)
    (tmp_path / "a.png").write_bytes(_png())
    cases = worst_people(People.of([record]), 1)
    ((blurred, _),) = worst_pictures(cases, tmp_path)
    ((sharp, _),) = worst_pictures(cases, tmp_path, blur=False)
    changed = np.abs(blurred.astype(int) - sharp).max(axis=2) > 8
    assert 0.05 < changed.mean() < 0.9  # the head, and not everything
    assert (
        np.abs(np.diff(blurred.astype(int), axis=1))[changed[:, 1:]].mean()
        < 0.5 * np.abs(np.diff(sharp.astype(int), axis=1))[changed[:, 1:]].mean()
    )


def test_a_tracker_that_is_off_imports_and_writes_nothing(tmp_path):
    tracker = Tracker(tmp_path, "off", {})
    tracker.log({"a": 1})
    tracker.finish()
    assert list(tmp_path.iterdir()) == []


def of_iteration(source, target, name, order, sms):
    """A finished run of another data iteration."""
    target.mkdir()
    for file in ("run.json", "metrics.json", "config.yaml", "log.csv"):
        (target / file).write_bytes((source / file).read_bytes())
    iteration = {"name": name, "order": order, "hash": "e" * 64, "parent": None}
    for file in ("run.json", "metrics.json"):
        document = json.loads((target / file).read_text())
        document["data"]["iteration"] = iteration
        document["id" if file == "run.json" else "run"] = f"id-{name}"
        if file == "metrics.json":
            document["best"]["MeanSmS@0.1"] = sms
        write_json(target / file, document)


def test_the_views_specification_has_every_iteration_and_every_logged_series(trained, tmp_path, monkeypatch):
    for key in ("WANDB_API_KEY", "WANDB_ENTITY"):
        monkeypatch.delenv(key, raising=False)
    of_iteration(trained, tmp_path / "second", "plus40", 2, 61.25)
    of_iteration(trained, tmp_path / "first", "poc", 1, 42.5)
    views = wandb_views.build(read_runs([tmp_path]), "team", "cots")
    made = json.loads(json.dumps(wandb_views.specification(views)))
    overview, *own = made["workspaces"]
    assert [w["displayName"] for w in own] == ["Iteration poc", "Iteration plus40"]
    assert all((w["entity"], w["project"]) == ("team", "cots") for w in made["workspaces"])
    assert "plus40" in json.dumps(own[1]["spec"])
    assert "plus40" not in json.dumps(own[0]["spec"])
    assert '"data_iteration.value"' in json.dumps(overview["spec"])
    report = json.dumps(made["report"]["spec"])
    assert "| poc | 1 | 42.5 |" in report
    assert report.index("| poc |") < report.index("| plus40 | 1 | 61.2 |")
    # What the panels draw is what runs log.
    sections = overview["spec"]["section"]["panelBankConfig"]["sections"]
    drawn_ = {m for s in sections for p in s["panels"] for m in p["config"].get("metrics", [])}
    logged = {name for row in Logged(trained).rows for name in row}
    trained_ = {m for m in drawn_ if not m.startswith(("test/", "height/", "summary"))}
    assert (
        {"train/MeanSmS@0.1", "val/MeanSmS@0.1", "overfit/Mean@0.1", "val per joint/crown"}
        <= trained_
        <= logged
    )


def test_without_an_account_the_specification_is_written_and_the_next_step_said(
    trained, tmp_path, monkeypatch
):
    from click.testing import CliRunner

    from heightpose.cli.main import cli

    monkeypatch.setenv("HOME", str(tmp_path))
    for key in ("WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(key, raising=False)
    out = tmp_path / "views.json"
    args = ["dashboard", "wandb", "--runs", str(trained), "--out", str(out), "--entity", "team", "--publish"]
    done = CliRunner().invoke(cli, args)
    assert isinstance(done.exception, ConfigError)
    assert "wandb login" in str(done.exception)
    assert json.loads(out.read_text())["schema"] == wandb_views.SCHEMA


def test_artifacts_have_names_that_are_allowed():
    assert wandb_log._artifact_name("testset-hand ü/é-val_1.0") == "testset-hand-----val_1.0"
