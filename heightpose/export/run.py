"""One export from the weights file to the kept or refused result, with everything that was measured on the way."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from heightpose.codec.confidence import weights_hash
from heightpose.errors import ConfigError, FileFormatError
from heightpose.export.check import MIN_SCORE, Agreement, Run, agreement, decoded
from heightpose.export.crops import Views, dataset_views, drawn_batch, resized
from heightpose.export.scores import carry_over
from heightpose.export.source import Source, open_source
from heightpose.export.write import SUFFIXES, write
from heightpose.metrics import pckh
from heightpose.runtime.atomic import cannot_write, make_folder, no_empty_folders
from heightpose.runtime.backends import load_backend
from heightpose.runtime.modelfile import FINE_WH, ModelFile, read_model_file
from heightpose.runtime.output import sha256
from heightpose.skeleton import Skeleton
from heightpose.words import one_line, plural

log = logging.getLogger("heightpose")

#: Pictures for the comparison, for INT8's ranges, and held out for the accuracy.
_COMPARED, _CALIBRATION, _HELD_OUT = 48, 300, 300
#: Of coordinates and scores, the share that must be within the limits. In floating point all but ties between two equal
#: peaks; INT8 moves the unsure ones, so its typical joint is judged and its cost is what the held-out pictures say.
_SHARE = {"f32": 0.99, "fp16": 0.99, "int8": 0.5}
#: Rounds of a timing, and seconds from which no further one begins.
_TIMED_ROUNDS, _TIMED_S = 7, 5.0
#: Accuracy on true crops.
_SCORES = ("Mean@0.1", "MeanSmS@0.1")
#: Ranges found on fewer pictures than this are cut off on others.
_FEW_TO_CALIBRATE = 64


@dataclass(frozen=True)
class Request:
    """What ``heightpose export`` was asked for; names and meanings are its options'."""

    weights: Path
    to: str
    out: Path
    precision: str = "f32"
    calibration: Path | None = None
    heldout: Path | None = None
    prune: float = 0.0
    fixed_size: bool = False
    force: bool = False


@dataclass
class Report:
    """What was written and how it compares.

    Attributes:
        drawn: whether the pictures compared are no data set's.
        notes: what is to be known about the pictures that it was judged on.
    """

    files: list[Path]
    kept: bool
    checks: dict[str, Agreement] = field(default_factory=dict)
    facts: dict[str, tuple[str, str]] = field(default_factory=dict)
    parameters: tuple[int, int] | None = None
    scores: str | None = None
    calibrated_on: int | None = None
    drawn: bool = True
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks.values())

    @property
    def why_not(self) -> str:
        """Why the exported file is not kept."""
        if not any(check.nothing_compared for check in self.checks.values()):
            text = "the exported file does not agree with its source and was not kept (--force)"
            more = ". More, and more varied, pictures in the split 'train' of --calibration help"
            return (
                text + more if self.calibrated_on is not None and self.calibrated_on < _CALIBRATION else text
            )
        return (
            "the exported file was not kept (--force): nothing could be compared, as its source is sure of nothing in "
            "these pictures. Give pictures that it knows with --calibration, or train it further"
        )

    def lines(self) -> Iterator[str]:
        """The table for a person."""
        for name, check in self.checks.items():
            if check.nothing_compared:
                yield f"{name}: nothing to compare, all {check.left_out} coordinates are under score {MIN_SCORE}"
                continue
            yield f"{name}: {len(check.distance_px)} coordinates, {check.left_out} under score {MIN_SCORE} left out"
            yield f"  {'difference':16}{'px at 256':>12}{'score':>12}"
            for what, distance, score in check.rows():
                yield f"  {what:16}{distance:>12}{score:>12}"
            yield f"  {'passed' if check.passed else 'FAILED'}"
            if not self.drawn and check.left_out > len(check.distance_px):
                yield "  the source is unsure of most joints in these pictures: this tells little of others"
        if self.calibrated_on is not None:
            yield f"calibrated on {plural(self.calibrated_on, 'picture')}"
        if self.parameters is not None:
            yield f"pruned: {self.parameters[0]} parameters, {self.parameters[1]} stay; compared was the pruned network"
            if not any(what.startswith(_SCORES) for what in self.facts):
                how = "give a labelled data set with --calibration or --heldout"
                yield f"  what the pruning costs was not measured: {how}"
        if self.facts:
            yield f"{'':40}{'source':>12}{'exported':>12}"
        for what, (before, after) in self.facts.items():
            yield f"{what:40}{before:>12}{after:>12}"
        yield from self.notes
        size = sum(path.stat().st_size for path in self.files if path.is_file()) / 1e6
        if self.kept:
            yield f"saved to {', '.join(map(str, self.files))} ({size:.1f} MB)"
        if self.scores is not None:
            yield self.scores


def export(request: Request) -> Report:
    """Write, compare, and keep or refuse.

    Raises:
        ConfigError: options that do not go together. FileFormatError: no weights of ours, or the exported file does not
        agree with them (unless ``force``); no file is kept then.
    """
    _require_sane(request)
    file = read_model_file(request.weights)
    whole = source = open_source(file)
    parameters = None
    if request.prune:
        source, parameters = whole.pruned(request.prune)
    is_int8 = request.precision == "int8"
    calibration = _views(request.calibration if is_int8 else None, "train", _CALIBRATION, file)
    compared = _views(request.calibration, "val", _COMPARED, file, calibration)
    heldout = _views(request.heldout or request.calibration, "val", _HELD_OUT, file, calibration)
    if calibration is not None and len(calibration.batch) < _FEW_TO_CALIBRATE:
        log.warning(
            "only %d pictures to calibrate INT8: layers' ranges come out too narrow for others. Give %d or more in the "
            "split 'train' of --calibration", len(calibration.batch), _FEW_TO_CALIBRATE,
        )  # fmt: skip
    batch = drawn_batch(_COMPARED // 2, file.input_wh) if compared is None else compared.batch
    # A detector's codec reads maps up to those of its own input size.
    step = -64 if file.kind == "detector" else 64
    other_wh = (file.input_wh[0] + step, file.input_wh[1] + step)
    free = not request.fixed_size and source.takes(other_wh)
    meta = dict(file.meta) | {
        "export": _provenance(request, 0 if calibration is None else len(calibration.batch))
    }
    with ExitStack() as stack:
        stack.enter_context(no_empty_folders([request.out.parent]))
        make_folder(request.out.parent)
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix=".export.", dir=request.out.parent))
        draft = Path(name) / request.out.name
        pictures = batch if calibration is None else calibration.batch
        run, free = _draft(source, meta, request, draft, other_wh if free else None, pictures)
        report = Report(
            _files(request.out), kept=False, parameters=parameters, drawn=compared is None,
            calibrated_on=None if calibration is None else len(calibration.batch),
        )  # fmt: skip
        share = _SHARE[request.precision]
        report.checks[f"at {_times(file.input_wh)}"] = agreement(source.run, run, batch, file, share)
        if free:
            view = resized(batch[:16], other_wh)
            report.checks[f"at {_times(other_wh)}"] = agreement(source.run, run, view, file, share)
        else:
            log.info("the input size stays %s", _times(file.input_wh))
        report.facts = _facts(whole.run, run, batch, heldout, file)
        report.notes = (
            *_not_scored(heldout, report.facts, Skeleton(file.joints)),
            *_judged_on_its_own(calibration, {"compared": compared, "scored": heldout}),
        )
        if report.passed or request.force:
            _keep(draft, request.out)
            report.kept = True
    gives_scores = file.kind == "pose" and "output" not in file.meta
    if report.kept and gives_scores and request.to != "torchscript":
        alike = report.passed and not request.prune and not is_int8
        report.scores = carry_over(file, request.out, alike)
    return report


def _require_sane(request: Request) -> None:
    if request.out.suffix != SUFFIXES[request.to]:  # runtimes and infer know the small letters alone
        raise ConfigError(
            "the file's ending does not fit", where=request.out, expected=SUFFIXES[request.to],
            got=request.out.suffix,
        )  # fmt: skip
    if os.path.realpath(request.weights) in map(os.path.realpath, _files(request.out)):
        raise ConfigError(
            "the export would replace its own source", where=request.out, hint="Give another file with --out"
        )
    if not 0.0 <= request.prune <= 0.9:
        raise ConfigError("not a share of channels", where="--prune", expected="0 to 0.9", got=request.prune)
    if request.precision == "int8" and request.calibration is None:
        raise ConfigError(
            "INT8 needs pictures to find the ranges of its layers",
            hint="Give a data set with --calibration DIR",
        )


def _views(
    folder: Path | None, split: str, count: int, file: ModelFile, rather_not: Views | None = None
) -> Views | None:
    return None if folder is None else dataset_views(folder, split, count, file, rather_not)


def _not_scored(
    heldout: Views | None, facts: dict[str, tuple[str, str]], skeleton: Skeleton
) -> Iterator[str]:
    """Which accuracy the held-out pictures of a pose net do not tell, and why."""
    if heldout is None or heldout.kpts_crop is None:
        return
    missing = [name for name in _SCORES if not any(what.startswith(f"{name} ") for what in facts)]
    if missing:
        crown = "crown" if "crown" in skeleton.names else "head_top"
        yield (
            f"not measured: {' and '.join(missing)}. None of the {plural(len(heldout.batch), 'true crop')} has such "
            f"joints in sight and a head size, which labels of {crown} and upper_neck give"
        )


def _judged_on_its_own(calibration: Views | None, judged: dict[str, Views | None]) -> Iterator[str]:
    """How many of the pictures that judge an INT8 file also calibrated it."""
    for what, views in judged.items():
        shared = 0 if calibration is None or views is None else views.shared_with(calibration)
        if views is not None and shared:
            yield (
                f"{shared} of the {plural(len(views.batch), 'picture')} {what} calibrated it too, and it may do worse "
                "on others: give pictures a split (train, val), or others with --heldout"
            )


def _draft(
    source: Source, meta: dict[str, Any], request: Request, path: Path, other_wh: tuple[int, int] | None,
    pictures: np.ndarray,
) -> tuple[Run, bool]:  # fmt: skip
    """Write the file and load it.

    Args:
        other_wh: a size that the network takes beside its own; None to fix its own.
        pictures: INT8's.

    Returns:
        What runs it, and whether it takes the other size too. Some networks take any, but the graph that tracing makes
        of them does not: it holds numbers that were worked out from the size.
    """
    if other_wh is not None:
        write(source, meta, request.to, request.precision, path, True, pictures)
        picture = np.zeros((1, 3, *other_wh[::-1]), np.float32)
        with suppress(FileFormatError):
            run = _runner(path, request.to)
            if run(picture).shape == source.run(picture).shape:
                return run, True
    one_size = {key: value for key, value in meta.items() if key != FINE_WH}
    write(source, one_size, request.to, request.precision, path, False, pictures)
    try:
        run = _runner(path, request.to)
        run(np.zeros((1, 3, *source.file.input_wh[::-1]), np.float32))
    except FileFormatError as error:  # it names the draft, which goes
        others = " or ".join(f"--to {name}" for name in SUFFIXES if name != request.to)
        raise FileFormatError(
            f"this network cannot be run as {request.to}", where=request.weights, got=error.got or error.what,
            hint=f"Try {others}",
        ) from error  # fmt: skip
    return run, False


def _runner(path: Path, to: str) -> Run:
    if to != "torchscript":
        return load_backend(path, {"onnx": "onnxruntime"}.get(to, to), precision="f32")[0].run
    scripted = torch.jit.load(str(path))  # written a moment ago, by us

    def run(batch: np.ndarray) -> np.ndarray:
        try:
            with torch.inference_mode():
                return scripted(torch.from_numpy(np.ascontiguousarray(batch))).float().numpy()
        except RuntimeError as error:
            raise FileFormatError(
                "TorchScript cannot run this network", where=path, got=one_line(error)[-200:]
            ) from error

    return run


def _facts(
    source: Run, run: Run, batch: np.ndarray, heldout: Views | None, file: ModelFile
) -> dict[str, tuple[str, str]]:
    facts = {
        f"ms per picture, batch {n}": (f"{_ms(source, batch[:n]):.1f}", f"{_ms(run, batch[:n]):.1f}")
        for n in (1, 8)
    }
    if heldout is not None and heldout.kpts_crop is not None:
        before, after = (_accuracy(one, heldout, file) for one in (source, run))
        for name in before:
            facts[f"{name} on {len(heldout.batch)} true crops"] = (
                f"{before[name]:.1f}",
                f"{after[name]:.1f}",
            )
    return facts


def _ms(run: Run, batch: np.ndarray) -> float:
    """Median of some rounds; when they have taken long enough no further one begins."""
    run(batch)
    times: list[float] = []
    while len(times) < _TIMED_ROUNDS and sum(times) < _TIMED_S:
        start = time.perf_counter()
        run(batch)
        times.append(time.perf_counter() - start)
    return 1000.0 * float(np.median(times)) / len(batch)


def _accuracy(run: Run, views: Views, file: ModelFile) -> dict[str, float]:
    """Mean@0.1 and MeanSmS@0.1 of seen joints in true crops, per cent."""
    assert views.kpts_crop is not None
    assert views.visibility is not None
    size_wh = (views.batch.shape[3], views.batch.shape[2])
    found = np.concatenate(
        [decoded(run(views.batch[i : i + 8]), size_wh, file)[0] for i in range(0, len(views.batch), 8)]
    )
    skeleton = Skeleton(file.joints)
    result = pckh.summary(found, views.kpts_crop, views.visibility, 0.1, skeleton=skeleton)
    means = dict(zip(_SCORES, (result["mean"], result["mean_sms"]), strict=True))
    return {name: value for name, value in means.items() if value is not None}


def _provenance(request: Request, pictures: int) -> dict[str, Any]:
    about: dict[str, Any] = {
        "to": request.to,
        "precision": request.precision,
        "source_sha256": weights_hash(request.weights),
    }
    if request.prune:
        about["pruned"] = request.prune
    if request.precision == "int8" and request.calibration is not None:
        labels = (
            request.calibration / "annotations.json" if request.calibration.is_dir() else request.calibration
        )
        about["calibration"] = {"pictures": pictures, "labels_sha256": sha256([labels])}
    return about


def _files(out: Path) -> list[Path]:
    return [out, out.with_suffix(".bin")] if out.suffix == ".xml" else [out]


def _keep(draft: Path, out: Path) -> None:
    """The weights first: a graph never lies beside another one's weights for longer than a rename."""
    try:
        for source, final in reversed(list(zip(_files(draft), _files(out), strict=True))):
            os.replace(source, final)
    except OSError as error:
        raise cannot_write(out, error) from error


def _times(wh: tuple[int, int]) -> str:
    return f"{wh[0]}x{wh[1]}"
