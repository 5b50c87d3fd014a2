import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxgan.metrics.images import to_uint8


def test_every_byte_survives_the_way_to_the_network_and_back():
    stored = np.arange(256, dtype=np.uint8)
    assert (to_uint8(stored.astype(np.float32) / np.float32(127.5) - np.float32(1)) == stored).all()


@pytest.mark.parametrize("place", [np.asarray, jnp.asarray])
def test_rounds_and_saturates(place):
    x = place(np.float32([-np.inf, -9.0, -1.0, -0.9951, -0.9961, 0.0, 0.001, 1.0, np.inf]))
    stored = to_uint8(x)
    assert stored.dtype == jnp.uint8
    assert isinstance(stored, jax.Array) == isinstance(x, jax.Array)
    assert stored.tolist() == [0, 0, 0, 1, 0, 128, 128, 255, 255]


def test_low_precision_is_widened_before_the_arithmetic():
    x = np.linspace(-1, 1, 1001).astype(ml_dtypes.bfloat16)
    expected = to_uint8(x.astype(np.float32))
    assert (to_uint8(x) == expected).all()
    assert (np.asarray(to_uint8(jnp.asarray(x))) == expected).all()
    assert len(np.unique(expected)) > 200  # in bfloat16 arithmetic, far fewer


@pytest.mark.parametrize("place", [np.asarray, jnp.asarray])
def test_refuses_nan(place):
    with pytest.raises(ValueError, match="NaN: the generator has diverged"):
        to_uint8(place(np.float32([0, np.nan])))


def test_nan_is_zero_while_traced():
    assert jax.jit(to_uint8)(jnp.float32([jnp.nan, 1.0])).tolist() == [0, 255]


def test_refuses_bytes():
    with pytest.raises(ValueError, match="not uint8; uint8 needs no quantising"):
        to_uint8(np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match=r"convert .* by images.astype\(numpy.uint8\)"):
        to_uint8(np.zeros(3, np.int64))
