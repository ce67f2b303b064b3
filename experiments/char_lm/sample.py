"""Writing on from a prompt, drawn from the model's own distribution or from a sharper one."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import recurrax as rx
from experiments.char_lm.model import CharModel, Params
from experiments.char_lm.text import decode, encode
from experiments.common.errors import UserError


class Sampler:
    """Draws texts; compiles once for each length, number of texts and length of prompt."""

    def __init__(self, model: CharModel, alphabet: str):
        self._model, self._alphabet = model, alphabet
        self._draw = jax.jit(self._many, static_argnames="length")

    def __call__(
        self,
        params: Params,
        key: jax.Array,
        prompt: str,
        *,
        length: int,
        count: int = 1,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
    ) -> list[str]:
        """`count` texts of `length` letters that go on after the prompt, which is not repeated.

        Each letter is drawn from softmax(z / temperature), of which first the `top_k` likeliest
        letters are kept (Fan et al., 2018), then the likeliest ones that reach `top_p` together
        (Holtzman et al., 2020).

        Args:
          key: consumed.
          prompt: "" begins as after a line's end, or where the alphabet has none after its first
            letter.

        Raises:
          UserError: a number out of its range, or a letter that the model does not know.
        """
        for name, value in (("length", length), ("count", count)):
            if value < 1:
                raise UserError(f"the {name} must be at least 1; got {value}.")
        if not 0 < temperature < np.inf:
            raise UserError(f"the temperature must be above 0 and finite; got {temperature}.")
        if top_k is not None and top_k < 1:
            raise UserError(f"top-k must be at least 1; got {top_k}.")
        if not 0 < top_p <= 1:
            raise UserError(f"top-p must be above 0 and at most 1; got {top_p}.")
        if not prompt:
            prompt = "\n" if "\n" in self._alphabet else self._alphabet[0]
        strengths = (temperature, len(self._alphabet) if top_k is None else top_k, top_p)
        keys = jax.random.split(key, count)
        letters = encode(prompt, self._alphabet)
        drawn = self._draw(params, keys, letters, strengths, length=length)
        return [decode(row, self._alphabet) for row in np.asarray(drawn)]

    def _many(
        self, params: Params, keys: jax.Array, prompt: jax.Array, strengths: Any, *, length: int
    ) -> jax.Array:
        size = self._model.size
        temperature, top_k, top_p = strengths

        def scored(state: Any, letter: Any) -> tuple[Any, Any]:
            state, scores = self._model.step(params, state, letter)
            # A text has no end: one more letter, which is never drawn, stands for it.
            return state, jnp.append(scores, -jnp.inf)

        state, _ = self._model.read(params, self._model.initial_state(params), prompt[:-1])
        step, state = rx.processed(
            scored,
            state,
            rx.decode.temperature(temperature),
            rx.decode.keep_top_k(top_k),
            rx.decode.keep_top_p(top_p),
        )

        def one(key):
            found = rx.sample(step, state, key=key, bos=prompt[-1], eos=size, max_length=length)
            return found.tokens[0]

        return jax.vmap(one)(keys)
