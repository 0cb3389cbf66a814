"""Synthetic run folders: records as train, eval and ablate write them, with figures that a test can know."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml

sys.path += [str(Path(__file__).resolve().parents[1] / name) for name in ("evaluate", "runtime")]

from evaluated import clip, frame

from heightpose.config import TrainConfig
from heightpose.evaluate.records import Log
from heightpose.evaluate.summary import summarise
from heightpose.runtime.output import plain

START = datetime(2026, 3, 1, tzinfo=UTC)
SET = {"name": "cots", "version": 1, "folder": "cots", "sha256": "ab" * 32, "frozen": True, "split": None}


def training(
    root, name, hour, *, val=50.0, train=60.0, seed=1, note="", data="d1", children=None, labels=None, lr=1e-3,
    parent=None, commit="c" * 40, iteration=None,
):  # fmt: skip
    """A finished training run; ``children``: stratum -> value -> children in train."""
    folder = root / name
    folder.mkdir(parents=True)
    strata = {
        s: {v: {"children": n, "items": 2 * n} for v, n in values.items()}
        for s, values in (children or {}).items()
    }
    record = {
        "schema": 1, "kind": "training", "id": f"id-{name}", "created": at(hour), "task": "pose", "note": note,
        "labels": labels or {}, "seed": seed, "parent": parent,
        "code": {"version": "0.1.0", "commit": commit, "changed": False, "sha256": "5" * 64},
        "data": {"hash": data * 32, "iteration": iteration, "train": {"pictures": 100, "samples": 90},
                 "val": {"pictures": 10, "samples": 9}, "strata": {"train": strata, "val": {}}},
    }  # fmt: skip
    config = TrainConfig().to_dict()
    config["optim"]["lr"], config["data"]["dirs"], config["seed"] = lr, [f"sets/{data}"], seed
    best = {"epoch": 2, "step": 20, "Mean@0.1": val - 5, "MeanSmS@0.1": val}
    metrics = {
        "kind": "pose", "run": record["id"], "best": best, "last": best, "epochs": 2, "version": "0.1.0",
        "on train": {"Mean@0.1": train - 5, "MeanSmS@0.1": train},
        "weights": {"pose.onnx": weights_of(name)},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "log.csv").write_text(
        f"epoch,step,loss,Mean@0.1,train Mean@0.1\n1,10,0.3,{val - 9},{train - 9}\n2,20,0.2,{val - 5},{train - 5}\n"
    )
    return folder


def evaluation(
    root, name, hour, of=None, *, frames=(), clips=(), test=SET, commit="c" * 40, note=None, figures=None
):
    """A result over real records, of the weights of the training ``of``; ``figures`` instead of theirs."""
    folder = root / name
    (folder / "records").mkdir(parents=True)
    Log(folder / "records").add(frames)
    for one in clips:
        Log(folder / "records").add(clip=one)
    people = sum(len(f.people) for f in frames)
    children = {p.child for f in frames for p in f.people} | {c.child for c in clips}
    result = {
        "schema": 1, "kind": "evaluation", "created": at(hour), "heightpose": "0.1.0", "run": of,
        "trained": None if of is None else {"id": f"id-{of}", "labels": {}}, "note": note,
        "code": {"version": "0.1.0", "commit": commit, "changed": False, "sha256": "5" * 64},
        "testset": test | {"frames": len(frames), "clips": len(clips), "people": people, "children": len(children)},
        "models": {"pose": {"name": "pose.onnx", "sha256": weights_of(of)},
                   "detector": {"name": "detector.onnx", "sha256": "dd" * 32}},
        "settings": {"flip": True, "truth_crops": False, "limit": None}, "backend": {}, "whole": True,
        **(summarise(frames, clips) if figures is None else figures),
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(plain(result)))
    return folder


def ablation(root, name, values):
    """``values``: level -> the metric of each seed; the first level is the base."""
    folder = root / name
    folder.mkdir(parents=True)
    cells = [
        {"labels": {"lr": level}, "seeds": [{"seed": i, "run": f"../runs/{level}-{i}", "metrics": {"MeanSmS@0.1": v}}
                                            for i, v in enumerate(each, 1)]}
        for level, each in values.items()
    ]  # fmt: skip
    document = {"schema": 1, "name": name, "metric": "MeanSmS@0.1", "better": "higher", "cells": cells}
    (folder / "ablation.json").write_text(json.dumps(document))
    return folder


def infants(values, *, each=4, wrong=()):
    """Frames of ``each`` children per posture; the share of wrong ones is told by ``wrong``: posture -> how many."""
    return [
        frame(f"{value}-{i}.jpg", f"{value}-{i}", off=1.0 if i < dict(wrong).get(value, 0) else 0.0, seed=i,
              strata={"posture": value})
        for value in values
        for i in range(each)
    ]  # fmt: skip


def measured(errors, posture="back", refused=None):
    """Clips of as many children, measured so many centimetres off; where None, ``refused`` ones."""
    return [
        clip(
            f"clip-{i}",
            f"clip-child-{i}",
            e,
            strata={"posture": posture},
            refused=refused if e is None else None,
        )
        for i, e in enumerate(errors)
    ]


def weights_of(name):
    return f"{sum(map(ord, str(name))) % 256:02x}" + "".join(f"{ord(c) % 16:x}" for c in str(name))[
        :40
    ].ljust(62, "0")


def at(hour):
    return (START + timedelta(hours=hour)).isoformat(timespec="seconds")
