"""`decoding`: beam search with the translator's model, recurrax beside a loop in PyTorch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from experiments.benchmarks.options import Decode
from experiments.common.devices import data_mesh, replicate, shard
from experiments.common.errors import UserError
from experiments.common.files import write_file, write_json
from experiments.common.machine import describe, machine
from experiments.common.tables import milliseconds, table
from experiments.common.timing import Timing, measure
from experiments.translation.batches import SourceBatch, evaluation_batches
from experiments.translation.config import PRESETS
from experiments.translation.constraints import Constraints
from experiments.translation.decoding import Decoding
from experiments.translation.folder import ModelFolder
from experiments.translation.model import Params, Translator
from experiments.translation.search import batch_search
from experiments.translation.strategies import Setting
from experiments.translation.text import read_lines
from experiments.translation.tokenizer import EOS

VOCABULARY = 6000
"""Of the model with random weights."""
QUEUE = 8
FOREIGN = "PyTorch"


class Work(NamedTuple):
    """What every contender decodes."""

    translator: Translator
    params: Params
    sentences: int
    batches: Callable[[int], list[SourceBatch]]
    """Batches of so many sentences, the longest first."""
    decoding: Decoding
    about: str


class Translations(NamedTuple):
    """The best of each sentence, by its index."""

    tokens: list[list[int]]
    scores: np.ndarray


class Row(NamedTuple):
    """One contender at one beam size."""

    beam_size: int
    name: str
    timing: Timing
    sentences: int
    equal: int
    """Sentences whose tokens are PyTorch's."""
    score: float
    """The mean of the scores."""


def run(options: Decode) -> None:
    """Measures, prints and saves.

    Raises:
      UserError: PyTorch is not installed, or there is no such model or file.
    """
    try:
        import torch  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            "the peer of this benchmark is PyTorch, which is not installed: pip install torch."
        ) from error
    work = make_work(options)
    here = machine()
    print(f"{describe(here)}\n\n{work.about}\n", flush=True)
    rows: list[Row] = []
    parts = ["# Beam search beside PyTorch", describe(here), work.about]
    for beam_size in options.beam:
        new = _measure(work, beam_size, options)
        rows += new
        parts.append(_table(new))
        print(parts[-1], "\n", flush=True)
        write_json(
            options.output / "decoding.json",
            {
                "machine": here,
                "work": work.about,
                "rows": [row._asdict() | {"timing": row.timing._asdict()} for row in rows],
            },
        )
        write_file(options.output / "decoding.md", "\n\n".join(parts) + "\n")
    print(f"Saved {options.output / 'decoding'}.json and .md")


def make_work(options: Decode) -> Work:
    """A trained model and its sentences, or random weights and random sentences.

    Random weights never end a sentence: every search goes on to the limit.

    Raises:
      UserError: there is no such model or file, or only one of the two is given.
    """
    if (options.folder is None) != (options.file is None):
        raise UserError("--folder and --file belong together: a trained model and what to decode.")
    decoding = Decoding(length_penalty=options.length_penalty)
    if options.folder is not None and options.file is not None:
        _, vocabularies, translator, params = ModelFolder(options.folder).load(options.average)
        encode_all, sentences = vocabularies.source.encode_all, read_lines(options.file)
        chosen = np.linspace(0, len(sentences) - 1, min(options.sentences, len(sentences)))
        sentences = [sentences[index] for index in chosen.astype(int)]
        about = f"{options.folder.name} on {len(sentences)} sentences of {options.file.name}"
    else:
        translator = Translator(PRESETS["multi30k"][1].model, VOCABULARY, VOCABULARY)
        params = jax.jit(translator.init)(jax.random.key(0))
        params = params._replace(output_bias=params.output_bias.at[EOS].set(-1e9))
        random = np.random.default_rng(0)
        lengths = random.negative_binomial(8, 0.4, options.sentences) + 4  # 16 pieces, 4 to 40
        sentences = [random.integers(4, VOCABULARY, length).tolist() for length in lengths]
        encode_all = list
        decoding = Decoding(length_penalty=options.length_penalty, max_ratio=0.5)
        about = f"random weights, {len(sentences)} random sentences that never end"
    return work_of(translator, params, sentences, encode_all, decoding, about, options.batch_size)


def work_of(
    translator: Translator,
    params: Params,
    sentences: Sequence[Any],
    encode_all: Callable[[Sequence[Any]], list[list[int]]],
    decoding: Decoding,
    about: str,
    batch_size: int,
) -> Work:
    """`encode_all` makes pieces of the sentences."""
    tokenizer: Any = SimpleNamespace(encode_all=encode_all)
    sizes = f"V = {translator.sizes[1]}, H = {translator.config.decoder}"
    return Work(
        translator,
        params,
        len(sentences),
        lambda size: list(evaluation_batches(sentences, tokenizer, size)),
        decoding,
        f"{about}; {sizes}, batches of {batch_size}.",
    )


def ours(
    work: Work, beam_size: int, mesh: Mesh, batch_size: int, **changes: Any
) -> Callable[[], Translations]:
    """The translator's own search, with `changes` among its options."""
    decoding = dataclasses.replace(work.decoding, **changes)
    slots = batch_size if decoding.queue > 1 else None
    search = batch_search(work.translator, mesh, beam_size=beam_size, rows=1, slots=slots)
    params = replicate(work.params, mesh)
    setting = Setting(params, decoding.strengths, Constraints(), None, np.uint32(0))
    batches = work.batches(batch_size * decoding.queue)

    def call() -> Translations:
        all_found = [
            search(
                setting,
                *shard((batch.source, batch.source_length, batch.index), mesh),
                plan=decoding.plan,
                max_length=decoding.longest(batch.source.shape[1]),
            )
            for batch in batches
        ]
        tokens: list[list[int]] = [[]] * work.sentences
        scores = np.zeros(work.sentences)
        for batch, result in zip(batches, jax.device_get(all_found), strict=True):
            for row in np.flatnonzero(batch.index >= 0):
                length = result.lengths[row, 0]
                tokens[batch.index[row]] = result.tokens[row, 0, :length].tolist()
                scores[batch.index[row]] = result.scores[row, 0]
        return Translations(tokens, scores)

    return call


def theirs(work: Work, beam_size: int, batch_size: int) -> Callable[[], Translations]:
    """The same model in PyTorch."""
    from experiments.benchmarks import decoding_torch as peer

    peer.use_threads()
    model = peer.TorchTranslator(work.translator.config, work.params)
    batches = work.batches(batch_size)

    def call() -> Translations:
        tokens: list[list[int]] = [[]] * work.sentences
        scores = np.zeros(work.sentences)
        for batch in batches:
            real = batch.index >= 0
            lengths = batch.source_length[real]
            found = peer.beam_search(
                model,
                batch.source[real],
                lengths,
                np.array([work.decoding.longest(length) for length in lengths]),
                beam_size=beam_size,
                length_penalty=work.decoding.length_penalty,
            )
            for index, one in zip(batch.index[real], found, strict=True):
                tokens[index], scores[index] = one
        return Translations(tokens, scores)

    return call


def _measure(work: Work, beam_size: int, options: Decode) -> list[Row]:
    size = options.batch_size
    cores, one = data_mesh(size), data_mesh(size, jax.devices()[:1])
    calls = {
        "recurrax": ours(work, beam_size, cores, size),
        "recurrax, one device": ours(work, beam_size, one, size),
        "recurrax, queue": ours(work, beam_size, cores, size, queue=QUEUE),
        "recurrax, queue, bfloat16": ours(
            work, beam_size, cores, size, queue=QUEUE, precision="bfloat16"
        ),
        FOREIGN: theirs(work, beam_size, size),
    }
    found = {name: call() for name, call in calls.items()}
    timings = measure(calls, repeats=options.repeats, seconds=options.seconds)
    expected = found[FOREIGN].tokens
    return [
        Row(
            beam_size,
            name,
            timings[name],
            work.sentences,
            sum(mine == other for mine, other in zip(result.tokens, expected, strict=True)),
            float(result.scores.mean()),
        )
        for name, result in found.items()
    ]


def _table(rows: list[Row]) -> str:
    """One beam size."""
    (peer,) = (row.timing for row in rows if row.name == FOREIGN)
    lines = [
        [
            row.name,
            milliseconds(row.timing),
            f"{1000 * row.sentences / row.timing.median:.0f}",
            f"{peer.median / row.timing.median:.2f}",
            f"{row.equal} of {row.sentences}",
            f"{row.score:.5f}",
        ]
        for row in rows
    ]
    columns = ["ms (quartiles)", "sentences/s", "times faster", "as PyTorch", "score"]
    return table([f"beam {rows[0].beam_size}", *columns], lines)
