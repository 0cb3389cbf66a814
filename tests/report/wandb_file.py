"""Reads a run's ``.wandb`` file back, as W&B's own syncing does: LevelDB's log format around protobuf records."""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path

BLOCK = 32768


def records(folder: Path):
    """The records of the only offline run below ``folder/wandb``; waits for the process that writes them."""
    for _ in range(300):
        found = list(_records(folder))
        if any(record.WhichOneof("record_type") == "exit" for record in found):
            return found
        time.sleep(0.1)
    raise AssertionError("the run's file has no end")


def _records(folder: Path):
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    data = path.read_bytes()
    assert data[:4] == b":W&B"
    at, part = 7, b""
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:  # a block's tail too short for a header is padding
            at += BLOCK - at % BLOCK
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        if at + 7 + size > len(data):  # still being written
            return
        part += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # a whole record, or its last piece
            record = wandb_internal_pb2.Record()
            record.ParseFromString(part)
            part = b""
            yield record


class Logged:
    """What a run logged.

    Attributes:
        rows: one dictionary per ``log``, in order, dotted keys joined.
        axes: pattern -> the metric it is drawn over.
        artifacts: (type, name, file names, metadata).
    """

    def __init__(self, folder: Path) -> None:
        self.rows, self.axes, self.artifacts, self.summary = [], {}, [], {}
        self.group = self.job = self.exit = self.host = None
        self.config: dict = {}
        for record in records(folder):
            kind = record.WhichOneof("record_type")
            if kind == "history":
                self.rows.append({_key(i): json.loads(i.value_json) for i in record.history.item})
            elif kind == "metric":
                self.axes[record.metric.glob_name or record.metric.name] = record.metric.step_metric
            elif kind == "summary":
                self.summary |= {_key(i): json.loads(i.value_json) for i in record.summary.update}
            elif kind == "artifact":
                one = record.artifact
                files = [entry.path for entry in one.manifest.contents]
                self.artifacts.append((one.type, one.name, files, json.loads(one.metadata or "{}")))
            elif kind == "run":
                self.group, self.job, self.host = record.run.run_group, record.run.job_type, record.run.host
                self.config |= {_key(u): json.loads(u.value_json) for u in record.run.config.update}
            elif kind == "exit":
                self.exit = record.exit.exit_code

    def series(self, name: str, over: str) -> list[tuple[float, float]]:
        """Every (x, y) of a metric over its axis."""
        assert any(_matches(name, pattern) and axis == over for pattern, axis in self.axes.items()), name
        return [(row[over], row[name]) for row in self.rows if name in row]


def _key(item) -> str:
    return item.key if item.key else ".".join(item.nested_key)


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or (pattern.endswith("*") and name.startswith(pattern[:-1]))
