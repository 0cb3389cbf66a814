"""Test sets, frozen by hash: what the figures are measured on must not change without anybody noticing.

A test set is a folder: ``testset.yaml`` (name, version, SHA-256 of the files), ``annotations.json`` (COCO
keypoints, for the joints) and ``clips.json`` (children of known length, for the centimetres). Either part may
be absent; unknown keys are ignored.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heightpose.data.clips import Clip, inside, read_clips
from heightpose.data.coco import Dataset
from heightpose.errors import ConfigError, FileFormatError, InputError
from heightpose.runtime.atomic import write_text
from heightpose.textfile import read_yaml

MANIFEST = "testset.yaml"
#: The recipe of a recorded test set (heightpose eval make), which keeps the manifest of its own.
RECIPE = "recipe.yaml"
#: Where names of test sets resolve, from the current folder and from a source checkout's root.
SHELF = Path("eval/testsets")
_PARTS = {"annotations": "annotations.json", "clips": "clips.json"}
_HASHES = ("files", "file_hashes", "hashes", "sha256")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, eq=False)
class TestSet:
    """A frozen test set.

    Attributes:
        folder: its folder, which every path of it lies in.
        files: path relative to the folder (with forward slashes) -> SHA-256, lower-case hexadecimal.
        annotations: labelled pictures or frames; None where the set has none.
        clips: clips with measured lengths; empty where the set has none.
    """

    __test__ = False  # not a test case, whatever pytest makes of the name

    name: str
    version: int | str
    folder: Path
    files: dict[str, str]
    annotations: Dataset | None
    clips: tuple[Clip, ...]

    @classmethod
    def load(cls, name_or_dir: Path | str, verify: bool = True) -> TestSet:
        """Read a test set and check that nothing of it changed.

        Args:
            name_or_dir: a folder, its ``testset.yaml``, or a name under ``eval/testsets``.
            verify: hash every file (False: only for looking, never for a figure that is reported).

        Raises:
            InputError: there is no such test set, or a file of it is missing or cannot be read.
            FileFormatError: a file is not what the contract says, has changed, or is used but not listed.
        """
        folder = find(name_or_dir)
        document = _manifest(folder / MANIFEST)
        files = _listed(document["files"], f"{folder / MANIFEST}: files")
        if verify:  # before anything is parsed: a changed file is named as such, not as malformed
            _verify(folder, files)
        parts = {part: _part(folder, document, files, part) for part in _PARTS}
        if parts["annotations"] is None and parts["clips"] is None:
            raise FileFormatError(
                "an empty test set", where=folder / MANIFEST, expected="annotations, clips or both"
            )
        annotations, clips = _content(parts)
        if verify:
            for path in sorted(_used(folder, parts, annotations, clips) - files.keys()):
                raise FileFormatError(
                    "the test set uses a file that it does not list, so nobody would notice a change",
                    where=folder / path, expected=f"its SHA-256 in {folder / MANIFEST}",
                    hint="Freeze the set again, as a new version",
                )  # fmt: skip
        return cls(str(document["name"]), document["version"], folder, files, annotations, clips)

    def children(self) -> frozenset[str]:
        """Everybody who appears in the pictures or clips."""
        items = () if self.annotations is None else self.annotations.items
        labelled = {p.child for item in items for p in item.people if p.child is not None}
        return frozenset(labelled | {clip.child for clip in self.clips})


def freeze(
    folder: Path, name: str | None = None, version: int | str | None = None, *, replace: bool = False
) -> TestSet:
    """Check a test set against the contract and write ``testset.yaml`` with the SHA-256 of every file it uses.

    Args:
        folder: holds ``annotations.json``, ``clips.json`` or both.
        name: that of the earlier freeze by default, else the folder's.
        version: that of the earlier freeze by default, else 1.
        replace: overwrite an earlier freeze, of whatever version, although its content differs.

    Raises:
        InputError: neither part is there, or a file they name is missing.
        FileFormatError: ``name`` is a path, a part or the earlier ``testset.yaml`` breaks the contract.
        ConfigError: the content is not that of the earlier freeze, and ``version`` is not greater than its version.
    """
    import yaml

    folder = Path(folder)
    manifest = folder / MANIFEST
    before = _manifest(manifest) if manifest.is_file() and not replace else {}
    if name is None:
        name = str(before.get("name", folder.resolve().name))
    _require_name(name, manifest)
    version = before.get("version", 1) if version is None else version
    parts = {part: folder / file if (folder / file).is_file() else None for part, file in _PARTS.items()}
    if not any(parts.values()):
        raise InputError("nothing to freeze", where=folder, expected="annotations.json, clips.json or both")
    annotations, clips = _content(parts)
    used = sorted(_used(folder, parts, annotations, clips))
    files = {path: _hash(folder, path) for path in used}
    if before and _listed(before["files"], f"{manifest}: files") != files:
        _require_later(version, before, manifest)
    document: dict[str, Any] = {"name": name, "version": version}
    document |= {part: _PARTS[part] for part, path in parts.items() if path is not None}
    write_text(manifest, yaml.safe_dump(document | {"files": files}, sort_keys=False))
    return TestSet(name, version, folder, files, annotations, clips)


def _require_later(version: int | str, before: dict[str, Any], manifest: Path) -> None:
    """ConfigError unless ``version`` is greater than the frozen one: an older number may name other content."""
    frozen = before["version"]
    if _order(version) <= _order(frozen):
        raise ConfigError(
            "already frozen with other content", where=manifest,
            expected=f"a version after {before['name']} version {frozen}", got=str(version),
            hint=f"Freeze the changed set as a new version: --version {_next_version(frozen)}",
        )  # fmt: skip


def _order(version: int | str) -> list[tuple[int, int, str]]:
    """Comparable: numbers in it by value, so that 1.10 is after 1.9, and words by letter, before any number."""
    runs = re.findall(r"[0-9]+|[^0-9]+", str(version))
    return [(1, int(run), "") if run[0] in "0123456789" else (0, 0, run) for run in runs]


def _next_version(version: int | str) -> str:
    """The version with its last number one higher; a word gets the number 2."""
    text = str(version)
    numbers = list(re.finditer(r"[0-9]+", text))
    if not numbers:
        return f"{text}-2"
    last = numbers[-1]
    return f"{text[: last.start()]}{int(last[0]) + 1:0{len(last[0])}d}{text[last.end() :]}"


def listed_files(folder: Path) -> dict[str, str]:
    """Path -> SHA-256 as a folder's manifest lists them, whether the files are there or not."""
    path = folder / MANIFEST
    return _listed(_manifest(path)["files"], f"{path}: files")


def find(name_or_dir: Path | str) -> Path:
    """The folder of a test set given by folder, manifest or name. Raises InputError with a suggestion."""
    given = Path(name_or_dir)
    if given.name == MANIFEST and given.is_file():
        return given.parent
    shelves = [SHELF, Path(__file__).resolve().parents[2] / SHELF]
    for folder in (given, *(shelf / given for shelf in shelves)):
        if (folder / MANIFEST).is_file():
            return folder
    if given.is_dir():
        raise InputError(
            "not a test set",
            where=given,
            expected=f"a {MANIFEST} in it",
            hint="Is it a folder above or below?",
        )
    known = sorted({m.parent.name for shelf in shelves for m in shelf.glob(f"*/{MANIFEST}")})
    close = difflib.get_close_matches(str(name_or_dir), known, 1)
    hint = f"Did you mean '{close[0]}'?" if close else f"Known test sets: {', '.join(known) or 'none'}"
    raise InputError(
        "no such test set", where=name_or_dir, expected=f"a folder or a name in {SHELF}", hint=hint
    )


def _manifest(path: Path) -> dict[str, Any]:
    document = read_yaml(path, "test set's manifest")
    if not isinstance(document, dict):
        raise FileFormatError(
            "not a test set", where=path, expected="name, version, files", got=type(document).__name__
        )
    for key in ("name", "version"):
        if not isinstance(document.get(key), (str, int, float)) or isinstance(document[key], bool):
            raise FileFormatError("a field is missing", where=f"{path}: {key}", got=repr(document.get(key)))
    _require_name(str(document["name"]), path)
    if not isinstance(document["version"], int):
        document["version"] = str(document["version"])
    # The contract says "file hashes" without naming the key; ours is files, outside sets may take the words.
    document["files"] = next((document[key] for key in _HASHES if document.get(key)), None)
    return document


def _require_name(name: str, manifest: Path) -> None:
    """FileFormatError for a path: results and baselines lie in folders of the set's name."""
    if not name.strip(" .") or not name.isprintable() or set(name) & set("/\\"):
        raise FileFormatError(
            "not a name", where=f"{manifest}: name", expected="words, no path", got=repr(name)
        )


def _listed(value: Any, where: str) -> dict[str, str]:
    """Path -> hash, paths with forward slashes inside the folder; a list of {path, sha256} is read too."""
    if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
        value = {entry.get("path"): entry.get("sha256") for entry in value}
    if not isinstance(value, dict) or not value:
        raise FileFormatError("the files' hashes are missing", where=where, expected="path: SHA-256")
    files = {}
    for path, digest in value.items():
        text = str(digest).lower().removeprefix("sha256:")
        if not _SHA256.fullmatch(text):
            raise FileFormatError(
                "not a hash", where=f"{where}: {path}", expected="64 hexadecimal digits", got=digest
            )
        files[inside(str(path), where)] = text
    return files


def _verify(folder: Path, files: dict[str, str]) -> None:
    from tqdm import tqdm

    for path, expected in tqdm(files.items(), unit="file", desc="checking the test set", disable=None):
        got = _hash(folder, path)
        if got != expected:
            raise FileFormatError(
                "a file of the frozen test set has changed", where=folder / path,
                expected=f"SHA-256 {expected[:12]}...", got=f"{got[:12]}...",
                hint="Restore the file, or freeze the set as a new version",
            )  # fmt: skip


def _hash(folder: Path, path: str) -> str:
    from heightpose.runtime.output import sha256

    return sha256([_there(folder, path)])


def _there(folder: Path, path: str) -> Path:
    """A file of a test set by its path in the folder. Raises InputError, with what to do, where it is missing."""
    if not (folder / path).is_file():
        recorded = (folder / RECIPE).is_file()
        make = f"Render it from its recipe: heightpose eval make {folder.name}"
        raise InputError(
            "a file of the test set is missing",
            where=folder / path,
            hint=make if recorded else "Copy the whole set again",
        )
    return folder / path


def _part(folder: Path, document: dict[str, Any], files: dict[str, str], part: str) -> Path | None:
    """The file of a part: as the manifest names it, else (where it says nothing) the usual name if listed."""
    if part not in document:
        usual = _PARTS[part]
        return folder / usual if usual in files else None
    name = document[part]
    if name is None or name is False:
        return None
    return _there(folder, inside(str(_PARTS[part] if name is True else name), f"{folder / MANIFEST}: {part}"))


def _content(parts: dict[str, Path | None]) -> tuple[Dataset | None, tuple[Clip, ...]]:
    labels, lengths = parts["annotations"], parts["clips"]
    return None if labels is None else Dataset.load(labels), () if lengths is None else read_clips(lengths)


def _used(
    folder: Path, parts: dict[str, Path | None], annotations: Dataset | None, clips: Iterable[Clip]
) -> set[str]:
    """Every file that a figure on this set depends on, relative to its folder."""
    paths = {path for path in parts.values() if path is not None}
    paths |= set() if annotations is None else {item.path for item in annotations.items}
    for clip in clips:
        pictures = clip.video.iterdir() if clip.video.is_dir() else [clip.video]
        paths |= {p for p in pictures if p.is_file() and p.name[0] != "."}
        paths |= {p for p in (clip.camera, clip.sheet, clip.plane, clip.truth) if p is not None}
    root = folder.resolve()
    used = set()
    for path in paths:
        # Not resolved beyond the folder: a file may be a link to where big data lies, its content is hashed.
        parent = path.parent.resolve()
        if not parent.is_relative_to(root):
            raise FileFormatError(
                "lies outside the test set's folder", where=path, hint="Copy it into the folder"
            )
        used.add((parent.relative_to(root) / path.name).as_posix())
    return used
