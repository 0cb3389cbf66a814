"""Which code ran: the commit of this package's own checkout, and a hash that follows the sources."""

from __future__ import annotations

import subprocess

import pytest

from heightpose.runtime import code


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of one file that believes to be ours."""
    folder = tmp_path / "heightpose"
    folder.mkdir()
    (folder / "a.py").write_text("x = 1\n")
    monkeypatch.setattr(code, "_PACKAGE", folder)
    forget()
    yield folder
    forget()


def forget():
    code.code_version.cache_clear()
    code.sources_sha256.cache_clear()


def fresh():
    forget()
    return code.code_version()


def git(folder, *args):
    name = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", *name, *args], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_without_git_the_sources_tell(package):
    before = fresh()
    assert (before["commit"], before["changed"]) == (None, None)
    (package / "notes.txt").write_text("no code")
    assert fresh() == before
    (package / "a.py").write_text("x = 2\n")
    assert fresh()["sha256"] != before["sha256"]


def test_a_commit_and_whether_the_files_are_its_own(package):
    git(package.parent, "init", "-q")
    git(package.parent, "add", ".")
    git(package.parent, "commit", "-q", "-m", "one")
    clean = fresh()
    assert clean["commit"] == git(package.parent, "rev-parse", "HEAD")
    assert clean["changed"] is False
    (package / "a.py").write_text("x = 3\n")
    assert fresh()["changed"] is True


def test_the_commit_of_somebody_elses_checkout_around_an_installed_package_is_not_ours(package, monkeypatch):
    git(package.parent, "init", "-q")
    git(package.parent, "add", ".")
    git(package.parent, "commit", "-q", "-m", "one")
    inner = package.parent / "site-packages" / "heightpose"
    inner.mkdir(parents=True)
    monkeypatch.setattr(code, "_PACKAGE", inner)
    assert fresh()["commit"] is None
