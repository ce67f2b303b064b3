"""From a call of `scan` to a step whose every input is explicit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from recurrax.scan import _jax
from recurrax.scan.graph import Value, from_jaxpr
from recurrax.scan.pieces import Loop, Step


class Traced(NamedTuple):
    """A program around a loop, as `jax.lax.scan` would run it."""

    jaxpr: Any  # closed, without inputs; its constants are all that `f`, `init` and `xs` hold
    tree: Any  # the structure of the result (carry, ys)


def trace(f: Callable, init: Any, xs: Any, length, reverse, unroll) -> Traced:
    """Traces the call once, by `jax.lax.scan` itself: its checks, its promotions, its errors."""
    jaxpr, shapes = jax.make_jaxpr(
        lambda: jax.lax.scan(f, init, xs, length, reverse, unroll), return_shape=True
    )()
    return Traced(jaxpr, jax.tree.structure(shapes))


def evaluate(traced: Traced, run_scan: Callable) -> Any:
    """Runs the program, its loop by `run_scan(equation, values)`."""
    jaxpr = traced.jaxpr.jaxpr
    env = dict(zip(jaxpr.constvars, traced.jaxpr.consts, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if _jax.is_literal(atom) else env[atom]

    for equation in jaxpr.eqns:
        values = [read(atom) for atom in equation.invars]
        run = run_scan if equation.primitive.name == "scan" else _jax.bind
        env.update(zip(equation.outvars, run(equation, values), strict=True))
    return jax.tree.unflatten(traced.tree, [read(atom) for atom in jaxpr.outvars])


class Call(NamedTuple):
    """A step, how it loops, and what it is called with."""

    step: Step
    loop: Loop
    invariants: list[Any]
    init: list[Any]
    xs: list[Any]


def call_of(equation: Any, values: list[Any]) -> Call:
    """The step of a scan equation."""
    params = equation.params
    body = params["jaxpr"]
    inputs = tuple(Value(v.aval) for v in body.jaxpr.invars)
    consts = tuple(Value(v.aval) for v in body.jaxpr.constvars)
    graph = from_jaxpr(body.jaxpr, inputs, consts)
    n, n_carry = params["num_consts"], params["num_carry"]
    step = Step(
        graph.equations,
        (*consts, *inputs[:n]),
        inputs[n : n + n_carry],
        inputs[n + n_carry :],
        graph.outputs[:n_carry],
        graph.outputs[n_carry:],
    )
    loop = Loop(params["length"], params["reverse"], params["unroll"])
    invariants = [*body.consts, *values[:n]]
    return Call(step, loop, invariants, values[n : n + n_carry], values[n + n_carry :])


def without_constant_carry(call: Call) -> Call:
    """The same call where a carry that no step changes is an invariant."""
    step = call.step
    fixed = [v is out for v, out in zip(step.carry, step.carry_out, strict=True)]
    if not any(fixed):
        return call

    def pick(items, flag):
        return [item for item, is_fixed in zip(items, fixed, strict=True) if is_fixed == flag]

    step = step._replace(
        invariants=(*step.invariants, *pick(step.carry, True)),
        carry=tuple(pick(step.carry, False)),
        carry_out=tuple(pick(step.carry_out, False)),
    )
    return call._replace(
        step=step,
        invariants=[*call.invariants, *pick(call.init, True)],
        init=pick(call.init, False),
    )


def is_opaque(equation: Any) -> bool:
    """Whether the loop must be left as it is: it has side effects, or runs no step."""
    return bool(equation.effects) or equation.params["length"] == 0
