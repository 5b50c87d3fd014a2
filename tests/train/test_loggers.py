"""Loggers: what they are given, once each, whatever happens to the run or to them."""

import dataclasses
import json
import struct
import sys
import time

import numpy as np
import pytest
from counting import QUICK, SOURCE, counting_game, quietly

from jaxgan.cli import main
from jaxgan.train import loggers, read_metrics, train

OPTIONS = dataclasses.replace(QUICK, steps=12, log_every=2, sample_every=4)


class Recorder:
    """Keeps what it is given; raises `error` when it is given the row of step `at`."""

    name = "recorder"

    def __init__(self, at=-1, error=KeyboardInterrupt):
        self.at, self.error = at, error
        self.opened, self.rows, self.pictures, self.closed = [], [], [], 0

    def open(self, workdir, config, run):
        self.opened.append((workdir, config, run))
        return run or "the first"

    def metrics(self, step, row):
        if step == self.at:
            raise self.error("no")
        self.rows.append({"step": step, **row})

    def picture(self, step, name, path):
        assert path.read_bytes().startswith(b"\x89PNG")
        self.pictures.append((step, name, path.name))

    def close(self):
        self.closed += 1


def pictures_game():
    return counting_game(samples=lambda w, num, labels: w + np.zeros((num, 8, 8, 1), np.float32))


def play(workdir, *services, game=None, log=quietly, **changes):
    options = dataclasses.replace(OPTIONS, **changes)
    return train(game or counting_game(), SOURCE, workdir, options, log=log, loggers=services)


def test_a_logger_has_the_rows_and_pictures_of_the_files(tmp_path):
    recorder = Recorder()
    play(tmp_path, recorder, game=pictures_game())
    assert recorder.opened == [(tmp_path, {}, None)]
    assert recorder.rows == read_metrics(tmp_path)
    assert [row["step"] for row in recorder.rows] == [2, 4, 5, 6, 8, 10, 12]
    names = [(step, "samples", f"{step:08d}.png") for step in (0, 4, 8, 12)]
    assert recorder.pictures == names
    assert recorder.closed == 1


def test_rows_after_the_last_checkpoint_are_passed_on_once(tmp_path):
    """Killed in step 10, after the checkpoint of step 5, and again in step 8: 6 and 8 are played three times."""
    killed = [Recorder(at=10), Recorder(at=12)]
    for recorder in killed:
        with pytest.raises(KeyboardInterrupt):
            play(tmp_path, recorder, checkpoint_every=5)
    last = Recorder()
    play(tmp_path, last, checkpoint_every=5)
    rows = [row for recorder in (*killed, last) for row in recorder.rows]
    assert [row["step"] for row in rows] == [2, 4, 5, 6, 8, 10, 12]
    untimed = [{k: v for k, v in row.items() if k in ("step", "kimg", "clock")} for row in rows]
    assert untimed == [
        {k: v for k, v in row.items() if k in ("step", "kimg", "clock")}
        for row in read_metrics(tmp_path)
    ]
    assert [recorder.opened[0][2] for recorder in (*killed, last)] == [
        None,
        "the first",
        "the first",
    ]


def test_a_step_may_have_several_rows_and_each_number_is_passed_on_once(tmp_path):
    recorder = Recorder()
    for _ in range(2):  # as if it was killed before the first checkpoint
        with loggers.Relay([recorder], tmp_path, {}, quietly) as relay:
            relay.metrics(2, {"kimg": 1.0, "loss": 3.0})
            relay.metrics(2, {"kimg": 1.0, "eval/fd": 4.0})
    assert recorder.rows == [{"step": 2, "kimg": 1.0, "loss": 3.0}, {"step": 2, "eval/fd": 4.0}]


def test_a_logger_that_fails_is_reported_once_and_the_run_goes_on(tmp_path):
    failing, whole, said = Recorder(at=4, error=ConnectionError), Recorder(), []
    whole.name = "whole"
    play(tmp_path, failing, whole, log=said.append)
    assert [s for s in said if "logger" in s] == [
        "the logger recorder failed (ConnectionError: no); the run goes on, and its own files have everything"
    ]
    assert [row["step"] for row in failing.rows] == [2, 5, 6, 8, 10, 12]
    assert whole.rows == read_metrics(tmp_path)


def test_a_logger_that_cannot_begin_ends_the_run_before_it_begins(tmp_path):
    class Refused(Recorder):
        def open(self, workdir, config, run):
            raise PermissionError("no key")

    before = Recorder()
    before.name = "before"
    with pytest.raises(ValueError, match=r"^the logger recorder could not begin \(PermissionError"):
        play(tmp_path, before, Refused())
    assert (len(before.opened), before.closed, before.rows) == (1, 1, [])
    assert read_metrics(tmp_path) == []
    play(tmp_path)
    assert read_metrics(tmp_path)


def test_two_loggers_of_one_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match="need different names; got recorder, recorder"):
        play(tmp_path, Recorder(), Recorder())


@pytest.mark.parametrize("name", loggers.NAMES)
def test_a_package_that_is_missing_is_one_sentence_whose_way_out_works(
    name, tmp_path, monkeypatch, capfd
):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"jaxgan.train.loggers.{name}", raising=False)
    command = ["train", "--config", "gan_mixture2d", "--workdir", str(tmp_path / "run")]
    changes = ["--config.train.steps=1", "--config.train.devices=1"]
    assert main.main([*command, *changes, f"--config.train.loggers={name}"]) == 2
    told = capfd.readouterr().err
    assert f"the package {name} is not installed ({loggers.INSTALL[name]})" in told
    assert "--config.train.loggers=" in told
    assert not (tmp_path / "run").exists()
    assert main.main([*command, *changes, "--config.train.loggers="]) == 0


def run_twice(workdir, name):
    """Two processes' worth of one run by the command: six rounds, then six more."""
    command = ["train", "--config", "gan_mixture2d", "--workdir", str(workdir)]
    command += ["--config.train.devices=1", "--config.train.log_every=2"]
    command += [f"--config.train.loggers={name}", "--config.model.batch_size=8"]
    for steps in (6, 12):
        assert main.main([*command, f"--config.train.steps={steps}"]) == 0
    return read_metrics(workdir)


def test_mlflow_has_the_run(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "tracked").as_uri())
    rows = run_twice(tmp_path / "run", "mlflow")
    client = mlflow.MlflowClient()
    (experiment,) = [e for e in client.search_experiments() if e.name == "jaxgan"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert run.data.params["model.batch_size"] == "8"
    history = client.get_metric_history(run.info.run_id, "critic/loss")
    expected = [(row["step"], row["critic/loss"]) for row in rows if "critic/loss" in row]
    assert [(point.step, point.value) for point in history] == expected
    assert len(client.list_artifacts(run.info.run_id, "samples")) >= 2


def records(path):
    """The records of a file of Weights & Biases: 7 bytes, then LevelDB's log format, in blocks of 32 KiB."""
    block, data, whole = 2**15, path.read_bytes(), b""
    at = 7
    while at + 7 <= len(data):
        if block - at % block < 7:  # too short for a header
            at += block - at % block
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield whole
            whole = b""


def records_of_runs(folder, kind):
    """The records of all processes' files, once each ends with that of its end: W&B's own process writes them."""
    for _ in range(300):
        paths = sorted(folder.glob("offline-run-*/run-*.wandb"))
        found = [[kind.FromString(data) for data in records(path)] for path in paths]
        if len(found) == 2 and all(any(r.HasField("exit") for r in of_one) for of_one in found):
            return [record for of_one in found for record in of_one]
        time.sleep(0.1)
    raise TimeoutError(f"{folder} has no two files that were ended")


def test_wandb_has_the_run(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    rows = run_twice(tmp_path / "run", "wandb")
    found, pictures = [], 0
    told = records_of_runs(tmp_path / "run" / "wandb", Record)
    for record in told:
        items = {
            "/".join(item.nested_key) or item.key: json.loads(item.value_json)
            for item in record.history.item
        }
        if "critic/loss" in items:
            found.append((items["_step"], items["critic/loss"]))
        pictures += "samples/sha256" in items
    assert found == [(row["step"], row["critic/loss"]) for row in rows if "critic/loss" in row]
    assert len({record.run.run_id for record in told if record.HasField("run")}) == 1
    assert pictures == 3  # after 0, 6 and 12 rounds
