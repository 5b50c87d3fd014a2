"""A compilation cache for this folder: its tests start the same small programs again and again."""

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

CACHE_OPTIONS = {
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory):
    """Where the cache is; child processes get it as JAX_COMPILATION_CACHE_DIR."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module", autouse=True)
def compiled_once(cache_dir):
    options = {"jax_compilation_cache_dir": str(cache_dir), **CACHE_OPTIONS}
    before = {name: getattr(jax.config, name) for name in options}
    for name, value in options.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # JAX looks at these options only once
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
