"""What the readers and writers of other libraries' weights share: arrays and gate orders."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def floats(name: str, value: Any, shape: tuple[int, ...] | None = None) -> jax.Array:
    """`value` as a JAX array in the precision that JAX computes in: array, list or torch tensor.

    Raises:
      TypeError: not an array of floats. ValueError: not of this shape.
    """
    if hasattr(value, "detach"):  # a tensor; NumPy does not know torch's bfloat16
        dtype = str(value.dtype).removeprefix("torch.")
        value = np.asarray(value.detach().cpu().double()).astype(dtype)
    leaf = jnp.asarray(value)
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
        raise TypeError(f"{name}: expected an array of floats, got {leaf.dtype}")
    if shape is not None and leaf.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {leaf.shape}")
    return leaf


def reorder(leaf: Any, source: str, target: str) -> Any:
    """The gates' blocks [..., G H], in the order of the letters `source`, in that of `target`.

    A letter that `target` has not is left out.

    >>> import numpy as np
    >>> reorder(np.array([1, 1, 2, 2, 3, 3]), "zrn", "rzn")
    array([2, 2, 1, 1, 3, 3])
    """
    rows, width = leaf.shape[:-1], leaf.shape[-1] // len(source)
    order = np.array([source.index(gate) for gate in target])
    blocks = leaf.reshape(*rows, len(source), width)[..., order, :]
    return blocks.reshape(*rows, len(target) * width)


def negate(leaf: Any, gate: str, gates: str) -> Any:
    """The block of one gate with the other sign: sigmoid(-a) = 1 - sigmoid(a)."""
    signs = np.repeat([-1.0 if g == gate else 1.0 for g in gates], leaf.shape[-1] // len(gates))
    return leaf * signs.astype(leaf.dtype)


def layers_of(params: Any) -> tuple[Any, ...]:
    """The params of `rx.serial`, one entry a layer, or those of one layer alone.

    What dropout leaves in them, `()`, is no layer of the other side's.
    """
    layers = params if type(params) in (tuple, list) else (params,)
    layers = tuple(layer for layer in layers if layer != ())
    if not layers:
        raise ValueError("params: expected those of at least one layer, got none")
    return layers
