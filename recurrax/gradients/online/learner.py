"""What every online learner is, and what they share: the cell's step, flattened and pulled back.

The gradient of a loss L_t of y_t, with s_t, y_t = step(theta, s_{t-1}, x_t) and the influence
J_t = ds_t/dtheta, needs no look back:

    dL_t/dtheta = dL_t/dy_t (dy_t/dtheta + dy_t/ds_{t-1} J_{t-1})
    J_t = D_t J_{t-1} + B_t,    D_t = ds_t/ds_{t-1},    B_t = ds_t/dtheta (direct)

D, B and the terms of y come from one `jax.vjp` of the step. A method says only how J is kept: it
is an `Influence`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from recurrax.compose.rates import is_inexact
from recurrax.core import Cell, Key, PyTree, as_cell, check_same_state, check_state


class OnlineState(NamedTuple):
    """`state` of the cell, and what is kept of its `influence`: a pytree of fixed shapes."""

    state: PyTree
    influence: PyTree


@dataclasses.dataclass(frozen=True, repr=False)
class OnlineLearner:
    """Gradients forward in time: a step, and the gradient of that step's loss at once.

    `init(params, x, *, state=None, key=None) -> memory` (an `OnlineState`): before the first step.
    `x` is one step's input, of which only the shapes matter. A `state` that is given is a constant;
    without it, `cell.initial_state(params)` has its influence too. A method that draws random
    numbers consumes the key, others need none.

    `step(params, memory, x, key=None) -> (memory, y, gradient)`: one step of the cell, which may
    take a key, and `gradient(d_y, d_state=None) -> d_params`: what a loss of this step's `y` (and
    of the new state, where `d_state` is given) with that derivative gives for the parameters, all
    earlier steps included. It is a pytree, as that of `jax.vjp` is, and may leave a `jit`.

    Params may change from step to step; the influence of earlier ones is then that of the params
    they were run with, as always in online learning. To begin a new sequence take `init` again,
    within a compiled loop through `jax.tree.map(partial(jnp.where, reset), fresh, memory)`.
    """

    init: Callable[..., OnlineState]
    step: Callable[..., tuple[OnlineState, PyTree, Callable[..., PyTree]]]
    name: str = "online_learner"

    def __repr__(self) -> str:
        return self.name


Pull = Callable[[jax.Array], tuple[jax.Array, jax.Array]]
"""d_state_after [n] -> (d_params [P], d_state_before [n]); linear, of one step at one place."""


class Problem(NamedTuple):
    """What a method may know before any number: a cell, and the shapes of a call of its step.

    `pulled(params, state, x, key, d) -> (d_params [P], d_state_before [n])` and
    `initial_pulled(params, d) -> d_params [P]` are there to be traced. `s` is the state as a vector
    [n]; what is kept of its influence is of `dtype`, float32 at least.
    """

    name: str
    cell: Cell
    params: PyTree
    state: PyTree
    x: PyTree
    s: jax.ShapeDtypeStruct
    dtype: Any

    def pulled(self, params: PyTree, state: PyTree, x: PyTree, key: Any, d: jax.Array):
        return _linearised(self.name, self.cell, params, state, x, key)[3](d)

    def initial_pulled(self, params: PyTree, d: jax.Array) -> jax.Array:
        theta, rebuild = vector_of(self.name, "params", params)

        def initial(theta: jax.Array) -> jax.Array:
            return vector_of(self.name, "state", self.cell.initial_state(rebuild(theta)))[0]

        return jax.vjp(initial, theta)[1](d)[0]

    @property
    def total(self) -> int:
        """P, how many numbers the params are."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.params))


class Influence(NamedTuple):
    """How a method keeps J.

    `start(problem, initial_pull, key) -> kept`, where `initial_pull` [n] -> [P] is that of the
    initial state, zero where the state was given. `advance(problem, kept, pull, at) -> kept` over
    one step, at the numbers (params, state, x, key). `through(problem, kept, d_state) -> d_params`
    is the product with J.
    """

    start: Callable[[Problem, Callable[[jax.Array], jax.Array], Any], PyTree]
    advance: Callable[[Problem, PyTree, Pull, Any], PyTree]
    through: Callable[[Problem, PyTree, jax.Array], jax.Array]


def online_learner(name: str, cell: Any, influence: Influence) -> OnlineLearner:
    """The learner of one method for one cell."""
    cell = as_cell(cell)
    name = f"{name}({cell})"

    def init(
        params: PyTree, x: PyTree, *, state: PyTree = None, key: Key | None = None
    ) -> OnlineState:
        initial = cell.initial_state(params)
        if state is not None:
            check_state(name, state, initial, dtypes=True)
        problem = _problem(name, cell, params, initial, x)

        def initial_pull(d: jax.Array) -> jax.Array:
            if state is not None:
                return jnp.zeros(problem.total, problem.dtype)
            return problem.initial_pulled(params, d)

        kept = influence.start(problem, initial_pull, key)
        return OnlineState(initial if state is None else state, kept)

    def step(params: PyTree, memory: OnlineState, x: PyTree, key: Key | None = None):
        if not isinstance(memory, OnlineState):
            raise TypeError(
                f"{name}: memory must be the OnlineState that init makes, got "
                f"{type(memory).__name__}. Call memory = init(params, x) first"
            )
        state, kept = memory
        problem = _problem(name, cell, params, state, x)
        after, y, pull, state_pull = _linearised(name, cell, params, state, x, key)
        advanced = influence.advance(problem, kept, state_pull, (params, state, x, key))
        call = functools.partial(_gradient, problem, influence)
        return OnlineState(after, advanced), y, jax.tree_util.Partial(call, pull, kept, after)

    return OnlineLearner(init, step, name)


def vector_of(name: str, argument: str, tree: PyTree) -> tuple[jax.Array, Callable[..., PyTree]]:
    """The floating leaves as one vector, and how to put such a vector in their place.

    Raises:
      TypeError: a leaf is complex, or one of the params is not floating.
    """
    leaves, treedef = jax.tree.flatten(tree)
    for leaf in leaves:
        dtype = jnp.result_type(leaf)
        if jnp.issubdtype(dtype, jnp.complexfloating) or (
            argument == "params" and not jnp.issubdtype(dtype, jnp.floating)
        ):
            raise TypeError(
                f"{name}: {argument} must be floating, got a leaf of {dtype}. Keep complex numbers "
                f"as two arrays, as rx.lru does, and constants out of the params"
            )
    chosen = [is_inexact(leaf) for leaf in leaves]
    vector, unravel = ravel_pytree([leaf for leaf, c in zip(leaves, chosen, strict=True) if c])

    def rebuild(vector: jax.Array) -> PyTree:
        new = iter(unravel(vector))
        return treedef.unflatten(
            [next(new) if c else leaf for leaf, c in zip(leaves, chosen, strict=True)]
        )

    return vector, rebuild


def _linearised(name: str, cell: Cell, params: PyTree, state: PyTree, x: PyTree, key: Any):
    """The new state, y, the pullback of both as (vector of the state, y), and that of the state."""
    theta, params_of = vector_of(name, "params", params)
    s, state_of = vector_of(name, "state", state)

    def flat_step(theta: jax.Array, s: jax.Array):
        after, y = cell.step(params_of(theta), state_of(s), x, key)
        check_same_state(name, state, after)
        return (vector_of(name, "state", after)[0], y), after

    (_, y), pull, after = jax.vjp(flat_step, theta, s, has_aux=True)

    def state_pull(d: jax.Array) -> tuple[jax.Array, jax.Array]:
        return pull((d, jax.tree.map(_no_cotangent, y)))

    return after, y, pull, state_pull


def _no_cotangent(leaf: jax.Array) -> Any:
    return jnp.zeros_like(leaf) if is_inexact(leaf) else np.zeros(leaf.shape, jax.dtypes.float0)


def _problem(name: str, cell: Cell, params: PyTree, state: PyTree, x: PyTree) -> Problem:
    params, state, x = jax.eval_shape(lambda *trees: trees, params, state, x)
    s, theta = (
        jax.eval_shape(lambda tree, what=what: vector_of(name, what, tree)[0], tree)
        for what, tree in (("state", state), ("params", params))
    )
    # Sums over many steps.
    dtype = jnp.promote_types(jnp.promote_types(s.dtype, theta.dtype), jnp.float32)
    return Problem(name, cell, params, state, x, s, dtype)


def _gradient(
    problem: Problem,
    influence: Influence,
    pull: Callable[..., Any],
    kept: PyTree,
    after: PyTree,
    d_y: PyTree,
    d_state: PyTree = None,
) -> PyTree:
    """dL_t/dtheta: the direct part, and that through the state before the step."""
    if d_state is None:
        d_state = jax.tree.map(jnp.zeros_like, after)
    d_after = vector_of(problem.name, "state", d_state)[0]
    direct, d_before = pull((d_after, d_y))
    through = influence.through(problem, kept, d_before.astype(problem.dtype))
    # Of zeros, so that no number of the step's is held by a function.
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), problem.params)
    _, rebuild = vector_of(problem.name, "params", zeros)
    return rebuild((direct + through).astype(direct.dtype))
