"""Sharded batches give the losses of one device; the settings take effect in a fresh process."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.common.devices import data_mesh, replicate, shard, use_all_cores


def _loss(w, xs):
    return jnp.mean(jnp.tanh(xs @ w) ** 2)


def test_sharded_gradient_matches_one_device():
    w = jax.random.normal(jax.random.key(0), (4, 3))
    xs = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    mesh = data_mesh()
    assert mesh.shape == {"data": len(jax.devices())}
    step = jax.jit(jax.value_and_grad(_loss))
    loss, gradient = step(replicate(w, mesh), shard(xs, mesh))
    assert gradient.sharding.is_fully_replicated
    expected, expected_gradient = step(w, jnp.asarray(xs))
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-5, atol=1e-8)


def test_mesh_divides_the_batch():
    devices = jax.devices()
    for batch_size in (1, 6, 7, 8, 12, 128):
        size = data_mesh(batch_size).size
        assert batch_size % size == 0
        assert not any(batch_size % n == 0 for n in range(size + 1, len(devices) + 1))
    assert data_mesh(12, devices[:1]).size == 1
    with pytest.raises(ValueError, match="at least 1; got 0"):
        data_mesh(0)


@pytest.mark.skipif(len(jax.devices()) < 2, reason="needs two devices")
def test_indivisible_batch_is_named():
    with pytest.raises(ValueError, match=r"batch\['x'\] must be divisible by the 2 devices"):
        shard({"x": np.zeros((3, 2))}, data_mesh(devices=jax.devices()[:2]))
    with pytest.raises(ValueError, match="shape is"):
        shard(np.float32(1), data_mesh(devices=jax.devices()[:2]))


def test_too_late_only_reports():
    assert use_all_cores(3) == jax.local_device_count("cpu")


_GLIBC = "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", ())
# 8 blocks of 64 MB: where freed memory goes back to the system, each one is 16384 fresh pages.
_REPORT = """
import resource, sys, jax, numpy as np
from experiments.common.devices import keep_freed_memory, use_all_cores
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
kept = keep_freed_memory()
np.ones(1 << 23)
before = faults()
for _ in range(8): np.ones(1 << 23)
assert not kept or faults() - before < 8 * 1000
print(kept, use_all_cores(3), jax.device_count())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's settings, read from its counters")
@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, f"{_GLIBC} 3 3"),
        ({"JAX_NUM_CPU_DEVICES": "2", "MALLOC_TOP_PAD_": "0"}, "False 2 2"),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}, f"{_GLIBC} 2 2"),
    ],
    ids=["default", "variables", "flags"],
)
def test_fresh_process_takes_the_settings_unless_the_user_chose(chosen, expected):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "XLA_", "JAX_"))}
    result = subprocess.run(
        [sys.executable, "-c", _REPORT],
        env={**clean, "JAX_PLATFORMS": "cpu", **chosen},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == expected
