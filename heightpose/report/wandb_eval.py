"""``heightpose eval`` in W&B: one run per result, drawn over the data iteration that its model learned from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heightpose.data.strata import without_annotator
from heightpose.evaluate.people import People
from heightpose.evaluate.records import require_records
from heightpose.report.wandb_log import Tracker, group_of, order_of, worst_pictures
from heightpose.report.worst import worst_people
from heightpose.runtime.atomic import write_json

ORDER = "iteration/order"
_WORST = 8
#: The result's names to those that trainings use.
_NAMES = {"mean_0.1": "Mean@0.1", "mean_sms_0.1": "MeanSmS@0.1", "mean_0.5": "Mean@0.5", "oks_ap": "OKS-AP"}


def log_evaluation(
    folder: Path, result: Mapping[str, Any], data: Path, mode: str, *, blur: bool = True
) -> None:
    """Log a finished result.

    Args:
        folder: of the result, where W&B's own folder goes; data: what its records' paths are relative to.
        mode: of :func:`heightpose.report.wandb_log.resolve_mode`.
    """
    trained = result.get("trained") or {}
    about_data = trained.get("data")
    test = result["testset"]
    name = f"{test['name']}: {result.get('run') or result['models']['pose']['name']}"
    tracker = Tracker(folder, mode, describe(result), name=name, group=group_of(about_data), job_type="eval",
                      tags=["eval", f"testset {test['name']}"[:64]], notes=result.get("note") or None)  # fmt: skip
    try:
        with tracker.guarded("cannot log the result"):
            if tracker.on:
                _log(tracker, folder, result, data, blur)
    finally:
        tracker.finish()


def _log(tracker: Tracker, folder: Path, result: Mapping[str, Any], data: Path, blur: bool) -> None:
    tracker.axis(ORDER, "test/*", "test per joint/*", "height/*")
    tracker.log({ORDER: order_of((result.get("trained") or {}).get("data")) or 0} | figures(result))
    _tables(tracker, result)
    frames, _ = require_records(folder)
    cases = worst_people(People.of(frames), _WORST)
    tracker.pictures("worst cases/test", worst_pictures(cases, data, blur=blur))
    test = result["testset"]
    manifest = folder / "wandb" / "testset-manifest.json"
    write_json(manifest, {"testset": test, "models": result["models"]})
    tracker.artifact(f"testset-{test['name']}", "dataset", [manifest], {"sha256": test["sha256"]})


def describe(result: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, models by hash, test set by hash, code, and the training that made the weights."""
    trained = result.get("trained") or {}
    data = trained.get("data") or {}
    iteration = data.get("iteration") or {}
    return {
        "testset": result["testset"],
        "models": result["models"],
        "settings": result["settings"],
        "backend": result.get("backend"),
        "code": result.get("code", {"version": result.get("heightpose")}),
        "trained_run": trained.get("id"),
        "data_iteration": iteration.get("name"),
        "data_iteration_order": iteration.get("order"),
        "data_iteration_hash": iteration.get("hash"),
        "data_hash": data.get("hash"),
        "note": result.get("note") or trained.get("note"),
        "labels": trained.get("labels") or {},
    }


def figures(result: Mapping[str, Any]) -> dict[str, Any]:
    """Headline, per joint and height figures by W&B's names."""
    found: dict[str, Any] = {}
    for name, value in result["headline"].items():
        if name.startswith("height_"):
            found[f"height/{name.removeprefix('height_')}"] = value
        elif name == "null_mae_cm":
            found["height/null_mae_cm"] = value
        else:
            found[f"test/{_NAMES.get(name, name)}"] = value
    if result.get("pose") is not None:
        at = result["pose"]["pckh"]["0.1"]
        found |= {f"test per joint/{joint}": value for joint, value in at["per_joint"].items()}
    return found


def _tables(tracker: Tracker, result: Mapping[str, Any]) -> None:
    if result.get("pose") is not None:
        at = result["pose"]["pckh"]
        rows = [
            [j, v, at["0.5"]["per_joint"][j], at["0.1"]["counts"][j]]
            for j, v in at["0.1"]["per_joint"].items()
        ]
        tracker.table("test joints", ["joint", "PCKh@0.1", "PCKh@0.5", "joints"], rows)
    rows = []
    for stratum, values in without_annotator(result.get("strata") or {}).items():
        for value, both in values.items():
            pose, height = both["pose"], both["height"]
            at = None if pose is None else pose["pckh"]["0.1"]
            rows.append(
                [
                    stratum, value, None if pose is None else pose["people"], None if at is None else at["mean"],
                    None if at is None else at["mean_sms"], None if height is None else height["clips"],
                    None if height is None else height["mae_cm"],
                ]
            )  # fmt: skip
    tracker.table(
        "test strata",
        ["stratum", "value", "people", "Mean@0.1", "MeanSmS@0.1", "clips", "height MAE cm"],
        rows,
    )
