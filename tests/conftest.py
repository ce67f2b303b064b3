"""The CPU, as eight devices, so that sharded code is tested everywhere; and compiled in haste.

XLA's CPU code is not optimised unless XLA_FLAGS is set, if only to nothing: most of the tests' time
is compilation. CI runs the engine's tests and those of equal bits with the optimiser as well.
"""

import os
import subprocess
import sys

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "standard")


def _flags() -> str:
    """XLA's flags, where none are given: no optimiser, and the older emitters of fused loops.

    At this level most of the time to compile goes to the newer ones. The older are asked for where
    jaxlib still has them, since a flag that it does not know ends the process.
    """
    unoptimised = "--xla_backend_optimization_level=0"
    older = f"{unoptimised} --xla_cpu_use_fusion_emitters=false"
    known = subprocess.run(
        [sys.executable, "-c", "import jax; jax.devices()"],
        env={**os.environ, "XLA_FLAGS": older},
        capture_output=True,
    )
    return older if known.returncode == 0 else unoptimised


# JAX reads them at its first computation, and xdist's workers find them set.
if "XLA_FLAGS" not in os.environ:
    os.environ["XLA_FLAGS"] = _flags()
