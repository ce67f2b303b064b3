"""Keras 3: SimpleRNN, LSTM, GRU, ConvLSTM1D to 3D and Bidirectional, in and out, without keras.

A layer is its config, a dictionary as `keras.layers.serialize` and a saved model's JSON have it,
and its weights, a list of arrays as `get_weights` returns. LSTM and ConvLSTM have our gate order
(i, f, c, o is i, f, g, o); the GRU's is z, r, h. Its two biases (reset_after=True) are added but
for h's recurrent one, our `b_hn`. In Keras z = 1 keeps the state in both of its forms; in ours that
resets before the product, after the texts, it replaces the state: z's weights change sign.

`return_sequences` and `return_state` choose among what `apply` always returns, `(state, ys)`. A
mask is a `length`; past it our outputs are zero, as Keras's with `zero_output_for_mask`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recurrax.cells import (
    ConvLSTMParams,
    ElmanParams,
    GRUParams,
    LSTMParams,
    conv_lstm,
    elman,
    gru,
    lstm,
)
from recurrax.compose import Bidirectional, bidirectional, reverse, serial
from recurrax.core import PyTree, SequenceModel
from recurrax.interop.arrays import floats, layers_of, negate, reorder
from recurrax.interop.keras_settings import check_settings

_ACTIVATIONS = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "linear": lambda x: x,
}
"""Those that a SimpleRNN may have."""

_CONVOLUTIONS = ("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
_MERGES = {"concat": "concat", "sum": "sum", "ave": "mean"}


def from_config(
    config: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    weights: Sequence[Any],
    *,
    shape: tuple[int, ...] | None = None,
    ignore: Sequence[str] = (),
) -> tuple[SequenceModel, PyTree]:
    """The network that layers of these configs are, and its params. Differentiable in the weights.

    Args:
      config: `{"class_name": ..., "config": {...}}`, or one for each layer, bottom first.
      weights: the arrays of all layers, as `get_weights` lists them. Absent biases become zeros.
      shape: of the grid, for ConvLSTM layers; their config does not hold it.
      ignore: settings to leave out knowingly, such as "dropout" for a model that only predicts.

    Returns:
      `(model, params)`: `rx.serial` of one cell, or `rx.bidirectional` pair, a layer.

    Raises:
      ValueError: a layer, activation or setting that no cell here has, and that `ignore` does not
        name; a class that only has the name of one of Keras's; weights too few, too many or of
        other shapes. TypeError: no arrays of floats.

    >>> import numpy as np, recurrax as rx
    >>> weights = [np.ones((3, 8)), np.ones((2, 8)), np.ones(8)]
    >>> config = {"class_name": "LSTM", "config": {"units": 2}}
    >>> rx.interop.keras.from_config(config, weights)[0]
    serial(lstm(2))
    """
    configs = [config] if isinstance(config, Mapping) else list(config)
    rest = iter(weights)
    layers = [_layer(c, rest, shape, frozenset(ignore)) for c in configs]
    left = len(list(rest))
    if left:
        raise ValueError(f"weights: {left} of {len(weights)} arrays are left over")
    return serial(*(model for model, _ in layers)), tuple(params for _, params in layers)


def from_layers(*layers: Any, ignore: Sequence[str] = ()) -> tuple[SequenceModel, PyTree]:
    """The network that built Keras layers, one above the other, are, and its params.

    As `from_config`, which says the rest; one grid is that of the first ConvLSTM.

    Raises:
      ValueError: a layer is not built.
    """
    unbuilt = [layer.name for layer in layers if not layer.built]
    if unbuilt:
        raise ValueError(f"layers: {unbuilt} have no weights yet; call them, or build, first")
    inner = [getattr(layer, "forward_layer", layer) for layer in layers]  # of a Bidirectional
    grids = [getattr(getattr(layer, "cell", None), "spatial_dims", None) for layer in inner]
    return from_config(
        [
            {
                "class_name": type(layer).__name__,
                "module": type(layer).__module__,
                "config": layer.get_config(),
            }
            for layer in layers
        ],
        [array for layer in layers for array in layer.get_weights()],
        shape=next((tuple(grid) for grid in grids if grid), None),
        ignore=ignore,
    )


def _layer(
    config: Mapping[str, Any],
    weights: Iterator[Any],
    shape: tuple[int, ...] | None,
    ignore: frozenset[str],
) -> tuple[Any, PyTree]:
    """One layer, its weights taken from the front of `weights`."""
    kind, settings = config["class_name"], config["config"]
    if kind != "Bidirectional":
        backwards = settings.get("go_backwards", False)
        if backwards and settings.get("return_sequences"):
            raise ValueError(
                f"{kind}: go_backwards returns the sequence last step first; ours stays in its "
                f"order. Import the layer without, and use rx.reverse"
            )
        cell, params = _cell(config, weights, shape, ignore | {"go_backwards"})
        return (reverse(cell) if backwards else cell), params
    merge = settings.get("merge_mode", "concat")
    if merge not in _MERGES:
        raise ValueError(f"Bidirectional: merge_mode must be of {list(_MERGES)}, got {merge!r}")
    check_settings(kind, settings, ignore)
    _check_own(config)
    forward = settings["layer"]
    backward = settings.get("backward_layer") or {
        "class_name": forward["class_name"],
        "config": {**forward["config"], "go_backwards": True},
    }
    if forward["config"].get("go_backwards") or not backward["config"].get("go_backwards"):
        raise ValueError("Bidirectional: the backward layer, and it alone, must have go_backwards")
    ends = [_cell(c, weights, shape, ignore | {"go_backwards"}) for c in (forward, backward)]
    model = bidirectional(*(cell for cell, _ in ends), merge=_MERGES[merge])
    return model, Bidirectional(*(params for _, params in ends))


def _check_own(config: Mapping[str, Any]) -> None:
    """Raises where a layer has the name of one of Keras's but is a class of someone else's."""
    module, registered = config.get("module") or "keras", config.get("registered_name")
    if module.split(".")[0] not in ("keras", "tf_keras", "tensorflow") or ">" in (registered or ""):
        raise ValueError(
            f"class_name: expected a layer of Keras itself, got {registered or module} "
            f"{config['class_name']}, which may compute anything"
        )


def _cell(
    config: Mapping[str, Any],
    weights: Iterator[Any],
    shape: tuple[int, ...] | None,
    ignore: frozenset[str],
) -> tuple[Any, PyTree]:
    kind, settings = config["class_name"], config["config"]
    _check_own(config)
    gates = {"SimpleRNN": 1, "GRU": 3, "LSTM": 4} | dict.fromkeys(_CONVOLUTIONS, 4)
    if kind not in gates:
        raise ValueError(f"class_name: expected one of {[*gates, 'Bidirectional']}, got {kind!r}")
    check_settings(kind, settings, ignore)
    features = settings["filters" if kind in _CONVOLUTIONS else "units"]
    width = gates[kind] * features

    def take(name: str, expected: tuple[int, ...] | None = None) -> jax.Array:
        array = next(weights, None)
        if array is None:
            raise ValueError(f"weights: {kind}'s {name} is missing; is the layer built?")
        return floats(f"{kind}'s {name}", array, expected)

    w_x = take("kernel")
    if w_x.ndim < 2 or w_x.shape[-1] != width:
        raise ValueError(f"{kind}'s kernel: expected shape [..., {width}], got {w_x.shape}")
    w_h = take("recurrent kernel", (*w_x.shape[:-2], features, width))
    separate = kind == "GRU" and settings.get("reset_after", True)
    biased = settings.get("use_bias", True)
    zeros = jnp.zeros((2, width) if separate else (width,), w_x.dtype)
    b = take("bias", zeros.shape) if biased else zeros

    if kind == "SimpleRNN":
        name = settings.get("activation", "tanh")
        if not isinstance(name, str) or name not in _ACTIVATIONS:
            raise ValueError(f"{kind}: activation must be of {list(_ACTIVATIONS)}, got {name!r}")
        return elman(features, activation=_ACTIVATIONS[name]), ElmanParams(w_x, w_h, b)
    if kind == "LSTM":
        return lstm(features), LSTMParams(w_x, w_h, b)
    if kind == "GRU":
        w_x, w_h, b = (reorder(leaf, "zrn", "rzn") for leaf in (w_x, w_h, b))
        if separate:
            b_rz, b_hn = jnp.split(b[1], [2 * features])
            params = GRUParams(w_x, w_h, b[0].at[: 2 * features].add(b_rz), b_hn)
            return gru(features), params
        w_x, w_h, b = (negate(leaf, "z", "rzn") for leaf in (w_x, w_h, b))
        return gru(features, reset_after=False), GRUParams(w_x, w_h, b, None)
    if shape is None:
        raise ValueError(f"shape: {kind} needs the shape of its grid, which its config has not")
    cell = conv_lstm(features, shape, tuple(w_x.shape[:-2]), peepholes=())
    return cell, ConvLSTMParams(w_x, w_h, b)


def to_weights(params: PyTree, *, bias: bool = True) -> list[np.ndarray]:
    """What `set_weights` takes, for the Keras layer (or layers) that computes what params do.

    Our one bias becomes the GRU's input bias, and its recurrent bias zero but for `b_hn`. Weights
    do not hold an activation, `merge_mode`, `go_backwards` or a skip, and neither do params.

    Args:
      params: of `rx.serial` of layers, or of one layer: `rx.elman`, `rx.lstm`, `rx.gru`,
        `rx.conv_lstm` without peepholes, or `rx.bidirectional` of two of these.
      bias: False writes none, for `use_bias=False`, and demands that all are zero.

    Raises:
      TypeError: params of what Keras has no layer for. ValueError: a conv_lstm with peepholes;
        biases that are not zero with `bias=False`.

    >>> import jax, jax.numpy as jnp, recurrax as rx
    >>> params = rx.gru(2).init(jax.random.key(0), jnp.ones(3))
    >>> [array.shape for array in rx.interop.keras.to_weights(params)]
    [(3, 6), (2, 6), (2, 6)]
    """
    weights: list[np.ndarray] = []
    for layer in layers_of(params):
        for cell in layer if isinstance(layer, Bidirectional) else (layer,):
            *products, b = _write(cell)
            if not bias and b.any():
                raise ValueError(f"bias: False, but those of {type(cell).__name__} are not zero")
            weights += [*products, b] if bias else products
    return weights


def _write(params: Any) -> list[np.ndarray]:
    if type(params) not in (ElmanParams, LSTMParams, GRUParams, ConvLSTMParams):
        raise TypeError(
            f"params: Keras has no layer for {type(params).__name__}; it has those for rx.elman, "
            f"rx.lstm, rx.gru and rx.conv_lstm"
        )
    if isinstance(params, ConvLSTMParams) and any(p is not None for p in params[3:]):
        raise ValueError("params: Keras's ConvLSTM has no peepholes, these have; use peepholes=()")
    weights = [np.array(leaf) for leaf in params[:3]]
    if isinstance(params, GRUParams):
        weights = [reorder(leaf, "rzn", "zrn") for leaf in weights]
        if params.b_hn is None:
            return [negate(leaf, "z", "zrn") for leaf in weights]
        w_x, w_h, b = weights
        b_h = np.zeros_like(b)
        b_h[2 * params.b_hn.shape[0] :] = params.b_hn
        return [w_x, w_h, np.stack([b, b_h])]
    return weights
