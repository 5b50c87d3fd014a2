"""What a file is, by its first bytes, and that no bytes whatever do more than be refused."""

import io
import json
import struct
import zipfile

import numpy as np
import pytest

from jaxgan.weights import load_file
from jaxgan.weights.read import kind_of, read


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "empty"),
        (b"\n <!DOCTYPE html><html>", "a web page"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><Error>", "a web page"),
        (b"not found", "of no known kind"),
        (b"\x80\x04}.", "a pickle that PyTorch did not write"),
        (b"PK\x05\x06" + bytes(18), "of no known kind"),
        (b"\x1f\x8b\x08\x00", "a gzipped file"),
        (b"\n\x10\n\x01x\x12\x05Const", "a TensorFlow graph"),
    ],
)
def test_what_is_no_weights_file(data, kind, tmp_path):
    assert kind_of(data) == kind
    (tmp_path / "file.pth").write_bytes(data)
    with pytest.raises(ValueError, match=f"file.pth holds no weights: it is {kind}, not a Py"):
        load_file(tmp_path / "file.pth")


def test_some_other_zip_archive():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("word/document.xml", "<w/>")
    with pytest.raises(ValueError, match="it holds no weights: it is some other zip archive"):
        read(file.getvalue(), "it")


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"there is no weights file {tmp_path}"):
        load_file(tmp_path)


def examples():
    header = json.dumps({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    file = io.BytesIO()
    np.savez(file, x=np.float32([1, 2]))
    yield struct.pack("<Q", len(header)) + header + bytes(8)
    yield file.getvalue()


def torch_examples():
    torch = pytest.importorskip("torch")
    for new in (True, False):
        file = io.BytesIO()
        state = {"a": {"b": torch.ones(2, 2), "c": torch.arange(3)}, "d": torch.ones(1).half()}
        torch.save(state, file, _use_new_zipfile_serialization=new)
        yield file.getvalue()


@pytest.mark.parametrize("make", [examples, torch_examples])
def test_damaged_bytes_are_read_or_refused(make):
    """Whatever is changed, cut or doubled, the only error is a sentence."""
    rng = np.random.default_rng(0)
    refused = 0
    for data in make():
        for _ in range(300):
            damaged = np.frombuffer(data, np.uint8).copy()
            places = rng.integers(len(damaged), size=rng.integers(1, 4))
            damaged[places] = rng.integers(256, size=len(places))
            start, end = np.sort(rng.integers(len(damaged), size=2))
            kinds = (
                damaged,
                damaged[:end],
                np.concatenate([damaged[:end], damaged[start:]]),
            )
            changed = kinds[rng.choice(3, p=[0.8, 0.1, 0.1])].tobytes()
            text = refusal(changed)
            refused += text is not None
            assert text is None or text.startswith("it cannot be read: ") or "it holds no" in text
    assert refused > 100


def refusal(data):
    """The sentence with which bytes are refused; None if they are read."""
    try:
        tensors = read(data, "it")
    except ValueError as error:
        return str(error)
    assert all(isinstance(tensor, np.ndarray) for tensor in tensors.values())
    assert not any(tensor.flags.writeable for tensor in tensors.values())
