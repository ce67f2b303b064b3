"""What the tests of the engine share: `rx.scan` against `jax.lax.scan`, and counts of products."""

from __future__ import annotations

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import recurrax as rx

# Compiled once and run once: most of the time would go into LLVM.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def total(tree: Any) -> jax.Array:
    """A scalar of every float in the tree, not linear in any."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return sum((jnp.sum(jnp.sin(leaf + 0.3)) for leaf in leaves), jnp.zeros(()))


def everything(scan, step, args, extra, *, order: int, batched: bool):
    """Values and derivatives of a scan: `step(params, carry, x)`, `args` = (params, init, xs).

    Args:
      order: 0 for values, 1 for first derivatives, 2 for second ones in every nesting.
      batched: also gradients under `vmap`, and the Jacobian that `vmap` builds.
    """

    def run(params, init, xs):
        return scan(functools.partial(step, params), init, xs, **extra)

    def loss(*args):
        return total(run(*args))

    keys = iter(jax.random.split(jax.random.key(7), 99))

    def noise(x):
        return jax.random.normal(next(keys), jnp.shape(x), jnp.result_type(x))

    tangents = jax.tree.map(noise, args)
    grad = jax.grad(loss, tuple(range(len(args))))

    def slope(*args):
        return jax.jvp(loss, args, tangents)[1]

    def dot(*args):
        pairs = zip(jax.tree.leaves(grad(*args)), jax.tree.leaves(tangents), strict=True)
        return sum(jnp.vdot(a, b) for a, b in pairs)

    results = {"value": run(*args)}
    if order > 0:
        results["jvp"] = jax.jvp(loss, args, tangents)
        results["vjp"] = grad(*args)
    if order > 1:
        results["forward over reverse"] = jax.jvp(grad, args, tangents)[1]
        results["reverse over forward"] = jax.grad(slope, tuple(range(len(args))))(*args)
        results["reverse over reverse"] = jax.grad(dot, tuple(range(len(args))))(*args)
    if batched:
        three = jax.tree.map(lambda x: jnp.stack([x, x + 0.1, x * 0.5], axis=-1), args)
        results["vmap"] = jax.vmap(grad, -1)(*three)
        axes = (None, None, -1)
        results["shared"] = jax.grad(lambda p: jax.vmap(loss, axes)(p, args[1], three[2]).sum())(
            args[0]
        )
        results["jacobian"] = jax.jacrev(lambda xs: run(args[0], args[1], xs)[0])(args[2])
    return results


def assert_agrees(step, args, *, order=2, batched=True, tolerance=1e-10, **extra) -> None:
    """`rx.scan` gives what `jax.lax.scan` does, to a tolerance relative to the largest value."""

    @functools.partial(jax.jit, compiler_options=QUICK)
    def both(*args):
        kwargs = {"order": order, "batched": batched}
        plain = {k: v for k, v in extra.items() if k != "checkpoint"}
        return (
            everything(rx.scan, step, args, extra, **kwargs),
            everything(lax.scan, step, args, plain, **kwargs),
        )

    ours, theirs = both(*args)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for path, want in jax.tree_util.tree_leaves_with_path(theirs):
        got = functools.reduce(lambda tree, key: _get(tree, key), path, ours)
        name = jax.tree_util.keystr(path)
        assert got.dtype == want.dtype, name
        assert got.shape == want.shape, name
        scale = max(1.0, float(np.max(np.abs(want), initial=0.0)))
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * scale, err_msg=name)


def _get(tree, key):
    if hasattr(key, "key"):
        return tree[key.key]
    return tree[key.idx] if hasattr(key, "idx") else getattr(tree, key.name)


def loop_products(function, *args) -> list[int]:
    """How many matrix products each compiled loop body runs, in the order of the loops."""
    text = str(jax.jit(function).lower(*args).compile().as_text())
    bodies = dict(re.findall(r"^(?:ENTRY )?(%[\w.\-]+) \(.*?\{\n(.*?)\n\}", text, re.M | re.S))

    def products(name: str) -> int:
        body = bodies[name]
        called = re.findall(r"(?:calls|to_apply|body)=(%[\w.\-]+)", body)
        return len(re.findall(r" dot\(", body)) + sum(products(other) for other in called)

    return [products(name) for name in re.findall(r" while\(.*?body=(%[\w.\-]+)", text)]
