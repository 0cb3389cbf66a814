"""From unlabelled videos to the frames that are worth a label."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from heightpose.data.coco import Dataset
from heightpose.data.items import head_angle_deg
from heightpose.data.pictures import Pictures
from heightpose.data.suggest.advice import Wish, quotas
from heightpose.data.suggest.choose import choose
from heightpose.data.suggest.describe import describe
from heightpose.data.suggest.doubt import SIGNALS, Doubts, doubts
from heightpose.data.suggest.guess import GUESSABLE, guess
from heightpose.data.suggest.looks import Look, look
from heightpose.data.suggest.weigh import weights_of
from heightpose.errors import FileFormatError, HeightposeError, InputError
from heightpose.runtime.inputs import expand_inputs
from heightpose.runtime.networks import Detector, PoseModel
from heightpose.runtime.output import sha256
from heightpose.runtime.pipeline import BATCH, estimate_poses
from heightpose.runtime.stills import PICTURE_SUFFIXES, list_folder
from heightpose.runtime.video import Frame, open_clip
from heightpose.skeleton import INFANT
from heightpose.types import Detection, FrameResult

log = logging.getLogger("heightpose")

#: Rank of a signal from which it is a reason to tell.
_TELLING = 0.8
_WORDS = {
    "flip": "the mirror image disagrees", "turns": "turned a little it says otherwise",
    "neighbours": "jumps between frames", "bones": "bones longer than the child's",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Pool:
    """What was looked at: clips of looks, in order; ``names``, ``children``, ``hashes``, ``sources`` one per clip."""

    names: list[str] = field(default_factory=list)
    children: list[str] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)
    sources: list[Path] = field(default_factory=list)
    clips: list[list[Look]] = field(default_factory=list)

    @property
    def looks(self) -> list[Look]:
        return [one for clip in self.clips for one in clip]

    @property
    def owners(self) -> list[int]:
        """Each look's clip."""
        return [number for number, clip in enumerate(self.clips) for _ in clip]


@dataclass(frozen=True, eq=False)
class Pick:
    """A frame to label.

    Attributes:
        clip: its clip's name, of no other clip that was looked at.
        child: whom it shows, until somebody knows better: see :func:`child_of`.
        recording_sha256: of the file; of a folder's first picture.
        source: the video, picture or folder; ``frame`` counts its decoded frames.
        doubt: 0..1; ``signals`` its parts as ranks 0..1, None where there was nothing to compare.
        strata: given or guessed; ``given`` only what was given.
        why: in words.
        wish: the advised stratum whose share of the budget it is from, None for none.
    """

    clip: str
    child: str
    recording_sha256: str
    source: Path
    frame: int
    t_s: float
    look: Look
    doubt: float
    signals: dict[str, float | None]
    strata: dict[str, str]
    given: dict[str, str]
    why: tuple[str, ...]
    wish: str | None


def look_through(
    sources: Sequence[Path],
    model: PoseModel,
    detector: Detector,
    *,
    step_s: float = 0.5,
    stills: bool = False,
) -> Pool:
    """Look at every ``step_s`` seconds of some videos, folders of videos, or folders of pictures.

    Args:
        stills: a folder's pictures are each a clip of one frame instead of one clip together.

    Raises:
        InputError: nothing that can be read. A clip that is damaged, or a copy of another, is left out with a warning.
    """
    require_infant(model)
    pool = Pool()
    files: dict[str, str] = {}
    for source, name in tqdm(_clips(sources, stills), desc="looking", unit="clip", disable=None):
        try:
            with open_clip(source) as clip:
                digest = sha256(clip.paths[:1])
                # A folder of pictures may go on otherwise after the same first one.
                if len(clip.paths) == 1 and digest in files:
                    log.warning("left out: %s is a copy of %s", source, files[digest])
                    continue
                files[digest] = source
                seen = estimate_poses(_sampled(clip.frames(), step_s), detector, model)
                looks = look(model, seen)
        except HeightposeError as error:
            log.warning("left out: %s", error)
            continue
        pool.names.append(name)
        pool.children.append(child_of(digest))
        pool.hashes.append(digest)
        pool.sources.append(Path(source))
        pool.clips.append(looks)
    if not pool.clips:
        raise InputError(
            "nothing that can be looked at", where=", ".join(map(str, sources)), hint="Check --unlabelled"
        )
    return pool


def child_of(digest: str) -> str:
    """A name for the infant of a clip: by its file's SHA-256, so that no two clips share one for being called alike.

    The same clip has the same name in every round, wherever it lies and whatever it is called. A folder of pictures
    goes by its first one, as it may hold more of them the next time.
    """
    return f"clip-{digest[:12]}"


def require_infant(model: PoseModel) -> None:
    """FileFormatError for a model of other joints: they could not be corrected into a label of ours."""
    if model.skeleton.names != INFANT.names:
        raise FileFormatError(
            "this model does not give the joints that are labelled", where=model.file.path,
            expected=f"the {len(INFANT)} joints of the infant skeleton", got=f"{len(model.skeleton)} joints",
        )  # fmt: skip


def _clips(sources: Sequence[Path], stills: bool) -> list[tuple[str, str]]:
    given: list[str] = []
    for source in sources:
        pictures = (
            [p for p in list_folder(source) if p.suffix.lower() in PICTURE_SUFFIXES]
            if source.is_dir()
            else []
        )
        given += [str(p) for p in pictures] if stills and pictures else [str(source)]
    return expand_inputs(given)[0]


def _sampled(frames: Iterator[Frame], step_s: float) -> Iterator[Frame]:
    due = -np.inf
    for frame in frames:
        if frame.t_s >= due - 1e-6:
            due = frame.t_s + step_s
            yield frame


def looks_of_labelled(dataset: Dataset, model: PoseModel) -> list[Look]:
    """The labelled infants in the crops of their own boxes: what need not be picked again."""
    found: list[Look] = []
    entries = [
        (i, p, a)
        for i in dataset.items
        for p in i.people
        if (a := head_angle_deg(p.kpts_frame, p.usable)) is not None
    ]
    for start in tqdm(range(0, len(entries), BATCH), desc="labelled", unit="batch", disable=None):
        part = entries[start : start + BATCH]
        pictures = Pictures([item for item, _, _ in part])
        rgbs = [pictures.picture(k) for k in range(len(part))]
        poses = model.estimate(rgbs, [Detection(person.bbox_xyxy, angle, 1.0) for _, person, angle in part])
        found += look(model, [(FrameResult(0, 0.0, p, 1), rgb) for p, rgb in zip(poses, rgbs, strict=True)])
    return found


def suggest(
    pool: Pool,
    budget: int,
    *,
    wishes: Sequence[Wish] = (),
    strata: Mapping[str, Mapping[str, str]] | None = None,
    labelled: Sequence[Look] = (),
    seed: int = 0,
) -> list[Pick]:
    """The ``budget`` frames to label, in the order they were picked.

    Args:
        wishes: advised strata; each gets its share of the budget, and what it cannot use goes to everything.
        strata: file name -> stratum -> value, where somebody knows; the rest is guessed.
        labelled: what is labelled already, to differ from.
    """
    looks, owners = pool.looks, pool.owners
    doubt = doubts(pool.clips)
    vectors = describe([*labelled, *looks])
    old, new = vectors[: len(labelled)], vectors[len(labelled) :]
    given = [_given(pool.sources[o], strata) for o in owners]
    known = [guess(one) | own for one, own in zip(looks, given, strict=True)]
    weights = weights_of(doubt.total)
    picked: list[tuple[int, str | None]] = []

    def take(number: int, allowed: np.ndarray, wish: str | None) -> None:
        have = [index for index, _ in picked]
        left = np.where(allowed, weights, 0.0)
        left[have] = 0.0
        done = np.concatenate([old, new[have]])
        # A seed of its own for every share, so that one wish's does not depend on what another took.
        picked.extend((k, wish) for k in choose(new, left, number, seed + len(have), given=done))

    told = _tellable(wishes, given)
    for wish, number in zip(told, quotas(told, budget), strict=True):
        before = len(picked)
        take(number, np.array([wish.met_by(k) for k in known], dtype=bool), wish.key)
        if len(picked) - before < number:
            log.warning("%s: only %d of %d frames wanted", wish.key, len(picked) - before, number)
    take(budget - len(picked), np.ones(len(looks), dtype=bool), None)
    return [
        _pick(pool, index, owners[index], doubt, known[index], given[index], wish) for index, wish in picked
    ]


def _tellable(wishes: Sequence[Wish], given: Sequence[Mapping[str, str]]) -> list[Wish]:
    """The wishes of which it can be told who meets them; the others' share goes to everything."""
    found = []
    columns = {name for own in given for name in own}
    for wish in wishes:
        if wish.value in GUESSABLE.get(wish.stratum, ()) or wish.stratum in columns:
            found.append(wish)
        else:
            log.warning(
                "%s cannot be told from a picture: its share goes to all frames. --strata can say it",
                wish.key,
            )
    return found


def _given(source: Path, strata: Mapping[str, Mapping[str, str]] | None) -> dict[str, str]:
    return dict((strata or {}).get(source.name, {}))


def _pick(
    pool: Pool,
    index: int,
    owner: int,
    doubt: Doubts,
    strata: dict[str, str],
    given: dict[str, str],
    wish: str | None,
) -> Pick:
    one = pool.looks[index]
    ranks = {name: float(doubt.ranks[name][index]) for name in SIGNALS}
    why = [
        _WORDS[n] for n, r in sorted(ranks.items(), key=lambda pair: -np.nan_to_num(pair[1])) if r >= _TELLING
    ]
    if doubt.lost[index]:
        seen = any(k.pose is not None for k in pool.clips[owner])
        why = ["no infant found, though this clip shows one" if seen else "no infant found in the whole clip"]
    return Pick(
        pool.names[owner], pool.children[owner], pool.hashes[owner], pool.sources[owner],
        one.result.index, one.result.t_s, one, float(doubt.total[index]),
        {n: None if np.isnan(r) else r for n, r in ranks.items()}, strata, given,
        tuple(why) if why else ("unlike the others",), wish,
    )  # fmt: skip
