"""The few places where the engine touches JAX below `jax.numpy`, `jax.lax` and `jax.make_jaxpr`.

What is used is `jax.extend.core` and the protocol of equations that JAX's own guide "Writing custom
jaxpr interpreters" describes. Nothing else of the engine looks inside an equation.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import jax
from jax.extend import core

# `jit` was called `pjit` before JAX 0.7.
INLINED = frozenset({"jit", "pjit", "closed_call", "core_call"})


def is_literal(atom: Any) -> bool:
    """Whether an input of an equation is a constant written into the jaxpr."""
    return isinstance(atom, core.Literal)


def inner_jaxpr(equation: core.JaxprEqn) -> core.ClosedJaxpr | None:
    """The jaxpr of a plain call, that can be written in place of the call; None of others."""
    if equation.primitive.name not in INLINED:
        return None
    inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
    return inner if isinstance(inner, core.ClosedJaxpr) else None


def subjaxprs(params: dict[str, Any]) -> list[Any]:
    """The jaxprs directly inside the parameters of an equation."""
    found = []
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, core.ClosedJaxpr):
                found.append(item.jaxpr)
            elif isinstance(item, core.Jaxpr):
                found.append(item)
    return found


def bind(equation: core.JaxprEqn, values: Sequence[Any]) -> list[Any]:
    """Evaluates one equation; the outputs as a list."""
    params = equation.primitive.get_bind_params(equation.params)
    subfuns, params = params if isinstance(params, tuple) else ((), params)  # a pair in older JAX
    context = getattr(getattr(equation, "ctx", None), "manager", contextlib.nullcontext())
    with context:
        outputs = equation.primitive.bind(*subfuns, *values, **params)
    return list(outputs) if equation.primitive.multiple_results else [outputs]


def is_splittable_key(aval: Any) -> bool:
    """Whether random bits from a batch of such keys are those of the keys one by one.

    So it is for threefry; the hardware generators document that it is not for them.
    """
    if not jax.numpy.issubdtype(aval.dtype, jax.dtypes.prng_key):
        return True
    return "fry" in str(aval.dtype)


def is_differentiable(aval: Any) -> bool:
    """Whether values of this type have tangents of their own type."""
    return jax.numpy.issubdtype(aval.dtype, jax.numpy.inexact)
