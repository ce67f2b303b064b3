"""flax.linen: weights in and out, its cells here, our cells and models there.

>>> import jax, jax.numpy as jnp, flax.linen as nn, recurrax as rx
>>> from recurrax.interop import flax_linen
>>> rnn = nn.Bidirectional(nn.RNN(nn.LSTMCell(8)), nn.RNN(nn.LSTMCell(8)))
>>> variables = rnn.init(jax.random.key(0), jnp.ones((2, 5, 3)))
>>> model, params = flax_linen.from_params(rnn, variables["params"])
>>> model
bidirectional(lstm(8), lstm(8))
"""

from recurrax.interop.flax_linen.modules import from_cell, to_cell, to_module
from recurrax.interop.flax_linen.weights import from_params, to_params

__all__ = ["from_cell", "from_params", "to_cell", "to_module", "to_params"]
