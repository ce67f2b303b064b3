"""Real-time recurrent learning and SnAp: the influence itself, or the entries of it that matter."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recurrax.checks import check_count
from recurrax.core import PyTree
from recurrax.gradients.online.layout import Block, Layout, layout_of
from recurrax.gradients.online.learner import (
    Influence,
    OnlineLearner,
    Problem,
    Pull,
    online_learner,
)
from recurrax.gradients.online.structure import reach


def rtrl(cell: Any, *, sparse: bool = True) -> OnlineLearner:
    """Real-time recurrent learning, RTRL (Williams and Zipser, 1989): the exact gradient.

        J_t = D_t J_{t-1} + B_t,    D_t = ds_t/ds_{t-1},    B_t = ds_t/dtheta

    With params held fixed, the sum of the gradients over a sequence is that of backpropagation
    through all of it. Memory does not grow with T: it is one number for each pair of an element of
    the state [n] and a parameter [P] that it depends on.

    Which pairs these are is found in the program of the step, once for each shape, and holds for
    all values. A dense recurrence has n P of them, and a step costs n^2 P. Where units keep to
    themselves (`rx.indrnn`, `rx.lru`, `rx.min_gru`, `rx.rg_lru`) it is P, or 2 P for a complex
    state, and a step costs as much as the cell's own; blocks (`rx.slstm` with heads) lie between.
    Parameters of layers further down influence the states further up, not the other way round, and
    those of a read-out nothing at all.

    Args:
      cell: any cell, such as `rx.stack(rx.indrnn(64), rx.dense(10))`.
      sparse: False to keep all n P.

    Raises:
      TypeError: `cell` is no cell; in use, params that are not floating.

    Source: Williams and Zipser, 1989, "A learning algorithm for continually running fully recurrent
    neural networks"; with diagonal recurrences: Mozer, 1989; Zucchet et al., 2023, "Online learning
    of long-range dependencies".

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell, xs = rx.indrnn(4), jnp.ones((7, 3))
    >>> params = cell.init(jax.random.key(0), xs[0])
    >>> learner = rx.rtrl(cell)
    >>> memory = learner.init(params, xs[0])
    >>> for x in xs:  # the loss is |y_t|^2 / 2, whose derivative is y_t
    ...     memory, y, gradient = learner.step(params, memory, x)
    ...     d_params = gradient(y)
    >>> sum(leaf.size for leaf in jax.tree.leaves(params))
    20
    >>> sum(leaf.size for leaf in jax.tree.leaves(memory.influence))
    20
    """
    return online_learner("rtrl", cell, in_blocks(None, sparse))


def snap(cell: Any, steps: int = 1) -> OnlineLearner:
    """Sparse n-step approximation, SnAp-n (Menick et al., 2021).

        J_t = mask * (D_t J_{t-1} + B_t)

    The mask keeps an element of the state and a parameter that reaches it within n steps, the
    direct one counted, and is found as for `rtrl`. SnAp-1 has about one number for each parameter;
    a dense recurrence is full at n = 2, and the gradient that of `rtrl`; so is any at a large n.
    The estimate is biased. D_t itself has n^2 entries, and costs n pullbacks of a dense step.

    Args:
      cell: any cell.
      steps: n, at least 1.

    Raises:
      TypeError, ValueError: `cell` is no cell; `steps` no positive int; in use, params that are
        not floating.

    Source: Menick et al., 2021, "A practical sparse approximation for real time recurrent
    learning".

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> cell = rx.elman(4)
    >>> params = cell.init(jax.random.key(0), jnp.ones(3))
    >>> for learner in (rx.snap(cell), rx.snap(cell, 2), rx.rtrl(cell)):
    ...     memory = learner.init(params, jnp.ones(3))
    ...     print(learner, sum(leaf.size for leaf in jax.tree.leaves(memory.influence)))
    snap(elman(4)) 32
    snap(elman(4)) 128
    rtrl(elman(4)) 128
    """
    check_count("snap", "steps", steps)
    return online_learner("snap", cell, in_blocks(steps, True))


def in_blocks(steps: int | None, sparse: bool) -> Influence:
    """The entries of J that can be other than zero within so many steps, in blocks [G, K, M]."""
    layouts: dict[Any, Layout] = {}

    def layout(problem: Problem) -> Layout:
        shapes = (problem.params, problem.state, problem.x)
        leaves, treedef = jax.tree.flatten(shapes)
        known = treedef, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        if known not in layouts:
            layouts[known] = _layout(problem, steps, sparse)
        return layouts[known]

    def start(problem: Problem, initial_pull: Callable[..., jax.Array], key: Any) -> PyTree:
        del key
        where = layout(problem)
        rows = _pulled(initial_pull, where.initial.seeds, problem)
        return tuple(_entries(b, b.initial, rows) for b in where.blocks)

    def advance(problem: Problem, kept: PyTree, pull: Pull, at: Any) -> PyTree:
        del at
        where = layout(problem)
        direct = _pulled(lambda d: pull(d)[0], where.direct.seeds, problem)
        transition = _pulled(lambda d: pull(d)[1], where.state.seeds, problem)

        def advanced(block: Block, influence: jax.Array) -> jax.Array:
            color = np.append(where.state.color, 0)[block.rows]
            d = transition.at[color[:, :, None], block.rows[:, None, :]].get(
                mode="fill", fill_value=0
            )
            d = jnp.where(block.linked, d, 0)
            moved = jnp.einsum("gkl,glm->gkm", d, influence)
            return moved + _entries(block, block.direct, direct)

        return tuple(map(advanced, where.blocks, kept))

    def through(problem: Problem, kept: PyTree, d_state: jax.Array) -> jax.Array:
        where = layout(problem)
        parts = [
            jnp.einsum("gk,gkm->gm", d_state.at[b.rows].get(mode="fill", fill_value=0), j).ravel()
            for b, j in zip(where.blocks, kept, strict=True)
        ]
        return jnp.concatenate([*parts, jnp.zeros(1, problem.dtype)])[where.place]

    return Influence(start, advance, through)


def _layout(problem: Problem, steps: int | None, sparse: bool) -> Layout:
    """From the structure of the step, without a key or with one: the layout serves both."""
    shapes = (problem.params, problem.state, problem.x)
    key = jax.eval_shape(lambda: jax.random.key(0))
    without = reach(lambda p, s, x, d: problem.pulled(p, s, x, None, d), shapes, problem.s)
    direct, state = map(operator.add, without, reach(problem.pulled, (*shapes, key), problem.s))
    (initial,) = reach(problem.initial_pulled, (problem.params,), problem.s)
    return layout_of(direct.T.tocsr(), state.T.tocsr(), initial.T.tocsr(), steps, sparse)


def _pulled(pull: Callable[..., jax.Array], seeds: np.ndarray, problem: Problem) -> jax.Array:
    """One row a colour; a wider cotangent would change the dtype of what is pulled."""
    rows = jax.vmap(pull)(jnp.asarray(seeds, problem.s.dtype))
    return rows.astype(problem.dtype)


def _entries(block: Block, slots: np.ndarray, rows: jax.Array) -> jax.Array:
    """The entries [G, K, M] of a Jacobian of which `rows` [C, P] has the colours' sums."""
    (groups, height), width = block.rows.shape, block.columns.shape[1]
    values = rows.at[:, block.columns].get(mode="fill", fill_value=0)
    entries = jnp.zeros((groups, height, width), rows.dtype)
    at = np.arange(groups)[:, None], slots, np.arange(width)
    return entries.at[at].add(values, mode="drop")
