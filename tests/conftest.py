"""The tests run in 64-bit mode, as the command line does; the library itself never changes JAX's settings."""

import jax

jax.config.update("jax_enable_x64", True)
