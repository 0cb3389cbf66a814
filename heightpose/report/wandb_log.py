"""One Weights & Biases run that can never be in the way: offline unless asked, silent when absent, over when it fails.

Everything that talks to W&B goes through :class:`Tracker`. W&B's own step counter is left alone: every row carries the
axis it belongs to (``trainer/step``, ``iteration/order``), declared by ``define_metric``, so rows of training and
validation may interleave and arrive late without one being dropped.

Offline, which is the default, nothing is contacted: the run is a folder inside the run's own folder, for
``wandb sync`` to upload whenever somebody wants to.
"""

from __future__ import annotations

import logging
import netrc
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np

from heightpose.data.strata import without_annotator
from heightpose.report.run_model import RUN
from heightpose.report.worst import Case, person_picture
from heightpose.words import one_line

log = logging.getLogger("heightpose")

MODES = ("online", "offline", "off")
PROJECT = "heightpose"
#: Values of WANDB_MODE that W&B knows beside ours.
_ALSO = {"disabled": "off", "dryrun": "offline", "run": "online"}
#: Where W&B would otherwise write into the home directory; the value is the place below the run's folder.
_PLACES = {"WANDB_DATA_DIR": "staging", "WANDB_CACHE_DIR": "cache", "WANDB_ARTIFACT_DIR": "artifacts"}
_INIT_TIMEOUT_S = 20
#: A network that went away must not hold a finished run for ever; what is not uploaded stays in the folder.
_FINISH_TIMEOUT_S = 300
#: Side of the pictures of worst cases.
_SIDE_PX = 384


def resolve_mode(asked: str | None) -> str:
    """ "online", "offline" or "off": what was asked for, else WANDB_MODE, else offline; online only when logged in."""
    mode = asked if asked is not None else os.environ.get("WANDB_MODE", "").strip().lower() or "offline"
    mode = _ALSO.get(mode, mode)
    if mode not in MODES:
        log.warning("WANDB_MODE is '%s': expected one of %s; W&B stays offline", mode, ", ".join(MODES))
        return "offline"
    if mode == "online" and not logged_in():
        log.warning(
            "W&B: not logged in, so the run is kept offline. Log in with 'wandb login', then 'wandb sync'"
        )
        return "offline"
    return mode


def logged_in() -> bool:
    """Whether W&B would find a key: its environment variable or an entry of its host in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    for path in filter(None, (os.environ.get("NETRC"), "~/.netrc", "~/_netrc")):
        try:
            return netrc.netrc(os.path.expanduser(path)).authenticators(host) is not None
        except (OSError, netrc.NetrcParseError):
            continue
    return False


class Tracker:
    """A W&B run, or nothing: after the first failure, which is told once, every call is a no-op.

    Args:
        folder: the run's folder; W&B's own goes to ``folder/wandb``.
        mode: of :func:`resolve_mode`.
        about: what ``wandb.init`` takes: id (else that of an earlier run in the folder), name, group, job_type, tags,
            notes.
        config: plain values.
    """

    def __init__(self, folder: Path, mode: str, config: Mapping[str, Any], **about: Any) -> None:
        self.folder, self._run, self._open = folder, None, None
        self._before: dict[str, str | None] = {}
        if mode == "off":
            return
        with self.guarded("cannot start"):
            self._run = self._open = self._started(mode, config, about)
        if self._run is None:
            self._restore()

    @property
    def on(self) -> bool:
        """Whether anything is logged."""
        return self._run is not None

    def _started(self, mode: str, config: Mapping[str, Any], about: dict[str, Any]) -> Any:
        self._set({name: str(self.folder / "wandb" / place) for name, place in _PLACES.items()})
        if mode == "offline":  # W&B reports its own crashes to its makers, which is a connection too
            self._set({"WANDB_ERROR_REPORTING": "false"})
        import wandb

        (self.folder / "wandb").mkdir(parents=True, exist_ok=True)
        # No console, no source, no host, no machine's load: a run is what it logs.
        settings = wandb.Settings(
            console="off", silent=True, disable_git=True, disable_code=True, save_code=False, host="-",
            disable_job_creation=True, x_disable_stats=True, x_disable_machine_info=True, x_disable_meta=True,
            x_save_requirements=False, init_timeout=_INIT_TIMEOUT_S, finish_timeout=_FINISH_TIMEOUT_S,
        )  # fmt: skip
        about = {"id": _earlier_id(self.folder)} | about
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        return wandb.init(
            project=project, dir=str(self.folder), mode=mode, config=dict(config), settings=settings,  # type: ignore[arg-type]
            reinit="finish_previous", resume="allow" if mode == "online" and about["id"] else None, **about,
        )  # fmt: skip

    def axis(self, name: str, *patterns: str) -> None:
        """Metrics that match ``patterns`` (``val/*``) are drawn over ``name``, whatever W&B's own step is."""
        with self.guarded("cannot define its axes"):
            if self._run is not None:
                self._run.define_metric(name, hidden=True)
                for pattern in patterns:
                    self._run.define_metric(pattern, step_metric=name)

    def log(self, row: Mapping[str, Any]) -> None:
        """One row: figures (None is left out) and the axis they belong to. A row of its own step, so never dropped."""
        values = {k: v for k, v in row.items() if v is not None}
        with self.guarded("cannot log"):
            if self._run is not None and values:
                self._run.log(values)

    def summary(self, values: Mapping[str, Any]) -> None:
        """Figures of the whole run, as its row in the table of runs shows them."""
        with self.guarded("cannot log"):
            if self._run is not None:
                self._run.summary.update({k: v for k, v in values.items() if v is not None})

    def pictures(self, name: str, pictures: Sequence[tuple[np.ndarray, str]]) -> None:
        """Pictures ``(H, W, 3)`` uint8 RGB with their captions. The caller has blurred faces already."""
        with self.guarded("cannot log pictures"):
            if self._run is not None and pictures:
                import wandb

                images = [wandb.Image(rgb, caption=text, file_type="jpg") for rgb, text in pictures]
                self._run.log({name: images})

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table of plain values."""
        with self.guarded("cannot log a table"):
            if self._run is not None and rows:
                import wandb

                self._run.log({name: wandb.Table(columns=list(columns), data=[list(r) for r in rows])})

    def artifact(self, name: str, kind: str, files: Sequence[Path], metadata: Mapping[str, Any]) -> None:
        """Files that stay where they are (no copy is staged), with what identifies them."""
        with self.guarded("cannot keep an artifact"):
            if self._run is not None:
                import wandb

                made = wandb.Artifact(_artifact_name(name), type=kind, metadata=dict(metadata))
                for path in files:
                    made.add_file(str(path.resolve()), name=path.name, policy="immutable", skip_cache=True)
                self._run.log_artifact(made)

    def finish(self, *, failed: bool = False) -> None:
        """Close the run, one whose logging is over too: what it has is kept. Safe to call twice."""
        run, told, self._open = self._open, not self.on, None
        # A failure of the logging has been told already.
        with suppress(Exception, SystemExit) if told else self.guarded("cannot finish"):
            if run is not None:
                run.finish(exit_code=1 if failed else 0)
        self._run = None
        self._restore()

    @contextmanager
    def guarded(self, what: str) -> Iterator[None]:
        """Around whatever is done for W&B alone: its failure ends the logging, never the run."""
        try:
            yield
        # SystemExit too: W&B's service ends the process's main thread with it when its own dies.
        except (Exception, SystemExit) as error:
            self._run = None
            self._restore()
            if isinstance(error, ModuleNotFoundError) and error.name == "wandb":
                why = "it is not installed (pip install 'heightpose[wandb]')"
            else:
                why = one_line(f"it {what}: {type(error).__name__}: {error}", 300)
            log.warning("W&B logs nothing: %s. The run goes on; --wandb off silences this", why)

    def _set(self, values: Mapping[str, str]) -> None:
        for name, value in values.items():
            if name not in os.environ:
                self._before[name] = None
                os.environ[name] = value

    def _restore(self) -> None:
        """The next run of this process has another folder."""
        for name in self._before:
            os.environ.pop(name, None)
        self._before.clear()


def _earlier_id(folder: Path) -> str | None:
    """The id of the latest run that was logged in a folder: what is logged there again is the same run.

    None in a training's own folder, whose run is another thing's.
    """
    if (folder / RUN).is_file():
        return None
    before = sorted(path.name.partition("run-")[2] for path in (folder / "wandb").glob("*run-*_*-*"))
    return before[-1].rpartition("-")[2] if before else None


def group_of(data: Mapping[str, Any] | None) -> str:
    """The data iteration's name, as runs are grouped; else which data it was."""
    if not data:
        return "unknown data"
    if data.get("iteration"):
        return str(data["iteration"]["name"])
    return f"data {str(data['hash'])[:8]}" if data.get("hash") else "unknown data"


def order_of(data: Mapping[str, Any] | None) -> int | None:
    """The data iteration's number, None without one."""
    iteration = (data or {}).get("iteration") or {}
    return iteration.get("order")


def worst_pictures(cases: Iterable[Case], folder: Path, *, blur: bool = True) -> list[tuple[np.ndarray, str]]:
    """Worst cases as :meth:`Tracker.pictures` takes them; what leaves the machine names no child and no file."""
    found = []
    for case in cases:
        made = person_picture(case, folder, blur=blur)
        if made is not None:
            strata = case.record.people[case.person].strata
            shown = "; ".join(f"{k} {v}" for k, v in without_annotator(strata).items())
            found.append((_square(made[0]), f"{made[1]}. {shown}"))
    return found


def _square(rgb: np.ndarray) -> np.ndarray:
    """On a grey square of one size: W&B shows the pictures of one row at the size of its first."""
    zoom = _SIDE_PX / max(rgb.shape[:2])
    way = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
    size_wh = tuple(max(1, min(_SIDE_PX, round(n * zoom))) for n in rgb.shape[1::-1])
    square = np.full((_SIDE_PX, _SIDE_PX, 3), 96, np.uint8)
    top, left = (_SIDE_PX - size_wh[1]) // 2, (_SIDE_PX - size_wh[0]) // 2
    square[top : top + size_wh[1], left : left + size_wh[0]] = cv2.resize(rgb, size_wh, interpolation=way)
    return square


def _artifact_name(text: str) -> str:
    """Only ASCII letters and digits, ``-_.`` are allowed."""
    return "".join(c if (c.isascii() and c.isalnum()) or c in "-_." else "-" for c in text)[:120]
