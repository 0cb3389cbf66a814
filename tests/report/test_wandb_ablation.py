"""A matrix of trainings in W&B: its table, picture and verdicts, and no folder of this machine."""

from __future__ import annotations

import json

import pytest
from wandb_file import Logged

from heightpose.ablate import figures
from heightpose.cli.ablate import write_tables
from heightpose.report.wandb_ablation import log_ablation


def cell(level, values, failed=()):
    return {
        "labels": {"rate": level},
        "seeds": [{"seed": s, "run": f"../runs/{level}-{s}", "metrics": {"M": v}} for s, v in values.items()],
        "failed": [{"seed": s, "error": "diverged"} for s in failed],
    }


@pytest.fixture
def document():
    cells = [
        cell("base", {1: 10.0, 2: 20.0, 3: 30.0}),
        cell("up", {1: 11.0, 2: 21.5, 3: 30.5}),
        cell("lost", {}, failed=(1, 2, 3)),
    ]
    changed = {"start_from": "/home/clinic/pre.safetensors", "pose.input_wh": [64, 64]}
    budget = {"epochs": 6, "limit": 400, "set": changed, "data": ["/home/clinic/n"], "pretrain_data": []}
    return {
        "name": "rates", "metric": "M", "better": "higher", "combine": "each", "question": "Which rate?",
        "budget": budget, "cells": cells,
    }  # fmt: skip


def test_a_matrix_is_one_run_with_its_table_and_names_no_folder(document, tmp_path):
    write_tables(document, tmp_path)
    log_ablation(tmp_path, document, "offline")
    logged = Logged(tmp_path)
    assert (logged.group, logged.job) == ("ablations", "ablation")
    assert logged.config["budget"] == {"epochs": 6, "limit": 400}
    assert logged.config["set"] == {"pose.input_wh": [64, 64]}
    assert "clinic" not in json.dumps(logged.config)
    assert logged.summary["mean/up"] == pytest.approx(21.0)
    assert logged.summary["cells better"] == 1
    assert "mean/lost" not in logged.summary

    (path,) = tmp_path.glob("wandb/offline-run-*/files/media/table/ablation*.table.json")
    table = json.loads(path.read_text())
    (difference,) = (i for i, name in enumerate(table["columns"]) if name == "difference")
    expected = {row.labels["rate"]: row.difference for row in figures.rows(document)}
    assert {row[0]: row[difference] for row in table["data"]} == expected
    assert any(row.get("ablation picture._type") == "images/separated" for row in logged.rows)


def test_off_writes_nothing(document, tmp_path):
    log_ablation(tmp_path, document, "off")
    assert not list(tmp_path.iterdir())
