"""Devices: the same training step on one CPU core, all of them, a GPU or a mesh.

`use_all_cores()` goes first in `__main__`, before anything touches a JAX device. Then

    mesh = data_mesh(batch_size)
    params = replicate(params, mesh)
    for batch in batches:
        params, loss = step(params, shard(batch, mesh))     # an ordinary `jax.jit` function

Each device computes its rows of the batch, and XLA adds their gradients up.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

_FLAG = "--xla_force_host_platform_device_count"
_GIGABYTE = 1 << 30


def use_all_cores(cores: int | None = None) -> int:
    """Makes every CPU core a JAX device, and keeps freed memory for the next step.

    One core computes faster alone than two do hand in hand: inside a recurrent loop the matrix
    products are too small to share. So the batch is split over the cores instead. A GPU, where
    there is one, remains JAX's default and is not touched.

    Changes nothing where the user already chose (`JAX_NUM_CPU_DEVICES`, `XLA_FLAGS`, or
    `jax.config`), nor once JAX's devices are in use: it then only reports.

    Args:
      cores: how many; the cores that this process may run on unless given.

    Returns:
      The number of CPU devices that JAX was asked for.
    """
    keep_freed_memory()
    cores = len(os.sched_getaffinity(0)) if cores is None and sys.platform == "linux" else cores
    cores = cores or os.cpu_count() or 1
    flags = os.environ.get("XLA_FLAGS", "")
    if _FLAG in flags:
        return int(flags.split(_FLAG + "=")[-1].split()[0])
    chosen: int = getattr(jax.config, "jax_num_cpu_devices", -1)
    if chosen > 0:
        return chosen
    try:
        jax.config.update("jax_num_cpu_devices", cores)
    except RuntimeError:  # too late: the devices exist
        return jax.local_device_count("cpu")
    return cores


def keep_freed_memory() -> bool:
    """Asks glibc to keep freed memory instead of returning it to the system at once.

    XLA on CPU takes its buffers anew at each call, and every page that comes fresh from the system
    is first filled with zeros: 10 to 30% of a training step. The environment variables
    MALLOC_ARENA_MAX, MALLOC_MMAP_THRESHOLD_ and so on do the same but must be set before the
    process starts; where one of them is, it stays in force. The cost: up to 1 GB that was freed is
    kept, and all threads allocate from one arena (a thread's own could not hold what is large).

    Returns:
      Whether it was done; False on a system without glibc, where nothing changes.
    """
    if any(name.startswith("MALLOC_") for name in os.environ) or sys.platform != "linux":
        return False
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018 - absent from musl, whose mallopt would be another
        mallopt = libc.mallopt
    except (OSError, AttributeError):
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    m_trim_threshold, m_top_pad, m_mmap_max, m_arena_max = -1, -2, -4, -8  # <malloc.h>
    done = [
        mallopt(option, size) == 1
        for option, size in (
            (m_arena_max, 1),
            (m_trim_threshold, _GIGABYTE),
            (m_top_pad, _GIGABYTE // 16),
            (m_mmap_max, 0),
        )
    ]
    return all(done)


def data_mesh(batch_size: int | None = None, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh with the one axis "data" over `devices` (JAX's default ones unless given).

    Args:
      batch_size: B; then only as many devices are used as divide it, the largest such number, so
        that any batch runs on any machine.

    Raises:
      ValueError: `batch_size` is below 1.
    """
    devices = jax.devices() if devices is None else list(devices)
    count = len(devices)
    if batch_size is not None:
        if batch_size < 1:
            raise ValueError(f"data_mesh: batch_size must be at least 1; got {batch_size}.")
        count = max(n for n in range(1, count + 1) if batch_size % n == 0)
    return Mesh(np.array(devices[:count]), ("data",))


def shard(batch: Any, mesh: Mesh) -> Any:
    """Places every leaf `[B, ...]` of `batch` with its rows split over the mesh.

    Raises:
      ValueError: a leaf has no axis to split, or B is not divisible by the number of devices.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(batch):
        if np.ndim(leaf) == 0 or np.shape(leaf)[0] % mesh.size:
            raise ValueError(
                f"shard: axis 0 of batch{jax.tree_util.keystr(path)} must be divisible by the "
                f"{mesh.size} devices of the mesh; its shape is {np.shape(leaf)}. "
                f"data_mesh(batch_size) picks a number of devices that divides the batch."
            )
    return jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Places a copy of every leaf of `tree` (parameters, optimizer state) on each device."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def on_each_device(function: Callable[[Any, Any], Any], mesh: Mesh) -> Callable[[Any, Any], Any]:
    """`function(whole, rows) -> rows`, called by each device with its own part of the rows.

    By hand, and not by XLA's partitioner: so each device has a loop of its own, and none waits for
    the others after every step.
    """
    rows = PartitionSpec("data")
    return jax.shard_map(
        function, mesh=mesh, in_specs=(PartitionSpec(), rows), out_specs=rows, check_vma=False
    )


def over_rows(function: Callable[..., Any], mesh: Mesh, *, shared: int = 0) -> Callable[..., Any]:
    """Of one row -> of all, compiled, some on each device: no row has to do with another.

    The first `shared` arguments have no rows and are whole for each.
    """

    def on_one_device(whole: Sequence[Any], rows: Sequence[Any]) -> Any:
        return jax.vmap(functools.partial(function, *whole))(*rows)

    mapped = on_each_device(on_one_device, mesh)
    return jax.jit(lambda *arguments: mapped(arguments[:shared], arguments[shared:]))
