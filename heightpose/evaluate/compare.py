"""Two results on one test set: paired differences with intervals, and what got worse by name.

Both results judge the same people and clips, so each draw of children is applied to both and only the difference is
looked at: what makes a child hard for both cancels out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heightpose.data.strata import value_in
from heightpose.errors import ConfigError
from heightpose.evaluate.people import People, lengths_of, strata_of
from heightpose.evaluate.records import ClipRecord, FrameRecord, Truth, require_records
from heightpose.evaluate.result import load_result
from heightpose.metrics.bootstrap import LEVEL, Draws
from heightpose.metrics.curve import pckh_curve
from heightpose.metrics.pckh import pckh
from heightpose.skeleton import INFANT
from heightpose.words import plural

#: Which way is better. Bias and limits have no better end; their sizes do.
HIGHER, LOWER = "higher", "lower"
#: Children that it takes to show a difference: of fewer, all change the same way by chance alone more often
#: (2 ** (1 - n)) than an interval of :data:`LEVEL` may err, and theirs leaves out 0 whenever they do.
FEWEST = 5
#: Half of the last digit that a figure is told with. Runtimes and compilers round differently, and the same way for all
#: children: an interval of such differences leaves out 0 though nothing changed.
LEAST = 0.005
#: Models that no option chooses, and what to call them.
_MORE_MODELS = {"cover": "cover model", "elevation": "elevation model"}
_NONE_SHOWN = "no difference shown"
#: Width of the column of differences, and the most digits after a point in it.
_CHANGE, _MOST_DIGITS = 28, 5


@dataclass(frozen=True)
class Difference:
    """One figure of both results.

    Attributes:
        name: the figure; ``group`` is "all", "joint" or "stratum", ``of`` the joint or stratum and value.
        a, b: its value in both, over what both have.
        difference, interval: b - a; the interval is None where fewer than :data:`FEWEST` children have a value.
        better: "higher" or "lower".
        children, rows: those with a value, what it rests on.
    """

    name: str
    group: str
    of: str
    a: float
    b: float
    difference: float
    interval: tuple[float, float] | None
    better: str
    children: int
    rows: int

    @property
    def verdict(self) -> str:
        """ "better", "worse" or "no difference shown": the interval holds 0, there is none, or it is below LEAST."""
        if self.interval is None or self.interval[0] <= 0 <= self.interval[1] or abs(self.difference) < LEAST:
            return _NONE_SHOWN
        return "better" if (self.difference > 0) == (self.better == HIGHER) else "worse"

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"verdict": self.verdict}


def compare(a: Path, b: Path) -> dict[str, Any]:
    """Compare two result folders, b with a.

    Returns:
        "differences" (each as :meth:`Difference.as_dict`), "regressions" and "improvements" (names), "by_chance" (how
        many of each such intervals would show at least were nothing different), "a", "b", "people", "clips".

    Raises:
        ConfigError: the results are of different test sets, or of other pictures under the same labels; an evaluation
            into one of the folders was interrupted.
    """
    results = load_result(a), load_result(b)
    first, second = (r["testset"] for r in results)
    if first["sha256"] != second["sha256"] or first["split"] != second["split"]:
        raise ConfigError(
            "these results are of different test sets, so there is nothing to pair",
            where=b, expected=_named(first), got=_named(second), hint="Evaluate both on one test set",
        )  # fmt: skip
    # Frozen sets have none: their files were checked already.
    files = {r["testset"].get("files_sha256") for r in results} - {None}
    if len(files) > 1:
        raise ConfigError(
            "these results are of different pictures, though their labels are the same", where=b,
            hint="Evaluate both on the same pictures, all or as many of them",
        )  # fmt: skip
    (frames_a, clips_a), (frames_b, clips_b) = (
        _whole_records(folder, result) for folder, result in zip((a, b), results, strict=True)
    )
    frames_a, frames_b = _common(frames_a, frames_b)
    clips_a, clips_b = _common(clips_a, clips_b)
    found = list(_of_joints(frames_a, frames_b)) + list(_of_heights(clips_a, clips_b))
    judged = [d for d in found if d.interval is not None]
    return {
        "kind": "comparison",
        "interval_level": LEVEL,
        "testset": first,
        "a": _about(a, results[0]),
        "b": _about(b, results[1]),
        "made_differently": _made_differently(*results),
        "people": sum(len(f.people) for f in frames_a),
        "clips": len(clips_a),
        "differences": [d.as_dict() for d in found],
        "regressions": [_title(d) for d in found if d.verdict == "worse"],
        "improvements": [_title(d) for d in found if d.verdict == "better"],
        "by_chance": round(len(judged) * (1 - LEVEL) / 2, 1),
    }


def lines(comparison: dict[str, Any]) -> list[str]:
    """A comparison in a terminal's width."""
    out = [
        f"A {comparison['a']['folder']}: {comparison['a']['model']}, {comparison['a']['detector']}",
        f"B {comparison['b']['folder']}: {comparison['b']['model']}, {comparison['b']['detector']}",
        *(f"{name}: {a} -> {b}" for name, (a, b) in comparison["made_differently"].items()),
        f"{comparison['testset']['name']}: {plural(comparison['people'], 'person')}, "
        f"{plural(comparison['clips'], 'clip')} in both; "
        "B - A with 90 % intervals, paired, by child",
        f"{'figure':<44}{'A':>8}{'B':>8} {'B - A':>{_CHANGE}}  verdict",
    ]
    for d in comparison["differences"]:
        d = Difference(**{k: v for k, v in d.items() if k != "verdict"})
        out.append(f"{_title(d):<44.44}{d.a:>8.2f}{d.b:>8.2f} {_change(d):>{_CHANGE}}  {d.verdict}")
    for word in ("regressions", "improvements"):
        names = comparison[word]
        out.append(f"{word}: {', '.join(names) if names else 'none shown'}")
    judged = sum(d["interval"] is not None for d in comparison["differences"])
    out.append(
        f"(Of {judged} intervals {comparison['by_chance']:g} or more would show a regression, and as many an "
        f"improvement, were nothing different: the more, the fewer the children. Of fewer than {FEWEST} none is given.)"
    )
    return out


def _change(d: Difference) -> str:
    """The difference with its interval, with as many digits as it takes to show on which side of 0 a bound lies."""
    if d.interval is None:
        return f"{d.difference:+z.2f}"
    nearest = 0.0 if d.verdict == _NONE_SHOWN else min(abs(bound) for bound in d.interval)
    digits = next((n for n in range(2, _MOST_DIGITS) if nearest == 0 or round(nearest, n) > 0), _MOST_DIGITS)
    low, high = (f"{bound:+z.{digits}f}" for bound in d.interval)
    return f"{d.difference:+z.{digits}f} ({low} to {high})"


def _of_joints(a: Sequence[FrameRecord], b: Sequence[FrameRecord]) -> list[Difference]:
    if not any(frame.people for frame in a):
        return []
    found = _people_differences(People.of(a), People.of(b), "all", "", per_joint=True)
    for name, values in strata_of(a, ()).items():
        for value in values:

            def keep(person: Truth, name: str = name, value: str = value) -> bool:
                return value_in(person.strata, name) == value

            both = People.of(a, keep), People.of(b, keep)
            if len(values) > 1 and len(both[0]):
                found += _people_differences(*both, "stratum", f"{name}: {value}")[:1]
    return found


def _people_differences(
    a: People, b: People, group: str, of: str, *, per_joint: bool = False
) -> list[Difference]:
    draws, sms = a.draws, INFANT.height_joints
    seen = (a.visibility == 2) & (a.head_size > 0)[:, None]

    def difference(
        name: str, values: Sequence[float | None], drawn: Sequence[np.ndarray], counted: np.ndarray
    ) -> None:
        made = _difference(name, group, of, values, drawn, HIGHER, draws, counted)
        if made is not None:
            found.append(made)

    found: list[Difference] = []
    hits = {at: [pckh(p.pred, p.truth, seen, p.head_size, at) for p in (a, b)] for at in (0.1, 0.5)}
    for at, both in hits.items():
        for name, joints in ((f"MeanSmS@{at:g}", sms), (f"Mean@{at:g}", None)):
            drawn = [h.drawn_means(draws, joints) for h in both]
            difference(name, [h.mean(joints) for h in both], drawn, both[0].people(joints))
    curves = [pckh_curve(p.pred, p.truth, seen, p.head_size) for p in (a, b)]
    drawn = [c.drawn_aucs(draws) for c in curves]
    difference("AUC", [c.auc() for c in curves], drawn, curves[0].people())
    shares = [100.0 * p.found for p in (a, b)]
    drawn = [draws.means(s) for s in shares]
    difference("found, %", [float(s.mean()) for s in shares], drawn, np.ones(len(a), dtype=bool))
    if per_joint:
        drawn_shares = [h.drawn_shares(draws) for h in hits[0.1]]
        for k, joint in enumerate(INFANT.names):
            made = _difference(
                "PCKh@0.1", "joint", joint, [h.per_joint[k] for h in hits[0.1]],
                [d[:, k] for d in drawn_shares], HIGHER, draws, seen[:, k],
            )  # fmt: skip
            found += [] if made is None else [made]
    return found


def _of_heights(a: Sequence[ClipRecord], b: Sequence[ClipRecord]) -> list[Difference]:
    if not a:
        return []
    found = _clip_differences(a, b, "all", "")
    for name, values in strata_of((), a).items():
        for value in values:
            rows = [i for i, clip in enumerate(a) if value_in(clip.strata, name) == value]
            if len(values) > 1 and rows:
                found += _clip_differences(
                    [a[i] for i in rows], [b[i] for i in rows], "stratum", f"{name}: {value}"
                )
    return found


def _clip_differences(
    a: Sequence[ClipRecord], b: Sequence[ClipRecord], group: str, of: str
) -> list[Difference]:
    """Errors over the clips that both measured; the yield over all of them."""
    both = lengths_of(a), lengths_of(b)
    draws = Draws.by_child(both[0].children)
    done = both[0].is_measured & both[1].is_measured
    errors = [np.where(done, lengths.error, 0.0) for lengths in both]
    reports: list[tuple[str, list[np.ndarray], np.ndarray, str, Callable[[np.ndarray], np.ndarray]]] = [
        ("height MAE, cm", [np.abs(e) for e in errors], done, LOWER, lambda x: x),
        ("height RMSE, cm", [e**2 for e in errors], done, LOWER, np.sqrt),
        ("height |bias|, cm", errors, done, LOWER, np.abs),
        (
            "height within 1 cm, %",
            [100.0 * (np.abs(e) <= 1.0 + 1e-9) for e in errors],
            done,
            HIGHER,
            lambda x: x,
        ),
        (
            "yield, %",
            [100.0 * t.is_measured for t in both],
            np.ones(len(done), dtype=bool),
            HIGHER,
            lambda x: x,
        ),
    ]
    found = []
    for name, values, counted, better, last in reports if group == "all" else (reports[0], reports[-1]):
        if not counted.any():
            continue
        now = [float(last(np.mean(v[counted], keepdims=True))[0]) for v in values]
        drawn = [last(draws.means(v, counted)) for v in values]
        made = _difference(name, group, of, now, drawn, better, draws, counted)
        found += [] if made is None else [made]
    return found


def _difference(
    name: str, group: str, of: str, values: Sequence[float | None], drawn: Sequence[np.ndarray], better: str,
    draws: Draws, counted: np.ndarray,
) -> Difference | None:  # fmt: skip
    a, b = values
    if a is None or b is None:
        return None
    children, rows = draws.contributing(counted), int(counted.sum())
    interval = None if children < FEWEST else draws.interval(drawn[1] - drawn[0], counted=counted)
    return Difference(name, group, of, a, b, b - a, interval, better, children, rows)


def _common(a: Sequence[Any], b: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """What both have, in one order."""
    other = {record.key: record for record in b}
    kept = [record for record in a if record.key in other]
    return kept, [other[record.key] for record in kept]


def _title(d: Difference) -> str:
    return d.name if not d.of else f"{d.name} of {d.of.replace('_', ' ')}"


def _about(folder: Path, result: dict[str, Any]) -> dict[str, Any]:
    pose, detector = (result["models"][kind] for kind in ("pose", "detector"))
    # The same net with other probabilities passes other gates and gives other lengths.
    calibration = pose.get("calibration_sha256")
    calibrated = "" if calibration is None else f" calibrated by {calibration[:10]}"
    return {
        "folder": folder.name, "run": result["run"], "created": result["created"],
        "model": f"{pose['name']} {pose['sha256'][:10]}{calibrated}",
        "detector": f"{detector['name']} {detector['sha256'][:10]}",
    }  # fmt: skip


def _made_differently(a: dict[str, Any], b: dict[str, Any]) -> dict[str, list[str]]:
    """What beside the weights differs between two results, each with its values: it may be all that a difference is."""
    both = [_made(result) for result in (a, b)]
    return {
        name: [str(made.get(name, "not recorded")) for made in both]
        for name in both[0] | both[1]
        if both[0].get(name) != both[1].get(name)
    }


def _made(result: dict[str, Any]) -> dict[str, Any]:
    settings = {name.replace("_", " "): value for name, value in result.get("settings", {}).items()}
    code, backends = result.get("code") or {}, result.get("backend", {})
    versions = {"code": str(code["sha256"])[:10]} if "sha256" in code else {}
    versions |= {
        what: f"{model['name']} {model['sha256'][:10]}"
        for kind, what in _MORE_MODELS.items()
        if (model := result.get("models", {}).get(kind)) is not None
    }
    runs = {f"{kind} by": " ".join(str(v) for v in active.values()) for kind, active in backends.items()}
    return settings | versions | runs


def _whole_records(folder: Path, result: dict[str, Any]) -> tuple[list[FrameRecord], list[ClipRecord]]:
    records, expected = require_records(folder), result["testset"]
    counts = tuple(len(part) for part in records)
    if counts != (expected["frames"], expected["clips"]):
        raise ConfigError(
            "the records are not all of the result's: an evaluation into this folder was interrupted", where=folder,
            expected=f"{plural(expected['frames'], 'picture')}, {plural(expected['clips'], 'clip')}",
            got=f"{plural(counts[0], 'picture')}, {plural(counts[1], 'clip')}",
            hint="Give the same heightpose eval command again, which goes on",
        )  # fmt: skip
    return records


def _named(test: dict[str, Any]) -> str:
    split = "" if test["split"] is None else f" split {test['split']}"
    return f"{test['name']}{split} {test['sha256'][:10]}"
