"""Fetching, checking and keeping weight files, from a server on loopback."""

import hashlib
import io
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from jaxgan.weights import cache_folder, load, store

TENSORS = {
    "conv.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "bias": np.ones(3, np.float16),
}
NAME = "dinov2_vits14"  # no checksum is published of it


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def data():
    """A file of the published kind, with tensors of its own."""
    torch = pytest.importorskip("torch")
    file = io.BytesIO()
    torch.save({name: torch.from_numpy(tensor) for name, tensor in TENSORS.items()}, file)
    return file.getvalue()


def assert_loaded(loaded, data):
    tensors, digest = loaded
    assert digest == sha256(data)
    assert list(tensors) == list(TENSORS)
    for name, tensor in TENSORS.items():
        np.testing.assert_array_equal(tensors[name], tensor, strict=True)


def files(cache):
    return sorted(path.name for path in cache.iterdir())


class TestFetching:
    def test_it_is_fetched_once_and_then_read_from_the_cache(self, publish, server, cache, data):
        entry = publish(NAME, data)
        had = []
        loaded = load(NAME, progress=lambda entry, had_now, total: had.append((had_now, total)))
        assert_loaded(loaded, data)
        assert had[-1] == (len(data), len(data))
        assert server.agents[0].startswith("jaxgan/")
        assert files(cache) == [entry.file, f"{entry.file}.json"]
        assert (cache / entry.file).read_bytes() == data
        assert json.loads((cache / f"{entry.file}.json").read_text()) == {
            "sha256": sha256(data),
            "bytes": len(data),
            "url": entry.url,
        }
        server.files.clear()
        assert_loaded(load(NAME), data)
        assert server.requests == [f"/{entry.file}"]

    def test_progress_is_told_of_every_part(self, publish, cache, data, monkeypatch):
        entry = publish(NAME, data)
        monkeypatch.setattr(store, "_CHUNK", 1000)
        told = []
        load(NAME, progress=lambda *news: told.append(news))
        sizes = [*range(1000, len(data), 1000), len(data)]
        assert told == [(entry, size, len(data)) for size in sizes]

    def test_a_redirection_is_followed(self, publish, server, cache, data):
        def answer(handler):
            handler.send_response(302)
            handler.send_header("Location", f"{server.url}/elsewhere")
            handler.end_headers()

        publish(NAME, answer)
        server.files["/elsewhere"] = data
        assert_loaded(load(NAME), data)

    def test_a_server_that_tells_no_length(self, publish, cache, data):
        def answer(handler):
            handler.send_response(200)
            handler.end_headers()
            handler.wfile.write(data)

        publish(NAME, answer)
        told = []
        assert_loaded(load(NAME, progress=lambda *news: told.append(news[1:])), data)
        assert told[-1] == (len(data), None)

    @pytest.mark.parametrize("digits", [8, 64])
    def test_the_publisher_s_checksum_is_held(self, publish, cache, data, digits):
        publish(NAME, data, sha256(data)[:digits])
        assert_loaded(load(NAME), data)

    def test_of_several_names_the_cached_one_else_the_first(self, publish, server, cache, data):
        other = publish("dinov2_vitb14", data)
        publish(NAME, data)
        load("dinov2_vitb14")
        load([NAME, "dinov2_vitb14"])
        assert server.requests == [f"/{other.file}"]
        (cache / other.file).unlink()
        load([NAME, "dinov2_vitb14"])
        assert len(server.requests) == 2
        assert server.requests[1] != f"/{other.file}"

    def test_two_processes_at_once(self, publish, server, cache, data):
        both = threading.Barrier(2, timeout=60)

        def answer(handler):
            both.wait()  # Neither is answered before the other has asked.
            server.send(handler, data)

        entry = publish(NAME, answer)
        code = f"""
import dataclasses
from jaxgan import weights
entry = dataclasses.replace(weights.PUBLISHED[{NAME!r}], url={entry.url!r})
weights.PUBLISHED[{NAME!r}] = entry
tensors, sha256 = weights.load({NAME!r})
print(sorted(tensors), sha256)
"""
        command = [sys.executable, "-c", code]
        root = Path(store.__file__).parents[2]
        runs = [
            subprocess.Popen(
                command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            for _ in range(2)
        ]
        for run in runs:
            out, err = run.communicate(timeout=120)
            assert out.split("\n")[0] == f"{sorted(TENSORS)} {sha256(data)}", err
        assert files(cache) == [entry.file, f"{entry.file}.json"]
        assert_loaded(load(NAME), data)


class TestRefusals:
    def refused(self, name=NAME, **options):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 (each test has the text)
            load(name, **options)
        return str(caught.value)

    @pytest.mark.parametrize("digits", [8, 64])
    def test_a_tampered_file(self, publish, server, cache, data, digits):
        at = data.index(TENSORS["conv.weight"].tobytes())
        tampered = data[:at] + b"\x01" + data[at + 1 :]
        entry = publish(NAME, tampered, sha256(data)[:digits])
        text = self.refused()
        assert text.startswith(
            f"the file from {entry.url} is not the published {entry.file} of facebookresearch/dinov2; "
            f"it is truncated or changed: its SHA-256 is {sha256(tampered)}, the published one "
        )
        assert text.endswith(f"{'is' if digits == 64 else 'begins with'} {sha256(data)[:digits]}")
        assert files(cache) == []
        assert len(server.requests) == 1

    def test_a_file_that_changes_at_its_publisher(self, publish, cache, data):
        entry = publish(NAME, data)
        load(NAME)
        (cache / entry.file).unlink()
        torch = pytest.importorskip("torch")
        file = io.BytesIO()
        torch.save({"other": torch.ones(1)}, file)
        publish(NAME, file.getvalue())
        record = cache / f"{entry.file}.json"
        assert self.refused() == (
            f"the file from {entry.url} differs from the {entry.file} of the first download: its SHA-256 "
            f"is {sha256(file.getvalue())}, not {sha256(data)} as recorded in {record} (delete that "
            "record to accept another file)"
        )
        assert files(cache) == [record.name]
        record.unlink()
        assert list(load(NAME)[0]) == ["other"]

    def test_a_file_that_changes_in_the_cache(self, publish, cache, data):
        entry = publish(NAME, data)
        load(NAME)
        changed = data + b"\0"
        (cache / entry.file).write_bytes(changed)
        text = self.refused()
        assert text.startswith(
            f"{cache / entry.file} differs from the {entry.file} of the first download"
        )
        assert text.endswith(f". Delete {cache / entry.file} to download it again")
        (cache / entry.file).unlink()
        assert_loaded(load(NAME), data)

    def test_a_record_that_cannot_be_read(self, publish, cache, data):
        entry = publish(NAME, data)
        load(NAME)
        record = cache / f"{entry.file}.json"
        for content in (b"{}", b"[]", b"\xff", b""):
            record.write_bytes(content)
            assert self.refused() == f"{record} does not contain a SHA-256; delete it"

    def test_a_truncated_file(self, publish, cache, data):
        def answer(handler):  # without a length, by which it would be noticed sooner
            handler.send_response(200)
            handler.end_headers()
            handler.wfile.write(data[:-100])

        entry = publish(NAME, answer)
        assert self.refused() == (
            f"the file from {entry.url} is not {entry.file}: its zip archive is truncated or damaged"
        )
        assert files(cache) == []

    def test_a_web_page(self, publish, server, cache):
        entry = publish(NAME, b"<!DOCTYPE html><title>Please log in</title>")
        assert self.refused() == (f"the file from {entry.url} is a web page, not a PyTorch file")
        assert files(cache) == []

    def test_another_kind_of_file(self, publish, cache, tmp_path):
        entry = publish(NAME, b"")
        np.savez(tmp_path / "weights.npz", x=np.zeros(2))
        assert self.refused(path=tmp_path / "weights.npz") == (
            f"{tmp_path / 'weights.npz'} is an npz archive, not a PyTorch file; get {entry.file} from {entry.url}"
        )

    def test_hidden_code(self, publish, cache, tmp_path):
        torch = pytest.importorskip("torch")

        class Trap:
            def __reduce__(self):
                return open, (str(tmp_path / "trapped"), "w")

        file = io.BytesIO()
        torch.save({"weight": torch.ones(1), "trap": Trap()}, file)
        entry = publish(NAME, file.getvalue())
        assert self.refused() == (
            f"the file from {entry.url} cannot be read: its pickle refers to {open.__module__}.open, "
            "which state dicts do not need and which may run code; no code in it was run"
        )
        assert not (tmp_path / "trapped").exists()
        assert files(cache) == []

    def test_more_than_anything_published(self, publish, cache, data, monkeypatch):
        entry = publish(NAME, data)
        monkeypatch.setattr(store, "_LARGEST", 1000)
        assert self.refused() == f"{entry.url} sends more than 1,000 bytes"
        assert files(cache) == []


class TestNoNetwork:
    def failed(self, **options):
        with pytest.raises(OSError) as caught:  # noqa: PT011 (each test has the text)
            load(NAME, **options)
        return str(caught.value)

    @pytest.mark.parametrize(
        ("checksum", "published"),
        [
            ("", "no checksum is published"),
            ("0123abcd", "the published one begins with 0123abcd"),
            ("ab" * 32, f"the published one is {'ab' * 32}"),
        ],
    )
    def test_it_says_which_file_from_where_and_where_to(self, publish, cache, checksum, published):
        entry = publish(NAME, None, checksum)
        assert self.failed() == (
            f"{entry.file} cannot be downloaded from {entry.url} (the server returned 404 Not Found). "
            f"Download it on a machine with internet access ({published}), then put it at "
            f"{cache / entry.file}"
        )
        assert files(cache) == []

    def test_no_server_is_asked_three_times(self, publish, server, cache, monkeypatch):
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"http://127.0.0.1:{free.getsockname()[1]}/x"
        monkeypatch.setattr(server, "url", address)
        pauses = []
        monkeypatch.setattr(store, "_PAUSE", 5)
        monkeypatch.setattr(store.time, "sleep", pauses.append)
        publish(NAME, None)
        assert "refused). Download it on" in self.failed()
        assert pauses == [0, 5, 10]

    def test_a_connection_that_breaks(self, publish, server, cache, data):
        entry = publish(NAME, lambda handler: server.send(handler, data[:-9], len(data)))
        had = f"the connection ended after {len(data) - 9:,} of {len(data):,} bytes"
        assert f"cannot be downloaded from {entry.url} ({had}). Download" in self.failed()
        assert files(cache) == []
        assert len(server.requests) == 3

    def test_a_fault_that_passes(self, publish, server, cache, data):
        def answer(handler):
            if len(server.requests) < 3:
                handler.send_error(503)
            else:
                server.send(handler, data)

        publish(NAME, answer)
        assert_loaded(load(NAME), data)
        assert len(server.requests) == 3

    def test_a_server_that_never_answers(self, publish, server, cache):
        done = threading.Event()
        publish(NAME, lambda handler: done.wait(60))
        assert "(timed out). Download it on" in self.failed(timeout=0.05)
        done.set()
        assert len(server.requests) == 3

    def test_a_cache_that_cannot_be_written(self, publish, server, cache, data):
        cache.parent.write_text("a file where the folder would be")
        entry = publish(NAME, data)
        assert self.failed() == (
            f"the cache folder {cache} for {entry.file} cannot be written (Not a directory): set JAXGAN_CACHE to one "
            "that can"
        )
        assert server.requests == []

    def test_a_cache_that_is_full(self, publish, cache, data, monkeypatch):
        def full(*arguments):
            raise OSError(28, "No space left on device")

        publish(NAME, data)
        monkeypatch.setattr(store.os, "replace", full)
        assert "cannot be written (No space left on device): set JAXGAN" in self.failed()
        assert files(cache) == []


class TestGivenFiles:
    def test_a_file_is_read_without_network_or_cache(self, server, publish, cache, data, tmp_path):
        publish(NAME, None, sha256(data)[:8])
        (tmp_path / "mine.bin").write_bytes(data)
        assert_loaded(load(NAME, tmp_path / "mine.bin"), data)
        assert server.requests == []
        assert not cache.exists()

    def test_it_passes_the_same_checks(self, publish, cache, data, tmp_path):
        entry = publish(NAME, data)
        load(NAME)
        path = tmp_path / "mine.pth"
        path.write_bytes(data + b"\0")
        with pytest.raises(
            ValueError, match=f"mine.pth differs from the {entry.file} of the first download"
        ):
            load(NAME, path)
        publish(NAME, data, "0123abcd")
        with pytest.raises(ValueError, match=r"mine\.pth is not .* begins with 0123abcd"):
            load(NAME, path)

    def test_of_several_names_any_will_do(self, publish, cache, data, tmp_path):
        publish("dinov2_vitb14", None, "0123abcd")
        publish("dinov2_vitl14", None, "abcd0123")
        publish(NAME, None, sha256(data))
        path = tmp_path / "mine.pth"
        path.write_bytes(data)
        assert_loaded(load(["dinov2_vitb14", NAME], path), data)
        with pytest.raises(ValueError, match=r"with 0123abcd; .*with abcd0123; get "):
            load(["dinov2_vitb14", "dinov2_vitl14"], path)

    def test_no_names(self, tmp_path):
        with pytest.raises(ValueError, match="load takes the names of published files; load_file"):
            load((), tmp_path / "mine")

    def test_no_such_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=f"there is no weights file {tmp_path}/mine"):
            load(NAME, tmp_path / "mine")

    def test_a_file_put_into_the_cache_by_hand_is_remembered(self, publish, cache, data):
        entry = publish(NAME, None)
        cache.mkdir(parents=True)
        (cache / entry.file).write_bytes(data)
        assert_loaded(load(NAME), data)
        record = json.loads((cache / f"{entry.file}.json").read_text())
        assert record["sha256"] == sha256(data)

    def test_a_cache_that_cannot_be_written_serves_all_the_same(
        self, publish, cache, data, monkeypatch
    ):
        def denied(*arguments):
            raise PermissionError(13, "Permission denied")

        entry = publish(NAME, None)
        cache.mkdir(parents=True)
        (cache / entry.file).write_bytes(data)
        monkeypatch.setattr(store.tempfile, "mkstemp", denied)
        assert_loaded(load(NAME), data)
        assert files(cache) == [entry.file]


class TestCacheFolder:
    @pytest.fixture(autouse=True)
    def clean(self, monkeypatch):
        for name in ("JAXGAN_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", "/home/me")
        monkeypatch.setattr(sys, "platform", "linux")

    @pytest.mark.parametrize(
        ("variables", "folder"),
        [
            ({}, "/home/me/.cache/jaxgan"),
            ({"XDG_CACHE_HOME": "/xdg"}, "/xdg/jaxgan"),
            ({"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/jaxgan"),
            ({"JAXGAN_CACHE": "/mine", "XDG_CACHE_HOME": "/xdg"}, "/mine"),
            ({"JAXGAN_CACHE": "~/mine"}, "/home/me/mine"),
            ({"JAXGAN_CACHE": ""}, "/home/me/.cache/jaxgan"),
        ],
    )
    def test_on_linux(self, monkeypatch, variables, folder):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert cache_folder() == Path(folder)

    def test_elsewhere(self, monkeypatch):
        monkeypatch.setattr(sys, "platform", "darwin")
        assert cache_folder() == Path("/home/me/Library/Caches/jaxgan")
        monkeypatch.setattr(sys, "platform", "win32")
        monkeypatch.setenv("LOCALAPPDATA", "/local")
        assert cache_folder() == Path("/local/jaxgan/Cache")
