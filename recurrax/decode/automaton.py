"""Deterministic automata over tokens: tables, and whatever can be explored from a start.

An automaton reads the tokens of a hypothesis, the start token and the end token left out, and says
after each which tokens may follow and whether the sequence may end. `rx.decode.following` keeps a
search to it. `S` is the number of states.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from recurrax.decode import checks

_FAR = 2**30


class Automaton(NamedTuple):
    """What `automaton`, `explored` and the builders on it make: a pytree, so that it can be traced.

    Either a table, whose `tokens` and `otherwise` are None, or the exceptions to one target for
    all other tokens: E of them in each state, whatever the size of the vocabulary.
    """

    targets: jax.Array
    """[S, V] or [S, E] int32: the next state; -1 where the token is forbidden."""
    tokens: jax.Array | None
    """[S, E] int32: which tokens the targets are for; larger than any token where there is none."""
    otherwise: jax.Array | None
    """[S] int32: the next state after every other token."""
    accepting: jax.Array
    """[S] bool: where a sequence may end."""
    start: jax.Array
    """[] int32."""
    distance: jax.Array
    """[S] int32: the fewest tokens to an end, the end token counted; 2^30 where there is none."""


def automaton(table: Any, accepting: Any, start: int | jax.Array = 0) -> Automaton:
    """The automaton of a transition table [S, V]: `table[s, v]` follows on s after token v.

    Everything may be traced: another table of the same shape compiles nothing.

    Args:
      table: [S, V] integers below S; a negative one forbids the token, as it must the end token in
        every state.
      accepting: [S] booleans.
      start: the state before the first token.

    Raises:
      ValueError: a shape, a target or the start out of range. TypeError: a wrong dtype.

    >>> import jax.numpy as jnp, recurrax as rx  # 0 and 1 in turn, at least one of them; 2 ends
    >>> turns = rx.decode.automaton([[1, 2, -1], [-1, 2, -1], [1, -1, -1]], [False, True, True])
    >>> step, state = lambda state, token: (state, jnp.array([0.0, 1.0, 0.0])), jnp.zeros(())
    >>> step, state = rx.processed(step, state, rx.decode.following(turns, eos=2))
    >>> result = rx.beam_search(step, state, bos=2, eos=2, beam_size=2, max_length=4)
    >>> print(result.tokens[0, : result.lengths[0]])
    [1 2]
    """
    name = "automaton"
    known = not isinstance(table, Tracer)
    table, accepting = (x if hasattr(x, "dtype") else np.asarray(x) for x in (table, accepting))
    if table.ndim != 2 or 0 in table.shape:
        raise ValueError(f"{name}: table must have shape [S, V], got {table.shape}")
    if not jnp.issubdtype(table.dtype, jnp.integer):
        raise TypeError(f"{name}: table must be integers, got {table.dtype}")
    states = table.shape[0]
    if accepting.shape != (states,):
        raise ValueError(f"{name}: accepting must have shape [S={states}], got {accepting.shape}")
    if accepting.dtype != jnp.bool_:
        raise TypeError(f"{name}: accepting must be booleans, got {accepting.dtype}")
    if known and np.max(table) >= states:
        raise ValueError(f"{name}: table must name states below {states}, got {np.max(table)}")
    start = checks.scalar(name, "start", start, low=0, high=states - 1)
    table = jnp.maximum(jnp.asarray(table), -1).astype(jnp.int32)
    return _trimmed(table, None, None, jnp.asarray(accepting), start)


def explored(
    start: Hashable,
    leave: Callable[[Any], tuple[Mapping[int, Hashable], Hashable]],
    accepts: Callable[[Any], bool],
    *,
    most: int = 100_000,
) -> Automaton:
    """The automaton of whatever states can be reached from `start`; a small grammar, in code.

    A state is any hashable value but None. Runs on the host, once; the result's size depends on
    the number of states and of exceptions, not on the vocabulary.

    Args:
      start: the state before the first token.
      leave: `leave(state) -> (exceptions, otherwise)`: the states after the tokens that are named,
        and the one after every other token. None forbids.
      accepts: whether a sequence may end in a state.
      most: so many states are an error, not a machine without memory.

    Raises:
      ValueError: more than `most` states; a negative token.

    >>> import recurrax as rx
    >>> def leave(depth):  # brackets, 0 and 1, at most three deep, around any other tokens
    ...     return {0: depth + 1 if depth < 3 else None, 1: depth - 1 if depth else None}, depth
    >>> brackets = rx.decode.explored(0, leave, lambda depth: depth == 0)
    >>> print(brackets.distance)
    [1 2 3 4]
    """
    numbers = {start: 0}
    queue, rows, others = [start], [], []

    def number(state):
        if state is None:
            return -1
        if state not in numbers:
            if len(numbers) == most:
                raise ValueError(f"explored: more than most={most} states")
            numbers[state] = len(numbers)
            queue.append(state)
        return numbers[state]

    for state in queue:  # which grows meanwhile
        exceptions, otherwise = leave(state)
        others.append(number(otherwise))
        if min(exceptions, default=0) < 0:
            raise ValueError(f"explored: a token must not be negative, got {min(exceptions)}")
        row = {token: number(target) for token, target in exceptions.items()}
        rows.append({token: target for token, target in row.items() if target != others[-1]})
    width = max(map(len, rows))
    tokens = np.full((len(rows), width), np.iinfo(np.int32).max, np.int32)
    targets = np.full((len(rows), width), -1, np.int32)
    for place, row in enumerate(rows):
        tokens[place, : len(row)] = list(row)
        targets[place, : len(row)] = list(row.values())
    accepting = [bool(accepts(state)) for state in queue]
    with jax.ensure_compile_time_eval():  # once, also while a function that makes one is traced
        return _trimmed(
            jnp.asarray(targets),
            jnp.asarray(tokens),
            jnp.array(others, jnp.int32),
            jnp.array(accepting),
            jnp.int32(0),
        )


def intersection(first: Automaton, second: Automaton) -> Automaton:
    """Accepts what both accept: pairs of states, those only that can be reached.

    Two processors, one for each, allow the same and need no more states than the two have. What
    the intersection adds is that it knows where only one of the two could still end. On the host.

    Raises:
      TypeError: an argument is no automaton, or is traced.
    """
    for argument in (first, second):
        check_automaton("intersection", argument)
        if isinstance(argument.targets, Tracer):
            raise TypeError("intersection: traced automata cannot be explored; use two processors")
    sides = [jax.tree.map(np.asarray, argument) for argument in (first, second)]

    def leave(pair):
        ways = [_exceptions(side, state) for side, state in zip(sides, pair, strict=True)]

        def joined(ends):
            return None if -1 in ends else ends

        named = {v: joined(tuple(way.get(v, o) for way, o in ways)) for way, _ in ways for v in way}
        return named, joined(tuple(otherwise for _, otherwise in ways))

    def accepts(pair):
        return all(side.accepting[state] for side, state in zip(sides, pair, strict=True))

    return explored(tuple(int(side.start) for side in sides), leave, accepts)


def check_automaton(function: str, value: Any) -> None:
    """Raises where an argument that must be an automaton is, for example, its table."""
    if not isinstance(value, Automaton):
        raise TypeError(
            f"{function}: expected an Automaton, as rx.decode.automaton(table, accepting) makes "
            f"one, got {value!r}"
        )


def _exceptions(automaton: Automaton, state: int) -> tuple[dict[int, int], int]:
    """As NumPy arrays on the host: the next states after the tokens named, and after the others."""
    targets = automaton.targets[state].tolist()
    if automaton.tokens is None or automaton.otherwise is None:
        return dict(enumerate(targets)), -1
    tokens = automaton.tokens[state].tolist()
    return dict(zip(tokens, targets, strict=True)), int(automaton.otherwise[state])


def _trimmed(targets: Any, tokens: Any, otherwise: Any, accepting: Any, start: Any) -> Automaton:
    """With the distances, and without the ways into states from where there is no end."""

    def shorter(state):
        distance, _ = state
        ends = jnp.where(targets >= 0, distance[targets], _FAR).min(1, initial=_FAR)
        if otherwise is not None:
            ends = jnp.minimum(ends, jnp.where(otherwise >= 0, distance[otherwise], _FAR))
        new = jnp.minimum(distance, jnp.minimum(ends, _FAR - 1) + 1)
        return new, (new < distance).any()

    distance = jnp.where(accepting, jnp.int32(1), jnp.int32(_FAR))
    distance, _ = lax.while_loop(lambda state: state[1], shorter, (distance, jnp.bool(True)))

    def kept(ways: Any) -> Any:
        return None if ways is None else jnp.where(distance[ways] < _FAR, ways, -1)

    return Automaton(kept(targets), tokens, kept(otherwise), accepting, start, distance)
