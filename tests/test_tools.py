"""Tools: options and pictures are checked and completed before a tool runs."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.options import Option
from jaxgan.tools import Made, Tool, compiled, complete

DECLARED = {
    "frames": Option(8, "frames"),
    "psi": Option(0.7, "truncation"),
    "loop": Option(True, "return to the start"),
    "space": Option("w", "space"),
}
DEFAULTS = {"frames": 8, "psi": 0.7, "loop": True, "space": "w"}


def brighten(play, image, mask=None, *, gain, times):
    added = 0.0 if mask is None else mask
    return Made(np.stack([image * gain + added] * times), numbers={"gain": gain})


TOOL = Tool(
    brighten,
    "Brightens.",
    {"gain": Option(2.0, "factor"), "times": Option(1, "pictures", least=1)},
    pictures=("image",),
    optional_pictures=("mask",),
)
PICTURE = np.full((2, 2, 1), 0.25, np.float32)


def test_options_come_as_the_type_of_their_default():
    given = {"frames": "16", "psi": "1", "loop": "false", "space": "z"}
    done = complete(given, DECLARED)
    assert done == {"frames": 16, "psi": 1.0, "loop": False, "space": "z"}
    assert [type(value) for value in done.values()] == [int, float, bool, str]
    assert complete({}, DECLARED) == DEFAULTS


def test_a_tool_gets_its_pictures_and_all_of_its_options():
    made = TOOL(None, {"image": PICTURE}, times="3")
    assert made.pictures.shape == (3, 2, 2, 1)
    assert float(made.pictures[0, 0, 0, 0]) == 0.5
    assert made.numbers == {"gain": 2.0}
    made = TOOL(None, {"image": PICTURE, "mask": 1 + 0 * PICTURE}, gain=1)
    assert float(made.pictures[0, 0, 0, 0]) == 1.25


@pytest.mark.parametrize(
    ("pictures", "options", "text"),
    [
        ({}, {}, "the picture 'image' is missing: set pictures.image=FILE"),
        ({"image": PICTURE, "maks": PICTURE}, {}, "did you mean pictures.mask"),
        ({"image": PICTURE}, {"gian": 1.0}, "no option gian; did you mean gain"),
        ({"image": PICTURE}, {"zoom": 1.0}, "no option zoom; there are gain, times"),
        (
            {"image": PICTURE},
            {"times": "1.5"},
            "times is '1.5', but it must be a whole number: set times=1",
        ),
        (
            {"image": PICTURE},
            {"gain": "much"},
            "gain is 'much', but it must be a number: set gain=2.0",
        ),
    ],
)
def test_what_it_cannot_take_is_refused_by_a_sentence(pictures, options, text):
    with pytest.raises(ValueError, match=text):
        TOOL(None, pictures, **options)


def test_a_tool_without_options_says_that_it_has_none():
    with pytest.raises(ValueError, match="there are none here"):
        complete({"psi": 1.0}, {})
    with pytest.raises(ValueError, match="true or false"):
        complete({"loop": "maybe"}, DECLARED)


def test_new_floats_and_equal_functions_compile_nothing():
    traced = []

    def scaled(x, *, by, times):
        traced.append(by)
        return x * by * times

    x = jnp.ones(3)
    for by, times, programs in ((0.5, 1, 1), (0.7, 1, 1), (0.7, 2, 2), (0.5, 2, 2)):
        made = compiled(scaled, x, by=by, times=times)
        np.testing.assert_allclose(made, np.full(3, by * times), rtol=1e-6)
        assert len(traced) == programs
