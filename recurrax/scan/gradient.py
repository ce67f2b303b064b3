"""The derivative of a loop: a loop of stored linear maps, itself split.

The derivative of s_t = f(s_{t-1}, x_t, W) is the linear recurrence
ds_t = A_t ds_{t-1} + B_t dx_t + C_t dW. In C_t dW a product of the state, h_{t-1} U, gives
h_{t-1} dU: it has no ds_{t-1} in it, so that fission takes it out of the loop as one product over
all steps. Transposed, by JAX, it is the gradient of U as one contraction over time, and the
backward loop keeps the product with U alone.

The rule's primal is the same scan with more outputs, under the same rule, so that derivatives of
derivatives are right; the linear loop is a plain `jax.lax.scan`, which can be transposed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from recurrax.scan import _jax
from recurrax.scan.cut import minimum_cut
from recurrax.scan.fission import split
from recurrax.scan.graph import Constant, Value, from_jaxpr, needed, run, used
from recurrax.scan.kinds import Kind, classify, is_cheap, is_product, mentions
from recurrax.scan.pieces import Loop, Step, do_once, plain_scan, run_split


def differentiable_scan(
    step: Step,
    loop: Loop,
    invariants: Sequence[Any],
    init: Sequence[Any],
    xs: Sequence[Any],
    *,
    storing: bool = False,
) -> tuple[list[Any], list[Any]]:
    """`plain_scan` with weight gradients taken once, over all steps.

    Args:
      storing: the step stores what its derivative needs.
    """
    if not is_rewritten(step):
        return plain_scan(step, loop, invariants, init, xs)
    sizes = len(invariants), len(invariants) + len(init)

    def parts(flat):
        return flat[: sizes[0]], flat[sizes[0] : sizes[1]], flat[sizes[1] :]

    @jax.custom_jvp
    def scan(*flat):
        return plain_scan(step, loop, *parts(flat), apart=not storing)

    def rule(primals, tangents):
        return _jvp(step, loop, parts(primals), parts([_nonzero(t) for t in tangents]))

    scan.defjvp(rule, symbolic_zeros=True)
    return scan(*invariants, *init, *xs)


def is_rewritten(step: Step) -> bool:
    """Whether the rule below applies.

    The linear map of a custom_vjp function can be transposed but not written down as a jaxpr.
    """
    return not mentions(step.equations, "custom_vjp") and not mentions(step.equations, "custom_lin")


def _nonzero(tangent: Any) -> Any:
    """The tangent, or None where it is zero because nothing depends on it."""
    if isinstance(tangent, jax.custom_derivatives.SymbolicZero):
        return None
    return tangent if _jax.is_differentiable(tangent) else None


class Derivative(NamedTuple):
    """`forward`: the step, with what is to be stored as further ys. `linear`: the step of the
    tangents, whose inputs are values of `forward` and `tangents`, those of the active inputs.
    `shifted`: carries, and the ys that have them one step later."""

    forward: Step
    linear: Step
    tangents: list[Value]
    shifted: list[tuple[Value, Value]]


def _jvp(step: Step, loop: Loop, primals, tangents):
    """The rule. Tangents that are zero come as None."""
    active = activity(step, *([t is not None for t in part] for part in tangents))
    if not any((*active.carry, *active.ys)):
        carry, ys = differentiable_scan(step, loop, *primals)
        return (carry, ys), ([_zero(c) for c in carry], [_zero(y) for y in ys])
    forward, linear, tangent_values, shifted = differentiate(step, primals, active)
    carry, ys = differentiable_scan(forward, loop, *primals, storing=True)

    invariants, init, xs = primals
    d_invariants, d_init, d_xs = tangents
    d_init = [_zero(c) if t is None else t for c, t in zip(init, d_init, strict=True)]
    given = [*d_invariants, *d_init, *d_xs]
    on = [*active.invariants, *active.carry, *active.xs]
    env: dict[Any, Any] = dict(zip(forward.invariants, invariants, strict=True))
    env.update(zip(forward.xs, xs, strict=True))
    env.update(zip(forward.ys, ys, strict=True))
    starts = dict(zip(forward.carry, init, strict=True))
    env.update((v, _one_step_back(env[y], starts[v], loop.reverse)) for v, y in shifted)
    env.update(
        zip(tangent_values, [t for t, flag in zip(given, on, strict=True) if flag], strict=True)
    )
    linear = _one_a_step(linear, tangent_values, env, loop.length)
    pieces = split(linear, summed=frozenset(tangent_values))
    d_carry, d_ys = run_split(
        pieces,
        do_once(pieces, [env[v] for v in linear.invariants]),
        [env[v] for v in linear.carry],
        [env[v] for v in linear.xs],
        loop,
        _linear_scan,
        _recomputing,
    )
    ys = ys[: len(step.ys)]
    return (carry, ys), (_fill(carry, d_carry, active.carry), _fill(ys, d_ys, active.ys))


def _one_a_step(linear: Step, tangents: Sequence[Value], env: dict[Any, Any], length: int) -> Step:
    """The linear step, with the half-precision tangents of summands as inputs of every step.

    Their gradient is a sum over all steps. In the loop it would be rounded at every one and stand
    still once it is 256 times its terms; from a stack it is taken in float32.
    """
    factors = {v for e in linear.equations if is_product(e) for v in e.values}
    summands = [
        v for v in tangents if v in linear.invariants and v not in factors and _jax.is_half(v.aval)
    ]
    for v in summands:
        wide = jnp.broadcast_to(env[v].astype(jnp.float32), (length, *env[v].shape))
        env[v] = wide.astype(v.aval.dtype)
    invariants = tuple(v for v in linear.invariants if v not in summands)
    return linear._replace(invariants=invariants, xs=(*linear.xs, *summands))


def _one_step_back(stack: Any, start: Any, reverse: bool) -> Any:
    """The carry before every step, from the stack of the carries after."""
    start = start[None]
    rows = [stack[1:], start] if reverse else [start, stack[:-1]]
    return _jax.time_first(jnp.concatenate(rows))


def _recomputing(function):
    """Keeps JAX from storing what the function derives from its inputs by cheap operations."""
    return jax.checkpoint(function, prevent_cse=False)


def _linear_scan(step: Step, loop: Loop, invariants, init, xs):
    fixed, n = list(invariants), len(init)

    @_recomputing
    def one_step(fixed, carry, x):
        env = dict(zip(step.invariants, fixed, strict=True))
        env.update(zip(step.carry, carry, strict=True))
        env.update(zip(step.xs, x, strict=True))
        outputs = run(step.equations, env, (*step.carry_out, *step.ys))
        return outputs[:n], outputs[n:]

    def body(carry, x):
        return one_step(fixed, carry, x)

    return jax.lax.scan(body, list(init), list(xs), loop.length, loop.reverse, loop.unroll)


def _fill(values: Sequence[Any], tangents: Sequence[Any], on: Sequence[bool]) -> list[Any]:
    """Tangents for all values: those given where `on`, and zeros."""
    given = iter(tangents)
    return [
        next(given) if active else _zero(value) for value, active in zip(values, on, strict=True)
    ]


def _zero(value: Any) -> Any:
    if _jax.is_differentiable(value):
        return jnp.zeros_like(value)
    return np.zeros(jnp.shape(value), jax.dtypes.float0)


class Activity(NamedTuple):
    """Which values of a step have a tangent that may be other than zero."""

    invariants: list[bool]
    carry: list[bool]
    xs: list[bool]
    ys: list[bool]
    values: set[Value]


def activity(
    step: Step, invariants: Sequence[bool], carry: Sequence[bool], xs: Sequence[bool]
) -> Activity:
    """Follows the tangents that the inputs have through the step, until the carry's are known."""
    carry = list(carry)
    while True:
        on = {
            v
            for values, flags in ((step.invariants, invariants), (step.carry, carry), (step.xs, xs))
            for v, flag in zip(values, flags, strict=True)
            if flag
        }
        for equation in step.equations:
            if on.intersection(equation.values):
                on.update(v for v in equation.outputs if _jax.is_differentiable(v.aval))
        reached = [c or out in on for c, out in zip(carry, step.carry_out, strict=True)]
        if reached == carry:
            ys = [y in on for y in step.ys]
            return Activity(list(invariants), carry, list(xs), ys, on)
        carry = reached


def differentiate(step: Step, primals, active: Activity) -> Derivative:
    """Linearises the step and chooses what to store."""
    on = [*active.invariants, *active.carry, *active.xs]
    on_out = [*active.carry, *active.ys]
    closed, linear = _linearise(step, primals, on, on_out)

    values = tuple(Value(v.aval) for v in closed.jaxpr.invars)
    n, m = len(step.invariants), len(step.invariants) + len(step.carry)
    invariants, carry, xs = values[:n], values[n:m], values[m:]
    graph = from_jaxpr(closed.jaxpr, values, [Constant(c) for c in closed.consts])
    n_carry, n_out = len(step.carry), len(step.carry) + len(step.ys)
    carry_out, ys = graph.outputs[:n_carry], graph.outputs[n_carry:n_out]
    leaves = graph.outputs[n_out:]

    kinds = classify(graph.equations, invariants, carry, xs)
    given = {y for y in ys if isinstance(y, Value)}
    shifted = [(v, out) for v, out in zip(carry, carry_out, strict=True) if out in given]
    at_hand = {*xs, *given, *(v for v, _ in shifted)}
    stored = minimum_cut(
        graph.equations,
        [leaf for leaf in leaves if isinstance(leaf, Value)],
        free=lambda v: kinds[v] == Kind.INVARIANT,
        repeatable=is_cheap,
        cost=lambda v: v.bytes * (1 if v in at_hand else 2),
    )
    extra = [v for v in stored if v not in at_hand]
    outputs = (*carry_out, *ys, *extra)
    equations = needed(graph.equations, outputs)
    forward = Step(equations, invariants, carry, xs, carry_out, (*ys, *extra))

    tangents = [Value(v.aval) for v in linear.jaxpr.invars]
    tangent_of = dict(
        zip([v for v, flag in zip(values, on, strict=True) if flag], tangents, strict=True)
    )
    d_invariants, d_carry, d_xs = (
        [tangent_of[v] for v in part if v in tangent_of] for part in (invariants, carry, xs)
    )
    linear_graph = from_jaxpr(linear.jaxpr, tangents, leaves)
    d_outputs = linear_graph.outputs
    equations = needed([*graph.equations, *linear_graph.equations], d_outputs, stored)
    reads = used(equations, d_outputs)
    linear_step = Step(
        equations,
        (*(v for v in reads if v in kinds and kinds[v] == Kind.INVARIANT), *d_invariants),
        tuple(d_carry),
        (*(v for v in reads if v in kinds and kinds[v] != Kind.INVARIANT), *d_xs),
        d_outputs[: len(d_carry)],
        d_outputs[len(d_carry) :],
    )
    return Derivative(forward, linear_step, tangents, [s for s in shifted if s[0] in stored])


def _linearise(step: Step, primals, on: Sequence[bool], on_out: Sequence[bool]):
    """Two jaxprs: the step with the leaves of its linear map as further outputs, and that map.

    The map's constants are those leaves; it goes from the tangents of the inputs that are `on` to
    those of the outputs that are `on_out`.
    """
    invariants, init, xs = primals
    slices = [jax.eval_shape(lambda x: x[0], x) for x in xs]
    inputs = (*step.invariants, *step.carry, *step.xs)
    linear: Any = None

    def with_leaves(*values):
        nonlocal linear

        def function(varying):
            varying = iter(varying)
            given = [next(varying) if flag else v for v, flag in zip(values, on, strict=True)]
            env = dict(zip(inputs, given, strict=True))
            return run(step.equations, env, (*step.carry_out, *step.ys))

        varying = [value for value, flag in zip(values, on, strict=True) if flag]
        outputs, derivative = jax.linearize(function, varying)

        def tangent(*d_varying):
            d_outputs = derivative(list(d_varying))
            return [d for d, flag in zip(d_outputs, on_out, strict=True) if flag]

        linear = jax.make_jaxpr(tangent)(*varying)
        return outputs, linear.consts

    closed = jax.make_jaxpr(with_leaves)(*invariants, *init, *slices)
    return closed, linear
