"""Results of several searches over one problem: which rows win, and what is certain then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from recurrax.decode import checks
from recurrax.decode.problem import Problem
from recurrax.decode.records import BeamResult, StopReason
from recurrax.decode.score import score


def escalate(
    search: Callable[..., BeamResult], results: BeamResult, *arguments: Any, lanes: int = 1
) -> BeamResult:
    """Runs `search` on those examples of a batch whose rows are not settled, on the host.

    ::

        @jax.jit
        @jax.vmap
        def exact(found, memory, state):
            return rx.exact_search(
                partial(step, memory), state, incumbent=found, n_best=N, **options
            )

        results = rx.escalate(exact, results, memories, states)

    Not for use inside `jax.jit`: which examples are left is known only when the results are.

    Args:
      search: takes `lanes` examples at once, `(results, *arguments)`, axes as in a batch, and
        returns as many results of the same shapes. It is compiled once, whatever the batch.
      results: of a batch, leaves [B, ...], as `jax.vmap` of a search returns them.
      arguments: pytrees with leaves [B, ...], which `search` gets for the same examples.
      lanes: how many examples share a call; a call takes as long as its slowest example.

    Returns:
      `results`, as NumPy arrays, with the rows of those examples replaced.

    Raises:
      ValueError: results of one example instead of a batch, or a search that returns other shapes.
    """
    lanes = checks.positive("escalate", "lanes", lanes)
    if np.ndim(results.bound) != 1:
        raise ValueError(
            "escalate: results must be those of a batch, with bound of shape [B], got shape "
            f"{np.shape(results.bound)}"
        )
    left = np.flatnonzero(~np.asarray(results.settled))
    whole = jax.tree.map(np.array, results)
    for start in range(0, len(left), lanes):
        chosen = left[start : start + lanes]
        # A last call that is not full repeats its last example, so that nothing is compiled anew.
        filled = np.concatenate([chosen, np.repeat(chosen[-1:], lanes - len(chosen))])
        part = jax.tree.map(lambda leaf, i=filled: leaf[i], (results, *arguments))
        found = search(*part)
        if jax.tree.map(jnp.shape, found) != jax.tree.map(jnp.shape, part[0]):
            raise ValueError(
                "escalate: search must return results of the shapes that it was given, tokens "
                f"{part[0].tokens.shape}, got {found.tokens.shape}. Is n_best the same?"
            )

        def replace(all, new, i=chosen):
            all[i] = np.asarray(new)[: len(i)]

        jax.tree.map(replace, whole, found)
    return whole


def checked_incumbent(
    function: str, problem: Problem, incumbent: BeamResult | None
) -> BeamResult | None:
    """The result as it came, if it can be one of `problem`'s."""
    if incumbent is None:
        return None
    if not isinstance(incumbent, BeamResult):
        raise TypeError(f"{function}: incumbent must be a BeamResult, got {incumbent!r}")
    shape = jnp.shape(incumbent.tokens)
    if len(shape) != 2 or shape[1] != problem.size:
        raise ValueError(
            f"{function}: incumbent must hold tokens of shape [N, max_length={problem.size}] of "
            f"one example, got {shape}. Use jax.vmap for the batch"
        )
    expected, given = (
        jax.tree.map(lambda leaf, skip=skip: jnp.shape(leaf)[skip:], tree)
        for tree, skip in ((problem.attention, 0), (incumbent.attention, 2))
    )
    if expected != given:
        raise ValueError(
            f"{function}: incumbent must hold the attention of this step, of shapes {expected} at "
            f"each token, got {given}"
        )
    return incumbent


def known_scores(incumbent: BeamResult | None, rows: int) -> tuple[Any, Any]:
    """What the `rows` best score at least, and what is outside the incumbent scores at most."""
    if incumbent is None:
        return -jnp.inf, jnp.inf
    scores = jnp.where(incumbent.stops == StopReason.EOS, incumbent.scores, -jnp.inf)
    return scores[rows - 1] if rows <= scores.size else -jnp.inf, incumbent.bound


def replayed(
    problem: Problem, found: Any, bound: jax.Array, steps: jax.Array, invalid: jax.Array
) -> BeamResult:
    """The result for rows of which a search kept the tokens alone: forced decoding adds the rest.

    `found` has scores [N], log_probs [N], lengths [N] and tokens [N, T].
    """
    filled = found.scores > -jnp.inf
    lengths = jnp.where(filled, found.lengths, 0)
    valid = jnp.arange(problem.size) < lengths[:, None]
    tokens = jnp.where(valid, found.tokens, problem.eos)

    def replay():
        def one(tokens, length):
            result = score(problem.step, problem.state, tokens, length, bos=problem.bos)
            return result.token_log_probs, result.attention

        return jax.vmap(one)(tokens, lengths)

    def skip():
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(replay))

    token_log_probs, attention = lax.cond(filled.any(), replay, skip)
    return BeamResult(
        tokens=tokens,
        lengths=lengths,
        scores=found.scores,
        log_probs=found.log_probs,
        token_log_probs=token_log_probs,
        attention=attention,
        stops=jnp.where(filled, StopReason.EOS, StopReason.EMPTY).astype(jnp.int32),
        proven=filled & (found.scores >= bound),
        bound=bound,
        steps=steps,
        invalid=invalid,
    )


def joined(old: BeamResult | None, new: BeamResult) -> BeamResult:
    """The best rows of both, as many as `new` has; what both found stands once, as in `old`.

    What is in neither exceeds neither bound; what is in one and found no row bounds the rest.
    """
    if old is None:
        return new
    size = new.tokens.shape[0]
    same = (old.tokens[:, None] == new.tokens).all(-1) & (old.lengths[:, None] == new.lengths)
    same &= (old.stops[:, None] == new.stops) & (new.stops != StopReason.EMPTY)
    twice = same.any(0)
    shared = {"bound": None, "steps": None, "invalid": None}
    rows: Any = jax.tree.map(
        lambda a, b: jnp.concatenate([a.astype(b.dtype), b]),
        old._replace(**shared),
        new._replace(**shared),
    )
    ended, cut = rows.stops == StopReason.EOS, rows.stops == StopReason.CUT
    twice = jnp.concatenate([jnp.zeros(old.lengths.shape, bool), twice])
    order = jnp.lexsort((-rows.scores, ~cut, ~ended, twice))
    # A row that stands twice may count as dropped only where its other copy is dropped too: the
    # bound would be right either way, but it would be the row's own score.
    outside = jnp.where(ended & ~twice, rows.scores, -jnp.inf)[order[size:]]
    dropped = outside.max(initial=-jnp.inf)
    rows = jax.tree.map(lambda leaf: leaf[order[:size]], rows)
    bound = jnp.maximum(dropped, jnp.minimum(old.bound, new.bound))
    return rows._replace(
        proven=(rows.stops == StopReason.EOS) & (rows.scores >= bound),
        bound=bound,
        steps=new.steps,
        invalid=old.invalid | new.invalid,
    )
