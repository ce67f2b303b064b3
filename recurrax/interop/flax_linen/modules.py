"""Linen cells as ours, and our cells and models as linen modules."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import serialization

from recurrax.compose import as_model
from recurrax.core import Cell, PyTree, SequenceModel, as_cell
from recurrax.interop import batching


def from_cell(cell: nn.RNNCellBase, *, input_shape: tuple[int, ...] | None = None) -> Cell:
    """Any linen cell as a `Cell`; its params are linen's own collection "params".

    A `key` given to `step` serves every random stream of the cell (such as "dropout").

    Args:
      cell: its variables are of the collection "params" alone.
      input_shape: of one step of one example, where the carry depends on it (nn.ConvLSTMCell).

    Raises:
      TypeError: `cell` is no nn.RNNCellBase. ValueError: the carry depends on the input's shape and
        that is not given, or is random; the cell has variables beside its params.

    >>> import jax, jax.numpy as jnp, flax.linen as nn, recurrax as rx
    >>> cell = rx.interop.flax_linen.from_cell(nn.LSTMCell(8))
    >>> params = cell.init(jax.random.key(0), jnp.ones(3))
    >>> (c, h), ys = rx.unroll(cell, params, jnp.ones((5, 3)), length=4)
    >>> ys.shape
    (5, 8)
    """
    if not isinstance(cell, nn.RNNCellBase):
        raise TypeError(f"from_cell: expected an nn.RNNCellBase, got {type(cell).__name__}")
    name = f"from_cell({type(cell).__name__})"

    def carry(seed: int, shape: tuple[int, ...]) -> PyTree:
        return cell.initialize_carry(jax.random.key(seed), shape)

    if input_shape is None:
        input_shape = (1,) * cell.num_feature_axes
        shapes = [
            jax.eval_shape(lambda n=n: carry(0, (n,) * cell.num_feature_axes)) for n in (1, 2)
        ]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"{name}: the carry's shape depends on input_shape, which is not given"
            )
    pairs = zip(*(jax.tree.leaves(carry(seed, input_shape)) for seed in (0, 1)), strict=True)
    if any(jnp.any(a != b) for a, b in pairs):
        raise ValueError(
            f"{name}: the carry is drawn at random, but initial_state takes no key; use zeros, or "
            f"rx.learned_state"
        )

    def init(key: jax.Array, x: Any) -> PyTree:
        zeros = jnp.zeros(x.shape, x.dtype)
        variables = dict(cell.init(key, carry(0, x.shape), zeros))
        params = variables.pop("params", {})
        if variables:
            raise ValueError(f"{name}: variables other than params: {sorted(variables)}")
        return params

    def initial_state(params: PyTree) -> PyTree:
        return carry(0, input_shape)

    def step(params: PyTree, state: PyTree, x: jax.Array, key: jax.Array | None = None) -> Any:
        return cell.apply({"params": params}, state, x, rngs=key)

    return Cell(init, initial_state, step, name)


class LinenCell(nn.RNNCellBase):
    """What `to_cell` makes."""

    cell: Any
    num_feature_axes: int = 1
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, carry: PyTree, inputs: jax.Array) -> tuple[PyTree, PyTree]:
        batch, shape = batching.batch_axes(f"{self.cell}", inputs, self.num_feature_axes)
        params = _weights(self, self.cell, inputs, shape)
        keys = batching.keys_of(_dropout_key(self), batch)

        def step(state, x, key):
            return self.cell.step(params, state, x, key)

        return batching.over_batch(step, len(batch))(carry, inputs, keys)

    @nn.nowrap
    def initialize_carry(self, rng: jax.Array, input_shape: tuple[int, ...]) -> PyTree:
        whole = jax.ShapeDtypeStruct(input_shape, self.param_dtype)
        batch, shape = batching.batch_axes(f"{self.cell}", whole, self.num_feature_axes)
        x = jax.ShapeDtypeStruct(shape, self.param_dtype)
        params = jax.eval_shape(self.cell.init, jax.random.key(0), x)
        return batching.broadcast(batching.constant_state(self.cell, params), batch)


def to_cell(cell: Any, *, num_feature_axes: int = 1, param_dtype: Any = jnp.float32) -> LinenCell:
    """A recurrax cell as an nn.RNNCellBase, which nn.RNN accepts.

    The weights lie in the linen params under "weights", as `flax.serialization.to_state_dict` makes
    them of ours. Where there is a random stream "dropout", the step draws its key from it (tell
    nn.RNN to split it: `split_rngs={"params": False, "dropout": True}`); else it is deterministic.

    Args:
      cell: a `Cell`, or anything with `init`, `initial_state` and `step`.
      num_feature_axes: the number of axes of one step's input: 3 for a 2-D convolutional cell.
      param_dtype: of the weights and of the initial carry.

    Raises:
      TypeError: `cell` is no cell. ValueError, on `initialize_carry`: its initial state is learned.

    >>> import jax, jax.numpy as jnp, flax.linen as nn, recurrax as rx
    >>> rnn = nn.RNN(rx.interop.flax_linen.to_cell(rx.gru(8)))
    >>> ys, variables = rnn.init_with_output(jax.random.key(0), jnp.ones((2, 5, 3)))
    >>> ys.shape, variables["params"]["cell"]["weights"]["w_h"].shape
    ((2, 5, 8), (8, 24))
    """
    return LinenCell(as_cell(cell), num_feature_axes, param_dtype)


class LinenModel(nn.Module):
    """What `to_module` makes."""

    model: Any
    num_feature_axes: int = 1
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, xs: jax.Array, *, state: PyTree = None, length: Any = None, resets: Any = None
    ) -> tuple[PyTree, PyTree]:
        batch, shape = batching.batch_axes(f"{self.model}", xs, 1 + self.num_feature_axes)
        params = _weights(self, self.model, xs, shape)
        keys = batching.keys_of(_dropout_key(self), batch)

        def apply(xs, state, length, resets, key):
            return self.model.apply(params, xs, state=state, length=length, resets=resets, key=key)

        return batching.over_batch(apply, len(batch))(xs, state, length, resets, keys)


def to_module(
    model: Any, *, num_feature_axes: int = 1, param_dtype: Any = jnp.float32
) -> LinenModel:
    """A recurrax cell or sequence model as an nn.Module over sequences [*batch, T, *features].

    It is called as `model.apply` is, `module(xs, state=None, length=None, resets=None)`, with the
    batch's axes first in each, and returns `(state, ys)`; in an nn.Sequential the next layer may be
    `lambda state, ys: ys`. Weights, random stream and arguments are those of `to_cell`.

    Raises:
      TypeError: `model` is neither a cell nor a sequence model.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> model = rx.serial(rx.bidirectional(rx.gru(4), rx.gru(4)), rx.lstm(8))
    >>> module = rx.interop.flax_linen.to_module(model)
    >>> xs = jnp.ones((2, 5, 3))
    >>> variables = module.init(jax.random.key(0), xs)
    >>> state, ys = module.apply(variables, xs, length=jnp.array([5, 0]))
    >>> ys.shape
    (2, 5, 8)
    """
    return LinenModel(as_model(model), num_feature_axes, param_dtype)


def _weights(module: Any, model: Cell | SequenceModel, xs: Any, shape: tuple[int, ...]) -> PyTree:
    """Our params, kept by the module as nested dicts of arrays, as flax's own are."""
    dtype = module.param_dtype if jnp.issubdtype(xs.dtype, jnp.floating) else xs.dtype
    example = jax.ShapeDtypeStruct(shape, dtype)
    target = jax.eval_shape(model.init, jax.random.key(0), example)
    weights = module.param(
        "weights", lambda key: serialization.to_state_dict(model.init(key, example))
    )
    return serialization.from_state_dict(target, weights)


def _dropout_key(module: nn.Module) -> jax.Array | None:
    return module.make_rng("dropout") if module.has_rng("dropout") else None
