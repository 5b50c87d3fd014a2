"""Tables of parameters by layer, from shapes only."""

import jax
import jax.numpy as jnp

from jaxgan.cli.overview import MOST_ROWS, parameter_table


def array(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def layer(inputs, outputs):
    return {"kernel": array(inputs, outputs), "bias": array(outputs)}


def rows(params):
    lines = parameter_table(params).splitlines()
    assert all(len(line) <= 80 for line in lines)
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[3:-1]]


def test_a_small_network_is_shown_layer_by_layer():
    params = {"block10": {"conv": layer(2, 10)}, "block2": {"conv": layer(4, 10)}, "gain": array()}
    assert rows(params) == [
        ["block2/conv", "4 x 10", "50", "61.7%"],
        ["block10/conv", "2 x 10", "30", "37.0%"],
        ["gain", "scalar", "1", "1.2%"],
    ]


def test_blocks_of_equal_size_are_not_divided_if_their_layers_are_too_many():
    blocks = {f"block{i}": {"a": layer(3, 3), "b": layer(3, 3)} for i in range(MOST_ROWS - 1)}
    found = rows({**blocks, "output": layer(3, 1)})
    assert len(found) == MOST_ROWS
    assert found[10] == ["block10", "4 arrays", "24", "4.1%"]
    assert found[-1] == ["output", "3 x 1", "4", "0.7%"]


def test_a_block_with_most_of_the_parameters_is_divided():
    mapping = {f"dense{i}": layer(2, 2) for i in range(8)}
    synthesis = {f"conv{i}": layer(9, 9) for i in range(20)}
    found = rows({"mapping": mapping, "synthesis": synthesis})
    assert [row[0] for row in found[:3]] == ["mapping", "synthesis/conv0", "synthesis/conv1"]
    assert len(found) == 21


def test_of_more_layers_the_smallest_share_a_row():
    params = {f"dense{i}": layer(i + 1, 10) for i in range(40)}
    found = rows(params)
    assert len(found) == MOST_ROWS
    assert found[0][0] == "dense16"
    count = sum(10 * (i + 2) for i in range(16))
    assert found[-1][:3] == ["16 smaller ones", "32 arrays", f"{count:,}"]
    total = sum(int(row[2].replace(",", "")) for row in found)
    assert total == sum(10 * (i + 2) for i in range(40))


def test_lists_of_arrays_are_layers():
    lpips = {"backbone": {"conv": layer(3, 4)}, "heads": (array(4), array(6))}
    assert rows(lpips) == [["backbone/conv", "3 x 4", "16", "61.5%"], ["heads", "6", "10", "38.5%"]]
