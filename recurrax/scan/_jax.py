"""The few places where the engine touches JAX below `jax.numpy`, `jax.lax` and `jax.make_jaxpr`.

What is used is `jax.extend.core` and the protocol of equations that JAX's own guide "Writing custom
jaxpr interpreters" describes. Nothing else of the engine looks inside an equation.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend import core
from jax.extend.core.primitives import stop_gradient_p
from jax.interpreters import ad, batching, mlir

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


def is_differentiable(value: Any) -> bool:
    """Whether a value, or those of an abstract one, has tangents of its own type."""
    # Outside jit a Python number may come as it is, which has no dtype but that of its type.
    return jax.numpy.issubdtype(getattr(value, "dtype", type(value)), jax.numpy.inexact)


def is_half(aval: Any) -> bool:
    """Whether values of this type are floating with fewer bits than float32."""
    return jax.numpy.issubdtype(aval.dtype, jax.numpy.floating) and aval.dtype.itemsize < 4


def type_of(value: Any) -> Any:
    """The type of a value, also of one that is being transposed for."""
    return value.aval if hasattr(value, "aval") else jax.typeof(value)


def is_explicitly_sharded(aval: Any) -> bool:
    """Whether how a value lies on a mesh is part of its type, which JAX then checks everywhere."""
    mesh = getattr(getattr(aval, "sharding", None), "mesh", None)
    return jax.sharding.AxisType.Explicit in (getattr(mesh, "axis_types", None) or ())


def same_variation(*values: jax.Array) -> list[jax.Array]:
    """Under `shard_map`: the values, made to vary over the same axes of the mesh."""
    axes = [_varying(type_of(value)) for value in values]
    every = frozenset().union(*axes)

    def widen(value: jax.Array, missing: tuple) -> jax.Array:
        if not missing:
            return value
        if hasattr(jax.lax, "pcast"):
            return jax.lax.pcast(value, missing, to="varying")
        return getattr(jax.lax, "pvary")(value, missing)  # noqa: B009, its name until JAX 0.9

    return [widen(v, tuple(every - own)) for v, own in zip(values, axes, strict=True)]


def _varying(aval: Any) -> frozenset:
    kind = getattr(aval, "manual_axis_type", None)
    return getattr(aval, "vma", frozenset()) if kind is None else kind.varying


def primitive(
    name: str, function: Callable[..., jax.Array], partitioned: Callable[..., jax.Array]
) -> core.Primitive:
    """A primitive that computes what the function does, but may have rules of its own.

    Args:
      partitioned: the same in a form that the compiler can divide among devices; it is used where
        the compiler does that, and `function` on one device and in `shard_map`.
    """
    new = core.Primitive(name)
    names = ("precision", "preferred_element_type", "turned", "shape")
    new.def_impl(jax.jit(lambda *a, **params: new.bind(*a, **params), static_argnames=names))

    def abstract(*avals, **params):
        closed = jax.make_jaxpr(functools.partial(partitioned, **params))(*avals)
        return closed.out_avals[0]

    def lower(ctx, *operands, **params):
        divided = _is_partitioned(ctx.module_context.axis_context)
        rule = mlir.lower_fun(partitioned if divided else function, multiple_results=False)
        return rule(ctx, *operands, **params)

    new.def_abstract_eval(abstract)
    mlir.register_lowering(new, lower)
    return new


def _is_partitioned(context: Any) -> bool:
    """Whether arrays of the program being lowered may be sharded by the compiler."""
    if isinstance(context, mlir.ShardingContext):
        return context.num_devices > 1
    mesh, manual = getattr(context, "mesh", None), getattr(context, "manual_axes", frozenset())
    return mesh is not None and not set(mesh.axis_names) <= set(manual)


def bilinear(new: core.Primitive, transpose_first: Callable, transpose_second: Callable) -> None:
    """Says that a primitive is linear in each of two operands, and its transposes."""
    ad.defbilinear(new, transpose_first, transpose_second)


def linear(new: core.Primitive, transpose: Callable) -> None:
    """Says that a primitive is linear in all operands together, and its transpose."""
    ad.deflinear2(new, transpose)


def batching_rule(new: core.Primitive, rule: Callable) -> None:
    """Sets what `vmap` makes of a primitive."""
    batching.primitive_batchers[new] = rule


def keep_batch(new: core.Primitive, function: Callable[..., jax.Array], behind: Callable) -> None:
    """Under `vmap` an operand a [..., *S] keeps its batch where it lies in front of S.

    Args:
      new: of a and w; of w batched it is `function`, which computes the same.
      behind: w -> the number of axes of S.
    """

    def rule(operands, axes, **how):
        (a, w), (a_axis, w_axis) = operands, axes
        if w_axis is not None:
            return jax.vmap(functools.partial(function, **how), axes)(a, w), 0
        if a_axis >= a.ndim - behind(w):
            a, a_axis = jax.numpy.moveaxis(a, a_axis, 0), 0
        return new.bind(a, w, **how), a_axis

    batching_rule(new, rule)


# `vmap` of a `cond` on a batched predicate puts a stop_gradient on what enters the branch that was
# not taken. In a derivative it stands on tangents, where JAX lacks its transpose (JAX issues 22011
# and 39219): nothing flows back through that branch.
ad.primitive_transposes.setdefault(stop_gradient_p, lambda cotangent, x: [ad.Zero(type_of(x))])


_time_first_p = core.Primitive("time_first")
_time_first_p.def_impl(lambda x: x)
_time_first_p.def_abstract_eval(lambda x: x)
mlir.register_lowering(_time_first_p, lambda ctx, x: [x])
ad.deflinear2(_time_first_p, lambda cotangent, x: [_time_first_p.bind(cotangent)])


def _batch_time_first(operands, axes):
    return _time_first_p.bind(jax.numpy.moveaxis(operands[0], axes[0], 1)), 1


batching.primitive_batchers[_time_first_p] = _batch_time_first


def time_first(x: jax.Array) -> jax.Array:
    """The identity of [T, ...], that under `vmap` puts the batch behind T: [T, B, ...].

    So a loop over time wants it, and JAX would else transpose what is computed for all steps rather
    than the smaller inputs.
    """
    return _time_first_p.bind(x)


# Below so many numbers a copy costs more than it saves.
_WORTH_A_COPY = 128


def _copies(always: jax.Array, *xs: jax.Array) -> list[jax.Array]:
    """The same values, the large ones through a branch, as XLA fuses nothing into or out of one."""
    large = [x for x in xs if x.size >= _WORTH_A_COPY]
    if not large:
        return list(xs)
    copies = iter(jax.lax.cond(always, lambda *xs: xs, lambda *xs: tuple(-x for x in xs), *large))
    return [next(copies) if x.size >= _WORTH_A_COPY else x for x in xs]


_apart_p = core.Primitive("apart")
_apart_p.multiple_results = True
_apart_p.def_impl(lambda always, *xs: list(xs))
_apart_p.def_abstract_eval(lambda always, *xs: list(xs))
mlir.register_lowering(_apart_p, lambda ctx, always, *xs: list(xs))
mlir.register_lowering(_apart_p, mlir.lower_fun(_copies, multiple_results=True), platform="cpu")
ad.primitive_jvps[_apart_p] = lambda primals, tangents: (_apart_p.bind(*primals), tangents[1:])
batching.primitive_batchers[_apart_p] = lambda primals, axes: (_apart_p.bind(*primals), axes[1:])


def apart(xs: Sequence[jax.Array], always: jax.Array) -> list[jax.Array]:
    """The identity of slices of stacked arrays of floats, that keeps the slicing for itself.

    XLA's CPU compiler fuses a slice at a traced position into what reads it, and then makes the
    whole fusion, all its exponentials with it, element by element: five times slower.

    Args:
      always: true, without XLA being able to tell. Not made from data: each device has its own.
    """
    return _apart_p.bind(always, *xs)
