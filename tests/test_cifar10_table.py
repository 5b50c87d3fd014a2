"""benchmarks/cifar10_table.py: results of seeds become a table and curves."""

import json
from types import SimpleNamespace

import cifar10_table
import numpy as np
import pytest
from cifar10_table import (
    DISTANCE,
    FEATURES,
    KERNEL,
    ROWS,
    SCORES,
    Row,
    cells,
    seconds_of,
    show,
    spread,
)

from jaxgan import config
from jaxgan.metrics.scores import SCORES as SCORES_OF_PROTOCOLS
from jaxgan.metrics.scores import score_name


def result(row, code, seed, distances, **more):
    steps = [250 * (i + 1) for i in range(len(distances))]
    points = zip(steps, distances, strict=True)
    curve = [{"step": step, DISTANCE: d, KERNEL: d / 10, **more} for step, d in points]
    return {
        "row": row,
        "code": code,
        "seed": seed,
        "rounds": steps[-1],
        "kimg": 1.5,
        "seconds": 2.0 * steps[-1],
        "curve": curve,
        "final": curve[-1],
        "best": min(curve, key=lambda point: point[DISTANCE]),
        "machine": {"cores": 1},
        "commit": "abc",
    }


@pytest.fixture(autouse=True)
def _short_rows(monkeypatch):
    """All rows end after 500 rounds."""
    for name, row in ROWS.items():
        monkeypatch.setitem(ROWS, name, row._replace(rounds=500))


def test_a_run_that_was_stopped_shows_its_distances_only():
    results = [result("sngan", "jaxgan", i, d) for i, d in enumerate(([30.0, 20.0], [40.0]))]
    found = dict(zip(cifar10_table.HEADS, cells(("sngan", "jaxgan"), results), strict=True))
    assert found["250"] == "35.0 (30.0 to 40.0)"
    assert found["500"] == found["Last"] == found["Best"] == "20.0"


def test_the_table_has_the_mean_and_the_range_of_the_seeds():
    results = [result("sngan", "jaxgan", i, [30.0, 20.0 + i, 10.0 + i, 11.0]) for i in range(3)]
    found = dict(zip(cifar10_table.HEADS, cells(("sngan", "jaxgan"), results), strict=True))
    assert found["Row"] == "`sngan`"
    assert found["Seeds"] == "3"
    assert found["500"] == "21.0 (20.0 to 22.0)"
    assert found["1,000"] == found["Last"] == "11.0 (11.0 to 11.0)"
    assert found["Best"] == "10.7 (10.0 to 11.0)"
    assert found["Kernel distance, last"] == "1.1 (1.1 to 1.1)"
    assert found["Accuracy"] == ""
    assert found["Seconds a round"] == "2.00"


def test_the_results_become_a_page_with_curves(tmp_path):
    for code, distance in (("jaxgan", 12.0), ("mimicry", 14.0)):
        made = result("wgan_gp", code, 0, [30.0, distance])
        (tmp_path / f"wgan_gp_{code}_0.json").write_text(json.dumps(made))
    made = result("sngan_conditional", "jaxgan", 0, [9.0, 8.0], class_accuracy=0.5)
    (tmp_path / "sngan_conditional_jaxgan_0.json").write_text(json.dumps(made))
    show(SimpleNamespace(results=tmp_path))
    lines = (tmp_path / "README.md").read_text().splitlines()
    rows = [line.split(" | ") for line in lines if line.startswith("| `")]
    # In the order of the rows of the table, not of the files.
    assert [row[:2] for row in rows] == [
        ["| `wgan_gp`", "jaxgan"],
        ["| `wgan_gp`", "mimicry"],
        ["| `sngan_conditional`", "jaxgan"],
    ]
    assert rows[2][10] == "50.0"
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_without_results_there_is_no_page(tmp_path):
    with pytest.raises(SystemExit, match="make one with `run dcgan`"):
        show(SimpleNamespace(results=tmp_path))


def test_mimicry_needs_its_checkout(tmp_path, monkeypatch, capsys):
    given = ["table", "run", "sngan", "--out", str(tmp_path / "runs"), "--code", "mimicry"]
    monkeypatch.setattr("sys.argv", given)
    with pytest.raises(SystemExit):
        cifar10_table.main()
    assert "give --mimicry FOLDER" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_the_scores_are_known_by_these_names():
    assert set(SCORES) <= SCORES_OF_PROTOCOLS.keys()
    names = [score_name(score, FEATURES, "none") for score in ("fd", "kd")]
    assert names == [DISTANCE, KERNEL]


def test_one_seed_has_no_range():
    assert spread([1.25]) == "1.2"
    assert spread([]) == ""


def test_the_seconds_are_of_all_rounds():
    rates = [{"step": 50, "rounds_per_second": 5.0}, {"step": 50, "eval/fd": 1.0}]
    rates += [{"step": 150, "rounds_per_second": 10.0}]
    assert seconds_of(rates) == pytest.approx(20.0)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_the_reduced_settings_are_of_the_shipped_configs(row: Row, tmp_path):
    pictures = np.zeros((4, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "set.npz", images=pictures, labels=np.arange(4, dtype=np.int32))
    given = [*row.options, "data.name=array", f"data.path={tmp_path / 'set.npz'}"]
    cfg = config.load(row.config, given)
    game = config.make_run(cfg, config.open_data(cfg).spec).game
    assert game.stages[0].batch_size <= 64
