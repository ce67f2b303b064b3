"""`scan`: `jax.lax.scan` that finds by itself what need not be in the loop."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from recurrax.scan import _jax
from recurrax.scan.checkpoint import Checkpoint, check_checkpoint, checkpointed
from recurrax.scan.fission import split
from recurrax.scan.gradient import differentiable_scan
from recurrax.scan.linear import associative
from recurrax.scan.pieces import do_once, plain_scan, run_split
from recurrax.scan.trace import call_of, evaluate, is_opaque, trace, without_constant_carry


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    *,
    fission: bool = True,
    checkpoint: int | str | None = None,
    precision: Any = None,
    method: str | None = None,
) -> tuple[Any, Any]:
    """`jax.lax.scan`, with less in the loop.

    s_t, y_t = f(s_{t-1}, x_t) for t = 1..T; returns `(s_T, y)`. Arguments, result and errors are
    those of `jax.lax.scan`; the values agree up to the rounding of sums taken in another order.

    What leaves the loop, forward:
      - work on what `f` closes over alone is done once;
      - work on x_t alone is done for all steps before the loop, x_t W as one product X W;
      - work on the state that only leads to y_t is done for all steps after the loop, where it
        includes more than cheap elementwise operations and does not start from much more than it
        results in;
      - `concatenate([x, h]) @ W` is split into x W_x + h W_h, and sums are regrouped.

    In the derivative, the gradient of a matrix that multiplies the state is one contraction over
    all steps after the backward loop, and no product and no transcendental is computed twice.

    What cannot be split stays in the loop. A step with side effects is left to `jax.lax.scan`.

    Args:
      f: the step, `(carry, x) -> (carry, y)`.
      init: s_0, a pytree.
      xs: a pytree of arrays [T, ...], or None.
      length: T, needed where `xs` has no leaves.
      reverse: from the last step to the first.
      unroll: how many steps one iteration of the compiled loop takes.
      fission: False for `jax.lax.scan` as it is.
      checkpoint: what the backward pass keeps of the forward one. With S the bytes of the carry and
        R those that one step stores for its derivative, besides xs and ys themselves:

        - None: everything, T R bytes, and no work twice;
        - an int k: the carry every k steps, T/k S + k R bytes, and one more forward pass;
        - "sqrt": the same with k the square root of T, about sqrt(T) (S + R) bytes;
        - "recursive": by halves (Griewank and Walther, 2000, with two parts a level), about
          log2(T/8) S + 16 R bytes, and log2(T/8) more forward passes.

        Weight gradients are then one contraction for each of the innermost loops.
      precision: of the products in `f` that name none, as `jax.default_matmul_precision` has it.
        "BF16_BF16_F32" is mixed precision: products of a float32 vector or matrix with a matrix
        that `f` closes over may multiply roundings to bfloat16, and sum in float32; states,
        gradients and all else stay float32. Unlike in `jax.lax.scan` this holds on CPUs as well,
        where it is 3 to 5 times faster if the processor has AMX, and slower if it has no bfloat16
        arithmetic. There what would not gain keeps float32: gradients of matrices, and matrices
        that `vmap` makes one an example; so does what the engine does not look into (`cond`,
        custom derivatives, `jax.checkpoint`, `fission=False`).
      method: None runs step by step. "associative" computes all states at once, in O(log T) rounds,
        where the step is affine in its state, s_t = A_t * s_{t-1} + B_t element by element with any
        A_t and B_t of x_t, whatever y_t is (Blelloch, 1990; Martin and Cundy, 2018). The step is
        written as ever: A and B are found in it.

    Raises:
      ValueError, TypeError: as `jax.lax.scan`; `checkpoint`, `precision` or `method` is none of the
        above; the step is not affine in its state; an associative scan with a checkpoint.
    """
    if precision is not None:
        with jax.default_matmul_precision(precision):
            return scan(
                f,
                init,
                xs,
                length,
                reverse,
                unroll,
                fission=fission,
                checkpoint=checkpoint,
                method=method,
            )
    how = check_checkpoint(checkpoint)
    if method not in (None, "associative"):
        raise ValueError(f'method: expected None or "associative", got {method!r}')
    if method is not None and how is not None:
        raise ValueError(f"checkpoint: an associative scan keeps all states, got {checkpoint!r}")
    if not fission and how is None and method is None:
        return jax.lax.scan(f, init, xs, length, reverse, unroll)
    run = functools.partial(_run, fission=fission, checkpoint=how, method=method)
    return evaluate(trace(f, init, xs, length, reverse, unroll), run)


def _run(
    equation: Any, values: list[Any], fission: bool, checkpoint: Checkpoint, method: str | None
) -> list[Any]:
    """A traced loop, split and run."""
    if method is not None and equation.effects:
        raise ValueError("method: a step with side effects has to run step by step")
    if is_opaque(equation):
        return _jax.bind(equation, values)
    whole = call_of(equation, values)
    if method is not None:
        carry, ys = associative(whole._replace(xs=[_jax.time_first(x) for x in whole.xs]))
        return [*carry, *ys]
    call = without_constant_carry(whole)
    if fission:
        pieces = split(call.step)
        fixed = do_once(pieces, call.invariants)

        def steps(loop, init, xs):
            return run_split(pieces, fixed, init, xs, loop, differentiable_scan)
    else:

        def steps(loop, init, xs):
            return plain_scan(call.step, loop, call.invariants, init, xs)

    xs = [_jax.time_first(x) for x in call.xs]
    if checkpoint is None:
        carry, ys = steps(call.loop, call.init, xs)
    else:
        carry, ys = checkpointed(steps, call.loop, call.init, xs, checkpoint)
    final = dict(zip(whole.step.carry, whole.init, strict=True))
    final.update(zip(call.step.carry, carry, strict=True))
    return [*(final[v] for v in whole.step.carry), *ys]
