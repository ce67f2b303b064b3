"""nnx cells as ours, and our cells and models as nnx modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from recurrax.compose import as_model
from recurrax.core import Cell, PyTree, as_cell
from recurrax.interop import batching


def from_cell(
    cell: nnx.Module | Callable[[nnx.Rngs], nnx.Module],
    *,
    input_shape: tuple[int, ...] = (1,),
) -> Cell:
    """Any nnx cell as a `Cell`; its params are nested dicts, `nnx.to_pure_dict` of its nnx.Params.

    A `key` given to `step` seeds the cell's random streams; without one, the step is that of
    `cell.eval()`.

    Args:
      cell: a function that makes it of nnx.Rngs, whose weights `init` draws anew; or the cell
        itself, whose own weights `init` returns, whatever the key. Of variables it has nnx.Params
        and random streams alone.
      input_shape: of one step of one example, where the carry depends on more of it than the batch.

    Raises:
      TypeError: there is no such cell. ValueError: the cell has variables of other kinds.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> from flax import nnx
    >>> cell = rx.interop.flax_nnx.from_cell(lambda rngs: nnx.GRUCell(3, 8, rngs=rngs))
    >>> params = cell.init(jax.random.key(0), jnp.ones(3))
    >>> rx.unroll(cell, params, jnp.ones((5, 3)))[1].shape
    (5, 8)
    """

    def make(key: jax.Array) -> Any:
        return cell if isinstance(cell, nnx.Module) else cell(nnx.Rngs(key))

    template: Any = make(jax.random.key(0))
    if not callable(getattr(template, "initialize_carry", None)):
        raise TypeError(
            f"from_cell: expected an nnx.RNNCellBase or a function that makes one of nnx.Rngs, got "
            f"{type(template).__name__}"
        )
    name = f"from_cell({type(template).__name__})"
    graphdef, _, streams, rest = nnx.split(template, nnx.Param, nnx.RngState, ...)
    if nnx.to_flat_state(rest):
        raise ValueError(f"{name}: variables other than params: {nnx.to_pure_dict(rest)}")
    tags = {leaf.tag for _, leaf in nnx.to_flat_state(streams) if isinstance(leaf, nnx.RngKey)}
    streams = nnx.to_pure_dict(streams)  # values: merged variables belong to the trace that merges

    def init(key: jax.Array, x: Any) -> PyTree:
        return nnx.to_pure_dict(nnx.state(make(key), nnx.Param))

    def initial_state(params: PyTree) -> PyTree:
        module = nnx.merge(graphdef, params, streams)
        return module.initialize_carry(input_shape, nnx.Rngs(0))

    def step(params: PyTree, state: PyTree, x: jax.Array, key: jax.Array | None = None) -> Any:
        module = nnx.merge(graphdef, params, streams)
        if key is None:
            module.eval()
        else:
            seeds: Any = {tag: jax.random.fold_in(key, n) for n, tag in enumerate(sorted(tags))}
            nnx.reseed(module, **seeds)
        return module(state, x)

    return Cell(init, initial_state, step, name)


class NNXCell(nnx.RNNCellBase):
    """What `to_cell` makes."""

    def __init__(self, cell: Cell, x: Any, rngs: nnx.Rngs, stochastic: bool):
        self.cell = cell
        self.feature_axes = len(x.shape)
        self.weights = nnx.data(jax.tree.map(nnx.Param, cell.init(rngs.params(), x)))
        self.deterministic = not stochastic
        self.rngs = rngs.dropout.fork() if stochastic else nnx.data(None)

    def __call__(self, carry: PyTree, inputs: jax.Array) -> tuple[PyTree, PyTree]:
        batch, _ = batching.batch_axes(f"{self.cell}", inputs, self.feature_axes)
        params = _values(self.weights)
        key = None if self.rngs is None or self.deterministic else self.rngs()

        def step(state, x, key):
            return self.cell.step(params, state, x, key)

        keys = batching.keys_of(key, batch)
        return batching.over_batch(step, len(batch))(carry, inputs, keys)

    def initialize_carry(
        self, input_shape: tuple[int, ...], rngs: Any = None, carry_init: Any = None
    ) -> PyTree:
        if carry_init is not None:
            raise ValueError(f"{self.cell}: carry_init must be None; the cell has its own state")
        state = self.cell.initial_state(_values(self.weights))
        return batching.broadcast(state, input_shape[: len(input_shape) - self.feature_axes])

    @property
    def num_feature_axes(self) -> int:
        return self.feature_axes


def to_cell(cell: Any, x: Any, *, rngs: nnx.Rngs, stochastic: bool = False) -> NNXCell:
    """A recurrax cell as an nnx.RNNCellBase, which nnx.RNN accepts.

    Its weights are nnx.Params in our own record: `module.weights.w_h`.

    Args:
      cell: a `Cell`, or anything with `init`, `initial_state` and `step`.
      x: one step's input of one example, an array or a `jax.ShapeDtypeStruct`.
      rngs: `params` draws the weights.
      stochastic: whether the step gets a key, from a fork of `rngs.dropout`; `module.eval()` then
        makes it deterministic and `module.train()` random again.

    Raises:
      TypeError: `cell` is no cell; and what its `init` raises.

    >>> import jax.numpy as jnp, recurrax as rx
    >>> from flax import nnx
    >>> cell = rx.interop.flax_nnx.to_cell(rx.gru(8), jnp.ones(3), rngs=nnx.Rngs(0))
    >>> nnx.RNN(cell)(jnp.ones((2, 5, 3))).shape, cell.weights.w_h.shape
    ((2, 5, 8), (8, 24))
    """
    return NNXCell(as_cell(cell), x, rngs, stochastic)


class NNXModel(nnx.Module):
    """What `to_module` makes."""

    def __init__(self, model: Any, xs: Any, rngs: nnx.Rngs):
        self.model = model
        self.axes = len(xs.shape)
        self.weights = nnx.data(jax.tree.map(nnx.Param, model.init(rngs.params(), xs)))

    def __call__(
        self,
        xs: jax.Array,
        *,
        state: PyTree = None,
        length: Any = None,
        resets: Any = None,
        key: jax.Array | None = None,
    ) -> tuple[PyTree, PyTree]:
        batch, _ = batching.batch_axes(f"{self.model}", xs, self.axes)
        params = _values(self.weights)

        def apply(xs, state, length, resets, key):
            return self.model.apply(params, xs, state=state, length=length, resets=resets, key=key)

        keys = batching.keys_of(key, batch)
        return batching.over_batch(apply, len(batch))(xs, state, length, resets, keys)


def to_module(model: Any, xs: Any, *, rngs: nnx.Rngs) -> NNXModel:
    """A recurrax cell or sequence model as an nnx.Module over sequences [*batch, T, *features].

    It is called as `model.apply` is, `module(xs, state=None, length=None, resets=None, key=None)`,
    with the batch's axes first in each (but one key, which is split), and returns `(state, ys)`.
    Its weights are nnx.Params in our own tree, `module.weights`.

    Args:
      model: a cell or a sequence model.
      xs: one example's inputs, an array or a `jax.ShapeDtypeStruct`.
      rngs: `params` draws the weights.

    Raises:
      TypeError: `model` is neither a cell nor a sequence model; and what its `init` raises.

    >>> import jax.numpy as jnp, recurrax as rx
    >>> from flax import nnx
    >>> model = rx.serial(rx.bidirectional(rx.gru(4), rx.gru(4)), rx.lstm(8))
    >>> module = rx.interop.flax_nnx.to_module(model, jnp.ones((5, 3)), rngs=nnx.Rngs(0))
    >>> state, ys = module(jnp.ones((2, 5, 3)), length=jnp.array([5, 0]))
    >>> ys.shape
    (2, 5, 8)
    """
    return NNXModel(as_model(model), xs, rngs)


def _values(weights: PyTree) -> PyTree:
    """Our params, out of their variables."""
    is_variable = lambda leaf: isinstance(leaf, nnx.Variable)  # noqa: E731
    return jax.tree.map(lambda leaf: leaf[...], weights, is_leaf=is_variable)
