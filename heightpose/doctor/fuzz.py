"""Damaged inputs for ``heightpose infer``, each decided by seed and number, and a judge of what it makes of them."""

from __future__ import annotations

import json
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from heightpose.doctor.corpus import Corpus, make_corpus
from heightpose.doctor.fuzz_worker import LOGGED
from heightpose.doctor.mutate import damaged_bytes, damaged_text
from heightpose.errors import EXIT_MEASURED, EXIT_REJECTED, EXIT_USAGE, HeightposeError
from heightpose.runtime.atomic import make_folder, no_empty_folders, write_text
from heightpose.words import plural

#: Share of the cases that damage the clip itself; the others damage one of the settings files beside a good clip.
_CLIP_SHARE = 0.6
_ALLOWED = (EXIT_MEASURED, EXIT_USAGE, EXIT_REJECTED)
#: What a new process may take longer: it loads its packages and networks.
_START_S = 60.0


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes:
        seed: decides every case, together with its number.
        first, count, seconds: number of the first case; how many, or for how long.
        time_limit_s: per case.
        models: options that choose the networks.
        keep: keep the files of every case, not only of those that went wrong.
    """

    seed: int
    first: int = 0
    count: int | None = None
    seconds: float | None = None
    time_limit_s: float = 30.0
    models: tuple[str, ...] = ()
    keep: bool = False


@dataclass(frozen=True)
class Case:
    """One damaged input and the good files beside it."""

    number: int
    kind: str
    files: dict[str, bytes]
    args: tuple[str, ...]


@dataclass
class Summary:
    """Counts of exit codes by what was damaged, and what was wrong."""

    counts: Counter[tuple[str, int | str]] = field(default_factory=Counter)
    found: list[str] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False

    def lines(self) -> Iterator[str]:
        """The summary for a person, the verdict last."""
        codes = ["0", "2", "3"]
        wide = max((len(kind) for kind, _ in self.counts), default=4)
        yield f"{'damaged':{wide}}" + "".join(f"{'code ' + code:>9}" for code in codes) + f"{'wrong':>9}"
        for kind in sorted({kind for kind, _ in self.counts}):
            row = [self.counts[kind, int(code)] for code in codes] + [self.counts[kind, "wrong"]]
            yield f"{kind:{wide}}" + "".join(f"{number:9d}" for number in row)
        yield from self.found
        total = sum(self.counts.values())
        verdict = "nothing wrong" if not self.found else f"{len(self.found)} wrong"
        yield f"{plural(total, 'case')} in {self.seconds:.0f} s: {verdict}"


class Fuzzer:
    """Makes the cases, runs them and keeps what went wrong.

    Args:
        clip: video whose first frames are damaged; None for a drawn scene.
        out: folder for what is found; it stays only then.
    """

    def __init__(self, plan: Plan, clip: Path | None, out: Path) -> None:
        self.plan, self.clip, self.out = plan, clip, out

    def run(self) -> Summary:
        """Run every case. Ctrl-C ends it with what was seen so far.

        Raises:
            InputError: the clip cannot be read. HeightposeError: infer refuses the undamaged picture, as with a model
                that is none: then it would refuse every case, and rightly; or ``out`` cannot be written.
        """
        summary, start = Summary(), time.monotonic()
        with (
            no_empty_folders([self.out]),
            tempfile.TemporaryDirectory(prefix="heightpose-fuzz-") as name,
        ):
            make_folder(self.out)  # what is found after an hour is not to be lost for want of a place
            seeds = Path(name) / "seeds"
            seeds.mkdir()
            corpus = make_corpus(seeds, self.clip)
            worker = _Worker(Path(name), self.plan.time_limit_s)
            try:
                self._require_undamaged_taken(corpus, Path(name) / "case", worker)
                start = time.monotonic()
                for number in tqdm(self._numbers(start), unit="case", leave=False, disable=None):
                    self._one(make_case(corpus, self.plan.seed, number), Path(name) / "case", worker, summary)
            except KeyboardInterrupt:
                summary.interrupted = True
            finally:
                worker.stop()
        summary.seconds = time.monotonic() - start
        return summary

    def _numbers(self, start: float) -> Iterator[int]:
        number, plan = self.plan.first, self.plan
        while (plan.count is None or number < plan.first + plan.count) and (
            plan.seconds is None or time.monotonic() - start < plan.seconds
        ):
            yield number
            number += 1

    def _require_undamaged_taken(self, corpus: Corpus, folder: Path, worker: _Worker) -> None:
        settings = ("camera.json", "plane.json")
        files = {"picture.png": corpus.inputs["picture.png"]}
        files |= {name: corpus.settings[name].encode() for name in settings}
        args = ("picture.png", "--camera", settings[0], "--plane", settings[1])
        code, _, err = worker.run(self._laid_out(Case(0, "nothing", files, args), folder))
        if code not in (EXIT_MEASURED, EXIT_REJECTED):
            raise HeightposeError(
                "infer does not take the undamaged picture, so nothing could be learned from damaged ones",
                got=(err.strip().splitlines() or ["no word why"])[-1],
                hint="Check --model",
            )

    def _laid_out(self, case: Case, folder: Path) -> list[str]:
        """The case's files in a folder of its own; the command line that runs it there."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, data in case.files.items():
            (folder / name).write_bytes(data)
        return [_placed(arg, case, folder) for arg in self._args(case)]

    def _args(self, case: Case) -> list[str]:
        return ["infer", *case.args, *self.plan.models, "--out", "results"]

    def _one(self, case: Case, folder: Path, worker: _Worker, summary: Summary) -> None:
        code, out, err = worker.run(self._laid_out(case, folder))
        wrong = what_is_wrong(code, out, err, folder / "results")
        summary.counts[case.kind, code if wrong is None and code is not None else "wrong"] += 1
        if wrong is None and not self.plan.keep:
            return
        kept = self.out / f"{self.plan.seed}-{case.number}"
        make_folder(kept)
        for name, data in case.files.items():
            (kept / name).write_bytes(data)
        command = "heightpose " + " ".join(self._args(case))
        verdict = "nothing wrong" if wrong is None else wrong
        write_text(kept / "report.txt", f"{verdict}\n\n{command}\n\nexit code {code}\n\n{out}\n{err}\n")
        if wrong is not None:
            summary.found.append(f"{kept}: {case.kind}: {wrong}")


def make_case(corpus: Corpus, seed: int, number: int) -> Case:
    """The case of that number: the same for the same seed and corpus."""
    rng = np.random.default_rng([seed, number])
    settings = {name: text.encode() for name, text in corpus.settings.items()}
    inputs = list(corpus.inputs)
    kind = clip = inputs[int(rng.integers(len(inputs)))]
    data = corpus.inputs[clip]
    if rng.random() < _CLIP_SHARE:
        data = damaged_bytes(data, list(corpus.inputs.values()), rng)
    else:
        clip, data = "picture.png", corpus.inputs["picture.png"]
        kind = list(settings)[int(rng.integers(len(settings)))]
        settings[kind] = damaged_text(corpus.settings[kind], rng, yaml=kind.endswith(".yaml"))
    camera = kind if kind in ("camera.json", "fisheye.json") else "camera.json"
    scales: list[list[str]] = [["--camera", camera, "--plane", "plane.json"]]
    if kind == "sheet.yaml":
        scales = [["--sheet", kind, "--camera", camera], ["--sheet", kind]]
    elif kind == clip:
        scales += [["--camera", camera, "--sheet", "sheet.yaml"], []]
    args = [clip, *scales[int(rng.integers(len(scales)))]]
    files = {clip: data} | {name: content for name, content in settings.items() if name in args}
    return Case(number, kind, files, tuple(args))


def what_is_wrong(code: int | None, out: str, err: str, results: Path) -> str | None:
    """What must not be about one run, or None. ``code`` is None where the process ended or hung; ``err`` says so."""
    if code is None:
        return err
    if "Traceback (most recent call last)" in err + out:
        return "a traceback"
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    if code not in _ALLOWED:
        return f"exit code {code}: {errors[0] if errors else 'no word why'}"
    if len(errors) != (1 if code == 2 else 0):
        return f"exit code {code} with {len(errors)} lines of error"
    stray = [line for line in err.splitlines() if line and not line.startswith(("error: ", LOGGED))]
    if stray:
        return f"a line that is not ours: {stray[0][:200]}"
    answers = out.splitlines()
    if len(answers) != (0 if code == 2 else 1):
        return f"exit code {code} with {len(answers)} lines of answer"
    return _left_behind(results)


def _left_behind(results: Path) -> str | None:
    for path in sorted(results.rglob("*")) if results.is_dir() else ():
        if path.name.startswith("."):
            return f"{path.name} was left behind"
        if path.suffix == ".json":
            try:
                json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                return f"{path.name} is not whole: {error}"
    return None


def _placed(arg: str, case: Case, folder: Path) -> str:
    return str(folder / arg) if arg in case.files or arg == "results" else arg


class _Worker:
    """The process that runs the command lines; a new one where the last crashed or hung."""

    def __init__(self, folder: Path, limit_s: float) -> None:
        self._folder, self._limit_s = folder, limit_s
        self._process: subprocess.Popen[str] | None = None

    def run(self, args: list[str]) -> tuple[int | None, str, str]:
        """(exit code, stdout, stderr); (None, "", why) where there is none."""
        fresh = self._process is None
        process = self._start() if self._process is None else self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):  # it ended after its last answer, as is seen below
            process.stdin.write(json.dumps(args) + "\n")
            process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            ready = selector.select(self._limit_s + (_START_S if fresh else 0.0))
        if not ready:
            self.stop()
            return None, "", f"no answer within {self._limit_s:g} s"
        line = process.stdout.readline()
        if not line:
            code = process.wait()
            self._process = None
            name = signal.Signals(-code).name if code < 0 else f"code {code}"
            return None, "", f"the process ended with {name}"
        code, out, err = json.loads(line)
        return code, out, err

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start(self) -> subprocess.Popen[str]:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "heightpose.doctor.fuzz_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self._folder,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is ours to handle
        )
        return self._process
