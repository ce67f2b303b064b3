"""Set before JAX starts: the CPU, as eight devices, so that sharded code is tested everywhere.

XLA's CPU code is not optimised unless XLA_FLAGS is set, if only to nothing: most of the tests' time
is compilation. CI runs the engine's tests and those of equal bits with the optimiser as well.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "standard")
