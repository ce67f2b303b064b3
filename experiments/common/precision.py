"""What the products of a run are computed with."""

from __future__ import annotations

from typing import Any, Literal

import jax

Precision = Literal["float32", "bfloat16"]


def matmul_precision(precision: Precision) -> Any:
    """The context in which products are bfloat16 roundings summed in float32, or as ever.

    "float32" leaves what the user chose for JAX (`jax_default_matmul_precision`), GPU's tf32 say.
    """
    as_the_user_chose = getattr(jax.config, "jax_default_matmul_precision", None)
    bfloat16 = precision == "bfloat16"
    return jax.default_matmul_precision("BF16_BF16_F32" if bfloat16 else as_the_user_chose)
