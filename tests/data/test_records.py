"""Prepared sets: written from any source, continued after any stop, and read back as they were."""

import dataclasses
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import input_speed
import numpy as np
import pytest

from jaxgan.data import ArraySource, Pipeline, encoded, open_source, shards, write
from jaxgan.data import pipeline as pipelines
from jaxgan.data.encoded import BadData
from jaxgan.data.lock import InUse
from jaxgan.options import OptionError

# Every source that needs no files, so all kinds of fields.
FREE = ("digits", "label_maps", "attributes", "pairs", "mixture2d", "picture")


def indices(source):
    return np.random.default_rng(0).permutation(len(source))[:200]


def assert_same(one, other, rows=None):
    rows = indices(one) if rows is None else rows
    a, b = one.gather(rows), other.gather(rows)
    assert list(a) == list(b)
    for name in a:
        assert a[name].dtype == b[name].dtype
        assert b[name].flags.writeable
        assert b[name].flags.c_contiguous
        np.testing.assert_array_equal(a[name], b[name])


def contents(folder):
    """{file: bytes} of a prepared split, without the lock."""
    return {p.name: p.read_bytes() for p in Path(folder).iterdir() if p.name != ".lock"}


@pytest.fixture
def small_shards(monkeypatch):
    """Digits make several shards, of several chunks each."""
    monkeypatch.setattr(shards, "LEAST_BYTES", 2**14)
    monkeypatch.setattr(shards, "CHUNK_BYTES", 2**12)


@pytest.fixture
def prepared(small_shards, tmp_path):
    """(source, folder of the prepared set)."""
    source = open_source("digits")
    write(source, tmp_path / "set")
    return source, tmp_path / "set"


def opened(folder, **options):
    return open_source("records", path=str(folder), **options)


@pytest.mark.parametrize("name", FREE)
def test_every_field_is_read_back_as_it_was(name, tmp_path, both_ways):
    source = open_source(name)
    manifest = write(source, tmp_path)
    records = opened(tmp_path)
    assert records.spec == source.spec
    assert records.classes == source.classes
    assert records.in_memory == (both_ways == "in memory")
    assert_same(source, records)
    assert [*records.contents()] == [manifest.identity]


def test_a_folder_of_pictures_with_a_broken_one(save_pictures, tmp_path, both_ways):
    root, _ = save_pictures("cat/a.png", "cat/b.png", "dog/c.png")
    (root / "dog" / "d.png").write_bytes(b"no picture")
    options = {"path": str(root), "resolution": 6}
    if both_ways != "in memory":  # there, only the header is read at first
        (root / "dog" / "d.png").unlink()
    source = open_source("folder", **options)
    manifest = write(source, tmp_path / "set")
    assert manifest.broken == source.broken
    records = opened(tmp_path / "set")
    assert (records.spec.shape, records.classes) == ((6, 6, 3), ("cat", "dog"))
    assert_same(source, records, np.arange(3))


def test_batches_of_training_are_those_of_the_original(prepared, both_ways):
    source, folder = prepared
    for augment in ({"flip": True, "jitter": 2}, {}):
        one = Pipeline(source, seed=3, **augment)
        other = Pipeline(opened(folder), seed=3, **augment)
        for draw in (0, 31):
            a, b = one.batch(draw, 50), other.batch(draw, 50)
            assert all((a[name] == b[name]).all() for name in a)


def test_the_manifest_describes_the_set(prepared):
    source, folder = prepared
    record = json.loads((folder / "train" / "manifest.json").read_text())
    assert record["schema"] == 1
    assert record["source"] == source.summary
    assert record["spec"]["fields"]["label"]["names"] == [*"0123456789"]
    assert len(record["shards"]) > 3
    assert sum(shard["records"] for shard in record["shards"]) == len(source)
    for shard in record["shards"]:
        assert (folder / "train" / shard["file"]).stat().st_size == shard["bytes"]
    # The content hash is of the records: SHA-256 of them, one after the other.
    kind, first = shards.record_type(source.spec), record["shards"][0]["records"]
    table = np.empty(first, kind)
    for name, values in source.gather(np.arange(first)).items():
        table[name] = values
    assert hashlib.sha256(table.tobytes()).hexdigest() == record["shards"][0]["sha256"]


def test_other_data_have_another_identity(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 1), np.uint8)
    other = images.copy()
    other[7, 1, 1] ^= 1
    for name, pixels in (("a", images), ("b", images), ("c", other)):
        write(ArraySource(pixels), tmp_path / name)
    a, b, c = (opened(tmp_path / name) for name in "abc")
    assert a.identity == b.identity != c.identity
    assert a.fingerprint() == b.fingerprint() != c.fingerprint()


class TestSplits:
    def test_several_in_one_folder(self, tmp_path):
        for split in ("train", "test"):
            write(open_source("digits", split=split), tmp_path, split)
        assert shards.splits_in(tmp_path) == ("test", "train")
        assert len(opened(tmp_path, split="test")) == len(open_source("digits", split="test"))

    def test_a_name_that_is_no_file_name(self, tmp_path):
        write(open_source("digits"), tmp_path, "train[:90%]/x")
        assert shards.splits_in(tmp_path) == ("train[:90%]/x",)
        assert len(opened(tmp_path, split="train[:90%]/x")) == 1442

    def test_a_missing_one(self, prepared):
        _, folder = prepared
        with pytest.raises(
            OptionError, match=r"split is 'test', but records .* has only train"
        ) as e:
            opened(folder, split="test")
        assert len(opened(folder, **e.value.fixes[0])) == 1442


class TestReduced:
    def test_resolution_and_channels(self, tmp_path, both_ways):
        write(open_source("label_maps"), tmp_path)
        records = opened(tmp_path, resolution=16, channels=3)
        assert records.spec["image"].shape == (16, 16, 3)
        assert records.spec["label_map"].shape == (16, 16)
        batch = records.gather(np.arange(5))
        for name, field in records.spec.fields.items():
            assert batch[name].shape == (5, *field.shape)
            assert batch[name].dtype == field.dtype
        whole = opened(tmp_path).gather(np.arange(5))
        np.testing.assert_array_equal(batch["label_map"], whole["label_map"][:, 1::2, 1::2])
        assert records.identity != opened(tmp_path).identity

    def test_a_larger_resolution_is_refused(self, prepared):
        _, folder = prepared
        text = "resolution is 16, but records .* was prepared with 8x8 pixels, which can only be reduced"
        with pytest.raises(OptionError, match=text) as e:
            opened(folder, resolution=16)
        assert opened(folder, **e.value.fixes[0]).spec.shape == (8, 8, 1)
        assert opened(folder, resolution=8).spec.shape == (8, 8, 1)  # a check

    def test_labels_can_be_left_out(self, prepared):
        source, folder = prepared
        records = opened(folder, labels=False)
        assert list(records.spec.fields) == ["image"]
        np.testing.assert_array_equal(
            records.gather(np.arange(9))["image"], source.gather(np.arange(9))["image"]
        )

    def test_points_have_no_resolution(self, tmp_path):
        write(open_source("mixture2d"), tmp_path)
        with pytest.raises(OptionError, match="are points, not pictures") as e:
            opened(tmp_path, resolution=8)
        assert opened(tmp_path, **e.value.fixes[0]).spec.shape == (2,)


class Stopping(ArraySource):
    """Raises an error, or kills the process, at the first read of an example."""

    def __init__(self, source, at, error):
        self.spec, self.summary, self._source = source.spec, source.summary, source
        self._at, self._error = at, error

    def contents(self):
        return self._source.contents()

    def gather(self, rows):
        if self._at in rows:
            self._error()
        return self._source.gather(rows)


def raising(error):
    def function():
        raise error

    return function


class TestContinuing:
    @pytest.mark.parametrize("error", [KeyboardInterrupt(), BadData("a picture is broken")])
    def test_the_same_call_ends_with_the_same_bytes(self, prepared, tmp_path, error, monkeypatch):
        source, whole = prepared
        monkeypatch.setattr(os, "cpu_count", lambda: 1)  # shards one after the other
        with pytest.raises(type(error)):
            write(Stopping(source, 700, raising(error)), tmp_path / "again")
        left = contents(tmp_path / "again" / "train")
        assert "unfinished.json" in left
        assert 1 < len(left) < len(contents(whole / "train"))
        assert not [name for name in left if name.startswith(".")]
        with pytest.raises(BadData, match="the split train is not complete"):
            opened(tmp_path / "again")
        read = []
        monkeypatch.setattr(source, "gather", _noting(source.gather, read))
        write(source, tmp_path / "again")
        assert contents(tmp_path / "again" / "train") == contents(whole / "train")
        assert 0 < len(np.unique(np.concatenate(read))) < len(source)  # what was there is not read

    def test_killed(self, prepared, tmp_path):
        _, whole = prepared
        code = f"""
import os, signal, sys
sys.path[:0] = {sys.path!r}
from test_records import Stopping
from jaxgan.data import open_source, shards, write
shards.LEAST_BYTES, shards.CHUNK_BYTES, os.cpu_count = 2**14, 2**12, lambda: 1
write(Stopping(open_source("digits"), 700, lambda: os.kill(os.getpid(), signal.SIGKILL)), sys.argv[1])
"""
        folder = tmp_path / "killed"
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder)],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)]),
            },
            capture_output=True,
            text=True,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert any(name.startswith(".0") for name in contents(folder / "train"))  # half written
        write(open_source("digits"), folder)
        assert contents(folder / "train") == contents(whole / "train")

    def test_a_complete_set_is_not_written_again(self, prepared, monkeypatch):
        source, folder = prepared
        before = contents(folder / "train")
        monkeypatch.setattr(source, "gather", raising(AssertionError))
        write(source, folder)
        assert contents(folder / "train") == before

    def test_other_data_are_refused(self, prepared, tmp_path):
        _, folder = prepared
        other = open_source("digits", split="test")
        with pytest.raises(
            ValueError, match=r"holds other data \(digits \(train\): .*; choose another"
        ):
            write(other, folder)
        write(other, tmp_path / "another")

    def test_one_process_at_a_time(self, prepared, tmp_path):
        source, _ = prepared
        folder = tmp_path / "held"

        def second():
            with pytest.raises(InUse, match=r"is in use: process \d+ on .* writes into it; wait"):
                write(source, folder)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write(Stopping(source, 0, second), folder)
        write(source, folder)  # the lock is gone

    def test_a_full_disk(self, prepared, tmp_path):
        source, whole = prepared
        folder = tmp_path / "full" / "train"
        folder.mkdir(parents=True)
        name = json.loads((whole / "train" / "manifest.json").read_text())["shards"][2]["file"]
        (folder / f".{name}").symlink_to("/dev/full")
        with pytest.raises(OSError, match=r"there is no space left.*; complete shards are kept"):
            write(source, tmp_path / "full")
        write(source, tmp_path / "full")
        assert contents(folder) == contents(whole / "train")

    def test_too_little_space_is_told_at_once(self, prepared, tmp_path, monkeypatch):
        source, _ = prepared
        full = shards.shutil.disk_usage(tmp_path)._replace(free=10)
        monkeypatch.setattr(shards.shutil, "disk_usage", lambda folder: full)
        with pytest.raises(OSError, match=r"its disk has only 0\.0 GiB left; free some"):
            write(source, tmp_path / "new")

    def test_a_folder_that_cannot_be_written(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(
            OSError, match=r"cannot write to .*file/train \(.*or choose another folder"
        ):
            write(open_source("digits"), tmp_path / "file")


def _noting(gather, read):
    def function(rows):
        read.append(rows)
        return gather(rows)

    return function


class TestDamaged:
    def shard(self, folder, number=1):
        return sorted((folder / "train").glob("*.array_record"))[number]

    @pytest.mark.parametrize("how", ["missing", "truncated"])
    def test_files(self, prepared, how):
        source, folder = prepared
        path, whole = self.shard(folder), contents(folder / "train")
        data = path.read_bytes()
        path.unlink()
        if how == "truncated":
            path.write_bytes(data[:-100])
        what = "is missing" if how == "missing" else rf"has [\d,]+ of {len(data):,} bytes"
        with pytest.raises(BadData, match=rf"{re.escape(str(path))} {what}; copy it again, or run"):
            opened(folder)
        write(source, folder)  # the way out
        assert contents(folder / "train") == whole

    def test_bytes(self, prepared, both_ways):
        source, folder = prepared
        path = self.shard(folder)
        data = bytearray(path.read_bytes())
        at = data.index(source.gather(np.array([300]))["image"].tobytes())
        data[at] ^= 1
        path.write_bytes(data)

        def read():
            records = opened(folder)
            return records.gather(np.arange(len(records)))

        with pytest.raises(BadData, match=rf"{re.escape(str(path))} is damaged \(.*hash mismatch"):
            read()
        path.unlink()  # the way out
        write(source, folder)
        np.testing.assert_array_equal(read()["image"], source.gather(np.arange(1442))["image"])

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            (
                lambda r: {**r, "schema": 2},
                "has the schema 2 of jaxgan .*; update jaxgan, or prepare",
            ),
            (
                lambda r: {**r, "identity": "0"},
                "is damaged .its identity is not that of its shards",
            ),
            (lambda r: {**r, "shards": r["shards"][1:]}, "its shards do not have as many examples"),
            (lambda r: {k: v for k, v in r.items() if k != "spec"}, "is damaged .KeyError: 'spec'"),
            (lambda r: [r], "is damaged"),
            (lambda r: {**r, "spec": {"fields": {}, "size": 3}}, "is damaged"),
            (lambda r: {**r, "shards": [{"file": "x"}]}, "is damaged"),
        ],
    )
    def test_manifest(self, prepared, change, text):
        _, folder = prepared
        path = folder / "train" / "manifest.json"
        path.write_text(json.dumps(change(json.loads(path.read_text()))))
        with pytest.raises(BadData, match=text):
            opened(folder)

    def test_a_manifest_that_is_no_json(self, prepared):
        _, folder = prepared
        (folder / "train" / "manifest.json").write_text('{"schema": 1,')
        with pytest.raises(
            BadData, match=r"manifest.json is damaged \(Expecting .*; copy it again"
        ):
            opened(folder)


class TestPath:
    def test_none(self):
        with pytest.raises(
            OptionError, match="path is empty, but it must name a folder of `jaxgan"
        ):
            open_source("records")

    def test_no_folder(self, tmp_path):
        with pytest.raises(OptionError, match="there is no such folder; write one by"):
            opened(tmp_path / "none")

    def test_a_folder_of_pictures(self, save_pictures):
        root, _ = save_pictures("a.png", "b.png")
        with pytest.raises(OptionError, match="that folder holds no prepared set") as e:
            opened(root)
        (fix,) = e.value.fixes
        assert len(open_source(fix["data.name"], path=str(root))) == 2

    def test_the_folder_of_a_split(self, prepared):
        _, folder = prepared
        with pytest.raises(OptionError, match="that is the folder of one split") as e:
            opened(folder / "train")
        assert len(opened(**{"folder": e.value.fixes[0]["path"], "split": "train"})) == 1442

    def test_as_a_folder_of_pictures(self, prepared):
        _, folder = prepared
        with pytest.raises(OptionError, match="holds a set that `jaxgan prepare` has written") as e:
            open_source("folder", path=str(folder))
        assert len(open_source(e.value.fixes[0]["data.name"], path=str(folder))) == 1442


def test_many_threads_may_read_at_once(prepared, monkeypatch):
    source, folder = prepared
    monkeypatch.setattr(encoded, "CACHE_BYTES", 0)
    monkeypatch.setattr(pipelines, "usable_cores", lambda: 16)
    pipeline = Pipeline(opened(folder), seed=0)
    batches = pipeline.iterate(0, 32)
    try:
        for draw in range(60):
            expected = Pipeline(source, seed=0).batch(draw, 32)["image"]
            np.testing.assert_array_equal(next(batches)["image"], expected)
    finally:
        batches.close()


def test_an_empty_manifest_entry_is_not_taken_for_a_file(tmp_path):
    assert not shards.Shard("x", 3).is_in(tmp_path)
    (tmp_path / "x").write_bytes(b"")
    assert not shards.Shard("x", 3).is_in(tmp_path)
    assert dataclasses.replace(shards.Shard("x", 3), sha256="0").is_in(tmp_path)


def test_memory_does_not_grow_from_epoch_to_epoch(tmp_path, monkeypatch):
    """Ten epochs of 16 MiB read from the disk, in less than half an epoch of further memory."""
    size = 2**24
    pictures = np.random.default_rng(0).integers(0, 256, (size // 3072, 32, 32, 3), np.uint8)
    write(ArraySource(pictures), tmp_path)
    del pictures
    monkeypatch.setattr(encoded, "CACHE_BYTES", 0)
    pipeline = Pipeline(opened(tmp_path), seed=0)
    batches, each = pipeline.iterate(0, 64), len(pipeline.source) // 64
    try:
        used = []
        for _ in range(10):
            for _ in range(each):
                next(batches)
            used.append(input_speed.resident())
    finally:
        batches.close()
    assert max(used[2:]) - used[1] < size / 2, used
