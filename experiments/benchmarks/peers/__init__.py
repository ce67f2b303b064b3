"""The peers: one small adapter a framework, imported only when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

ADAPTERS = {
    "lax.scan": "plain",
    "linen": "linen",
    "nnx": "nnx",
    "haiku": "dm_haiku",
    "equinox": "eqx",
    "keras": "keras_jax",
    "torch": "pytorch",
}


class Missing(Exception):
    """This peer cannot take part, and why."""


class Peer(NamedTuple):
    """A JAX framework's version of the work, as its documentation shows.

    `convert(params)` gives the peer's own params from recurrax's, an affine function of JAX arrays:
    its transpose carries the peer's gradients back, to be compared.
    `forward(peer_params, xs [B, T, D])` gives [B, T, H].
    """

    convert: Callable[[Any], Any]
    forward: Callable[[Any, jax.Array], jax.Array]


class Contender(NamedTuple):
    """A framework with its own copy of the work.

    `forward()` and `train()` return when the work is done, with arrays of the framework's own;
    `outputs` reads the first's as NumPy [B, T, H], `gradients` the second's as recurrax's params,
    None for a leaf that the framework lacks.
    """

    name: str
    sharded: bool
    forward: Callable[[], Any]
    train: Callable[[], Any]
    outputs: Callable[[Any], np.ndarray]
    gradients: Callable[[Any], Any]

    @property
    def label(self) -> str:
        return f"{self.name}, sharded" if self.sharded else self.name


def load(name: str) -> Any:
    """The adapter's module: `peer(work) -> Peer`, or `contender(work)` where it is not JAX.

    Raises:
      Missing: the framework is not installed.
    """
    try:
        return importlib.import_module(f"{__name__}.{ADAPTERS[name]}")
    except ImportError as error:
        raise Missing(f"not installed ({error})") from error


def gates(array: jax.Array, order: str, wanted: str) -> jax.Array:
    """The gates along the last axis, put into another order: gates(w, "ifgo", "igfo")."""
    parts = dict(zip(order, jnp.split(array, len(order), axis=-1), strict=True))
    return jnp.concatenate([parts[gate] for gate in wanted], axis=-1)


def returned_gradients(convert: Callable[[Any], Any], params: Any, gradients: Any) -> Any:
    """A peer's gradients as gradients of recurrax's params; None where the peer lacks the leaf."""
    converted, back = jax.vjp(convert, params)
    used = back(jax.tree.map(jnp.ones_like, converted))[0]
    return jax.tree.map(
        lambda gradient, use: np.asarray(gradient) if np.any(np.asarray(use)) else None,
        back(gradients)[0],
        used,
    )
