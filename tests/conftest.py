"""The tests run in 64-bit mode, as the command line does; the library itself never changes JAX's settings."""

import jax

jax.config.update("jax_enable_x64", True)


def pytest_configure(config):
    """What one test has compiled the next need not compile again: most of the suite's time is compiling."""
    if hasattr(config, "cache"):
        jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("jax")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
