"""safetensors and npz files."""

import io
import json
import struct
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save

from jaxgan.weights.read import NPZ, SAFETENSORS, kind_of, read

DTYPES = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]


def arrays():
    rng = np.random.default_rng(0)
    arrays = {f"layer.{dtype}": (rng.normal(size=(3, 2)) * 9).astype(dtype) for dtype in DTYPES}
    return arrays | {"scalar": np.float32(3), "empty": np.zeros((0, 2), np.float32)}


def assert_same(tensors, expected):
    assert set(tensors) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(tensors[name], np.asarray(value), err_msg=name, strict=True)
        assert not tensors[name].flags.writeable


def safetensors(header, numbers=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


class TestSafetensors:
    def test_a_file_of_the_library(self):
        data = save({k: np.asarray(v) for k, v in arrays().items()}, {"format": "np"})
        assert kind_of(data) == SAFETENSORS
        assert_same(read(data, "it"), arrays())

    def test_bfloat16_of_the_library(self):
        library, torch = pytest.importorskip("safetensors.torch"), pytest.importorskip("torch")
        values = torch.linspace(-3, 3, 7).to(torch.bfloat16)
        assert_same(read(library.save({"x": values}), "it"), {"x": values.float().numpy()})

    def test_a_file_by_the_format_s_description(self):
        header = {
            "__metadata__": {"a": "b"},
            "x": {"dtype": "F32", "shape": [2], "data_offsets": [2, 10]},
            "y": {"dtype": "BF16", "shape": [], "data_offsets": [0, 2]},
        }
        numbers = b"\x20\xc0" + np.array([1.5, 2], "<f4").tobytes()
        expected = {"x": np.float32([1.5, 2]), "y": np.float32(-2.5)}
        assert_same(read(safetensors(header, numbers), "it"), expected)

    @pytest.mark.parametrize(
        "entry",
        [
            {"data_offsets": [0, 12]},
            {"data_offsets": [8, 0]},
            {"shape": [3]},
            {"shape": [2**40, 2**40]},
            {"shape": [-1, -2]},
            {"shape": [True, 2]},
            {"dtype": "F9"},
            {"dtype": None},
        ],
    )
    def test_a_wrong_entry(self, entry):
        right = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
        with pytest.raises(ValueError, match=r"it cannot be read: it is damaged \(.+\)"):
            read(safetensors({"x": right | entry}, bytes(8)), "it")

    def test_a_dtype_that_numpy_lacks(self):
        entry = {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}
        with pytest.raises(ValueError, match="its tensor x has the unsupported dtype F8_E4M3"):
            read(safetensors({"x": entry}, bytes(8)), "it")

    @pytest.mark.parametrize("header", [{"x": {"dtype": "F32"}}, b"{}}", b'{"x": ' + b"[" * 10**5])
    def test_a_wrong_header(self, header):
        with pytest.raises(ValueError, match=r"it is damaged .*header"):
            read(safetensors(header), "it")

    @pytest.mark.parametrize("missing", [1, 10])
    def test_a_truncated_file(self, missing):
        entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
        with pytest.raises(ValueError, match="it is damaged"):
            read(safetensors({"x": entry}, bytes(8))[:-missing], "it")


def npz(**members):
    """An npz archive with these bytes as its members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return file.getvalue()


def npy(array, **options):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), **options)
    return file.getvalue()


class TestNpz:
    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_a_file_of_numpy(self, save):
        file = io.BytesIO()
        save(file, **arrays(), text=np.array(["a", "b"]))
        assert kind_of(file.getvalue()) == NPZ
        assert_same(read(file.getvalue(), "it"), arrays())

    def test_orders_and_versions(self):
        array = np.arange(6, dtype=np.float32).reshape(2, 3)
        data = npz(
            fortran=npy(np.asfortranarray(array)),
            big=npy(array.astype(">f4")),
            version_2=npy(array, version=(2, 0)),
        )
        assert_same(read(data, "it"), dict.fromkeys(("fortran", "big", "version_2"), array))

    def test_a_pickle_is_refused(self, tmp_path):
        class Trap:
            def __reduce__(self):
                return open, (str(tmp_path / "trapped"), "w")

        file = io.BytesIO()
        np.savez(file, x=np.array([Trap()], object), allow_pickle=True)
        with pytest.raises(
            ValueError, match=r"its array x\.npy holds Python objects, .* no code in it"
        ):
            read(file.getvalue(), "it")
        assert not (tmp_path / "trapped").exists()

    def test_a_header_that_claims_too_much(self):
        data = npy(np.zeros(3, np.float32)).replace(b"(3,), }    ", b"(9999,), } ")
        with pytest.raises(ValueError, match=r"its tensor x.npy \[9999\] has 12 bytes, not 39996"):
            read(npz(x=data), "it")

    def test_a_version_to_come(self):
        data = npy(np.zeros(3)).replace(b"NUMPY\x01", b"NUMPY\x09")
        with pytest.raises(ValueError, match=r"its array x.npy has the unknown version \(9, 0\)"):
            read(npz(x=data), "it")

    def test_numbers_that_swell_when_unpacked(self):
        data = npz(x=npy(np.zeros(2**23)))
        assert len(data) < 2**17
        with pytest.raises(ValueError, match=r"its [\d,]+ bytes would unpack to 67,108,\d+"):
            read(data, "it")

    def test_a_member_that_hides_its_size(self):
        """Its headers claim 8 bytes, and its content would inflate to 64 MiB."""
        data = npz(x=bytes(2**26))
        claimed = data.replace(struct.pack("<I", 2**26), struct.pack("<I", 8))
        assert claimed.count(struct.pack("<I", 8)) >= 2
        with pytest.raises(ValueError, match=r"its zip archive is damaged in x\.npy"):
            read(claimed, "it")
