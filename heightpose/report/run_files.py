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
    about = _object(folder / RUN) if (folder / RUN).is_file() else _of_old(folder, metrics, config)
    with _Checked(folder / RUN):
        if about["schema"] != SCHEMA or about["kind"] != "training":
            raise ValueError(f"expected a training of schema {SCHEMA}")
        code = {"commit": None, "changed": None, "sha256": None} | _is(about["code"], dict, "code")
        data = _is(about["data"], dict, "data")
        identity: Json = {
            "id": _is(about["id"], str, "id"),
            "created": _time(about["created"]),
            "note": _is(about.get("note", ""), str, "note"),
            "labels": {str(k): str(v) for k, v in _is(about.get("labels", {}), dict, "labels").items()},
            "seed": _is(about["seed"], int | None, "seed"),
            "iteration": _iteration(data.get("iteration")),
            "data_hash": _is(data.get("hash"), str | None, "data.hash"),
            "parent": _is(about.get("parent"), dict | None, "parent"),
        }
    with _Checked(folder / METRICS):
        if metrics.get("run") not in (None, identity["id"]):
            raise ValueError(f"run {identity['id']}, as {RUN} says")
        best = _figures(metrics["best"], "best")
        on_train = _figures(metrics.get("on train") or {}, "on train")
        weights = _is(metrics.get("weights"), dict | None, "weights")
        figures: Json = {
            "task": _is(metrics["kind"], str, "kind"),
            "best": best,
            "on_train": on_train,
            "overfit": _difference(on_train, best, "Mean@0.1"),
            "overfit_sms": _difference(on_train, best, "MeanSmS@0.1"),
        }
    return TrainRun(
        folder=folder, file=folder / METRICS, name=folder.resolve().name, code=code, data=data, config=config,
        log=_log(folder / LOG), metrics=metrics, weights=_weights(folder) if weights is None else weights,
        **identity, **figures,
    )  # fmt: skip


def read_evaluation(path: Path) -> EvalRun:
    """The result at ``path``. Raises HeightposeError when it is none, or not whole."""
    document = _object(path)
    with _Checked(path):
        if document["kind"] != "evaluation" or document["schema"] != SCHEMA:
            raise ValueError(f"expected an evaluation of schema {SCHEMA}")
        if not _is(document["whole"], bool, "whole"):
            raise ValueError("whole: the evaluation was interrupted")
        for key in ("testset", "models", "settings", "headline", "strata"):
            _is(document[key], dict, key)
        for key in ("name", "sha256", "folder"):
            _is(document["testset"][key], str, f"testset.{key}")
        _is(document["testset"]["version"], int | str | None, "testset.version")
        for key in ("name", "sha256"):
            _is(document["models"]["pose"][key], str, f"models.pose.{key}")
        for key, value in document["headline"].items():
            _number(value, f"headline.{key}")
        _blocks(document, "")
        for name, values in document["strata"].items():
            for value, both in values.items():
                _blocks(both, f"strata.{name}.{value}.")
        _is(document.get("trained"), dict | None, "trained")
        return EvalRun(path.parent, path, _time(document["created"]), document)


def read_ablation(path: Path) -> Ablation:
    """The ablation at ``path``. Raises HeightposeError when it is none."""
    document = _object(path)
    with _Checked(path):
        cells = []
        for cell in _is(document["cells"], list, "cells"):
            seeds = []
            for one in _is(cell["seeds"], list, "seeds"):
                run = _is(one.get("run"), str | None, "run")
                figures = {
                    k: _number(v, k)
                    for k, v in _is(one["metrics"], dict, "metrics").items()
                    if isinstance(v, (int, float)) and not isinstance(v, bool)
                }
                seeds.append(
                    Seed(_is(one["seed"], int, "seed"), None if run is None else path.parent / run, figures)
                )
            labels = {str(k): str(v) for k, v in _is(cell["labels"], dict, "labels").items()}
            cells.append(Cell(labels, tuple(seeds)))
        name, metric = (_is(document[key], str, key) for key in ("name", "metric"))
        return Ablation(path, name, metric, tuple(cells), document)


class _Checked:
    """Turns what a wrong content raises into an error that names the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, KeyError):
            raise FileFormatError("a field is missing", where=self.path, expected=error.args[0]) from error
        if isinstance(error, (TypeError, ValueError, AttributeError, IndexError)):
            raise FileFormatError("not a run record", where=self.path, got=error) from error


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
    if not isinstance(value, dict):
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
                rows.append({k: float(v) if v else None for k, v in row.items() if k is not None})
    except (OSError, ValueError, TypeError, csv.Error):
        return rows
    return rows


def _weights(folder: Path) -> dict[str, str]:
    names = [f"{kind}{suffix}" for kind in ("pose", "detector") for suffix in (".onnx", ".safetensors")]
    return {name: sha256([folder / name]) for name in names if (folder / name).is_file()}


def _iteration(value: Any) -> Json | None:
    if value is None:
        return None
    document = {"order": None, "parent": None} | _is(value, dict, "data.iteration")
    _is(document["name"], str, "data.iteration.name")
    _is(document["hash"], str, "data.iteration.hash")
    return document


def _figures(value: Any, name: str) -> Json:
    figures = _is(value, dict, name)
    for key in ("Mean@0.1", "MeanSmS@0.1"):
        _number(figures.get(key), f"{name}.{key}")
    return figures


def _blocks(holder: Json, where: str) -> None:
    """Checks the figures of joints and of heights, as far as they are there, that readers take for granted."""
    pose, height = (_is(holder[key], dict | None, where + key) for key in ("pose", "height"))
    if pose is not None:
        fine = pose["pckh"]["0.1"]
        for key in ("mean", "mean_sms"):
            _number(fine[key], f"{where}pose.pckh.0.1.{key}")
            _interval(fine[f"{key}_interval"], f"{where}pose.pckh.0.1.{key}_interval")
        for key in ("people", "children"):
            _is(pose[key], int, f"{where}pose.{key}")
    if height is not None:
        for key in ("mae_cm", "bias_cm", "null_mae_cm", "yield", "coverage"):
            _number(height[key], f"{where}height.{key}")
        _interval(height["mae_cm_interval"], f"{where}height.mae_cm_interval")
        for key in ("clips", "measured", "children"):
            _is(height[key], int, f"{where}height.{key}")


def _interval(value: Any, name: str) -> None:
    if value is not None and (not isinstance(value, list) or len(value) != 2 or None in map(_bound, value)):
        raise ValueError(f"{name}: expected two numbers, got {value!r}")


def _bound(value: Any) -> float | None:
    return _number(value, "bound")


def _difference(train: Json, val: Json, name: str) -> float | None:
    a, b = train.get(name), val.get(name)
    return None if a is None or b is None else a - b


def _is(value: Any, kind: Any, name: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{name}: expected {getattr(kind, '__name__', kind)}, got {type(value).__name__}")
    return value


def _number(value: Any, name: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{name}: expected a number, got {value!r}")
    return float(value)


def _time(value: Any) -> datetime:
    moment = datetime.fromisoformat(_is(value, str, "created"))
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
