"""What the sub-commands do with a trained model: evaluate, translate, plot."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import recurrax as rx
from experiments.common.errors import UserError, warn
from experiments.common.files import write_file, write_json
from experiments.common.metrics import read_metrics
from experiments.common.plots import attention_map, learning_curves
from experiments.common.progress import Progress
from experiments.translation.decoding import Decoding
from experiments.translation.folder import ModelFolder
from experiments.translation.hypotheses import Hypothesis
from experiments.translation.scoring import Scores, score, sentence_scores
from experiments.translation.text import Pair, read_lines
from experiments.translation.tokenizer import EOS, Vocabularies
from experiments.translation.trained import DEFAULT, Model, splits_to_score

GREEDY = 0
"""Stands for greedy search in a list of beam sizes."""


def evaluate(
    folder: ModelFolder,
    *,
    beam_sizes: Sequence[int],
    average: int,
    batch_size: int,
    decoding: Decoding = DEFAULT,
    splits: Sequence[str] = (),
    data_path: Path | None = None,
    examples: int = 3,
) -> dict[str, dict[int, Scores]]:
    """Scores every test split at every beam size; prints a table, examples, and writes files.

    A search other than beam search is run once, with the largest of the beam sizes.
    `evaluation/SPLIT.json` holds the scores and `evaluation/SPLIT.BEAM.txt` the translations.
    Seconds are those of a second pass over the split, when every shape is compiled.

    Raises:
      UserError: no such split, no model, broken data, a number out of its range.
    """
    if not beam_sizes:
        raise UserError("no beam size is given; 0 is greedy search.")
    if decoding.search != "beam":
        beam_sizes = [max(beam_sizes)]
    model = Model(folder, average, batch_size, decoding)
    searches = {beam_size: model.search(beam_size) for beam_size in beam_sizes}
    data = splits_to_score(model, splits, data_path)
    table: dict[str, dict[int, Scores]] = {}
    for name, pairs in data.items():
        sources, references = [p.source for p in pairs], [p.target for p in pairs]
        table[name], rows = {}, {}
        mean = "best checkpoint"
        if model.average > 1:
            mean = f"mean of the {model.average} best checkpoints"
        print(f"\n{name}: {len(pairs)} sentences, {mean}")
        print(f"{'search':>10} {'BLEU':>6} {'chrF':>6} {'length':>7} {'seconds':>8} {'proven':>7}")
        found: list[list[Hypothesis]] = []
        for beam_size in beam_sizes:
            search = searches[beam_size]
            with Progress(2 * len(pairs)) as progress:
                for _ in range(2):
                    begin = time.monotonic()
                    found = search(
                        model.params,
                        sources,
                        progress=lambda count, p=progress: p.update(steps=count),
                    )
                    seconds = time.monotonic() - begin
            texts = [hypotheses[0].text if hypotheses else "" for hypotheses in found]
            scores = table[name][beam_size] = score(texts, references)
            proven = sum(bool(h) and h[0].proven for h in found) / len(pairs)
            label = decoding.search
            if label == "beam":
                label = "greedy" if beam_size == GREEDY else f"beam {beam_size}"
            print(
                f"{label:>10} {scores.bleu:6.2f} {scores.chrf:6.2f} {scores.length_ratio:7.3f} "
                f"{seconds:8.2f} {proven:7.1%}"
            )
            rows[label] = {**scores._asdict(), "seconds": seconds, "proven": proven}
            _write_lines(folder.evaluation / f"{name}.{label.replace(' ', '')}.txt", texts)
        print(f"{table[name][beam_sizes[-1]].bleu_signature}")
        settings = {
            "average": model.average,
            **dataclasses.asdict(decoding),
            "patience": decoding.patience if decoding.patience < math.inf else None,
            **{name: _text(getattr(decoding, name)) for name in ("reverse", "one_of")},
            "ensemble": [*map(_text, decoding.ensemble)],
            "beam_size": max(beam_sizes),
            "sentences": len(pairs),
        }
        suffix = "" if decoding.search == "beam" else f".{decoding.search}"
        write_json(
            folder.evaluation / f"{name}{suffix}.json", {"settings": settings, "scores": rows}
        )
        _show_extremes(pairs, found, examples)
        _draw_attention(folder, model.vocabularies, sources[:examples], found[:examples], name)
    return table


def translate(
    folder: ModelFolder,
    sentences: Sequence[str],
    *,
    beam_size: int,
    n_best: int,
    average: int,
    batch_size: int,
    decoding: Decoding = DEFAULT,
    certificate: bool = False,
) -> None:
    """Prints the translations, one a line; with `n_best` > 1 `number<TAB>score<TAB>translation`.

    They come as they are found, in the order of `sentences`. With `certificate` a column before the
    translation: "proven" to be the model's best, or the gap, which is how much more another
    translation could score, or "unfinished". An empty line comes out as one.
    """
    given = [sentence for sentence in sentences if sentence.strip()]
    model = Model(folder, average, min(batch_size, max(len(given), 1)), decoding)
    # On a terminal the translations themselves show how far it is.
    bar = len(given) > batch_size * decoding.queue and not sys.stdout.isatty()
    with Progress(len(given)) if bar else contextlib.nullcontext() as progress:
        found = model.search(beam_size, n_best).stream(
            model.params,
            given,
            progress=lambda count: progress and progress.update(steps=count),
        )
        for number, sentence in enumerate(sentences, 1):
            hypotheses = next(found) if sentence.strip() else []
            if sentence.strip() and not hypotheses:
                warn(f"sentence {number} has no translation that the options allow.")
            if not hypotheses and n_best == 1:
                print(flush=True)
            for hypothesis in hypotheses:
                columns = [f"{number}", f"{hypothesis.score:.4f}"] if n_best > 1 else []
                if certificate:
                    columns.append(_certificate(hypothesis))
                print(*columns, hypothesis.text, sep="\t", flush=True)


def _certificate(hypothesis: Hypothesis) -> str:
    if hypothesis.stop != rx.StopReason.EOS:
        return "unfinished"
    return "proven" if hypothesis.proven else f"gap {hypothesis.gap:.4f}"


def plot(folder: ModelFolder) -> list[Path]:
    """Draws the learning curves; returns the files."""
    folder.config()  # an error where there is no run
    path = folder.plots / "curves.png"
    learning_curves(
        read_metrics(folder.path),
        {"loss (nats a piece)": ["loss", "val_loss"], "validation BLEU": ["val_bleu"]},
        path,
        title=str(folder.path.name),
    )
    return [path]


def read_sentences(arguments: Sequence[str], file: Path | None) -> list[str]:
    """Sentences from the arguments, from a file, or from standard input, one a line.

    Raises:
      UserError: both are given, the file is missing, something is not UTF-8, or there are none.
    """
    if arguments and file is not None:
        raise UserError("sentences came both as arguments and as a file; give one of them.")
    if file is not None:
        return read_lines(file)
    try:
        if arguments:
            # Python hides bytes that are not UTF-8 in its arguments; here they come to light.
            "".join(arguments).encode()
            return list(arguments)
        # None where the shell has closed it.
        text = sys.stdin.buffer.read().decode("utf-8-sig") if sys.stdin else ""
    except UnicodeError as error:
        where = "an argument" if arguments else "standard input"
        raise UserError(f"{where} is not valid UTF-8: {error}.") from error
    if not text.strip():
        raise UserError("no sentences: give some as arguments, with --file, or on standard input.")
    return text.removesuffix("\n").split("\n")


def _show_extremes(pairs: Sequence[Pair], found: Sequence[list[Hypothesis]], count: int) -> None:
    """Prints the sentences that came out best and worst, by chrF."""
    texts = [hypotheses[0].text if hypotheses else "" for hypotheses in found]
    order = np.argsort(sentence_scores(texts, [p.target for p in pairs]), kind="stable")
    for title, chosen in (("worst", order[:count]), ("best", order[::-1][:count])):
        print(f"\n{title} by chrF:")
        for index in chosen:
            print(f"  source       {pairs[index].source}")
            print(f"  reference    {pairs[index].target}")
            print(f"  translation  {texts[index]}\n")


def _draw_attention(
    folder: ModelFolder,
    vocabularies: Vocabularies,
    sources: Sequence[str],
    found: Sequence[list[Hypothesis]],
    name: str,
) -> None:
    for index, (source, hypotheses) in enumerate(zip(sources, found, strict=True)):
        if not hypotheses:
            continue
        best = hypotheses[0]
        pieces = [*best.pieces, EOS][: len(best.attention)]
        attention_map(
            best.attention,
            vocabularies.source.labels([*vocabularies.source.encode(source), EOS]),
            vocabularies.target.labels(pieces),
            folder.plots / f"attention-{name}-{index + 1}.png",
            title=best.text,
        )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _write_lines(path: Path, lines: Sequence[Any]) -> None:
    write_file(path, "".join(f"{line}\n" for line in lines))
