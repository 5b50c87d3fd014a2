"""PyTorch's files, written by PyTorch, read without it; and those that hide code."""

import collections
import io
import os
import pathlib
import pickle
import struct
import warnings
import zipfile

import numpy as np
import pytest

from jaxgan.weights import load_file, pickles
from jaxgan.weights.read import TORCH, kind_of, read

torch = pytest.importorskip("torch")

FORMATS = {"zip": True, "stream": False}


@pytest.fixture(params=FORMATS)
def save(request):
    """save(thing, ...) gives the bytes of what `torch.save` writes, in each of its formats."""

    def saved(thing, **options):
        file = io.BytesIO()
        torch.save(thing, file, _use_new_zipfile_serialization=FORMATS[request.param], **options)
        return file.getvalue()

    return saved


def network():
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        collections.OrderedDict(
            body=torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)),
            head=torch.nn.Linear(4, 2, bias=False),
        )
    )
    network.head.half()
    return network


def assert_same(tensors, expected):
    assert list(tensors) == list(expected)
    for name, value in expected.items():
        value = (value.float() if value.dtype == torch.bfloat16 else value).detach().numpy()
        assert tensors[name].dtype == value.dtype, name
        np.testing.assert_array_equal(tensors[name], value, err_msg=name, strict=True)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_state_dict(save, protocol):
    state = network().state_dict()
    data = save(state, pickle_protocol=protocol)
    assert kind_of(data) == TORCH
    assert_same(read(data, "it"), state)


def test_every_kind_of_number(save):
    values = torch.tensor([[0.0, 1.0, 2.5], [-3.0, 100.0, 7.0]])
    state = {
        str(dtype): values.to(dtype)
        for dtype in (
            *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
            *(torch.int64, torch.int32, torch.int16, torch.int8, torch.bool),
        )
    }
    state["torch.uint8"] = values.abs().to(torch.uint8)
    state["scalar"], state["empty"] = torch.tensor(7), torch.zeros(3, 0)
    assert_same(read(save(state), "it"), state)


def test_views_and_shared_storages(save):
    whole = torch.arange(24.0).reshape(2, 3, 4)
    bfloat16 = whole.to(torch.bfloat16)
    state = {
        "whole": whole,
        "transposed": whole.permute(2, 0, 1),
        "slice": whole[1, ::2, 1:3],
        "expanded": whole[0, 0].expand(3, 4),
        "bfloat16": bfloat16[:, 1].T,
    }
    tensors = read(save(state), "it")
    assert_same(tensors, state)
    assert np.shares_memory(tensors["whole"], tensors["slice"])
    assert not any(tensor.flags.writeable for tensor in tensors.values())


def test_a_checkpoint_is_flattened_and_what_is_no_tensor_is_left_out(save):
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    model.body(torch.ones(2, 3, 4, 4)).sum().backward()
    optimizer.step()
    checkpoint = {
        "epoch": 3,
        "best": 0.1,
        "large": 1 << 70,
        "nothing": None,
        "model": model.state_dict(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "optimizer": optimizer.state_dict(),
        "sizes": torch.Size([1, 2]),
        "list": [torch.zeros(1), {"x": torch.ones(1)}],
    }
    tensors = read(save(checkpoint), "it")
    named = {f"model.{name}": value for name, value in model.state_dict().items()}
    named["parameter"] = checkpoint["parameter"]
    moments = optimizer.state_dict()["state"]
    for index, state in moments.items():
        named |= {f"optimizer.state.{index}.{name}": value for name, value in state.items()}
    named |= {"list.0": torch.zeros(1), "list.1.x": torch.ones(1)}
    assert len(moments) == 4
    assert_same(tensors, named)


def test_tensors_as_pytorch_wrote_them_before_0_4(save, monkeypatch):
    def reduce(tensor, protocol):
        storage = tensor._typed_storage()
        place = storage, tensor.storage_offset(), tuple(tensor.shape), tensor.stride()
        return torch._utils._rebuild_tensor, place

    state = {"weight": torch.arange(6.0).reshape(2, 3).T}
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "__reduce_ex__", reduce)
        data = save(state)
    assert b"_rebuild_tensor\n" in data
    assert_same(read(data, "it"), state)


def test_an_ordered_dict_as_python_2_wrote_it():
    pairs = b"](](U\x01aK\x01e](U\x01bK\x02ee"
    program = b"\x80\x02ccollections\nOrderedDict\n" + pairs + b"\x85Rq\x00}U\x09_metadataK\x05sb."
    assert pickles.load(io.BytesIO(program)) == {"a": 1, "b": 2}
    assert pickle.loads(program) == {"a": 1, "b": 2}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("how", ["script", "trace"])
def test_a_torchscript_archive_has_the_names_of_the_state_dict(tmp_path, how):
    model = network().float().eval()
    model.body.register_buffer("table", torch.arange(3).to(torch.bfloat16))
    body = model.body
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = torch.ones(1, 3, 5, 5)
        module = torch.jit.script(body) if how == "script" else torch.jit.trace(body, images)
    module.save(str(tmp_path / "module.pt"))
    tensors, _ = load_file(tmp_path / "module.pt")
    expected = body.state_dict()
    assert_same({name: tensors[name] for name in expected}, expected)
    assert set(tensors) == set(expected)


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path(self.path),)


class CallTrap(Trap):
    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class StateTrap(Trap):
    """Its code would run when its state is set."""

    def __reduce__(self):
        return collections.OrderedDict, (), CallTrap(self.path)


class TestHiddenCode:
    @pytest.fixture
    def trap(self, tmp_path):
        return tmp_path / "trapped"

    @pytest.mark.parametrize("kind", [Trap, CallTrap, StateTrap])
    @pytest.mark.parametrize("protocol", [2, 4])
    @pytest.mark.parametrize(
        "hide",
        [
            lambda trap: trap,
            lambda trap: {"weight": torch.zeros(2), "extra": trap},
            lambda trap: collections.OrderedDict(a=[(1, {"b": trap})]),
        ],
        ids=["alone", "beside", "deep"],
    )
    def test_it_is_refused_and_not_run(self, save, trap, kind, protocol, hide):
        data = save(hide(kind(trap)), pickle_protocol=protocol)
        with pytest.raises(
            ValueError, match="which state dicts do not need and which may run code; no code"
        ):
            read(data, "it")
        assert not trap.exists()
        torch.load(io.BytesIO(data), weights_only=False)  # which shows that the trap was set
        assert trap.exists()

    def test_the_refusal_names_file_and_function(self, tmp_path, trap):
        torch.save({"weight": CallTrap(trap)}, tmp_path / "weights.pth")
        name = f"{os.mkdir.__module__}.mkdir"
        with pytest.raises(
            ValueError, match=rf"weights\.pth cannot be read: .* refers to {name}, "
        ):
            load_file(tmp_path / "weights.pth")
        assert not trap.exists()

    @pytest.mark.parametrize(
        ("program", "instruction"),
        [
            (b"(S'{}'\nios\nmkdir\n.", "STRING"),
            (b"\x80\x02(X\x04\x00\x00\x00pathios\nmkdir\n.", "INST"),
            (b"\x80\x02(X\x04\x00\x00\x00patho.", "OBJ"),
            (b"\x80\x02\x82\x01.", "EXT1"),
            (b"\x80\x04}}\x92.", "NEWOBJ_EX"),
            (b"\x80\x05\x97.", "NEXT_BUFFER"),
            (b"\x80\x02P1\n.", "PROTO|PERSID"),
        ],
    )
    def test_other_instructions_are_refused(self, program, instruction):
        text = rf"has the instruction ({instruction}), which state dicts do not need; no code in it was run"
        with pytest.raises(ValueError, match=text):
            pickles.load(io.BytesIO(program))

    @pytest.mark.parametrize(
        "name",
        [
            "builtins\neval",
            "torch\nload",
            "torch._utils\n_rebuild_tensor_v2.__globals__",
            "collections\nOrderedDict.fromkeys",
            "__torch__.torch.nn\nModule",  # only TorchScript archives have classes
        ],
    )
    def test_other_names_are_refused(self, name):
        with pytest.raises(
            ValueError, match=f"its pickle refers to {name.replace(chr(10), '.')}, which"
        ):
            pickles.load(io.BytesIO(b"\x80\x02c" + name.encode() + b"\n."))

    def test_in_a_torchscript_archive(self, trap):
        file = io.BytesIO()
        torch.save({"weight": torch.zeros(2)}, file)
        hidden = pickle.dumps({"weight": CallTrap(trap)}, 2)
        data = rewritten(
            file.getvalue(), **{"data.pkl": hidden}, **{"constants.pkl": b"\x80\x02)."}
        )
        with pytest.raises(ValueError, match=r"refers to \w+\.mkdir, .* no code in it was run"):
            read(data, "it")
        assert not trap.exists()

    def test_a_torchscript_class_is_data_only(self):
        program = b"\x80\x02c__torch__.os\nsystem\n)\x81}X\x01\x00\x00\x00aK\x05sb."
        assert pickles.load(io.BytesIO(program), records=True) == {"a": 5}
        called = b"\x80\x02c__torch__.os\nsystem\nX\x01\x00\x00\x00a\x85R."
        with pytest.raises(ValueError, match="its pickle is truncated or damaged"):
            pickles.load(io.BytesIO(called), records=True)


def rewritten(data, **members):
    """PyTorch's zip archive with these members put in place of its own, or beside them."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(file, "w") as target:
        contents = {name: source.read(name) for name in source.namelist()}
        contents |= {f"archive/{name}": content for name, content in members.items()}
        for name, content in contents.items():
            target.writestr(name, content)
    return file.getvalue()


class TestDamage:
    @pytest.fixture
    def data(self):
        file = io.BytesIO()
        torch.save({"weight": torch.ones(2, 3)}, file)
        return file.getvalue()

    @pytest.fixture
    def stream(self):
        file = io.BytesIO()
        torch.save({"weight": torch.ones(2, 3)}, file, _use_new_zipfile_serialization=False)
        return file.getvalue()

    def test_a_truncated_archive(self, data):
        with pytest.raises(ValueError, match="it cannot be read: its zip archive is truncated or"):
            read(data[: len(data) // 2], "it")

    def test_a_changed_byte_of_an_archive(self, data):
        at = data.index(np.ones(6, np.float32).tobytes())
        changed = data[:at] + b"\x01" + data[at + 1 :]
        with pytest.raises(ValueError, match="its zip archive is damaged in archive/data/0"):
            read(changed, "it")

    @pytest.mark.parametrize(
        ("members", "text"),
        [
            ({"byteorder": b"big"}, "its numbers are big-endian"),
            ({"data/0": b"1234"}, "its storage 0 of 6 numbers has 4 bytes"),
            ({"data.pkl": b"\x80\x02}"}, "its pickle is truncated or damaged"),
            ({"data.pkl": b"\x80\x02N."}, "it holds no tensors"),
        ],
    )
    def test_a_wrong_member(self, data, members, text):
        with pytest.raises(ValueError, match=text):
            read(rewritten(data, **members), "it")

    def test_a_missing_storage(self, data):
        with pytest.raises(ValueError, match="its zip archive has no archive/data/0"):
            read(data.replace(b"data/0", b"data/1"), "it")

    def test_a_truncated_stream(self, stream):
        with pytest.raises(ValueError, match="it is truncated: it ends inside its storage"):
            read(stream[:-1], "it")
        with pytest.raises(ValueError, match="its pickle is truncated or damaged"):
            read(stream[:200], "it")

    def test_a_stream_of_other_storages(self, stream):
        storages = {}
        file = io.BytesIO(stream)
        for _ in range(4):
            pickles.load(file, storages=storages)
        (key,) = storages
        at = stream.rindex(key.encode())
        assert at > file.tell()
        other = stream[:at] + b"x" + stream[at + 1 :]
        with pytest.raises(
            ValueError, match="its storages differ from those that its tensors refer to"
        ):
            read(other, "it")

    def test_a_stream_of_other_kinds(self, stream):
        version = stream.replace(b"\x80\x02M\xe9\x03.", b"\x80\x02M\xea\x03.")
        with pytest.raises(
            ValueError, match="its PyTorch protocol is 1002; only 1001 is supported"
        ):
            read(version, "it")
        order = stream.replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89")
        with pytest.raises(ValueError, match="its numbers are big-endian"):
            read(order, "it")
        count = stream[:-32] + struct.pack("<q", 7) + stream[-24:]
        with pytest.raises(ValueError, match=r"its storage \d+ has 7 numbers, not 6"):
            read(count, "it")

    @pytest.mark.parametrize(
        ("tensor", "text"),
        [
            ((0, (4, 3), (3, 1)), r"its tensor w \[4, 3\] reaches beyond its storage"),
            ((1, (2, 3), (3, 1)), r"its tensor w \[2, 3\] reaches beyond its storage"),
            ((0, (2, 3), (1,)), r"its tensor w \[2, 3\] has the strides \[1\]"),
            ((0, (2, -1), (1, 1)), r"one of its tensors has the invalid shape \[2, -1\]"),
            ((0, (2, 3), (1, -1)), r"one of its tensors has the invalid shape \[1, -1\]"),
            ((-1, (2,), (1,)), r"one of its tensors has the invalid shape \[-1\]"),
            ((0, (10**6, 10**6), (0, 0)), "is too large for the size of the file"),
        ],
    )
    def test_a_view_that_cannot_be(self, data, tensor, text):
        class View:
            def __reduce__(self):
                return torch._utils._rebuild_tensor_v2, (Reference(), *tensor, False, None)

        class Reference:
            pass

        class Pickler(pickle.Pickler):
            def persistent_id(self, thing):
                if isinstance(thing, Reference):
                    return ("storage", torch.FloatStorage, "0", "cpu", 6)
                return None

        file = io.BytesIO()
        Pickler(file, 2).dump({"w": View()})
        with pytest.raises(ValueError, match=text):
            read(rewritten(data, **{"data.pkl": file.getvalue()}), "it")

    def test_storages_that_are_views(self):
        program = (
            b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
            b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06X\x01\x00\x00\x00vtQ."
        )
        with pytest.raises(
            ValueError, match="its storages are views of each other, which is not supported"
        ):
            pickles.load(io.BytesIO(program))

    def test_a_whole_pickled_network(self, save):
        with pytest.raises(
            ValueError, match=r"its pickle refers to torch\.nn\.modules\.linear\.Linear"
        ):
            read(save(torch.nn.Linear(2, 2)), "it")

    def test_a_dict_inside_itself(self, save):
        circle = {"weight": torch.ones(1)}
        circle["self"] = circle
        with pytest.raises(ValueError, match="its dicts are nested deeper than 64"):
            read(save(circle), "it")

    def test_lists_that_double_at_every_level(self, save):
        doubled = [torch.ones(1)]
        for _ in range(60):
            doubled = [doubled, doubled]
        with pytest.raises(ValueError, match="its dicts hold more than 1,000,000 objects"):
            read(save(doubled), "it")

    def test_two_tensors_of_one_name(self, save):
        with pytest.raises(ValueError, match=r"two of its tensors are called a\.b"):
            read(save({"a.b": torch.ones(1), "a": {"b": torch.ones(1)}}), "it")

    def test_the_memo_takes_no_room_for_its_numbers(self):
        # The C machine makes room for twice that many entries.
        assert pickles.load(io.BytesIO(b"\x80\x02}r\xff\xff\xff\xff.")) == {}
