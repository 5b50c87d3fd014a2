"""A server on loopback in place of the publishers, and a cache of its own for every test."""

import dataclasses
import http.server
import threading

import pytest

from jaxgan.weights import store
from jaxgan.weights.published import PUBLISHED, by_name


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder that fetched files go to."""
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


@pytest.fixture
def server(monkeypatch):
    """`server.files[path]` is sent for that path; `server.requests` lists the paths asked for.

    A file is bytes, or a function that writes a whole answer through the request's handler.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.requests.append(self.path)
            self.server.agents.append(self.headers["User-Agent"])
            body = self.server.files.get(self.path)
            if callable(body):
                body(self)
            elif body is None:
                self.send_error(404)
            else:
                send(self, body)

        def log_message(self, *args):
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(store, "_PAUSE", 0)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.files, running.requests, running.agents = {}, [], []
        running.url = f"http://127.0.0.1:{running.server_address[1]}"
        running.send = send
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def send(handler, body, claimed=None):
    """Answers with `body` and its length, or the length `claimed`."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body) if claimed is None else claimed))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def publish(server, monkeypatch):
    """publish(name, data) has the server publish `data` as that file, with the checksum given."""

    def publish(name, data, checksum=""):
        entry = by_name(name)
        server.files[f"/{entry.file}"] = data
        entry = dataclasses.replace(entry, url=f"{server.url}/{entry.file}", checksum=checksum)
        monkeypatch.setitem(PUBLISHED, name, entry)
        return entry

    return publish
