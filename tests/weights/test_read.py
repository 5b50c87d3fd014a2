"""What a file is, by its first bytes, and that no bytes whatever do more than be refused."""

import gzip
import io
import json
import struct
import tarfile
import zipfile

import numpy as np
import pytest

from jaxgan.weights import load_file
from jaxgan.weights.archive import member_of_tar
from jaxgan.weights.read import kind_of, read


def graph():
    """A frozen graph of one constant, `x` = [1, 2] in float32."""

    def field(number, payload):
        return bytes([number << 3 | 2, len(payload)]) + payload

    shape = field(2, field(2, b"\x08\x02"))
    tensor = b"\x08\x01" + shape + field(4, np.array([1, 2], "<f4").tobytes())
    attr = field(1, b"value") + field(2, field(8, tensor))
    return field(1, field(1, b"x") + field(2, b"Const") + field(5, attr))


def tar(*members, mode="w:gz"):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "empty"),
        (b"\n <!DOCTYPE html><html>", "a web page"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><Error>", "a web page"),
        (b"not found", "of no known kind"),
        (b"\x80\x04}.", "a pickle that PyTorch did not write"),
        (b"PK\x05\x06" + bytes(18), "of no known kind"),
    ],
)
def test_what_is_no_weights_file(data, kind, tmp_path):
    assert kind_of(data) == kind
    (tmp_path / "file.pth").write_bytes(data)
    with pytest.raises(ValueError, match=f"file.pth holds no weights: it is {kind}"):
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


class TestTar:
    members = (("./LICENSE", b"text"), ("./graph.pb", graph()), ("./panda.jpg", b"picture"))

    @pytest.mark.parametrize("folder", ["", "./", "inception/"])
    def test_a_graph_is_found_in_it(self, folder):
        data = tar(("LICENSE", b"text"), (f"{folder}graph.pb", graph()))
        np.testing.assert_array_equal(read(data, "it", "graph.pb")["x"], np.float32([1, 2]))

    def test_a_member_must_be_named(self):
        with pytest.raises(
            ValueError, match="it is an archive; unpack it and give the file inside"
        ):
            read(tar(*self.members), "it")

    def test_no_such_member(self):
        with pytest.raises(ValueError, match=r"its tar archive has no other\.pb"):
            read(tar(*self.members), "it", "other.pb")

    def test_a_truncated_archive(self):
        data = tar(("graph.pb", np.random.default_rng(0).bytes(10**5)))
        for end in (20, len(data) // 2):
            with pytest.raises(ValueError, match="its gzipped tar archive is truncated or damaged"):
                member_of_tar(data[:end], "graph.pb")

    def test_a_gzipped_file_that_is_no_archive(self):
        with pytest.raises(ValueError, match="its gzipped tar archive is truncated or damaged"):
            member_of_tar(gzip.compress(graph()), "graph.pb")

    @pytest.mark.parametrize("before", [0, 1])
    def test_an_archive_that_swells(self, before):
        zeros = ("zeros", bytes(2**25))
        data = tar(*[zeros] * before, ("graph.pb", graph() if before else zeros[1]))
        with pytest.raises(ValueError, match=r"its [\d,]+ bytes would unpack to over [\d,]+"):
            member_of_tar(data, "graph.pb")

    def test_links_and_sparse_files_are_no_members(self):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            link = tarfile.TarInfo("graph.pb")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
            sparse = tarfile.TarInfo("graph.pb")
            sparse.pax_headers = {
                "GNU.sparse.major": "0",
                "GNU.sparse.minor": "1",
                "GNU.sparse.map": "0,0",
                "GNU.sparse.size": str(2**40),
            }
            archive.addfile(sparse)
        with pytest.raises(ValueError, match=r"its tar archive has no graph\.pb"):
            member_of_tar(file.getvalue(), "graph.pb")


def examples():
    header = json.dumps({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    file = io.BytesIO()
    np.savez(file, x=np.float32([1, 2]))
    yield struct.pack("<Q", len(header)) + header + bytes(8)
    yield file.getvalue()
    yield graph()
    yield tar(("graph.pb", graph()))


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
        tensors = read(data, "it", "graph.pb")
    except ValueError as error:
        return str(error)
    assert all(isinstance(tensor, np.ndarray) for tensor in tensors.values())
    assert not any(tensor.flags.writeable for tensor in tensors.values())
