"""Reading the files of one run, strictly: what is wrong is named with its file. See :mod:`heightpose.report.runs`."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from heightpose.errors import FileFormatError, HeightposeError, InputError
from heightpose.report.run_checks import (
    Checked,
    figures,
    is_a,
    iteration,
    moment,
    names,
    number,
    parent,
    require_figures,
    require_headline,
    require_makings,
    require_one_matrix,
    require_strata,
)  # fmt: skip
from heightpose.report.run_model import (
    CONFIG,
    LOG,
    METRICS,
    RUN,
    Ablation,
    Cell,
    EvalRun,
    Json,
    Seed,
    TrainRun,
)  # fmt: skip
from heightpose.runtime.output import sha256
from heightpose.textfile import read_yaml

#: Of ``run.json``; a reader takes no other.
SCHEMA = 1


def read_identity(path: Path) -> Json:
    """``run.json``, empty where there is none. Raises HeightposeError when it is damaged."""
    return _object(path) if path.is_file() else {}


def identity_of(run: Path) -> Json | None:
    """What an evaluation keeps of the run in a folder: all but the strata tables. None where there is no record."""
    record = read_identity(run / RUN)
    if not record:
        return None
    kept = {k: record.get(k) for k in ("id", "created", "note", "labels", "seed", "code", "parent")}
    data = record.get("data") or {}
    return kept | {"data": {k: data.get(k) for k in ("hash", "iteration")}}


def read_training(folder: Path) -> TrainRun:
    """The training run in a folder.

    Raises:
        HeightposeError: it is unfinished, or one of its records is missing or not what it must be; by name.
    """
    if not (folder / METRICS).is_file():
        raise HeightposeError(
            "not finished: it runs still or was interrupted", where=folder, expected=METRICS
        )
    metrics = _object(folder / METRICS)
    config = _config(folder / CONFIG)
    known = (folder / RUN).is_file()
    if not known and metrics.get("run") is not None:  # runs from before there was a record name none
        raise FileFormatError(
            "no such file", where=folder / RUN, expected=f"the record of run {metrics['run']}"
        )
    about = _object(folder / RUN) if known else _of_old(folder, metrics, config)
    with Checked(folder / (RUN if known else METRICS)):
        if about["schema"] != SCHEMA or about["kind"] != "training":
            raise ValueError(f"expected a training of schema {SCHEMA}")
        code = {"commit": None, "changed": None, "sha256": None} | is_a(about["code"], dict, "code")
        data = is_a(about["data"], dict, "data")
        require_strata(data)
        identity: Json = {
            "id": is_a(about["id"], str, "id"),
            "created": moment(about["created"]),
            "note": is_a(about.get("note", ""), str, "note"),
            "labels": {str(k): str(v) for k, v in is_a(about.get("labels") or {}, dict, "labels").items()},
            "seed": is_a(about["seed"], int | None, "seed"),
            "iteration": iteration(data.get("iteration")),
            "data_hash": is_a(data.get("hash"), str | None, "data.hash"),
            "parent": parent(about.get("parent")),
        }
    with Checked(folder / METRICS):
        if metrics.get("run") not in (None, identity["id"]):
            raise ValueError(f"run {identity['id']}, as {RUN} says")
        best = figures(metrics["best"], "best")
        on_train = figures(metrics.get("on train") or {}, "on train")
        weights = names(metrics.get("weights"), "weights")
        outcome: Json = {
            "task": is_a(metrics["kind"], str, "kind"),
            "best": best,
            "on_train": on_train,
            "overfit": _difference(on_train, best, "Mean@0.1"),
            "overfit_sms": _difference(on_train, best, "MeanSmS@0.1"),
        }
    return TrainRun(
        folder=folder, file=folder / METRICS, name=folder.resolve().name, code=code, data=data, config=config,
        log=_log(folder / LOG), metrics=metrics, weights=_weights(folder) if weights is None else weights,
        **identity, **outcome,
    )  # fmt: skip


def read_evaluation(path: Path) -> EvalRun:
    """The result at ``path``. Raises HeightposeError when it is none, or not whole."""
    document = _object(path)
    with Checked(path):
        if document["kind"] != "evaluation" or document["schema"] != SCHEMA:
            raise ValueError(f"expected an evaluation of schema {SCHEMA}")
        if not is_a(document["whole"], bool, "whole"):
            raise ValueError("whole: the evaluation was interrupted")
        for key in ("testset", "models", "settings", "headline", "strata"):
            is_a(document[key], dict, key)
        for key in ("name", "sha256", "folder"):
            is_a(document["testset"][key], str, f"testset.{key}")
        is_a(document["testset"].get("files_sha256"), str | None, "testset.files_sha256")
        for key in ("name", "sha256"):
            is_a(document["models"]["pose"][key], str, f"models.pose.{key}")
        require_makings(document)
        require_headline(document)
        require_figures(document, "")
        for name, values in document["strata"].items():
            for value, both in values.items():
                require_figures(both, f"strata.{name}.{value}.")
        for key, kind in (("trained", dict), ("code", dict), ("note", str), ("run", str)):
            is_a(document.get(key), kind | None, key)
        is_a((document.get("trained") or {}).get("id"), str | None, "trained.id")
        return EvalRun(path.parent, path, moment(document["created"]), document)


def read_ablation(path: Path) -> Ablation:
    """The ablation at ``path``. Raises HeightposeError when it is none."""
    document = _object(path)
    with Checked(path):
        cells = [_cell(cell, path.parent) for cell in is_a(document["cells"], list, "cells")]
        require_one_matrix(document)
        name, metric = (is_a(document[key], str, key) for key in ("name", "metric"))
        return Ablation(path, name, metric, tuple(cells), document)


def _cell(cell: Any, folder: Path) -> Cell:
    seeds = []
    for one in is_a(cell["seeds"], list, "seeds"):
        run = is_a(one.get("run"), str | None, "run")
        measured = {
            k: number(v, k)
            for k, v in is_a(one["metrics"], dict, "metrics").items()
            if isinstance(v, (int, float)) and not isinstance(v, bool)
        }
        seeds.append(Seed(is_a(one["seed"], int, "seed"), None if run is None else folder / run, measured))
    return Cell({str(k): str(v) for k, v in is_a(cell["labels"], dict, "labels").items()}, tuple(seeds))


def _object(path: Path) -> Json:
    def not_a_number(text: str) -> float:
        raise ValueError(f"{text} is not JSON")

    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=not_a_number)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path) from error
    except (ValueError, RecursionError) as error:
        raise FileFormatError("corrupted or half-written", where=path, got=error) from error
    if not isinstance(value, dict):
        raise FileFormatError("not a run record", where=path, expected="a JSON object")
    return value


def _config(path: Path) -> Json:
    """As plain values: an old run's settings may not exist any more."""
    value = read_yaml(path, "configuration")
    if not isinstance(value, dict) or not isinstance(value.get("data") or {}, dict):
        raise FileFormatError("not a configuration", where=path, expected="name: value")
    return value


def _of_old(folder: Path, metrics: Json, config: Json) -> Json:
    """``run.json`` of a run that has none, from what its other files tell."""
    text = json.dumps([config, metrics], sort_keys=True, default=str)
    created = datetime.fromtimestamp((folder / CONFIG).stat().st_mtime, UTC)
    return {
        "schema": SCHEMA,
        "kind": "training",
        "id": hashlib.sha256(text.encode()).hexdigest()[:16],
        "created": created.isoformat(timespec="seconds"),
        "seed": config.get("seed"),
        "code": {"version": metrics.get("version")},
        "data": metrics.get("data") or {},
    }


def _log(path: Path) -> list[dict[str, float | None]]:
    """The rows up to the first broken one: the figures do not depend on the log."""
    rows: list[dict[str, float | None]] = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                rows.append({k: _finite(v) for k, v in row.items() if k is not None})
    except (OSError, ValueError, TypeError, csv.Error):
        return rows
    return rows


def _finite(text: str | None) -> float | None:
    """A training that diverged logs nan and inf: nothing that could be drawn."""
    value = float(text) if text else math.nan
    return value if math.isfinite(value) else None


def _weights(folder: Path) -> dict[str, str]:
    names = [f"{kind}{suffix}" for kind in ("pose", "detector") for suffix in (".onnx", ".safetensors")]
    return {name: sha256([folder / name]) for name in names if (folder / name).is_file()}


def _difference(train: Json, val: Json, name: str) -> float | None:
    a, b = train.get(name), val.get(name)
    return None if a is None or b is None else a - b
