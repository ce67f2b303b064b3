"""KF-RTRL: the influence as a Kronecker product, right in the mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrax.core import Key, PyTree, split_key
from recurrax.gradients.online.learner import (
    Influence,
    OnlineLearner,
    Problem,
    Pull,
    online_learner,
    vector_of,
)
from recurrax.gradients.online.structure import reach
from recurrax.gradients.online.uoro import balance
from recurrax.scan.graph import Atom, Constant, Equation, Graph, Value, from_jaxpr, needed, run


class Kronecker(NamedTuple):
    """J is about `a` [n, M] in the column of pre-activation m, times `u` [D + H + 1] in the row of
    what is multiplied by the weights; `key` draws the signs of the next step.
    """

    u: jax.Array
    a: jax.Array
    key: Key


def kf_rtrl(cell: Any) -> OnlineLearner:
    """Kronecker-factored RTRL, KF-RTRL (Mujika et al., 2018).

        z_t = v_t W,  v_t = [x_t, h_{t-1}, 1];    B_t = v_t (x) M_t,  M_t = ds_t/dz_t
        c, c' uniform in {-1, 1}
        u_t = c rho u_{t-1} + c' rho' v_t,    A_t = c D_t A_{t-1} / rho + c' M_t / rho'
        rho = sqrt(|D_t A_{t-1}| / |u_{t-1}|),    rho' = sqrt(|M_t| / |v_t|)

    The Kronecker product of u_t [D + H + 1] and A_t [n, M] is J_t of `rtrl` in the mean over the
    signs, so that the gradient is unbiased, with a variance far below that of `uoro`. Memory is
    n M numbers and a step costs n^2 M, with M = H for an Elman network and 4 H for an LSTM.

    It is for cells whose params enter the state through one product, z = v W + b, however it is
    written: as x W_x + h W_h + b, or as one matrix. So it is in `rx.elman`, `rx.irnn`, `rx.lstm`,
    `rx.lstm_1997`, `rx.coupled_lstm`, `rx.ugrnn`, `rx.min_gru` and `rx.min_lstm`, with
    a read-out on top too. In a GRU, a peephole or a stack of two it is not, which is an error that
    names the leaf of the params.

    `init` consumes a key, from which all signs are drawn.

    Args:
      cell: a cell of this form.

    Raises:
      TypeError: `cell` is no cell; in use, no key in `init`, params that are not floating.
      ValueError: in use, a leaf of the params that does not enter through the one product, or that
        the initial state depends on (give `init` a state).

    Source: Mujika, Meier and Steger, 2018, "Approximating real-time recurrent learning with random
    Kronecker factors".

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.lstm(4)
    >>> params = cell.init(jax.random.key(0), jnp.ones(3))
    >>> learner = rx.kf_rtrl(cell)
    >>> memory = learner.init(params, jnp.ones(3), key=jax.random.key(1))
    >>> memory, y, gradient = learner.step(params, memory, jnp.ones(3))
    >>> d_params = gradient(y)
    >>> memory.influence.u.shape, memory.influence.a.shape
    ((8,), (8, 16))
    """
    return online_learner("kf_rtrl", cell, Influence(_start, _advance, _through))


class Factor(NamedTuple):
    """How a leaf of the params enters: its gradient is the outer product of v and that of z.

    v is a value of `size` numbers. It is None for a bias, where it would be 1, and for a leaf that
    does not enter, whose size is 0. `transposed` where the leaf is [M, size].
    """

    v: Atom | None
    size: int
    transposed: bool


class Form(NamedTuple):
    """The pullback's graph, the gradient of z in it, and a factor for each leaf."""

    graph: Graph
    dz: Value
    factors: list[Factor]

    def of(self, outputs: list[Atom], known: list[Any]) -> list[jax.Array]:
        """Values in it, from the numbers of its inputs."""
        env = dict(zip(self.graph.inputs, known, strict=True))
        return run(needed(self.graph.equations, outputs), env, outputs)


def _start(problem: Problem, initial_pull: Callable[..., jax.Array], key: Any) -> Kronecker:
    key, _ = split_key(f"{problem.name}.init", key)
    (initial,) = reach(initial_pull, (), problem.s)
    if initial.nnz:
        raise ValueError(
            f"{problem.name}.init: the initial state depends on the params, through no product "
            f"with an input; give init a state"
        )
    form = _form(problem, (problem.params, problem.state, problem.x, None))
    size = sum(factor.size for factor in form.factors)
    shape = (problem.s.size, form.dz.aval.size)
    return Kronecker(jnp.zeros(size, problem.dtype), jnp.zeros(shape, problem.dtype), key)


def _advance(problem: Problem, kept: Kronecker, pull: Pull, at: Any) -> Kronecker:
    form = _form(problem, at)
    known = jax.tree.leaves(at)

    def pulled(d: jax.Array) -> tuple[jax.Array, jax.Array]:
        (dz,) = form.of([form.dz], [*known, d])
        return dz.ravel(), pull(d)[1]

    key, now = split_key(problem.name, kept.key)
    rows, d = jax.vmap(pulled)(jnp.eye(problem.s.size, dtype=problem.s.dtype))
    m = rows.astype(problem.dtype)
    moved = d.astype(problem.dtype) @ kept.a
    atoms = [factor.v for factor in form.factors if factor.v is not None]
    values = iter(form.of(atoms, [*known, jnp.zeros(problem.s.shape, problem.s.dtype)]))
    v = jnp.concatenate(
        [
            jnp.ravel(next(values)) if factor.v is not None else jnp.ones(factor.size)
            for factor in form.factors
        ]
    ).astype(problem.dtype)
    c, c_new = jax.random.rademacher(now, (2,), problem.dtype)
    rho, rho_new = balance(moved.ravel(), kept.u), balance(m.ravel(), v)
    return Kronecker(
        c * rho * kept.u + c_new * rho_new * v, c * moved / rho + c_new * m / rho_new, key
    )


def _through(problem: Problem, kept: Kronecker, d_state: jax.Array) -> jax.Array:
    form = _form(problem, (problem.params, problem.state, problem.x, None))
    dz = d_state @ kept.a
    gradients, start = [], 0
    for factor, leaf in zip(form.factors, jax.tree.leaves(problem.params), strict=True):
        u = kept.u[start : start + factor.size]
        start += factor.size
        if factor.size == 0:
            gradients.append(jnp.zeros(leaf.size, problem.dtype))
        else:
            gradients.append(jnp.ravel(jnp.outer(dz, u) if factor.transposed else jnp.outer(u, dz)))
    return jnp.concatenate(gradients)


def _form(problem: Problem, at: Any) -> Form:
    """Traces the pullback, and finds the one product in it."""

    def pulled(params: PyTree, state: PyTree, x: PyTree, key: Any, d: jax.Array) -> PyTree:
        def after(params: PyTree) -> jax.Array:
            new, _ = problem.cell.step(params, state, x, key)
            return vector_of(problem.name, "state", new)[0]

        return jax.vjp(after, params)[1](d)[0]

    closed = jax.make_jaxpr(pulled)(*at, problem.s)
    inputs = [Value(v.aval) for v in closed.jaxpr.invars]
    consts = [Constant(c) for c in closed.consts]
    graph = from_jaxpr(closed.jaxpr, inputs, consts)
    reached = {inputs[-1]}
    made: dict[Any, Equation] = {}
    for equation in graph.equations:
        if reached.intersection(equation.values):
            reached.update(equation.outputs)
        made.update(dict.fromkeys(equation.outputs, equation))

    factors, dz = [], None
    for (path, _), out in zip(
        jax.tree.leaves_with_path(problem.params), graph.outputs, strict=True
    ):
        factor, own = _factor(out, reached, made)
        if own is not None and dz is None:
            dz = own
        if factor is None or own not in (None, dz):
            raise ValueError(
                f"{problem.name}: params must enter the state through one product z = v W + b, but "
                f"params{jax.tree_util.keystr(path)} does not. rx.uoro, rx.snap and rx.rtrl are "
                f"for any cell"
            )
        factors.append(factor)
    if dz is None:
        raise ValueError(f"{problem.name}: no params enter the state")
    return Form(graph, dz, factors)


def _factor(out: Atom, reached: set[Any], made: dict[Any, Equation]) -> tuple[Factor | None, Any]:
    """The factor of the leaf with this gradient, and the gradient of its z."""
    if not isinstance(out, Value) or out not in reached:
        return Factor(None, 0, False), None
    transposed = False
    while out in made and made[out].name == "transpose":
        (out,), transposed = made[out].values, not transposed
    if len(out.aval.shape) == 1:
        return Factor(None, 1, False), out
    equation = made[out]
    if equation.name != "dot_general" or len(out.aval.shape) != 2:
        return None, None
    (contracted, _), _ = equation.params["dimension_numbers"]
    values = equation.values
    sides = [value in reached for value in values]
    if contracted or [len(value.aval.shape) for value in values] != [1, 1] or all(sides):
        return None, None
    dz, v = values if sides[0] else values[::-1]
    return Factor(v, v.aval.shape[0], sides[0] != transposed), dz
