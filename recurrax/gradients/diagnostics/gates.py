"""The gates of a step, found in it: what they let through, and where a nudge enters them.

A gate is whatever goes through a sigmoid or a tanh, wherever the step writes one: the step is
traced, and its `logistic` and `tanh` operations are the gates. So this works for any cell.
"""

from __future__ import annotations

import ast
import functools
import linecache
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.source_info_util import summarize

from recurrax.checks import check_number
from recurrax.core import Cell, PyTree, as_cell, check_length
from recurrax.scan._jax import bind, inner_jaxpr, is_literal
from recurrax.scan.unroll import time_steps, unroll

_LOWEST = {"logistic": 0.0, "tanh": -1.0}


class GateSaturation(NamedTuple):
    """Of each unit of one gate, the share of steps that it spent near an end of its range.

    `low` and `high` [H] lie in [0, 1]; `mean` [H] is the gate's mean over the steps.
    """

    low: jax.Array
    high: jax.Array
    mean: jax.Array


def gate_saturation(
    cell: Any,
    params: PyTree,
    xs: PyTree,
    *,
    margin: float = 0.1,
    state: PyTree = None,
    length: int | jax.Array | None = None,
    resets: jax.Array | None = None,
    key: jax.Array | None = None,
) -> dict[str, GateSaturation]:
    """How much of the time each unit of each gate is saturated: one forward pass.

        low_j = share of steps with a_tj < l + margin (1 - l)
        high_j = share of steps with a_tj > 1 - margin (1 - l)

    a_t is what comes out of a sigmoid (l = 0) or a tanh (l = -1) of the step. Little gradient goes
    through a gate that is always at one end; a forget gate always at 1 is a counter, one never
    near either a leaky average (Karpathy et al., 2015, "Visualizing and understanding recurrent
    networks", whose margin is 0.1).

    Gates are found in the step's operations and go by the source that wrote them, a number behind
    what is written more than once; `{}` where a step has none. Those in `lax.cond`, `lax.scan` and
    custom derivatives are not seen, nor are sigmoids spelt otherwise (clipped lines, exponentials,
    softmax).

    Args:
      cell: any cell.
      params: what `cell.init` made.
      xs: the inputs, arrays [T, ...].
      margin: in (0, 0.5], as a share of the range.
      state, length, resets, key: as in `rx.unroll`; steps past `length` do not count.

    Raises:
      ValueError: a margin that is not in (0, 0.5].
      TypeError: `cell` is no cell.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell, xs = rx.lstm(4, forget_bias=5.0), jnp.ones((9, 3))
    >>> found = rx.gate_saturation(cell, cell.init(jax.random.key(0), xs[0]), xs)
    >>> list(found)
    ['sigmoid(f)', 'sigmoid(i)', 'sigmoid(o)', 'tanh(c)', 'tanh(g)']
    >>> print(found["sigmoid(f)"].high)
    [1. 1. 1. 1.]
    """
    check_number("gate_saturation", "margin", margin)
    if margin > 0.5:
        raise ValueError(f"gate_saturation: margin must lie in (0, 0.5], got {margin}")
    cell = as_cell(cell)

    def step(params, state, x, key=None):
        state, _, gates = watched_step(cell, params, state, x, key, None)
        return state, {
            name: ((a < low + margin * (1 - low)), (a > 1 - margin * (1 - low)), a)
            for name, (low, a) in gates.items()
        }

    watched = Cell(cell.init, cell.initial_state, step, str(cell))
    _, found = unroll(watched, params, xs, state=state, length=length, resets=resets, key=key)
    steps = time_steps(xs)
    count = steps if length is None else check_length(length, steps)

    def shares(values: tuple[jax.Array, ...]) -> GateSaturation:
        dtype = jnp.promote_types(values[2].dtype, jnp.float32)
        return GateSaturation(
            *(jnp.sum(v.astype(dtype), axis=0) / jnp.maximum(count, 1) for v in values)
        )

    return {name: shares(values) for name, values in found.items()}


def watched_step(
    cell: Cell, params: PyTree, state: PyTree, x: PyTree, key: Any, nudges: Mapping | None
) -> tuple[PyTree, PyTree, dict[str, tuple[float, jax.Array]]]:
    """`cell.step`, and of each gate by name the lowest value that it can have and the one it has.

    Args:
      nudges: added to what goes into the gates, by name; None for no nudge.
    """
    closed, shapes = jax.make_jaxpr(cell.step, return_shape=True)(params, state, x, key)
    gates: dict[str, tuple[float, jax.Array]] = {}

    def visit(name: str, source: str, run: Callable, values: list[Any]) -> list[Any]:
        if name not in _LOWEST or not jnp.issubdtype(values[0].dtype, jnp.floating):
            return run(values)
        label = _numbered(_written(source) or name, gates)
        if nudges is not None:
            values = [values[0] + nudges[label]]
        gates[label] = _LOWEST[name], run(values)[0]
        return [gates[label][1]]

    leaves = jax.tree.leaves((params, state, x, key))
    values = [leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf) for leaf in leaves]
    outputs = _walk(closed.jaxpr, closed.consts, values, visit)
    state, y = jax.tree.unflatten(jax.tree.structure(shapes), outputs)
    return state, y, gates


def _walk(jaxpr: Any, consts: Any, values: list[Any], visit: Callable, source: str = "") -> list:
    """Runs a jaxpr, its equations through `visit(name, source, run, values)`.

    The source of what is inside a `jit` is where that was called: JAX keeps such a function's trace
    from its first call, somewhere else perhaps.
    """
    env = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *values], strict=True))
    for equation in jaxpr.eqns:
        given = [atom.val if is_literal(atom) else env[atom] for atom in equation.invars]
        here = source or summarize(equation.source_info)
        inner = inner_jaxpr(equation)
        if inner is not None:
            results = _walk(inner.jaxpr, inner.consts, given, visit, here)
        else:
            results = visit(equation.primitive.name, here, functools.partial(bind, equation), given)
        env.update(zip(equation.outvars, results, strict=True))
    return [atom.val if is_literal(atom) else env[atom] for atom in jaxpr.outvars]


def _written(source: str) -> str:
    """The call at `file:line:column (function)`, as it is written there, without its module."""
    found = re.match(r"(.+):(\d+):(\d+) ", source)
    if found is None:
        return ""
    file, line, column = found[1], int(found[2]), int(found[3])
    for node in reversed(_calls("".join(linecache.getlines(file)))):  # the innermost one
        if (node.lineno, node.col_offset) == (line, column):
            return re.sub(r"^(\w+\.)+", "", ast.unparse(node))
    return ""


@functools.lru_cache(maxsize=8)
def _calls(text: str) -> list[ast.Call]:
    try:
        return [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    except SyntaxError:  # a notebook's magic, say
        return []


def _numbered(name: str, taken: Mapping[str, Any]) -> str:
    labels = (name if n == 1 else f"{name} {n}" for n in range(1, len(taken) + 2))
    return next(label for label in labels if label not in taken)
