"""Frozen TensorFlow graphs: one that TensorFlow froze, and every way in which protobuf writes one."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from jaxgan.weights import graphdef, load_file
from jaxgan.weights.read import GRAPH, kind_of

# Importing protobuf warns of what it itself will have to change.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

FREEZE = """
import sys
import numpy as np
import tensorflow as tf

rng = np.random.default_rng(0)
kinds = "float64 float32 float16 int64 int32 int16 int8 uint8 uint16 uint32 uint64 bool".split()
values = {
    f"{shape}/{kind}": rng.integers(0, 2, shape).astype(kind) if kind == "bool"
    else (rng.normal(size=shape) * 100).astype(kind) if kind.startswith("float")
    else rng.integers(np.iinfo(kind).min, np.iinfo(kind).max, shape, kind, endpoint=True)
    for kind in kinds for shape in [(3, 1, 4), (1,), ()]
}
values = {"k" + name.translate(str.maketrans("", "", "(), ")): v for name, v in values.items()}
with tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
    images = tf.compat.v1.placeholder(tf.float32, [None, 8, 8, 3], "images")
    kernel = tf.compat.v1.get_variable("conv/kernel", [3, 3, 3, 5], use_resource=False)
    bias = tf.compat.v1.get_variable("conv/bias", [5], use_resource=True)
    tf.nn.relu(tf.nn.conv2d(images, kernel, 1, "SAME") + bias, name="out")
    outputs = [tf.constant(value, name=name).op.name for name, value in values.items()]
    tf.constant(["some", "text"], name="text")
    outputs.append(tf.constant([1.5, -2.25, 3e38], tf.bfloat16, name="bfloat16").op.name)
    outputs.append(tf.constant(-7, shape=[2, 3], name="filled").op.name)
    session.run(tf.compat.v1.global_variables_initializer())
    values["conv/kernel"], variable = session.run([kernel, bias])
    values["bfloat16"] = session.run(tf.cast(graph.get_tensor_by_name("bfloat16:0"), tf.float32))
    values["filled"] = np.full([2, 3], -7, np.int32)
    frozen = tf.compat.v1.graph_util.convert_variables_to_constants(
        session, graph.as_graph_def(), [*outputs, "out", "text"]
    )
values["conv/bias"] = variable
with open(sys.argv[1], "wb") as file:
    file.write(frozen.SerializeToString())
np.savez(sys.argv[2], **values)
"""


@pytest.mark.skipif(
    not importlib.util.find_spec("tensorflow"), reason="needs TensorFlow (extra tfds)"
)
def test_a_graph_that_tensorflow_froze(tmp_path):
    graph, arrays = tmp_path / "graph.pb", tmp_path / "arrays.npz"
    subprocess.run([sys.executable, "-c", FREEZE, graph, arrays], check=True, capture_output=True)
    tensors, _ = load_file(graph)
    with np.load(arrays) as expected:
        assert "text" not in tensors
        assert len(expected.files) == 12 * 3 + 4
        for name in expected.files:
            np.testing.assert_array_equal(tensors[name], expected[name], err_msg=name, strict=True)


@pytest.fixture(scope="module")
def proto():
    """TensorFlow's messages, as TensorBoard brings them along."""
    return importlib.import_module("tensorboard.compat.proto.graph_pb2")


def constant(graph, name, dtype, shape, **values):
    node = graph.node.add(name=name, op="Const")
    node.attr["dtype"].type = dtype
    tensor = node.attr["value"].tensor
    tensor.dtype = dtype
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    for field, value in values.items():
        if field == "tensor_content":
            tensor.tensor_content = value
        else:
            getattr(tensor, field).extend(value)
    return node


LISTED = {  # field of the values: DataType, NumPy's dtype, values, the values as listed
    "half_val": (19, "f2", [1.5, -0.25], [0x3E00, 0xB400]),
    "float_val": (1, "f4", [1.5, -0.1], None),
    "double_val": (2, "f8", [1.5, -0.1], None),
    "int_val": (3, "i4", [5, -(2**31)], None),
    "int64_val": (9, "i8", [5, -(2**63)], None),
    "bool_val": (10, "?", [True, False], None),
    "uint32_val": (22, "u4", [5, 2**32 - 1], None),
    "uint64_val": (23, "u8", [5, 2**64 - 1], None),
}


@pytest.mark.parametrize("field", LISTED)
def test_listed_values(proto, field):
    number, dtype, values, listed = LISTED[field]
    graph = proto.GraphDef()
    constant(graph, "all", number, [2, 1], **{field: listed or values})
    constant(graph, "one", number, [], **{field: (listed or values)[1:]})
    constant(graph, "repeated", number, [2, 2], **{field: listed or values})
    constant(graph, "zeros", number, [3])
    constant(graph, "empty", number, [0, 3])
    tensors = graphdef.read(graph.SerializeToString())
    array = np.array(values, dtype)
    expected = {
        "all": array[:, None],
        "one": array[1],
        "repeated": np.stack([array, array[[1, 1]]]),
        "zeros": np.zeros(3, dtype),
        "empty": np.zeros((0, 3), dtype),
    }
    assert list(tensors) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(tensors[name], value, err_msg=name, strict=True)


@pytest.mark.parametrize(
    ("number", "dtype", "values"), [(4, "u1", [0, 255]), (5, "i2", [-5, 7]), (6, "i1", [-128, 7])]
)
def test_small_integers_are_listed_as_int_val(proto, number, dtype, values):
    graph = proto.GraphDef()
    constant(graph, "x", number, [2], int_val=values)
    tensors = graphdef.read(graph.SerializeToString())
    np.testing.assert_array_equal(tensors["x"], np.array(values, dtype), strict=True)


def test_bfloat16_is_widened(proto):
    graph = proto.GraphDef()
    constant(graph, "listed", 14, [2], half_val=[0x3FC0, 0xC020])
    constant(graph, "content", 14, [2], tensor_content=b"\xc0\x3f\x20\xc0")
    tensors = graphdef.read(graph.SerializeToString())
    for name in ("listed", "content"):
        np.testing.assert_array_equal(tensors[name], np.float32([1.5, -2.5]), strict=True)


def test_values_one_by_one_as_old_protobuf_wrote_them():
    def field(number, wire, payload):
        tag = bytes([number << 3 | wire])
        return tag + (bytes([len(payload)]) if wire == 2 else b"") + payload

    numbers = np.array([1.5, -2.0], "<f4")
    shape = field(2, 2, field(2, 2, field(1, 0, b"\x02")))
    tensor = field(1, 0, b"\x01") + shape + field(5, 5, numbers[:1].tobytes())
    tensor += field(5, 5, numbers[1:].tobytes())
    attr = field(1, 2, b"value") + field(2, 2, field(8, 2, tensor))
    node = field(1, 2, b"x") + field(2, 2, b"Const") + field(5, 2, attr)
    data = field(1, 2, node)
    np.testing.assert_array_equal(graphdef.read(data)["x"], numbers, strict=True)


def test_other_nodes_and_fields_are_passed_over(proto):
    graph = proto.GraphDef()
    graph.versions.producer = 27
    graph.library.function.add().signature.name = "f"
    graph.node.add(name="Placeholder", op="Placeholder", input=["^x"], device="/cpu:0")
    graph.node.add(name="conv", op="Conv2D").attr["strides"].list.i.extend([1, 2, 2, 1])
    constant(graph, "text", 7, [1], string_val=[b"x"])
    constant(graph, "complex", 8, [1], scomplex_val=[1.0, 2.0])
    constant(graph, "x", 1, [2], tensor_content=np.float32([1, 2]).tobytes())
    data = graph.SerializeToString()
    assert kind_of(data) == GRAPH
    tensors = graphdef.read(data)
    assert list(tensors) == ["x"]
    np.testing.assert_array_equal(tensors["x"], np.float32([1, 2]))


class TestDamage:
    @pytest.fixture
    def graph(self, proto):
        return proto.GraphDef()

    def test_a_truncated_graph(self, graph):
        constant(graph, "x", 1, [4], tensor_content=bytes(16))
        data = graph.SerializeToString()
        for end in range(1, len(data)):
            with pytest.raises(ValueError, match="its graph is truncated or damaged"):
                graphdef.read(data[:end])

    def test_content_of_another_size(self, graph):
        constant(graph, "x", 1, [4], tensor_content=bytes(15))
        with pytest.raises(ValueError, match=r"its tensor x \[4\] has 15 bytes, not 16"):
            graphdef.read(graph.SerializeToString())

    def test_too_many_values(self, graph):
        constant(graph, "x", 1, [2], float_val=[1, 2, 3])
        with pytest.raises(ValueError, match=r"its constant x \[2\] lists 3 values"):
            graphdef.read(graph.SerializeToString())

    def test_sizes_beyond_the_file(self, graph):
        constant(graph, "x", 1, [2**40, 2**40], float_val=[1])
        with pytest.raises(
            ValueError, match=r"its constant x \[.*\] is too large for the size of the file"
        ):
            graphdef.read(graph.SerializeToString())

    def test_sizes_beyond_the_file_together(self, graph):
        for index in range(5):
            constant(graph, f"x{index}", 1, [2**20], float_val=[1])
        with pytest.raises(
            ValueError, match=r"its constant x4 \[1048576\] is too large for the size of the file"
        ):
            graphdef.read(graph.SerializeToString())

    def test_a_negative_size(self, graph):
        constant(graph, "x", 1, [-1], float_val=[1])
        with pytest.raises(ValueError, match="is too large for the size of the file"):
            graphdef.read(graph.SerializeToString())

    def test_an_unknown_rank(self, graph):
        node = constant(graph, "x", 1, [], float_val=[1])
        node.attr["value"].tensor.tensor_shape.unknown_rank = True
        with pytest.raises(ValueError, match="the rank of its constant x is unknown"):
            graphdef.read(graph.SerializeToString())

    def test_two_nodes_of_one_name(self, graph):
        constant(graph, "x", 1, [], float_val=[1])
        constant(graph, "x", 1, [], float_val=[1])
        with pytest.raises(ValueError, match="two nodes of its graph are called x"):
            graphdef.read(graph.SerializeToString())

    @pytest.mark.parametrize(
        ("data", "text"),
        [
            (b"\x0b", "there is no wire type 3"),
            (b"\x02\x00", "truncated or damaged"),
            (b"\x0a" + b"\xff" * 11, "an integer of over ten bytes"),
            (b"\x08\x05", "a field of bytes holds an integer"),
            (b"\x0a\x02\x08\x05", "a field of bytes holds an integer"),
        ],
    )
    def test_a_wrong_byte(self, data, text):
        with pytest.raises(ValueError, match=text):
            graphdef.read(data)
