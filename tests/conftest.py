"""The tests run in 64-bit mode, as the command line does; the library itself never changes JAX's settings."""

import gc

import jax
import pytest

jax.config.update("jax_enable_x64", True)


def pytest_configure(config):
    """What one test has compiled the next need not compile again: most of the suite's time is compiling."""
    if hasattr(config, "cache"):
        jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("jax")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


@pytest.fixture(autouse=True, scope="module")
def forget_what_was_compiled():
    """A process may hold some 65,000 memory maps, and every compiled function takes a few: the suite compiles more."""
    yield
    jax.clear_caches()
    gc.collect()
