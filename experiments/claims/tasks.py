"""The tasks: small, and made up as they are needed, each the shortest that asks for one ability.

adding       to keep two numbers over many steps       Hochreiter and Schmidhuber, 1997
counting     to count without a bound                  Gers and Schmidhuber, 2001: a^n b^n
timing       to measure the time between two spikes    after Gers et al., 2002
characters   to model a language                       the translator's generated English
echo         to repeat what came a few steps ago       for the exploding gradient alone
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.long_memory.tasks import marked_numbers
from experiments.translation.corpus import generate


class Task(NamedTuple):
    """What to learn, and how well it was learnt.

    Attributes:
      outputs: O, the width of the network's output.
      example: key -> (xs [T, D], target), one for training; the key is consumed.
      loss: (ys [T, O], target) -> what training makes small.
      test: (xs, targets), N examples along the first axis.
      score: (ys [N, T, O], xs, targets) -> the number in the table.
      measure: what that number is.
      solved: the loss below which the task counts as learnt; None where it is never done with.
    """

    outputs: int
    example: Callable[[jax.Array], tuple[jax.Array, Any]]
    loss: Callable[[jax.Array, Any], jax.Array]
    test: tuple[jax.Array, Any]
    score: Callable[[jax.Array, jax.Array, Any], jax.Array]
    measure: str
    solved: float | None = None


def adding(steps: int, tests: int = 1000) -> Task:
    """The sum of the two marked ones of `steps` numbers, after the last; one in each half.

    Numbers are uniform in [0, 1), so that who always answers 1 has an error of 1/6 = 0.167.
    """

    def loss(ys, total):
        return jnp.square(ys[-1, 0] - total)

    def score(ys, xs, totals):
        return jnp.mean(jax.vmap(loss)(ys, totals))

    example = functools.partial(marked_numbers, length=steps)
    return Task(1, example, loss, _drawn(example, tests), score, "squared error", solved=0.01)


def counting(longest: int, longest_test: int) -> Task:
    """a^n b^n: the next symbol of "$ a a a b b b $", trained on n up to `longest`.

    After the first b everything that follows is determined; only that counts. The score is the
    largest n up to which every string is right, so that above `longest` it counts on by itself.
    """
    a, b, end = range(3)

    def string(n, limit):
        """Symbols 0 to 2n of the string, padded, and what follows each; -1 where it is open."""
        at = jnp.arange(2 * limit + 1)
        symbols = jnp.where(at == 0, end, jnp.where(at <= n, a, b))
        following = jnp.where(at < 2 * n, b, end)
        determined = (at > n) & (at <= 2 * n)
        xs = jax.nn.one_hot(symbols, 3) * (at <= 2 * n)[:, None]
        return xs, jnp.where(determined, following, -1)

    def example(key):
        return string(jax.random.randint(key, (), 1, longest + 1), longest)

    def loss(ys, following):
        losses = optax.softmax_cross_entropy_with_integer_labels(ys, jnp.maximum(following, 0))
        return jnp.sum(losses * (following >= 0)) / jnp.sum(following >= 0)

    def score(ys, xs, following):
        right = (jnp.argmax(ys, axis=-1) == following) | (following < 0)
        return jnp.sum(jnp.cumprod(jnp.all(right, axis=1)))

    test = jax.vmap(lambda n: string(n, longest_test))(jnp.arange(1, longest_test + 1))
    return Task(3, example, loss, test, score, "right up to n")


def timing(shortest: int, intervals: int, tests: int = 1000) -> Task:
    """How many steps lie between two spikes: one of `intervals` lengths from `shortest` on.

    The answer is due at the second spike; the first comes within the first ten steps.
    """
    latest = 10
    steps = latest + shortest + intervals - 1

    def example(key):
        for_start, for_length = jax.random.split(key)
        start = jax.random.randint(for_start, (), 0, latest)
        length = jax.random.randint(for_length, (), 0, intervals)
        end = start + shortest + length
        at = jnp.arange(steps)
        xs = ((at == start) | (at == end)).astype(jnp.float32)[:, None]
        return xs, (end, length)

    def loss(ys, target):
        end, length = target
        return optax.softmax_cross_entropy_with_integer_labels(ys[end], length)

    def score(ys, xs, targets):
        ends, lengths = targets
        answers = jnp.argmax(ys[jnp.arange(len(ys)), ends], axis=-1)
        return 100 * jnp.mean(answers == lengths)

    test = _drawn(example, tests)
    return Task(intervals, example, loss, test, score, "% right", solved=0.1)


def characters(steps: int, sentences: int, tests: int = 200) -> Task:
    """The next character of generated English sentences, one a line; tested on unseen ones."""
    splits = generate(seed=0, train=sentences, val=tests, test=0)
    texts = ["\n".join(pair.target for pair in splits[split]) + "\n" for split in ("train", "val")]
    alphabet = sorted(set("".join(texts)))
    number = {character: at for at, character in enumerate(alphabet)}
    train, test = (jnp.asarray([number[c] for c in text], jnp.int32) for text in texts)

    def pair(window):
        return jax.nn.one_hot(window[:-1], len(alphabet)), window[1:]

    def example(key):
        start = jax.random.randint(key, (), 0, len(train) - steps)
        return pair(jax.lax.dynamic_slice(train, (start,), (steps + 1,)))

    def loss(ys, following):
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(ys, following))

    def score(ys, xs, following):
        # The first quarter of a window has too little before it to be judged by.
        late = slice(steps // 4, None)
        return jnp.mean(jax.vmap(loss)(ys[:, late], following[:, late])) / np.log(2)

    windows = jnp.stack([test[at : at + steps + 1] for at in range(0, len(test) - steps, steps)])
    tested = jax.vmap(pair)(windows)
    return Task(len(alphabet), example, loss, tested, score, "bits a character")


def echo(steps: int, delay: int, tests: int = 100) -> Task:
    """What came `delay` steps ago, of independent signs: who says 0 has an error of 1."""

    def example(key):
        signs = jax.random.rademacher(key, (steps, 1), jnp.float32)
        return signs, signs

    def loss(ys, signs):
        return jnp.mean(jnp.square(ys[delay:] - signs[: steps - delay]))

    def score(ys, xs, signs):
        return jnp.mean(jax.vmap(loss)(ys, signs))

    return Task(1, example, loss, _drawn(example, tests), score, "squared error")


def _drawn(example: Callable[[jax.Array], Any], count: int) -> Any:
    """`count` examples of a stream of their own."""
    return jax.vmap(example)(jax.random.split(jax.random.key(1_000_003), count))
