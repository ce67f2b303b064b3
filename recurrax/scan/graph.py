"""A step function as a graph: values, and the equations that make them from each other.

A jaxpr, with calls inlined and every value of its own identity, so that passes may drop, copy, add
and regroup equations, and run any part of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.extend import core

from recurrax.scan import _jax


class Value:
    """One array in the graph, known by identity. `aval` is its type."""

    __slots__ = ("aval",)

    def __init__(self, aval: Any):
        self.aval = aval

    @property
    def bytes(self) -> int:
        """What one step of it takes."""
        itemsize = getattr(self.aval.dtype, "itemsize", 8)  # a key counts as two words
        return int(np.prod(self.aval.shape)) * itemsize


class Constant:
    """An input that is known while tracing, known by identity."""

    __slots__ = ("value",)

    def __init__(self, value: Any):
        self.value = value


Atom = Value | Constant


class Equation(NamedTuple):
    """`outputs = run(*inputs)`; `name` and `params` are the primitive's."""

    name: str
    inputs: tuple[Atom, ...]
    outputs: tuple[Value, ...]
    run: Callable[[Sequence[Any]], list[Any]]
    params: Mapping[str, Any]

    @property
    def values(self) -> list[Value]:
        """The inputs that are not constants."""
        return [atom for atom in self.inputs if isinstance(atom, Value)]


class Graph(NamedTuple):
    """Equations in an order in which they can run."""

    inputs: tuple[Value, ...]
    equations: list[Equation]
    outputs: tuple[Atom, ...]


def from_jaxpr(jaxpr: core.Jaxpr, inputs: Sequence[Atom], consts: Sequence[Atom] = ()) -> Graph:
    """The graph of a jaxpr, with calls of `jit` inlined; its inputs and constants are given."""
    equations: list[Equation] = []
    outputs = _inline(jaxpr, inputs, consts, equations)
    return Graph(tuple(a for a in inputs if isinstance(a, Value)), equations, tuple(outputs))


def _inline(
    jaxpr: core.Jaxpr, inputs: Sequence[Atom], consts: Sequence[Atom], equations: list[Equation]
) -> list[Atom]:
    env: dict[Any, Atom] = dict(zip(jaxpr.invars, inputs, strict=True))
    env.update(zip(jaxpr.constvars, consts, strict=True))

    def read(atom: Any) -> Atom:
        return Constant(atom.val) if _jax.is_literal(atom) else env[atom]

    for eqn in jaxpr.eqns:
        atoms = tuple(read(atom) for atom in eqn.invars)
        inner = _jax.inner_jaxpr(eqn)
        if inner is not None:
            inner_consts = [Constant(const) for const in inner.consts]
            results = _inline(inner.jaxpr, atoms, inner_consts, equations)
            env.update(zip(eqn.outvars, results, strict=True))
            continue
        outputs = tuple(Value(v.aval) for v in eqn.outvars)
        env.update(zip(eqn.outvars, outputs, strict=True))
        equations.append(Equation(eqn.primitive.name, atoms, outputs, _runner(eqn), eqn.params))
    return [read(atom) for atom in jaxpr.outvars]


def _runner(eqn: core.JaxprEqn) -> Callable[[Sequence[Any]], list[Any]]:
    return lambda values: _jax.bind(eqn, values)


def run(
    equations: Iterable[Equation], env: Mapping[Value, Any], outputs: Sequence[Atom]
) -> list[Any]:
    """Evaluates `outputs` where `env` holds the values that the equations start from."""
    env = dict(env)
    for equation in equations:
        results = equation.run([read(env, atom) for atom in equation.inputs])
        env.update(zip(equation.outputs, results, strict=True))
    return [read(env, atom) for atom in outputs]


def read(env: Mapping[Value, Any], atom: Atom) -> Any:
    """What an atom stands for."""
    return atom.value if isinstance(atom, Constant) else env[atom]


def needed(
    equations: Sequence[Equation], outputs: Iterable[Atom], given: Iterable[Value] = ()
) -> list[Equation]:
    """The equations that `outputs` need, where the values `given` are known already."""
    given = set(given)
    wanted = {atom for atom in outputs if isinstance(atom, Value)} - given
    kept = []
    for equation in reversed(equations):
        if wanted.intersection(equation.outputs):
            kept.append(equation)
            wanted.update(v for v in equation.values if v not in given)
    return kept[::-1]


def used(equations: Iterable[Equation], outputs: Iterable[Atom] = ()) -> dict[Value, None]:
    """The values that the equations and outputs read but that no equation makes, in order."""
    equations = list(equations)
    made = {v for equation in equations for v in equation.outputs}
    reads = [v for equation in equations for v in equation.values]
    reads += [atom for atom in outputs if isinstance(atom, Value)]
    return dict.fromkeys(v for v in reads if v not in made)
