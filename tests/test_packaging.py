"""What an installation without the repository has to hold."""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_file_that_is_not_python_is_packaged() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["heightpose"]
    package = ROOT / "heightpose"
    packaged = {path for pattern in patterns for path in package.glob(pattern)}
    there = {p for p in package.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
    assert there <= packaged
    assert package / "py.typed" in packaged  # type checkers read the annotations of nothing without it


def test_every_folder_with_code_is_a_package() -> None:
    """Others are not found when the wheel is built."""
    folders = {path.parent for path in (ROOT / "heightpose").rglob("*.py")}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def test_addresses_in_the_metadata_are_addresses() -> None:
    """An index refuses an upload whose project addresses are none, and pip shows them as links."""
    assert all(url.startswith("https://") for url in PROJECT["project"].get("urls", {}).values())


def test_the_model_card_names_the_shipped_weights() -> None:
    """Figures are of files: the card says which, by hash, and the files together stay under the 70 MB promised."""
    folder = ROOT / "heightpose/weights"
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    said = dict(re.findall(r"^- `(\S+)` ([0-9a-f]{64})$", card, re.MULTILINE))
    shipped = [path for path in folder.iterdir() if path.suffix not in (".py", ".md") and path.is_file()]
    assert said == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in shipped}
    assert sum(path.stat().st_size for path in shipped) < 70e6
