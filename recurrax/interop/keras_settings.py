"""What a Keras layer's config may say, if a cell of ours is to compute the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_REQUIRED: dict[str, tuple[Any, ...]] = {
    "activation": ("tanh",),
    "recurrent_activation": ("sigmoid",),
    "dropout": (0,),
    "recurrent_dropout": (0,),
    "stateful": (False,),
    "go_backwards": (False,),
    "time_major": (False,),
    "strides": (1,),
    "dilation_rate": (1,),
    "padding": ("same",),
    "data_format": ("channels_last",),
}
"""The value that a cell of ours has; any other is another function."""

_NO_MATTER = {
    "backward_layer",
    "batch_input_shape",
    "dtype",
    "filters",
    "implementation",
    "kernel_size",
    "layer",
    "merge_mode",
    "name",
    "reset_after",
    "return_sequences",
    "return_state",
    "seed",
    "trainable",
    "unit_forget_bias",
    "units",
    "unroll",
    "use_bias",
    "use_cudnn",
    "zero_output_for_mask",
}
"""What is read elsewhere, or changes no value that is computed."""


def check_settings(kind: str, settings: Mapping[str, Any], ignore: frozenset[str]) -> None:
    """Raises where a setting, not in `ignore`, is not that of a cell of ours.

    A SimpleRNN's activation is not looked at: `rx.elman` has several.
    """
    known = ignore | _NO_MATTER | ({"activation"} if kind == "SimpleRNN" else set())
    for key, value in settings.items():
        if key in known or key.endswith("_initializer"):
            continue
        # A regulariser, of weights or of outputs, is a part of the loss that would be lost.
        required = (None,) if key.endswith(("_regularizer", "_constraint")) else _REQUIRED.get(key)
        if required is None:
            raise ValueError(f"{kind}: what {key}={value!r} does is not known here; see ignore")
        values = value if isinstance(value, (list, tuple)) else (value,)
        if any(v not in required for v in values):
            raise ValueError(
                f"{kind}: {key} must be {required[0]!r}, got {value!r}, which no cell here has; "
                f"ignore=({key!r},) leaves it out"
            )
    policy = settings.get("dtype")
    policy = policy.get("config", {}).get("name") if isinstance(policy, Mapping) else policy
    if "mixed" in str(policy) and "dtype" not in ignore:
        raise ValueError(f"{kind}: computes in {policy}; ours in the dtype of params and inputs")
