"""Cores that a container's limit leaves."""

from __future__ import annotations

import os

import pytest

from heightpose import cores


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A made-up system of 64 cores; gives a function that writes its files."""
    monkeypatch.setattr(cores, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "_OWN", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)

    def write(own, files):
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {}, 64),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),  # a part of a core is one more thread
        ("0::/\n", {"cpu.max": "20000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "9900000 100000\n"}, 64),
        ("0::/a.slice/b.service\n", {"a.slice/b.service/cpu.max": "400000 100000\n"}, 4),
        (
            "0::/a.slice/b.service\n",
            {"a.slice/cpu.max": "300000 100000\n", "a.slice/b.service/cpu.max": "max 100000\n"},
            3,
        ),
        ("0::/../x\n", {"cpu.max": "200000 100000\n"}, 2),  # seen from within another namespace
        (
            "4:cpu,cpuacct:/docker/ab\n",
            {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            2,
        ),
        (
            "4:cpu,cpuacct:/\n",
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            64,
        ),
        (
            "4:cpu,cpuacct:/system.slice/a.service\n0::/system.slice/a.service\n",
            {
                "cpu/system.slice/a.service/cpu.cfs_quota_us": "300000\n",
                "cpu/system.slice/a.service/cpu.cfs_period_us": "100000\n",
                "cpu/cpu.cfs_quota_us": "-1\n",
                "cpu/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            "4:cpuset:/a\n",  # another controller's group, with a name that begins alike
            {"cpu/a/cpu.cfs_quota_us": "300000\n", "cpu/a/cpu.cfs_period_us": "100000\n"},
            64,
        ),
        ("nonsense", {"cpu.max": "nonsense"}, 64),
        ("0::/\n", {"cpu.max": "0 0"}, 64),
    ],
)
def test_a_limit_counts_and_anything_else_does_not(system, own, files, expected):
    system(own, files)
    assert cores.usable_cores() == expected


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {}, 64_000),
        ("0::/a\n", {"memory.max": "max\n", "a/memory.max": "8192\n"}, 8192),
        ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": "4096\n"}, 4096),
        ("4:memory:/a\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, 64_000),
    ],
)
def test_a_limit_of_memory_counts(system, monkeypatch, own, files, expected):
    system(own, files)
    monkeypatch.setattr(os, "sysconf", lambda name: 1000 if name == "SC_PAGE_SIZE" else 64)
    assert cores.usable_memory() == expected


def test_affinity_counts_too(system, monkeypatch):
    system("0::/\n", {"cpu.max": "800000 100000\n"})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    assert cores.usable_cores() == 2


def test_this_system_has_some():
    assert 1 <= cores.usable_cores() <= (os.cpu_count() or 1)
