"""Set before JAX starts: the CPU, as eight devices, so that sharded code is tested everywhere."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

try:
    jax.config.update("jax_num_cpu_devices", 8)
except AttributeError:  # before JAX 0.5
    os.environ["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    )
jax.config.update("jax_numpy_dtype_promotion", "standard")
