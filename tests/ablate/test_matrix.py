"""Matrices as files: what they unfold to, how a budget changes them, and that every shipped one is valid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import drawn
import pytest

from heightpose.ablate.jobs import plan
from heightpose.ablate.matrix import Budget, Matrix, changed, short_name
from heightpose.config import TrainConfig
from heightpose.errors import ConfigError
from heightpose.train.pose_task import PoseTask
from heightpose.train.tasks import make_task

SHIPPED = sorted((Path(__file__).parents[2] / "configs" / "ablations").glob("*.yaml"))

TEXT = """
base: base.yaml
set: {optim.lr: 1.0e-3}
factors:
  rate:
    "1e-3": {}
    "2e-3": {optim.lr: 2.0e-3}
  length:
    short: {optim.epochs: 10}
    long: {optim.epochs: 40}
seeds: [1, 2]
"""


@pytest.fixture
def write(tmp_path):
    (tmp_path / "base.yaml").write_text("optim: {epochs: 20, batch_size: 4}")

    def write(text):
        (tmp_path / "m.yaml").write_text(text)
        return tmp_path / "m.yaml"

    return write


def names(matrix):
    return [short_name(c.labels, matrix.base_labels) for c in matrix.cells()]


def test_one_factor_at_a_time_or_all_combinations(write):
    matrix = Matrix.load(write(TEXT))
    assert names(matrix) == ["rate 1e-3, length short", "rate 2e-3", "length long"]
    product = Matrix.load(write(TEXT + "combine: product"))
    assert len(product.cells()) == 4
    assert product.cells()[0].labels == matrix.base_labels == {"rate": "1e-3", "length": "short"}
    assert product.cells()[3].overrides == {"optim.lr": 2e-3, "optim.epochs": 40}


def test_a_cell_is_the_base_with_its_overrides_and_nothing_else(write):
    matrix = Matrix.load(write(TEXT))
    cell = matrix.cells()[1]
    config = matrix.config(cell.overrides, cell.name)
    plain = TrainConfig.load(matrix.path.parent / "base.yaml")
    assert config == replace(plain, optim=replace(plain.optim, lr=2e-3, epochs=10))


def test_a_budget_keeps_the_ratio_of_cells_that_set_their_own_epochs(write):
    matrix = Matrix.load(write(TEXT))
    budget = Budget(epochs=6, limit=30, changes={"optim.batch_size": 8}, data=("somewhere",))
    short, _, long = (matrix.config(c.overrides, c.name, budget) for c in matrix.cells())
    assert (short.optim.epochs, long.optim.epochs) == (3, 12)  # of 20 in the base: half and twice
    assert short.data.limit == 30
    assert short.data.dirs == ("somewhere",)
    assert short.optim.batch_size == 8


def test_cells_keep_how_often_they_draw_each_folder_of_data_and_name_no_data_beside_it(
    write, tmp_path, folder
):
    """Cells that differ there only would else all be one training, and "no difference shown"."""
    level = "{data.repeat: [1, 4]}"
    text = TEXT.replace("  length:", f"  drawn:\n    once: {{}}\n    more: {level}\n  length:")
    two, one = (Budget(data=(str(folder),) * n) for n in (2, 1))
    todo = plan(Matrix.load(write(text)), two, tmp_path / "out")
    assert {t.config.data.repeat for t in todo.trainings} == {(), (1.0, 4.0)}
    assert len(todo.trainings) == len(todo.measurements) == 8
    with pytest.raises(ConfigError, match=r"drawn more.*one for each --data"):
        plan(Matrix.load(write(text)), one, tmp_path / "out")
    for setting in ("data.iteration: poc", "data.dirs: [elsewhere]"):
        own = Matrix.load(write(text.replace(level, f"{{{setting}}}")))
        with pytest.raises(ConfigError, match=r"drawn more.*beside --data"):
            plan(own, two, tmp_path / "out")
    by_set = Budget(data=two.data, changes={"data.repeat": [2, 1]})
    assert own.config({}, "all", by_set).data.repeat == (2.0, 1.0)


def test_an_unknown_setting_of_a_cell_is_named_with_file_and_cell(write):
    with pytest.raises(ConfigError) as raised:
        Matrix.load(write(TEXT.replace("optim.lr: 2.0e-3", "optim.lrr: 2.0e-3")))
    for word in ("m.yaml", "rate 2e-3", "unknown setting 'lrr'", "Did you mean 'lr'"):
        assert word in str(raised.value)


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("optim.lr: 2.0e-3", "optm.lr: 2.0e-3", "Did you mean 'optim'"),
        ("optim.lr: 2.0e-3", "optim.lr: 2", "out of range"),
        ("seeds:", "seed:", "Did you mean 'seeds'"),
        ("seeds: [1, 2]", "seeds: [1, 1]", "seeds"),
        ("seeds: [1, 2]", "seeds: 3", "seeds"),
        ("seeds: [1, 2]", "combine: both", "each"),
        ("seeds: [1, 2]", "better: up", "higher"),
        ('    "2e-3": {optim.lr: 2.0e-3}\n', "", "two levels"),
        ("optim.lr: 2.0e-3", "start_from: pretrain:none", "no such pre-training"),
        ("base: base.yaml", "base: gone.yaml", "gone.yaml"),
        ("base: base.yaml", "", "'base' is missing"),
        ("base: base.yaml", "base:", "'base' is missing"),
        ("base: base.yaml", "name: ../out\nbase: base.yaml", "no name of a folder"),
        ("base: base.yaml", "name: runs\nbase: base.yaml", "no name of a folder"),
        ("base: base.yaml", "metric: MeanSmS@0,1\nbase: base.yaml", "metric: unknown value"),
        ("set: {", "set: {task: detector, ", "metric: unknown value"),
        ("seeds: [1, 2]", "seeds: [-1, 2]", "0 to 2147483647"),
        ("optim.lr: 2.0e-3", "seed: 2", "share their seeds"),
        ("optim.lr: 2.0e-3", "optim: {lr: 2.0e-3}", "'optim' is a section"),
        ('"1e-3": {}', '2: {}\n    "2": {optim.lr: 4.0e-3}', "two levels of one name"),
        (
            "seeds: [1, 2]",
            "pretrain: {a: {start_from: 'pretrain:b'}, b: {start_from: 'pretrain:a'}}",
            "a from b from a",
        ),
    ],
)
def test_mistakes_are_named(write, old, new, word):
    assert old in TEXT
    with pytest.raises(ConfigError, match=word):
        Matrix.load(write(TEXT.replace(old, new)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return drawn.shared_nursery(tmp_path_factory, train=2, val=1)


def test_equal_settings_are_trained_once_and_what_only_validates_never_again(write, tmp_path, folder):
    text = TEXT.replace(
        "  length:", "  read:\n    dark: {}\n    peak: {validation.decode: argmax}\n  length:"
    )
    matrix, budget = Matrix.load(write(text)), Budget(data=(str(folder),))
    todo = plan(matrix, budget, tmp_path / "out")
    assert len(todo.measurements) == 8
    assert len(todo.trainings) == 6  # three settings, two seeds
    dark, peak = (m for m in todo.measurements if m.seed == 1 and m.cell.labels["rate"] == "1e-3"
                  and m.cell.labels["length"] == "short")  # fmt: skip
    assert dark.training is peak.training
    assert dark.file != peak.file


def test_trainings_are_told_apart_by_what_decides_them_and_by_nothing_else(write, tmp_path, folder):
    matrix = Matrix.load(write(TEXT))

    def folders(**changes):
        budget = Budget(data=(str(folder),), changes={k.replace("__", "."): v for k, v in changes.items()})
        return [t.folder.name for t in plan(matrix, budget, tmp_path / "out").trainings]

    plain = folders()
    assert len(set(plain)) == 6
    assert folders(hardware__threads=7, data__memory_mb=10.0) == plain
    assert not set(folders(augment__flip=0.1)) & set(plain)
    drawn.rewrite(folder, lambda document: document["annotations"][0]["bbox"].__setitem__(0, 20.0))
    assert not set(folders()) & set(plain)  # other labels under the same name


@pytest.mark.parametrize("setting", ["loss.oks_file", "loss.teacher", "pose.pretrained"])
def test_files_that_settings_name_count_by_their_content(write, tmp_path, folder, setting):
    def folders(name, content):
        (tmp_path / name).write_text(content)
        budget = Budget(data=(str(folder),), changes={setting: str(tmp_path / name)})
        return {t.folder.name for t in plan(Matrix.load(write(TEXT)), budget, tmp_path / "out").trainings}

    first = folders("one", "a")
    assert folders("two", "a") == first
    assert not folders("one", "b") & first


def test_a_cell_that_starts_from_a_stage_waits_for_it_seed_by_seed(write, tmp_path, folder):
    text = TEXT.replace("optim.lr: 2.0e-3", 'start_from: "pretrain:sixteen"')
    matrix = Matrix.load(write(text + "pretrain: {sixteen: {pose.joints: mpii}}"))
    todo = plan(matrix, Budget(data=(str(folder),)), tmp_path / "out", only=["rate"])
    stages = [t for t in todo.trainings if t.config.pose.joints == "mpii"]
    waiting = [t for t in todo.trainings if t.after is not None]
    assert [t.config.seed for t in stages] == [t.config.seed for t in waiting] == [1, 2]
    for stage, training in zip(stages, waiting, strict=True):
        assert training.after == stage.folder
        assert Path(str(training.config.start_from)).parent == stage.folder


def test_only_keeps_the_base_and_the_cells_that_change_what_is_named(write, tmp_path, folder):
    matrix, budget = Matrix.load(write(TEXT)), Budget(data=(str(folder),))
    todo = plan(matrix, budget, tmp_path / "out", only=["length"])
    assert {m.cell.labels["length"] for m in todo.measurements} == {"short", "long"}
    assert {m.cell.labels["rate"] for m in todo.measurements} == {"1e-3"}
    with pytest.raises(ConfigError, match="rate 2e-3"):
        plan(matrix, budget, tmp_path / "out", only=["length", "nothing"])


def test_overrides_reach_every_section():
    overrides = {"start_from": "a.pth", "pose.input_wh": [96, 64], "augment.mosaic": 0.5}
    made = changed(TrainConfig(), overrides, "here")
    assert (made.start_from, made.pose.input_wh, made.augment.mosaic) == ("a.pth", (96, 64), 0.5)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_every_shipped_matrix_is_valid(path):
    matrix = Matrix.load(path)
    assert matrix.name == path.stem
    assert matrix.question
    assert len(matrix.seeds) >= 3
    configs = [matrix.config(c.overrides, c.name) for c in matrix.cells()]
    assert len(set(configs)) == len(configs)  # no two cells are the same training
    for config in configs:
        task = make_task(config)
        if isinstance(task, PoseTask):
            assert task.codec.input_wh == config.pose.input_wh


def test_the_readme_beside_the_matrices_lists_all_of_them():
    text = (SHIPPED[0].parent / "README.md").read_text(encoding="utf-8")
    assert len(SHIPPED) >= 15
    for path in SHIPPED:
        matrix = Matrix.load(path)
        assert f"| `{path.name}` | {matrix.question} | {len(matrix.cells())} |" in text


def test_without_data_nothing_is_planned(write, tmp_path):
    with pytest.raises(ConfigError, match="--data"):
        plan(Matrix.load(write(TEXT)), Budget(), tmp_path / "out")


def test_a_data_iteration_counts_by_its_hash_not_by_its_name(write, tmp_path, folder):
    from heightpose.data.draw import draw

    def folders(root, seed):
        draw("poc", [folder], share=0.5, seed=seed, root=tmp_path / root)
        changes = {"data.iteration": "poc", "data.iterations_root": str(tmp_path / root)}
        matrix = Matrix.load(write(TEXT))
        return [t.folder.name for t in plan(matrix, Budget(changes=changes), tmp_path / "out").trainings]

    assert folders("a", 0) == folders("b", 0)
    assert not set(folders("c", 5)) & set(folders("d", 0))
