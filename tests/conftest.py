"""Strict by default: warnings are errors, ranks and dtypes never promote silently, eight CPU devices."""

import os

# Read once, when JAX first looks for devices; so before the first import of it. Compiling is most of the suite's work,
# and LLVM's part of it, which changes no operation, half of that: programs that run for seconds are not optimised.
os.environ["XLA_FLAGS"] = " ".join(
    (
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
    )
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")
# The suite runs in two processes: each with threads of OpenBLAS for every core, small decompositions took 35 times as
# long, waiting for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def key():
    return jax.random.key(0)
