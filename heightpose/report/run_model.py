"""What a run is: records of trainings, evaluations and ablations as values; heightpose.report.runs reads them."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from heightpose.config import without_places
from heightpose.runtime.modelfile import SHIPPED, shipped_path

RUN, CONFIG, METRICS, LOG = "run.json", "config.yaml", "metrics.json", "log.csv"
RESULT, ABLATION = "result.json", "ablation.json"
#: Settings that do not change what is learned: runs that differ in nothing else are repetitions of each other.
_REPEATS = ("seed", "hardware")
_PLACES = ("dirs", "iterations_root", "memory_mb", "workers", "iteration")
#: Suffixes that ``--run`` looks for; the default of ``--tta``.
_WEIGHTS_SUFFIXES, _TTA = (".onnx", ".safetensors"), "flip"
#: What ``--backend auto`` takes where it is installed, which it is with heightpose.
_BACKEND = "openvino"
#: Stands in a command for where a folder lies that was not found.
UNKNOWN_PLACE = Path("SOMEWHERE")

Json = dict[str, Any]


@dataclass(frozen=True)
class Skipped:
    """A record that is not used: which file, and why."""

    path: Path
    why: str


@dataclass(frozen=True)
class TrainRun:
    """One finished training.

    Attributes:
        file: the record that its figures come from.
        id: unique; made up from the content where the run is older than ``run.json``.
        created: UTC; of an older run its configuration file's time.
        code: ``{"version", "commit", "changed", "sha256"}``, unknown ones None.
        data_hash: SHA-256 of what was trained on; None of an older run.
        iteration: ``{"name", "hash", "order", "parent"}`` of the data iteration, None without one.
        parent: ``{"name", "sha256", "run"}`` of the weights it started from, None from scratch.
        strata: split -> stratum -> value -> ``{"children", "items"}``; empty of an older run.
        best, on_train: figures of the best weights on validation and on training samples (true boxes).
        overfit: Mean@0.1 on train minus on validation; ``overfit_sms`` the same of MeanSmS@0.1.
        log: a row per epoch, numbers or None.
        weights: SHA-256 of each weights file by name.
    """

    folder: Path
    file: Path
    id: str
    name: str
    created: datetime
    task: str
    note: str
    labels: dict[str, str]
    seed: int | None
    code: Json
    data_hash: str | None
    iteration: Json | None
    parent: Json | None
    data: Json
    config: Json
    best: Json
    on_train: Json
    overfit: float | None
    overfit_sms: float | None
    log: list[dict[str, float | None]]
    metrics: Json
    weights: dict[str, str]

    @property
    def strata(self) -> dict[str, Any]:
        return self.data.get("strata") or {}

    @property
    def command(self) -> str:
        """What recomputes the figures: the same training again."""
        return shlex.join(["heightpose", "train", str(self.folder / CONFIG), "--out", "AGAIN"])

    @property
    def data_name(self) -> str:
        """The data in a few words: the iteration's name, or the data sets' folders."""
        if self.iteration is not None:
            return str(self.iteration["name"])
        return ", ".join(Path(d).name for d in (self.config.get("data") or {}).get("dirs") or []) or "?"

    @property
    def code_key(self) -> str:
        """The code, comparable between runs."""
        return code_key(self.code)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Every setting by dotted name, without seed, machine and where the data lie."""
        return flat_config(without_places(self.config))

    @cached_property
    def algorithm(self) -> str:
        """Everything that was chosen but data, seed and machine, as one comparable text."""
        parent = None if self.parent is None else self.parent.get("sha256")
        return json.dumps(
            [self.task, self.settings, parent, self.note, self.code_key], sort_keys=True, default=str
        )

    @cached_property
    def data_key(self) -> str:
        """What was trained on, comparable between runs."""
        if self.data_hash is not None:
            return self.data_hash
        return json.dumps([self.data_name, self.data.get("train")], sort_keys=True)


@dataclass(frozen=True)
class EvalRun:
    """One evaluation. ``document`` is ``result.json`` whole; ``testset`` tells which results compare."""

    folder: Path
    file: Path
    created: datetime
    document: Json

    @property
    def testset(self) -> tuple[str, str, str, int | None, str]:
        """(name with version, hash, split, limit, hash of a plain set's pictures): equal only of results on the same
        pictures."""
        test, limit = self.document["testset"], self.document["settings"].get("limit")
        version = "" if test["version"] is None else f" v{test['version']}"
        files = test.get("files_sha256") or ""
        part = "" if limit is None else f", first {limit}"
        return f"{test['name']}{version}{part}", test["sha256"], test.get("split") or "", limit, files

    @property
    def trained(self) -> Json | None:
        """The identity of the run whose weights were judged, as the result holds it."""
        return self.document.get("trained")

    @property
    def note(self) -> str:
        return self.document.get("note") or ""

    @property
    def headline(self) -> dict[str, float | None]:
        return self.document["headline"]

    @property
    def model_sha256(self) -> str:
        return self.document["models"]["pose"]["sha256"]

    def command(self, training: TrainRun | None = None, pictures: Path | None = None) -> str:
        """What recomputes the figures, from the same weights.

        Args:
            training: the run that made them.
            pictures: the folder of the set that they are judged on; None: it is not known where that lies.
        """
        test, settings, run = self.document["testset"], self.document["settings"], self.document.get("run")
        where = str(pictures or UNKNOWN_PLACE / test["folder"])
        whom = ["--testset", where]
        if not test.get("frozen", True):
            whom = ["--data", where, "--split", test.get("split") or "all"]
        if training is not None and run is not None:
            run = training.folder
        models = _model_options(self.document["models"], run)
        more = _setting_options(settings) + _backend_option(self.document.get("backend") or {})
        return shlex.join(["heightpose", "eval", *whom, *models, *more, "--out", str(self.folder)])


@dataclass(frozen=True)
class Seed:
    """One run of an ablation's cell. ``run`` is its folder, None where the run is gone."""

    seed: int
    run: Path | None
    metrics: dict[str, float | None]


@dataclass(frozen=True)
class Cell:
    """One combination of settings with its repetitions."""

    labels: dict[str, str]
    seeds: tuple[Seed, ...]


@dataclass(frozen=True)
class Ablation:
    """A matrix of trainings. ``metric`` names the figure that cells are compared by, ``document`` is the file."""

    file: Path
    name: str
    metric: str
    cells: tuple[Cell, ...]
    document: Json


def _model_options(models: Json, run: Path | str | None) -> list[str]:
    """``--model``, ``--run`` and ``--detector``, as ``heightpose eval`` takes them."""
    pose, detector = str(models["pose"]["name"]), (models.get("detector") or {}).get("name")
    from_run = () if run is None else _WEIGHTS_SUFFIXES
    options = [] if run is None else ["--run", str(run)]
    if run is None or pose not in (shipped_path("fast").name, *(f"pose{s}" for s in from_run)):
        options += ["--model", _model_name(pose)]
    if detector not in (None, shipped_path("detector").name, *(f"detector{s}" for s in from_run)):
        options += ["--detector", str(detector)]
    return options


def _model_name(file: str) -> str:
    """What ``--model`` takes for a weights file's name: the bundled models go by names of their own."""
    return next((name for name in SHIPPED if shipped_path(name).name == file), file)


def _setting_options(settings: Json) -> list[str]:
    """The options of ``heightpose eval`` that are not at their defaults."""
    tta, limit = settings.get("tta"), settings.get("limit")
    options = [] if tta in (None, _TTA) else ["--tta", str(tta)]
    options += ["--truth-crops"] if settings.get("truth_crops") else []
    return options + ([] if limit is None else ["--limit", str(limit)])


def _backend_option(backend: Json) -> list[str]:
    """``--backend`` where one ran both nets and is not taken by itself: another gives other figures."""
    names = {str(active.get("name") or _BACKEND).split()[0] for active in backend.values()}
    return ["--backend", *names] if len(names) == 1 and names != {_BACKEND} else []


def flat_config(config: Json, prefix: str = "") -> dict[str, Any]:
    """Settings by dotted name, without seed, machine and where the data lie."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if (not prefix and key in _REPEATS) or (prefix == "data." and key in _PLACES):
            continue
        if isinstance(value, dict):
            found |= flat_config(value, f"{prefix}{key}.")
        elif f"{prefix}{key}" != "start_from":  # the parent's hash says it better than a path
            found[prefix + key] = value
    return found


def code_key(code: Json | None) -> str:
    """A commit where the files are those of the commit; otherwise the hash of the files themselves."""
    code = {} if code is None else code
    if code.get("commit") is not None and code.get("changed") is False:
        return str(code["commit"])
    return str(code.get("sha256") or code.get("version") or "?")
