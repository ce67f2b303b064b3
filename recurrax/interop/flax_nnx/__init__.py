"""flax.nnx: weights in and out, its cells here, our cells and models there.

>>> import jax, jax.numpy as jnp, recurrax as rx
>>> from flax import nnx
>>> module = nnx.RNN(nnx.LSTMCell(3, 8, rngs=nnx.Rngs(0)))
>>> cell, params = rx.interop.flax_nnx.from_params(module)
>>> cell
lstm(8)
>>> nnx.update(module, rx.interop.flax_nnx.to_params(module, params))  # and back
"""

from recurrax.interop.flax_nnx.modules import from_cell, to_cell, to_module
from recurrax.interop.flax_nnx.weights import from_params, to_params

__all__ = ["from_cell", "from_params", "to_cell", "to_module", "to_params"]
