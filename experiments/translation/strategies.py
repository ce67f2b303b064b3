"""One sentence's search, as the options have it: what it may choose from, and which search it is.

Pure functions of ONE sentence, to be batched with `jax.vmap`. A translator here is anything with
the `encode` and the `step` of `Translator`.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import recurrax as rx
from experiments.common.precision import matmul_precision
from experiments.translation.constraints import Constraints
from experiments.translation.decoding import EXTRA, Plan, Strengths
from experiments.translation.tokenizer import BOS, EOS

PENALTIES = {
    "gnmt": rx.decode.gnmt,
    "average": rx.decode.average,
    "word-reward": rx.decode.word_reward,
}


class Setting(NamedTuple):
    """What all sentences share."""

    params: Any
    strengths: Strengths
    constraints: Constraints
    characters: Any
    """[V, C]: how each piece is spelled, where translations are compared by their characters."""
    seed: Any


def find(
    translator: Any,
    plan: Plan,
    setting: Setting,
    source: jax.Array,
    length: jax.Array,
    index: jax.Array,
    *,
    beam_size: int,
    rows: int,
    max_length: int,
) -> rx.BeamResult:
    """The translations of `source` [S], `rows` of them, best first.

    What is drawn depends on the seed and on `index`, the sentence's number, and on nothing beside
    the sentence. `exact` and `best-first` are beam search here: see `settle`; and `mbr` gives the
    candidates: see `choose`. Rows of `diverse` may be equal.
    """
    encoded = _encoded(translator, plan, setting, source, length)
    step, state, options = _problem(translator, plan, setting, encoded, length, max_length)
    key = jax.random.fold_in(jax.random.key(setting.seed), index)

    def drawn() -> rx.BeamResult:
        draw = functools.partial(rx.sample, step, state, **options)
        return _pooled(jax.vmap(lambda key: draw(key=key))(jax.random.split(key, rows)))

    def beam() -> rx.BeamResult:
        if beam_size == 0 or plan.search == "greedy":
            return rx.greedy(step, state, **options)
        patience = setting.strengths.patience
        return rx.beam_search(
            step, state, beam_size=beam_size, n_best=rows, patience=patience, **options
        )

    match plan.search:
        case "sample":
            return drawn()
        case "stochastic":
            found = rx.stochastic_beam_search(step, state, key=key, samples=rows, **options).rows
            return rx.reranked(found, found.scores)
        case "diverse":
            groups = rx.diverse_beam_search(
                step,
                state,
                groups=plan.groups,
                beam_size=max(beam_size, 1) // plan.groups,
                diversity=setting.strengths.diversity,
                **options,
            )
            return _pooled(groups)
        case "mbr":
            return drawn() if plan.candidates else beam()
        case _:
            return beam()


def find_in_turn(
    translator: Any,
    plan: Plan,
    setting: Setting,
    source: jax.Array,
    length: jax.Array,
    *,
    beam_size: int,
    rows: int,
    max_length: int,
    slots: int,
) -> rx.BeamResult:
    """What `find` gives to each of many sentences, `source` [N, S], `slots` of them at a time.

    Where a sentence is done, the next one takes its place. Beam and greedy search only.
    """
    encode = functools.partial(_encoded, translator, plan, setting)
    encoded = jax.vmap(encode)(source, length)
    greedy = beam_size == 0 or plan.search == "greedy"

    def make(sentence):
        encoded, length = sentence
        step, state, options = _problem(translator, plan, setting, encoded, length, max_length)
        return rx.decode.beam_loop(
            step,
            state,
            beam_size=1 if greedy else beam_size,
            n_best=rows,
            patience=setting.strengths.patience,
            **options,
        )

    return rx.decode.refilled(make, (encoded, length), slots=slots)


def settle(
    translator: Any,
    plan: Plan,
    setting: Setting,
    found: rx.BeamResult,
    source: jax.Array,
    length: jax.Array,
    *,
    rows: int,
    max_length: int,
) -> rx.BeamResult:
    """The best translations that there are, if the budget suffices; `found` spares it much."""
    encoded = _encoded(translator, plan, setting, source, length)
    step, state, options = _problem(translator, plan, setting, encoded, length, max_length)
    options |= {"n_best": rows, "incumbent": found}
    if plan.search == "best-first":
        return rx.best_first_search(step, state, budget=plan.budget, **options)
    return rx.exact_search(step, state, budget=setting.strengths.budget, **options)


def choose(plan: Plan, setting: Setting, found: rx.BeamResult, *, size: int) -> rx.BeamResult:
    """The candidates `found` by their expected utility, which is their score then.

    None is longer than `size`: the work grows as its square, and `found` has room for any.
    """
    ranked = rx.minimum_bayes_risk(
        found.tokens[:, :size],
        found.lengths,
        _utility(plan, setting, size, found.tokens.shape[1]),
        eos=EOS,
        log_weights=None if plan.candidates else found.log_probs,
    )
    return rx.reranked(found, ranked.expected)


def explain(found: rx.BeamResult, scores: jax.Array, weight: Any) -> rx.BeamResult:
    """`found`, ranked by the log-probabilities [N] of a reverse model as well; still proven."""
    return rx.reranked(found, found.scores + weight * scores, bound=found.bound)


def cover(found: rx.BeamResult, length: jax.Array, strengths: Strengths) -> rx.BeamResult:
    """`found`, ranked by what its attention left out or saw too often as well; still proven."""

    def penalty(weights):
        return rx.wu_coverage(weights, strengths.coverage, length) + rx.excess_coverage(
            weights, strengths.excess_coverage, length
        )

    return rx.reranked(found, found.scores + jax.vmap(penalty)(found.attention), bound=found.bound)


def _encoded(
    translator: Any, plan: Plan, setting: Setting, source: jax.Array, length: jax.Array
) -> Any:
    with matmul_precision(plan.precision):
        return translator.encode(setting.params, source, length)


def _problem(
    translator: Any,
    plan: Plan,
    setting: Setting,
    encoded: Any,
    length: jax.Array,
    max_length: int,
) -> tuple[Any, Any, dict[str, Any]]:
    """The step with its changes, the state, and the arguments that all searches take."""
    strengths, constraints = setting.strengths, setting.constraints
    limit = rx.decode.relative_length(length, strengths.max_ratio, EXTRA)
    limit = jnp.maximum(jnp.maximum(limit, strengths.min_pieces), constraints.shortest)
    own = jnp.where(strengths.max_pieces > 0, strengths.max_pieces, max_length)
    # Rows that only fill the batch have length 0: nothing is searched for them.
    limit = jnp.where(length == 0, 0, jnp.minimum(jnp.minimum(limit, max_length), own))
    least = rx.decode.relative_length(length, strengths.min_ratio)
    least = jnp.minimum(jnp.maximum(least, strengths.min_pieces), limit)
    memory, state = encoded
    plain = functools.partial(translator.step, setting.params, memory)

    def rounded(state, piece):
        # The cell's own products are rounded by `rx.scan`, on CPUs too: so, a scan of one step.
        with matmul_precision(plan.precision):
            state, output = rx.scan(plain, state, piece[None])
        return state, jax.tree.map(lambda leaf: leaf[0], output)

    step = rounded if plan.precision == "bfloat16" else plain
    step, state = rx.processed(
        step, state, *_processors(translator, plan, setting, least, limit, max_length)
    )
    options = {
        "bos": BOS,
        "eos": EOS,
        "max_length": max_length,
        "length_limit": limit,
        "min_length": least,
        "length_penalty": PENALTIES[plan.penalty](strengths.length_penalty),
    }
    return step, state, options


def _processors(
    translator: Any, plan: Plan, setting: Setting, least: Any, limit: Any, max_length: int
) -> list[rx.decode.Processor]:
    """What is asked for: first what was written counts, then what may be, last what is likely."""
    strengths, constraints = setting.strengths, setting.constraints

    def no_early_end(t: jax.Array, _: jax.Array, logits: jax.Array):
        # Where the end alone is likely, nothing would be left if the search barred it later.
        return t + 1, jnp.where(t + 1 < least, logits.at[EOS].set(-jnp.inf), logits)

    found = [
        make(getattr(strengths, name), translator.pieces)
        for name, make in _COUNTED.items()
        if name in plan.changes
    ]
    if plan.no_repeat:
        repeatable = constraints.repeatable
        found.append(rx.decode.no_repeat_ngrams(plan.no_repeat, max_length, repeatable))
    if constraints.bias is not None:
        found.append(rx.decode.bias(constraints.bias))
    if constraints.allowed is not None:
        found.append(rx.decode.following(constraints.allowed, eos=EOS, length_limit=limit))
    if plan.changes & _TRUNCATED.keys():
        found.append(rx.decode.Processor(jnp.zeros((), jnp.int32), no_early_end))
    return found + [
        make(getattr(strengths, name))
        for name, make in ({"temperature": rx.decode.temperature} | _TRUNCATED).items()
        if name in plan.changes
    ]


_COUNTED = {
    "repetition_penalty": rx.decode.repetition_penalty,
    "frequency_penalty": rx.decode.frequency_penalty,
    "presence_penalty": rx.decode.presence_penalty,
}
_TRUNCATED = {
    "top_k": rx.decode.keep_top_k,
    "top_p": rx.decode.keep_top_p,
    "min_p": rx.decode.keep_min_p,
    "typical": rx.decode.keep_typical,
}


def _pooled(found: rx.BeamResult) -> rx.BeamResult:
    """The rows of several results over one problem, leaves [G, N, ...], as those of one."""
    whole = {
        # What is in no row is in none of any result: the least of their bounds holds.
        "bound": found.bound.min(),
        "steps": found.steps.sum(),
        "invalid": found.invalid.any(),
    }
    rows = found._replace(**dict.fromkeys(whole))
    rows = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), rows)
    return rx.reranked(rows._replace(**whole), rows.scores, bound=whole["bound"])


def _utility(plan: Plan, setting: Setting, size: int, max_length: int) -> Any:
    match plan.utility:
        case "bleu":
            return rx.decode.sentence_bleu()
        case "chrf":
            assert setting.characters is not None
            most = min(6 * max_length, setting.characters.shape[1] * size)
            counted = rx.decode.chrf(setting.characters, size=most)
            # NaN: longer than any good translation, and so like none.
            return lambda *pair: jnp.nan_to_num(counted(*pair))
        case _:
            return rx.decode.ngram_f()
