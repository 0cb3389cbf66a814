"""One evaluation from its settings to its result folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from heightpose import __version__
from heightpose.errors import ConfigError, FileFormatError
from heightpose.evaluate.people import People
from heightpose.evaluate.records import ClipRecord, FrameRecord, Log, forget
from heightpose.evaluate.run import LEAST_IOU, Evaluation
from heightpose.evaluate.subject import Subject
from heightpose.evaluate.summary import SCHEMA, headline, summarise
from heightpose.geometry.lift import LIFT_FILE
from heightpose.metrics.height import null_length
from heightpose.report.run_files import identity_of
from heightpose.runtime import presence
from heightpose.runtime.atomic import folder_name, make_folder, write_csv, write_json
from heightpose.runtime.code import code_version
from heightpose.runtime.cover import Cover
from heightpose.runtime.modelfile import ModelFile
from heightpose.runtime.networks import Detector, PoseModel
from heightpose.runtime.output import plain, sha256
from heightpose.runtime.tta import FLIP
from heightpose.skeleton import INFANT
from heightpose.textfile import read_json

log = logging.getLogger("heightpose")

#: What is worked out from the records of a whole run.
_MADE_OF_RECORDS = ("result.json", "report.html", "people.csv", "clips.csv")
#: Where recorded figures are kept, from the current folder.
BASELINES = Path("eval/baselines")


@dataclass(frozen=True)
class Choice:
    """Whom to judge: models by shipped name or path, as ``infer`` takes them.

    Attributes:
        run: the name of the folder of ``heightpose train`` that the weights are from.
        trained: that run's identity, as its ``run.json`` has it.
        note: what is new about what is judged, for the dashboard's timeline.
    """

    model: str = "fast"
    detector: str = "detector"
    backend: str = "auto"
    tta: str = "flip"
    run: str | None = None
    trained: dict[str, Any] | None = None
    note: str | None = None
    truth_crops: bool = False
    limit: int | None = None

    @classmethod
    def of_run(cls, run: Path, **others: Any) -> Choice:
        """The weights in a folder of ``heightpose train``: its pose net, its detector, or both. ConfigError if none."""
        found: dict[str, str] = {}
        for option, stem in (("model", "pose"), ("detector", "detector")):
            path = next((p for s in (".onnx", ".safetensors") if (p := run / f"{stem}{s}").is_file()), None)
            if path is not None:
                found[option] = str(path)
        if not found:
            raise ConfigError(
                "this run has no weights",
                where=run,
                expected="pose.onnx or detector.onnx",
                hint="Let it finish",
            )
        return cls(**(others | found), run=run.resolve().name, trained=identity_of(run))


def evaluate(subject: Subject, choice: Choice, out: Path | None) -> tuple[dict[str, Any], Path, bool]:
    """Judge, write the result folder, and go on where an earlier run of the same was interrupted.

    Returns:
        (the result, its folder, whether it is whole).

    Raises:
        ConfigError: the folder holds the result of something else.
    """
    detector, pose_model = (
        Detector.load(choice.detector, choice.backend),
        PoseModel.load(choice.model, choice.backend, tta=choice.tta),
    )
    for part in (detector, pose_model):
        log.info("%s %s: %s", part.file.kind, part.file.path.name, part.backend.active)
    log.info("%s", pose_model.score_meaning)
    subject = subject.limited(choice.limit).with_files_hashed()
    models = {"pose": identity(pose_model), "detector": identity(detector)}
    if pose_model.cover is not None:
        models["cover"] = identity(pose_model.cover)
    about = {
        "testset": subject.as_dict(),
        "models": models,
        "settings": {
            "tta": str(pose_model.tta), "scores": "peak" if pose_model.calibration is None else "probability",
            "second_look": True, **presence.settings(detector), "least_iou": LEAST_IOU,
            "truth_crops": choice.truth_crops, "limit": choice.limit,
        },
    }  # fmt: skip
    folder = _default_folder(subject, pose_model, detector) if out is None else out
    make_folder(folder / "records")
    _require_same(folder / "records" / "about.json", plain(about))
    _forget_of_other_measurement(folder / "records", pose_model.calibration_sha256)
    if pose_model.calibration is not None:  # another one does not refuse the folder: it is judged anew
        models["pose"]["calibration_sha256"] = pose_model.calibration_sha256
    records = Log(folder / "records")
    models["elevation"] = {
        "name": LIFT_FILE.name,
        "sha256": sha256([LIFT_FILE]),
    }  # another one is judged anew, too
    whole = Evaluation(subject, detector, pose_model, records, truth_crops=choice.truth_crops).run()
    result = {
        "schema": SCHEMA,
        "kind": "evaluation",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "heightpose": __version__,
        "code": code_version(),
        "run": choice.run,
        "trained": choice.trained,
        "note": choice.note,
        **about,
        "backend": {"pose": vars(pose_model.backend.active), "detector": vars(detector.backend.active)},
        "whole": whole,
        **summarise(records.frames, records.clips),
    }
    result = plain(result)
    if whole:
        write_tables(folder, records.frames, records.clips)
        write_json(folder / "result.json", result)
    return result, folder, whole


def require_recordable(name: str, limit: int | None) -> None:
    """ConfigError where no baseline may have that name, or ``limit`` leaves a part of the set out."""
    if not name.strip(".") or Path(name).name != name:
        raise ConfigError("a baseline's name is a word, not a path", got=name)
    if limit is not None:
        raise ConfigError("a baseline is about the whole set", hint="Leave out --limit, or --record")


def write_baseline(result: dict[str, Any], name: str) -> Path:
    """Keep a result's main figures under ``eval/baselines/SET/NAME.json``: no curves, strata by headline only.

    Raises:
        ConfigError: as :func:`require_recordable`.
    """
    require_recordable(name, result["settings"]["limit"])
    kept = ("schema", "created", "heightpose", "run", "testset", "models", "backend", "settings", "headline")
    document = {key: result[key] for key in kept} | {"kind": "baseline"}
    for part in ("pose", "truth_crops"):
        figures = result[part]
        leave = ("curve", "score_reliability")
        document[part] = None if figures is None else {k: v for k, v in figures.items() if k not in leave}
        if figures is not None:
            document[part]["auc"] = {k: v for k, v in figures["curve"].items() if "auc" in k}
    document |= {"empty_frames": result["empty_frames"], "height": result["height"]}
    document["strata"] = {
        stratum: {value: headline(both["pose"], both["height"]) for value, both in values.items()}
        for stratum, values in result["strata"].items()
    }
    folder = BASELINES / folder_name(str(result["testset"]["name"]))
    make_folder(folder)
    write_json(folder / f"{name}.json", document)
    return folder / f"{name}.json"


def load_result(folder: Path) -> dict[str, Any]:
    """``result.json`` of a folder (or the file itself). FileFormatError when it is no result of this version."""
    path = folder / "result.json" if folder.is_dir() else folder
    document = read_json(path, "result")
    if (
        not isinstance(document, dict)
        or document.get("kind") != "evaluation"
        or document.get("schema") != SCHEMA
    ):
        raise FileFormatError("not a result of heightpose eval", where=path, expected=f"schema {SCHEMA}")
    return document


def identity(part: Detector | PoseModel | Cover) -> dict[str, str]:
    """Which weights these are: the file's name and hash."""
    return {"name": part.file.path.name, "sha256": part.file.sha256}


def weights_folder(*files: ModelFile) -> str:
    """The name of a default folder for what some weights did: every training calls its own ``pose`` or ``detector``,
    so parts of their hashes tell them apart."""
    return "-".join(f"{file.path.stem}-{_short_hash(file)}" for file in files)


def _short_hash(file: ModelFile) -> str:
    return file.sha256[:6]


def _default_folder(subject: Subject, pose_model: PoseModel, detector: Detector) -> Path:
    views = "" if pose_model.tta == FLIP else f"-{pose_model.tta}".replace(",", "-")
    name = f"{weights_folder(pose_model.file)}-{_short_hash(detector.file)}{views}"
    return Path("eval-results") / folder_name(subject.name) / name


def _require_same(path: Path, about: dict[str, Any]) -> None:
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else about
    (rest, files), (own_rest, own_files) = _apart(earlier), _apart(about)
    if rest != own_rest:
        raise ConfigError(
            "this folder holds the result of another model, test set or setting", where=path.parent.parent,
            hint="Choose another folder with --out, or delete this one",
        )  # fmt: skip
    if files is not None and files != own_files:  # None: of earlier code, whose records are judged anew
        raise ConfigError(
            "the pictures are not those of the result in this folder, though their labels are",
            where=path.parent.parent,
            hint="Choose another folder with --out, or delete this one",
        )
    write_json(path, about)


def _apart(about: Any) -> tuple[Any, str | None]:
    """What a result is about without the hash of its pictures, and that."""
    if not isinstance(about, dict) or not isinstance(about.get("testset"), dict):
        return about, None
    testset = dict(about["testset"])
    files = testset.pop("files_sha256", None)
    return about | {"testset": testset}, files


def _forget_of_other_measurement(records: Path, calibration: str) -> None:
    """Drop records that other code, elevation model or calibration made: a result is of one measurement throughout."""
    path = records / "made_by.json"
    made_by = {
        "sources": code_version()["sha256"], "elevation_model": sha256([LIFT_FILE]), "calibration": calibration,
    }  # fmt: skip
    same = path.is_file() and json.loads(path.read_text(encoding="utf-8")) == made_by
    if not same and forget(records):
        log.info("%s is of an earlier measurement: everything is judged anew", records.parent)
        for name in _MADE_OF_RECORDS:  # an interruption would leave them beside records that are not theirs
            (records.parent / name).unlink(missing_ok=True)
    write_json(path, made_by)


def write_tables(folder: Path, frames: Sequence[FrameRecord], clips: Sequence[ClipRecord]) -> None:
    """``people.csv`` (each joint's error in head sizes, empty where not labelled) and ``clips.csv``."""
    people = People.of(frames)
    strata = sorted({key for i in range(len(people)) for key in people.person(i).strata})
    columns = ["key", "file", "frame", "split", "child", "found", "iou", "score", "head_size_px"]
    columns += [f"stratum.{s}" for s in strata]
    columns += [f"{what}.{name}" for what in ("error", "visibility") for name in INFANT.names]
    rows = []
    for i, (f, _) in enumerate(people.rows):
        frame, person, guess = frames[f], people.person(i), frames[f].guess
        own = guess if guess is not None and people.found[i] else None
        errors = [("" if np.isnan(e) else f"{e:.4f}") for e in people.error[i]]
        rows.append(
            [
                people.keys[i], frame.file, frame.frame, frame.split, person.child, int(people.found[i]),
                None if own is None else own.iou, None if own is None else own.score, person.head_size_px,
                *(person.strata.get(s, "") for s in strata), *errors, *person.visibility,
            ]
        )  # fmt: skip
    write_csv(folder / "people.csv", [dict(zip(columns, row, strict=True)) for row in rows], columns)
    strata = sorted({key for clip in clips for key in clip.strata})
    columns = ["id", "child", "file", "sex", "age_months", "length_cm", "measured_cm", "low_cm", "high_cm"]
    columns += ["error_cm", "null_error_cm", "covered", "reasons", "unreported_cm", "frames", "used"]
    columns += [f"stratum.{s}" for s in strata]
    found = [dict(zip(columns, _clip_row(clip, strata), strict=True)) for clip in clips]
    write_csv(folder / "clips.csv", found, columns)


def _clip_row(clip: ClipRecord, strata: Sequence[str]) -> list[object]:
    low, high = (None, None) if clip.interval_cm is None else clip.interval_cm
    null = null_length(clip.sex, clip.age_months)
    covered = None if low is None or high is None else int(low <= clip.length_cm <= high)
    return [
        clip.id, clip.child, clip.file, clip.sex, clip.age_months, clip.length_cm, clip.measured_cm, low, high,
        None if clip.measured_cm is None else round(clip.measured_cm - clip.length_cm, 4),
        None if np.isnan(null) else round(null - clip.length_cm, 4), covered, " ".join(clip.reasons),
        clip.unreported_cm, clip.frames, clip.used, *(clip.strata.get(s, "") for s in strata),
    ]  # fmt: skip
