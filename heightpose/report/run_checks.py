"""Checks of what run records hold: a wrong type or number is named with its field, and never met again later."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from heightpose.errors import FileFormatError
from heightpose.report.run_model import Json

#: Nothing that is measured comes near; a plot's axis cannot reach further.
_LARGEST = 1e9


class Checked:
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


def iteration(value: Any) -> Json | None:
    if value is None:
        return None
    document = {"order": None, "parent": None} | is_a(value, dict, "data.iteration")
    is_a(document["name"], str, "data.iteration.name")
    is_a(document["hash"], str, "data.iteration.hash")
    return document


def figures(value: Any, name: str) -> Json:
    figures = is_a(value, dict, name)
    for key in ("Mean@0.1", "MeanSmS@0.1"):
        number(figures.get(key), f"{name}.{key}")
    return figures


def require_figures(holder: Json, where: str) -> None:
    """Checks the figures of joints and of heights, as far as they are there, that readers take for granted."""
    pose, height = (is_a(holder[key], dict | None, where + key) for key in ("pose", "height"))
    if pose is not None:
        fine = pose["pckh"]["0.1"]
        _all(fine, f"{where}pose.pckh.0.1.", numbers=("mean", "mean_sms"), intervals=("mean", "mean_sms"))
        _all(pose, f"{where}pose.", counts=("people", "children"))
    if height is not None:
        lengths = ("mae_cm", "bias_cm", "null_mae_cm")
        _all(
            height, f"{where}height.", numbers=(*lengths, "yield", "coverage"), intervals=lengths,
            counts=("clips", "measured", "children"),
        )  # fmt: skip
        _interval(height.get("estimate_mae_cm_interval"), f"{where}height.estimate_mae_cm_interval")
    if pose is None and height is None and where:
        raise ValueError(f"{where}: expected pose or height")


def require_headline(document: Json) -> None:
    """Checks that what the headline says has its block, and what test sets are told apart by."""
    for key, value in is_a(document["headline"], dict, "headline").items():
        number(value, f"headline.{key}")
        block = "height" if key.startswith("height") else "pose" if key.startswith("mean") else None
        if value is not None and block is not None and document[block] is None:
            raise ValueError(f"{block}: missing, though headline.{key} is there")
    test = document["testset"]
    is_a(test["version"], int | str | None, "testset.version")
    is_a(test.get("split"), str | None, "testset.split")
    is_a(document["settings"].get("limit"), int | None, "settings.limit")
    _count(test.get("children", 0), "testset.children")


def require_makings(document: Json) -> None:
    """Checks what results are told apart by beside their weights: other models by hash, and what ran the nets."""
    models = document["models"]
    is_a(models["pose"].get("calibration_sha256"), str | None, "models.pose.calibration_sha256")
    for kind in ("detector", "cover", "elevation"):
        model = is_a(models.get(kind) or {}, dict, f"models.{kind}")
        is_a(model.get("sha256"), str | None, f"models.{kind}.sha256")
    for net, active in is_a(document.get("backend") or {}, dict, "backend").items():
        is_a(active, dict, f"backend.{net}")


def _all(
    block: Json, where: str, numbers: tuple[str, ...] = (), intervals: tuple[str, ...] = (),
    counts: tuple[str, ...] = (),
) -> None:  # fmt: skip
    for key in numbers:
        number(block[key], where + key)
    for key in intervals:
        _interval(block[f"{key}_interval"], f"{where}{key}_interval")
    for key in counts:
        _count(block[key], where + key)


def _count(value: Any, name: str) -> None:
    is_a(value, int, name)
    if not 0 <= value < _LARGEST:
        raise ValueError(f"{name}: expected a count, got {value!r:.40}")


def require_strata(data: Json) -> None:
    """Checks the counts of a training's data."""
    for split, table in is_a(data.get("strata") or {}, dict, "data.strata").items():
        for stratum, values in is_a(table, dict, f"data.strata.{split}").items():
            for value, counts in is_a(values, dict, f"data.strata.{split}.{stratum}").items():
                for key in ("children", "items"):
                    _count(counts[key], f"data.strata.{split}.{stratum}.{value}.{key}")
    for split in ("train", "val"):
        counts = is_a(data.get(split) or {}, dict, f"data.{split}")
        for key in ("pictures", "samples"):
            _count(counts.get(key, 0), f"data.{split}.{key}")


def require_one_matrix(document: Json) -> None:
    """Checks what tables of an ablation take for granted: cells of the same factors, and the words beside them."""
    factors = [list(cell["labels"]) for cell in document["cells"]]
    if not factors or any(sorted(names) != sorted(factors[0]) for names in factors):
        raise ValueError("cells: expected one or more, each with the same labels")
    for cell in document["cells"]:
        for one in is_a(cell.get("failed") or [], list, "failed"):
            is_a(one["seed"], int, "failed.seed")
            is_a(one["error"], str, "failed.error")
    budget = is_a(document.get("budget") or {}, dict, "budget")
    is_a(budget.get("set") or {}, dict, "budget.set")
    for key in ("question", "better"):
        is_a(document.get(key), str | None, key)


def parent(value: Any) -> Json | None:
    if value is not None:
        is_a(value, dict, "parent")
        for key, kind in (("name", str), ("sha256", str), ("run", str | None)):
            is_a(value[key], kind, f"parent.{key}")
    return value


def names(value: Any, name: str) -> dict[str, str] | None:
    """Names with words, such as labels and hashes."""
    if value is None:
        return None
    return {str(k): is_a(v, str, f"{name}.{k}") for k, v in is_a(value, dict, name).items()}


def _interval(value: Any, name: str) -> None:
    if value is not None and (not isinstance(value, list) or len(value) != 2 or None in map(_bound, value)):
        raise ValueError(f"{name}: expected two numbers, got {value!r:.40}")


def _bound(value: Any) -> float | None:
    return number(value, "bound")


def is_a(value: Any, kind: Any, name: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{name}: expected {getattr(kind, '__name__', kind)}, got {type(value).__name__}")
    return value


def number(value: Any, name: str) -> float | None:
    """A number that can be drawn: finite and not astronomical."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < _LARGEST:
        raise ValueError(f"{name}: expected a number, got {value!r:.40}")
    return float(value)


def moment(value: Any) -> datetime:
    made = datetime.fromisoformat(is_a(value, str, "created"))
    return made.replace(tzinfo=UTC) if made.tzinfo is None else made.astimezone(UTC)
