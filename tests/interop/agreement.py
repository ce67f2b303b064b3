"""Two implementations of one network agree: outputs, final states, and every gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import recurrax as rx
from tests.support import x64

B, T, D = 3, 6, 3
LENGTHS = np.array([6, 1, 4], np.int32)  # flax defines no length 0
VALID = np.arange(T) < LENGTHS[:, None]


def normal(tree: Any, seed: int = 0, scale: float = 0.7) -> Any:
    """Random float64 arrays of these shapes: zeros, such as fresh biases, would hide a mistake."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: scale * rng.normal(size=leaf.shape), tree)


def inputs(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(B, T, *(shape or (D,))))


def masked(ys: Any) -> jax.Array:
    """Zero past the lengths, where peers return what came of the padding."""
    return ys * VALID.reshape(B, T, *(1,) * (ys.ndim - 2))


def ours(model: Any, params: Any, xs: Any, **arguments: Any) -> tuple[Any, Any]:
    """Our model over a batch of mixed lengths."""
    apply = rx.as_model(model).apply

    def one(xs, length):
        return apply(params, xs, length=length, **arguments)

    return jax.vmap(one)(xs, jnp.asarray(LENGTHS))


def per_example(run: Callable[[Any, Any], tuple[Any, Any]], *, reverse: bool = False) -> Any:
    """A peer without lengths, over each example cut to its own; backward by turning it around."""

    def batch(params, xs):
        states, outputs = [], []
        for sequence, length in zip(xs, LENGTHS, strict=True):
            cut = sequence[:length]
            state, ys = run(params, cut[::-1] if reverse else cut)
            ys = ys[::-1] if reverse else ys
            outputs.append(jnp.pad(ys, [(0, T - length), *[(0, 0)] * (ys.ndim - 1)]))
            states.append(state)
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states), jnp.stack(outputs)

    return batch


@x64()
def assert_same_networks(
    params: Any, xs: Any, *networks: Callable[[Any, Any], tuple[Any, Any]]
) -> None:
    """`f(params, xs) -> (state, ys)` of all, in float64, per leaf; gradients by params and xs.

    Leaves of the states are compared in the order in which JAX flattens them.
    """
    params, xs = jax.tree.map(jnp.asarray, (params, xs))
    state, ys = jax.eval_shape(networks[0], params, xs)
    weights = normal([jax.tree.leaves(state), ys], seed=2)

    def run(f):
        def loss(params, xs):
            state, ys = f(params, xs)
            leaves = [jax.tree.leaves(state), ys]
            products = jax.tree.map(lambda w, leaf: jnp.sum(w * leaf), weights, leaves)
            return sum(jax.tree.leaves(products)), leaves

        gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
        (_, leaves), gradients = gradient(params, xs)
        return leaves, gradients

    expected, *others = map(run, networks)
    for got in others:
        assert_close(got, expected)
    for gradient in jax.tree.leaves(expected[1]):
        assert np.any(gradient != 0), "a gradient that is zero compares nothing"


def assert_close(got: Any, expected: Any, tolerance: float = 1e-11) -> None:
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
