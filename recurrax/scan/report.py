"""What `scan` makes of a step, for a person to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax

from recurrax.scan._jax import is_differentiable
from recurrax.scan.fission import split
from recurrax.scan.gradient import activity, differentiate, is_rewritten
from recurrax.scan.graph import Equation, Value
from recurrax.scan.kinds import Kind, classify, is_pinned, is_product, with_kind
from recurrax.scan.pieces import Loop, Step
from recurrax.scan.trace import call_of, is_opaque, trace, without_constant_carry


class Products(NamedTuple):
    """Matrix products of one step: as written, and left in the loop."""

    written: int
    left: int


class ScanReport(NamedTuple):
    """What left the loop, what stayed and why; see `scan_report`."""

    length: int
    once: tuple[str, ...]
    before: tuple[str, ...]
    loop: tuple[str, ...]
    after: tuple[str, ...]
    pinned: tuple[str, ...]  # that could have left the loop, were they not of their kind
    forward: Products
    backward: Products | None
    read: int  # bytes of rows that a step reads
    written: int  # bytes of rows that a step writes
    stored: int | None  # bytes that a step writes besides, where it is differentiated
    note: str

    def __str__(self) -> str:
        lines = [f"scan of {self.length} steps", f"  products a step, forward: {_of(self.forward)}"]
        if self.backward is not None:
            lines.append(f"  products a step, backward: {_of(self.backward)}")
        lines += [
            f"  once, invariant: {_listed(self.once)}",
            f"  before the loop, of xs alone: {_listed(self.before)}",
            f"  in the loop, of the carry: {_listed(self.loop)}",
            f"  after the loop, for ys alone: {_listed(self.after)}",
        ]
        if self.pinned:
            lines.append(f"  in the loop, as they must run step by step: {_listed(self.pinned)}")
        lines.append(f"  bytes a step: reads {self.read}, writes {self.written}")
        if self.stored is not None:
            lines[-1] += f", and {self.stored} for the backward pass"
        return "\n".join([*lines, f"  {self.note}"] if self.note else lines)


def scan_report(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
) -> ScanReport:
    """What `scan` with these arguments takes out of the loop; prints as a summary.

    Nothing is run or compiled. Shapes are those of `f` as written, without what `vmap` adds. The
    backward numbers are those of a gradient with respect to everything.

    >>> import jax.numpy as jnp
    >>> from recurrax.scan import scan_report
    >>> w, u = jnp.ones((3, 4)), jnp.ones((4, 4))
    >>> step = lambda h, x: (jnp.tanh(x @ w + h @ u), h)
    >>> print(scan_report(step, jnp.zeros(4), jnp.ones((9, 3))))
    scan of 9 steps
      products a step, forward: 1 in the loop of 2 written
      products a step, backward: 1 in the loop of 4 written
      once, invariant: nothing
      before the loop, of xs alone: dot_general
      in the loop, of the carry: dot_general, add, tanh
      after the loop, for ys alone: nothing
      bytes a step: reads 16, writes 16, and 16 for the backward pass
    """
    traced = trace(f, init, xs, length, reverse, unroll).jaxpr
    loops = [e for e in traced.jaxpr.eqns if e.primitive.name == "scan"]
    if not loops or is_opaque(loops[0]):
        steps: int = loops[0].params["length"] if loops else 0
        note = "left to jax.lax.scan: it has side effects, no steps, or jit is disabled"
        none: tuple[str, ...] = ()
        products = Products(0, 0)
        return ScanReport(steps, none, none, none, none, none, products, None, 0, 0, None, note)
    avals = [v.aval for v in loops[0].invars]
    call = without_constant_carry(call_of(loops[0], avals))
    return _report(call.step, call.loop)


def _report(step: Step, loop: Loop) -> ScanReport:
    pieces = split(step)
    inner = pieces.loop
    kinds = classify(inner.equations, inner.invariants, inner.carry, inner.xs)
    held = [
        e
        for e in with_kind(inner.equations, kinds, Kind.STATE)
        if is_pinned(e) and all(kinds[v] != Kind.STATE for v in e.values)
    ]
    written = _products(step.equations)
    backward, stored, note = None, None, ""
    if is_rewritten(inner):
        backward, stored = _backward(step, inner, loop)
    else:
        note = "the loop holds a custom_vjp function: its gradient is left to jax.lax.scan"
    return ScanReport(
        loop.length,
        _names(pieces.once),
        _names(pieces.before),
        _names(inner.equations),
        _names(pieces.after),
        _names(held),
        Products(written, _products(inner.equations)),
        backward,
        sum(v.bytes for v in inner.xs),
        sum(v.bytes for v in inner.ys if isinstance(v, Value)),
        stored,
        note,
    )


def _backward(step: Step, inner: Step, loop: Loop) -> tuple[Products | None, int | None]:
    whole = activity(step, *_all_on(step))
    written = sum(v in whole.values for e in step.equations if is_product(e) for v in e.inputs)
    active = activity(inner, *_all_on(inner))
    if not any((*active.carry, *active.ys)):
        return None, None
    rows = [jax.ShapeDtypeStruct((loop.length, *v.aval.shape), v.aval.dtype) for v in inner.xs]
    structs = [
        [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in part]
        for part in (inner.invariants, inner.carry)
    ]
    derivative = differentiate(inner, (*structs, rows), active)
    left = split(derivative.linear, summed=frozenset(derivative.tangents)).loop
    extra = derivative.forward.ys[len(inner.ys) :]
    stored = sum(v.bytes for v in extra if isinstance(v, Value))
    return Products(written, _products(left.equations)), stored


def _all_on(step: Step) -> list[list[bool]]:
    parts = (step.invariants, step.carry, step.xs)
    return [[is_differentiable(v.aval) for v in part] for part in parts]


def _products(equations: Iterable[Equation]) -> int:
    return sum(is_product(e) for e in equations)


def _names(equations: Iterable[Equation]) -> tuple[str, ...]:
    return tuple(e.name for e in equations)


def _listed(names: Sequence[str]) -> str:
    counts = Counter(names)
    return ", ".join(n if k == 1 else f"{n} x{k}" for n, k in counts.items()) or "nothing"


def _of(products: Products) -> str:
    return f"{products.left} in the loop of {products.written} written"
