"""Recomputed activations need less memory, by a compiler that keeps them apart from the first computation."""

from functools import partial
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import pytest

from jaxgan.nets import biggan, resnet
from jaxgan.nets.spectral import spectral_norm

NETWORKS = {
    "resnet": partial(resnet.ResNetCritic, (16,) * 6, 0, wide=True, kernel_norm=spectral_norm),
    "deep": partial(biggan.DeepCritic, (16,) * 4, 0, None, spectral_norm),
}


# XLA's CPU compiler merges both computations, and so saves nothing.
@pytest.mark.slow
@pytest.mark.skipif(find_spec("libtpu") is None, reason="needs the TPU compiler, not a TPU")
@pytest.mark.parametrize("name", NETWORKS)
def test_recomputed_activations_need_less_memory_on_a_tpu(name, monkeypatch):
    import compile_for

    monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")
    sharding = jax.sharding.SingleDeviceSharding(compile_for.open_devices("tpu", "v5e:1x1")[0])

    def there(tree):
        return jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), tree
        )

    def temporary(remat):
        network = NETWORKS[name](remat=remat)
        x = jax.ShapeDtypeStruct((32, 16, 16, 16), jnp.float32)
        variables = dict(jax.eval_shape(network.init, jax.random.key(0), x))
        params = variables.pop("params")

        def loss(params, others, x):
            return network.apply({**others, "params": params}, x).sum()

        lowered = jax.jit(jax.grad(loss, (0, 2))).lower(*there((params, variables, x)))
        options = {"exec_time_optimization_effort": -1.0, "memory_fitting_effort": -1.0}
        compiled = lowered.compile(compiler_options=options)
        return compiled.memory_analysis().temp_size_in_bytes

    # Measured: 16.0 of 24.5 MiB, and 16.7 of 24.5.
    assert temporary(True) < 0.75 * temporary(False)
