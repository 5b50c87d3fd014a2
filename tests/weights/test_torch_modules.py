"""Pickles of whole modules: their tensors are read, and nothing in them is called."""

import io
import pickle

import pickled
import pytest

from jaxgan.imports import Tensors
from jaxgan.weights import pickles, torch_modules

torch = pytest.importorskip("torch")


class Harmful:
    """An object that writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_tensors_and_settings_have_their_names(tmp_path, monkeypatch):
    weight, shared = torch.randn(3, 2), torch.arange(6.0).reshape(2, 3)
    inside = pickled.nested(
        {"conv.weight": weight, "conv.filter": shared.T[1:]}, ("filter",), clamp=256
    )
    marker = tmp_path / "written"
    content = {"G": inside, "other": Harmful(marker), "size": {1, 2}, "path": b"bytes"}
    pickled.write(tmp_path / "a.pkl", content, monkeypatch)
    tensors, settings = torch_modules.read((tmp_path / "a.pkl").read_bytes(), "a.pkl")
    assert sorted(tensors) == ["G.conv.filter", "G.conv.weight"]
    assert (tensors["G.conv.weight"] == weight.numpy()).all()
    assert (tensors["G.conv.filter"] == shared.T[1:].numpy()).all()
    assert settings["G.conv.clamp"] == 256
    assert not marker.exists()


def test_state_dicts_still_refuse_unknown_names():
    for content in (Harmful("x"), {"a": {1, 2}}):
        with pytest.raises(ValueError, match="no code in it was run"):
            pickles.load(io.BytesIO(pickle.dumps(content)))


def test_damaged_files_are_a_sentence(tmp_path, monkeypatch):
    pickled.write(
        tmp_path / "a.pkl", {"G": pickled.nested({"weight": torch.ones(99)})}, monkeypatch
    )
    data = (tmp_path / "a.pkl").read_bytes()
    for end in (3, len(data) // 2, len(data) - 2):
        (tmp_path / "b.pkl").write_bytes(data[:end])
        with pytest.raises(ValueError, match=r"b\.pkl cannot be read"):
            Tensors.open(tmp_path / "b.pkl")


def test_an_object_inside_itself_ends():
    state = {"_modules": {}, "_parameters": {}, "_buffers": {}}
    state["_modules"]["self"] = state
    with pytest.raises(ValueError, match="nested too deeply"):
        torch_modules.read(pickle.dumps({"G": state}), "loop.pkl")
