"""Strict by default: warnings are errors, ranks and dtypes never promote silently, eight CPU devices."""

import gc
import os
import resource
from importlib.metadata import version
from pathlib import Path

# Read once, when JAX first looks for devices; so before the first import of it. Compiling is most of the suite's work,
# and LLVM's part of it, which changes no operation, half of that: programs that run for seconds are not optimised.
os.environ["XLA_FLAGS"] = " ".join(
    (
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
        # LLVM modules in one piece and the simplest order of operations: a fifth of what is left.
        "--xla_cpu_parallel_codegen_split_count=1",
        "--xla_cpu_enable_concurrency_optimized_scheduler=false",
        # A third of what is left; 0.12 no longer knows the flag, and ends where it meets one.
        *(["--xla_cpu_use_fusion_emitters=false"] if version("jaxlib").startswith("0.10.") else []),
    )
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")
# The suite runs in several processes: each with threads of OpenBLAS for every core, small decompositions took 35
# times as long, waiting for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import hypothesis
import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

# The suite draws the same few examples each time; --hypothesis-profile=many draws many others.
_always = {
    "deadline": None,
    "database": None,
    "suppress_health_check": list(hypothesis.HealthCheck),
}
hypothesis.settings.register_profile("few", max_examples=4, derandomize=True, **_always)
hypothesis.settings.register_profile("many", max_examples=500, **_always)
hypothesis.settings.load_profile("few")

# Compiled programs stay in memory as long as anything may call them: 8 GiB in each process at the end of the suite.
MOST_RESIDENT = 3 * 2**30
GROWTH = (
    2**30
)  # from one time to the next: not all memory returns to the system, and the next file compiles anew


def resident() -> int:
    """Bytes of this process in memory; 0 where the system does not say."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * resource.getpagesize() if statm.exists() else 0


@pytest.fixture(scope="session")
def most_resident():
    return [MOST_RESIDENT]


@pytest.fixture(scope="module", autouse=True)
def forget_programs(most_resident):
    """Drops what a file has compiled, once the process has grown large."""
    yield
    if resident() > most_resident[0]:
        jax.clear_caches()
        gc.collect()
        most_resident[0] = max(MOST_RESIDENT, resident() + GROWTH)


def pytest_collection_finish():
    """Keeps modules and tests, which stay to the end, out of Python's searches for garbage, and makes these rare."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory):
    """Engines of one game in a file share compiled programs through a cache; for files that make many."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    for name, value in zip(names, (str(tmp_path_factory.mktemp("compiled")), 0), strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Nothing of the suite, nor of the commands that it starts, is kept in the user's cache or comes from there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def key():
    return jax.random.key(0)
