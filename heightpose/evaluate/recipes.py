"""Test sets that are rendered instead of stored: a recipe makes one, its manifest proves that it is the same again.

``eval/testsets/NAME/recipe.yaml`` says what ``heightpose synth`` is to draw. The pictures are not kept with the source;
``testset.yaml`` beside the recipe is, with every file's hash. A set rendered anew must agree with it, or it is not the
set that recorded figures are about. A processor without AVX-512 adds and rounds in another order, so last digits and
some pixels differ there: NAME-avx2 are the same recipes as rendered on one, and :meth:`Recipe.for_oneself` makes a set
of one's own.
"""

from __future__ import annotations

import logging
import platform
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from heightpose import __version__
from heightpose.data.testset import MANIFEST, RECIPE, SHELF, TestSet, freeze, listed_files
from heightpose.errors import ConfigError, FileFormatError, HeightposeError, InputError
from heightpose.runtime.atomic import make_folder, write_json, write_text
from heightpose.textfile import read_json, read_yaml
from heightpose.words import one_line

log = logging.getLogger(__name__)

MADE_WITH = "made_with.json"
#: After the name of a set that somebody made for themselves, whose figures are no recorded set's.
_OWN = "-own"
#: What decides a rendered file's bytes besides the recipe.
_PACKAGES = ("anny", "mitsuba", "torch", "numpy", "opencv-python-headless", "av")


@dataclass(frozen=True)
class Recipe:
    """What to draw.

    Attributes:
        folder: where recipe, manifest and drawn files lie.
        synth: options of ``heightpose synth`` by their long names, without ``out`` and ``jobs``.
    """

    folder: Path
    name: str
    version: int
    synth: dict[str, Any]

    @classmethod
    def load(cls, name_or_dir: str) -> Recipe:
        """Read a recipe by the name of its set or its folder.

        Raises:
            InputError: there is none. FileFormatError: it is not what a recipe must be.
        """
        folders = [
            Path(name_or_dir),
            SHELF / name_or_dir,
            Path(__file__).resolve().parents[2] / SHELF / name_or_dir,
        ]
        folder = next((f for f in folders if (f / RECIPE).is_file()), None)
        if folder is None:
            known = sorted(p.parent.name for p in folders[-1].parent.glob(f"*/{RECIPE}"))
            raise InputError(
                "no such recipe",
                where=name_or_dir,
                expected=f"a folder with {RECIPE}, or one of {', '.join(known)}",
            )
        path = folder / RECIPE
        document = read_yaml(path, "recipe")
        fields = {"name": str, "version": int, "synth": dict}
        if not isinstance(document, dict) or set(document) != set(fields):
            raise FileFormatError(
                "not a recipe", where=path, expected=f"the fields {', '.join(fields)}", got=document
            )
        for key, kind in fields.items():
            if not isinstance(document[key], kind):
                raise FileFormatError("of another type", where=f"{path}: {key}", expected=kind.__name__)
        for key, value in document["synth"].items():
            if key in ("out", "jobs") or not isinstance(value, (str, int, float, bool)):
                raise FileFormatError("no option of a recipe", where=f"{path}: synth.{key}", got=value)
        return cls(folder, document["name"], document["version"], document["synth"])

    def for_oneself(self, folder: Path) -> Recipe:
        """The same to be drawn into another folder, under a name of its own, where the recipe is copied to.

        Raises:
            ConfigError: the folder holds another recipe.
        """
        own = replace(self, folder=folder, name=self.name.removesuffix(_OWN) + _OWN)
        path = folder / RECIPE
        if path.is_file() and Recipe.load(str(folder)) != own:
            raise ConfigError("this folder holds another recipe", where=folder, hint="Choose an empty folder")
        make_folder(folder)
        document = {"name": own.name, "version": own.version, "synth": own.synth}
        write_text(path, yaml.safe_dump(document, sort_keys=False))
        return own

    def twins(self) -> list[Recipe]:
        """The recipes beside this one that draw the same, as recorded on other processors."""
        found = []
        for path in sorted(self.folder.parent.glob(f"*/{RECIPE}")):
            try:
                other = Recipe.load(str(path.parent))
            except HeightposeError:  # whatever else lies there
                continue
            if other.name != self.name and (other.version, other.synth) == (self.version, self.synth):
                found.append(other)
        return found

    def command(self, jobs: int | None) -> list[str]:
        """The arguments after ``heightpose``."""
        args = ["synth", "--out", str(self.folder)]
        for key, value in self.synth.items():
            option = f"--{key.replace('_', '-')}"
            args += ([option] if value else []) if isinstance(value, bool) else [option, str(value)]
        return args if jobs is None else [*args, "--jobs", str(jobs)]


def make(recipe: Recipe, jobs: int | None = None) -> tuple[TestSet, bool]:
    """Render a set where its recipe lies and check it against the manifest there; without one, write it.

    An interrupted rendering goes on where it stopped.

    Returns:
        (the set, whether its manifest is new).

    Raises:
        HeightposeError: the renderer failed.
        FileFormatError: the files are not those of the manifest, which is left as it was.
    """
    manifest, made_with = recipe.folder / MANIFEST, recipe.folder / MADE_WITH
    before = manifest.read_text(encoding="utf-8") if manifest.is_file() else None
    expected = None if before is None else listed_files(recipe.folder)
    if expected is not None and (apart := _versions_apart(recipe)):
        log.warning(
            "%s was made elsewhere, and files may come out otherwise: %s.%s",
            recipe.name,
            apart,
            _twin(recipe),
        )
    try:
        # A process of its own: the renderer's threads and memory end with it.
        code = subprocess.run([sys.executable, "-m", "heightpose", *recipe.command(jobs)], check=False)
        if code.returncode != 0:
            raise HeightposeError(
                "the renderer stopped", where=recipe.folder, got=f"exit code {code.returncode}"
            )
        made = freeze(recipe.folder, recipe.name, recipe.version, replace=True)
    except BaseException:
        _put_back(manifest, before)
        raise
    if expected is None:
        write_json(made_with, versions())
        return made, True
    _put_back(manifest, before)
    other = sorted(p for p in expected.keys() | made.files.keys() if expected.get(p) != made.files.get(p))
    if other:
        raise FileFormatError(
            f"{len(other)} of {len(expected)} files are not those of the manifest, {other[0]} among them",
            where=recipe.folder, got=_versions_apart(recipe) or "the same versions",
            hint="Figures on it do not compare with recorded ones: render with the versions in made_with.json, or make "
            f"a set of your own with --out FOLDER.{_twin(recipe)} Where the nursery itself was changed, raise the "
            "recipe's version and delete the manifest",
        )  # fmt: skip
    return made, False


def versions() -> dict[str, str]:
    """Everything that decides the bytes of a rendered set besides its recipe.

    The processor's vector instructions among it, by which last digits of sums, roots and exponentials differ.
    """
    import cv2

    processor = one_line(cv2.getCPUFeaturesLine())
    found = {"heightpose": __version__, "machine": platform.machine(), "processor": processor}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _versions_apart(recipe: Recipe) -> str:
    """What is not as it was when the set was recorded, in words; empty where nothing is."""
    made_with = recipe.folder / MADE_WITH
    if not made_with.is_file():
        return "versions not recorded"
    stored, now = read_json(made_with, "versions"), versions()
    if not isinstance(stored, dict):
        raise ConfigError("not versions", where=made_with)
    apart = [k for k in sorted(stored.keys() | now) if stored.get(k) != now.get(k)]
    return "; ".join(
        _processors(str(stored.get(k)), now[k])
        if k == "processor"
        else f"{k} {stored.get(k)} then, {now.get(k)} now"
        for k in apart
    )


def _processors(then: str, now: str) -> str:
    """What one processor has and the other has not, of OpenCV's lists: a question mark follows what is missing."""
    had, has = ({w.strip("*") for w in line.split() if not w.endswith("?")} for line in (then, now))
    parts = [f"with {', '.join(sorted(had - has))} then, without now"] if had - has else []
    parts += [f"without {', '.join(sorted(has - had))} then, with it now"] if has - had else []
    return "processor " + "; ".join(parts)


def _twin(recipe: Recipe) -> str:
    """A sentence on the set of the same recipe that was recorded with these versions on such a processor, if any."""
    twin = next((r.name for r in recipe.twins() if not _versions_apart(r)), None)
    return "" if twin is None else f" {twin} is the same recipe as rendered on a machine like this one."


def _put_back(manifest: Path, before: str | None) -> None:
    if before is None:
        manifest.unlink(missing_ok=True)
    else:
        write_text(manifest, before)
