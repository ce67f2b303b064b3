"""The tasks: each asks for something that came long before the answer is due.

adding      the sum of two marked numbers                     Hochreiter and Schmidhuber, 1997
copy        some symbols again, in order, after a wait        the same; Arjovsky et al., 2016
digits      which digit an image shows, pixel after pixel     Le et al., 2015
permuted    the same, with the pixels in another order        the same

Every answer is right or wrong, so that one number, the percentage of right ones, says it all.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.long_memory.digits import load_digits

SYMBOLS, REMEMBERED = 4, 4
_TESTS = 500


class Target(NamedTuple):
    """What is due at each step, [T], and whether anything is: a weight, 0 where not."""

    value: jax.Array
    weight: jax.Array


class Task(NamedTuple):
    """What to learn, and how well it was learnt.

    Attributes:
      outputs: O, the width of the network's output.
      draw: key -> (xs [T, D], Target), one for training; the key is consumed.
      loss: (y [O], one step's Target) -> what training makes small, summed over the steps.
      right: the same -> 1 or 0, meant where the weight is not 0.
      test: (xs, Target), N examples along the first axis.
      guess: the percentage that is right without a memory.
      solved: the percentage from which training stops; None where it is never done with.
    """

    outputs: int
    draw: Callable[[jax.Array], tuple[jax.Array, Target]]
    loss: Callable[[jax.Array, Target], jax.Array]
    right: Callable[[jax.Array, Target], jax.Array]
    test: tuple[jax.Array, Target]
    guess: float
    solved: float | None = None


def make_task(name: str, length: int | None, mnist: Path | None) -> Task:
    """A task of `options.TASKS`, for adding and copy at this length."""
    match name, length:
        case "adding", int():
            return adding(length)
        case "copy", int():
            return copy(length)
        case (("digits" | "permuted"), None):
            return digits(mnist, permuted=name == "permuted")
    raise ValueError(f"make_task: there is no task {name!r} of length {length}")


def marked_numbers(key: jax.Array, length: int) -> tuple[jax.Array, jax.Array]:
    """`length` numbers from [0, 1) beside marks, [T, 2], and the sum of the marked, one a half.

    The key is consumed.
    """
    key_values, key_first, key_second = jax.random.split(key, 3)
    values = jax.random.uniform(key_values, (length,))
    first = jax.random.randint(key_first, (), 0, length // 2)
    second = jax.random.randint(key_second, (), length // 2, length)
    at = jnp.arange(length)
    marks = ((at == first) | (at == second)).astype(values.dtype)
    return jnp.stack([values, marks], axis=1), values @ marks


def adding(length: int) -> Task:
    """The sum of the two marked ones of `length` numbers, as `marked_numbers` draws them.

    As in the paper an answer is right that is less than 0.04 off.
    """

    def draw(key):
        xs, total = marked_numbers(key, length)
        return xs, Target(jnp.broadcast_to(total, length), _last(length))

    def loss(y, target):
        return target.weight * jnp.square(y[0] - target.value)

    def right(y, target):
        return jnp.abs(y[0] - target.value) < 0.04

    # The sum of two uniform numbers is within 0.04 of its mean with probability 0.08 - 0.04**2.
    return Task(1, draw, loss, right, _tests(draw), guess=7.8, solved=95.0)


def copy(length: int) -> Task:
    """Four symbols of four kinds, a wait of `length` steps that ends in a signal; due again."""
    steps = 2 * REMEMBERED + length
    go = steps - REMEMBERED - 1

    def draw(key):
        symbols = jax.random.randint(key, (REMEMBERED,), 0, SYMBOLS)
        shown = jnp.full(steps, SYMBOLS).at[:REMEMBERED].set(symbols).at[go].set(SYMBOLS + 1)
        due = jnp.zeros(steps, int).at[go + 1 :].set(symbols)
        weight = (jnp.arange(steps) > go) / REMEMBERED
        return jax.nn.one_hot(shown, SYMBOLS + 2), Target(due, weight)

    test = _tests(draw)
    return Task(SYMBOLS, draw, _cross_entropy, _likeliest, test, 100 / SYMBOLS, solved=99.0)


def digits(mnist: Path | None, *, permuted: bool) -> Task:
    """Which digit an image shows, after its last pixel; in rows, or in one random order for all."""
    train, test = load_digits(mnist)
    pixels = train.pixels.shape[1]
    order = np.random.default_rng(1).permutation(pixels) if permuted else np.arange(pixels)

    def example(image, label):
        return image[order, None], Target(jnp.broadcast_to(label, pixels), _last(pixels))

    images, labels = jnp.asarray(train.pixels), jnp.asarray(train.labels)

    def draw(key):
        at = jax.random.randint(key, (), 0, len(labels))
        return example(images[at], labels[at])

    tests = jax.vmap(example)(jnp.asarray(test.pixels), jnp.asarray(test.labels))
    return Task(10, draw, _cross_entropy, _likeliest, tests, guess=10.0)


def _cross_entropy(y: jax.Array, target: Target) -> jax.Array:
    return target.weight * optax.softmax_cross_entropy_with_integer_labels(y, target.value)


def _likeliest(y: jax.Array, target: Target) -> jax.Array:
    return jnp.argmax(y) == target.value


def _last(steps: int) -> jax.Array:
    return (jnp.arange(steps) == steps - 1).astype(jnp.float32)


def _tests(draw: Callable[[jax.Array], tuple[jax.Array, Target]]) -> tuple[jax.Array, Target]:
    """Examples of a stream of their own."""
    return jax.vmap(draw)(jax.random.split(jax.random.key(1_000_003), _TESTS))
