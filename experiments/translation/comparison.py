"""Searches side by side on one model: how good they are, and what they miss.

A row is one search over the same sentences. Rows are kept in `evaluation/SPLIT.compare/` as they
finish, and computed again only where something that they depend on has changed.
"""

from __future__ import annotations

import dataclasses
import math
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import recurrax as rx
from experiments.common.errors import Interrupted, UserError, warn
from experiments.common.files import read_json, write_json
from experiments.common.interrupts import Stop, graceful_interrupts
from experiments.common.progress import Progress
from experiments.translation.comparison_report import Line, header, printed, write_report
from experiments.translation.decoding import Decoding
from experiments.translation.folder import ModelFolder
from experiments.translation.hypotheses import Hypothesis
from experiments.translation.scoring import Scores, bleu_interval, paired_bootstrap, score
from experiments.translation.text import Pair
from experiments.translation.trained import Model, splits_to_score

TOLERANCE = 1e-4
"""Scores that differ by less, for each nat, are equal: float32 sums, in other orders."""

UNUSED = {
    "beam": ("budget", "candidates", "utility", "seed"),
    "exact": ("candidates", "utility", "seed"),
    "mbr": ("budget",),
}
"""Options that a row of this search does not depend on."""


class Row(NamedTuple):
    """What one search found, for each sentence, and in what time."""

    texts: list[str]
    scores: list[float | None]
    """By the model, after the length penalty, whatever the search chose by; None: not finished."""
    proven: list[bool]
    seconds: float
    """Of all sentences, nothing compiled in them."""


class Verdict(NamedTuple):
    """Of one row: shares of the sentences."""

    certified: float
    """Proven by this search to be the model's best."""
    missed: float
    """Another search found a translation that the model prefers: a search error."""
    unknown: float
    """Nothing better is known, and nobody has proven that there is nothing."""


class Quality(NamedTuple):
    """Of one row, by its references."""

    scores: Scores
    interval: float


def compare(
    folder: ModelFolder,
    *,
    beam_sizes: Sequence[int],
    exact_beam: int,
    mbr_beam: int,
    decoding: Decoding,
    average: int,
    batch_size: int,
    sentences: int | None = None,
    baseline: str = "",
    split: str = "",
    data_path: Path | None = None,
) -> dict[str, Line]:
    """Runs the searches, or reads what they found before; prints and writes the report.

    Args:
      beam_sizes: a row for each.
      exact_beam: exact search starts from a beam of this size; 0: no exact search.
      mbr_beam: minimum Bayes risk over the hypotheses of such a beam; 0: only over samples.
      decoding: its search is not looked at; its numbers are those of every row.
      sentences: how many, drawn at random but always the same; all unless given.
      baseline: the row from which the others' differences in BLEU are tested; "beam 5" unless
        given, or the largest beam where that is not there.
      split: its name; the first test split unless given.

    Raises:
      UserError: a number out of its range, no model, no such split or row. Interrupted: by a
        signal; the finished rows are kept.
    """
    if sentences is not None and sentences < 1:
        raise UserError(f"the number of sentences must be at least 1; got {sentences}.")
    if min(beam_sizes, default=0) < 1:
        raise UserError(
            f"beam sizes to compare must be at least 1; got {', '.join(map(str, beam_sizes))}."
        )
    for name, size in (("exact", exact_beam), ("mbr", mbr_beam)):
        if size < 0:
            raise UserError(f"the {name} beam must be at least 1, or 0 for none; got {size}.")
    contestants = _contestants(beam_sizes, exact_beam, mbr_beam, decoding)
    default = "beam 5" if 5 in beam_sizes else f"beam {max(beam_sizes)}"
    baseline = baseline or default
    if baseline not in contestants:
        raise UserError(
            f"the baseline must be one of the rows {', '.join(contestants)}; got {baseline!r}."
        )
    model = Model(folder, average, batch_size, decoding)
    name, pairs = next(iter(splits_to_score(model, [split] if split else [], data_path).items()))
    if sentences is not None and sentences < len(pairs):
        chosen = np.random.default_rng(0).choice(len(pairs), sentences, replace=False)
        pairs = [pairs[index] for index in sorted(chosen)]
    shared = {
        "checkpoints": [
            ModelFolder(path).checkpoints(model.config).best_steps()[:average]
            for path in (folder.path, *decoding.ensemble)
        ],
        "pairs": zlib.crc32(repr(pairs).encode()),
        "batch_size": batch_size,
    }
    print(f"\n{name}: {len(pairs)} sentences\n\n{header()}")
    facts = {"split": name, "sentences": len(pairs), "average": model.average} | {
        "length_penalty": decoding.length_penalty,
        "max_ratio": decoding.max_ratio,
        "patience": str(decoding.patience),
        "budget": decoding.budget,
        "baseline": baseline,
    }
    references = [pair.target for pair in pairs]
    rows: dict[str, Row] = {}
    qualities: dict[str, Quality] = {}
    with graceful_interrupts() as stop:
        for label, (beam_size, changes) in contestants.items():
            file = folder.evaluation / f"{name}.compare" / f"{label.replace(' ', '-')}.json"
            options = {**dataclasses.asdict(decoding), **changes, "beam_size": beam_size}
            settings = shared | {
                key: repr(value)
                for key, value in options.items()
                if key not in UNUSED[changes["search"]]
            }
            row = _kept(file, settings, len(pairs))
            if row is None:
                row = _searched(model, beam_size, changes, pairs, stop)
                write_json(file, {"settings": settings, **row._asdict()})
            rows[label] = row
            qualities[label] = Quality(
                score(row.texts, references), bleu_interval(row.texts, references)
            )
            lines = _lines(rows, qualities, beam_sizes)
            print(printed(label, lines[label]), flush=True)
            write_report(folder, name, facts, lines)
    # What a row missed is known only now: the later ones may have found it.
    others = {label: row.texts for label, row in rows.items() if label != baseline}
    tested = paired_bootstrap(rows[baseline].texts, others, references)
    lines = {
        label: line._replace(p=tested.get(label))
        for label, line in _lines(rows, qualities, beam_sizes).items()
    }
    write_report(folder, name, facts, lines)
    print("\n" + "\n".join([header(), *(printed(label, line) for label, line in lines.items())]))
    return lines


def judge(rows: Mapping[str, Row]) -> dict[str, Verdict]:
    """Which sentences each search got right, as far as all of them together know."""
    scores = np.array(
        [[-math.inf if s is None else s for s in row.scores] for row in rows.values()]
    )
    proven = np.array([row.proven for row in rows.values()])
    best = scores.max(0)
    slack = TOLERANCE * np.maximum(np.where(np.isfinite(best), np.abs(best), 1), 1)
    missed = scores < best - slack
    unknown = ~missed & ~proven.any(0)
    if wrong := int((missed & proven).sum()):
        warn(f"{wrong} translations that were proven the best are not: please report this.")
    return {
        label: Verdict(*(float(share[i].mean()) for share in (proven, missed, unknown)))
        for i, label in enumerate(rows)
    }


def _contestants(
    beam_sizes: Sequence[int], exact_beam: int, mbr_beam: int, decoding: Decoding
) -> dict[str, tuple[int, dict[str, Any]]]:
    """For each label the beam size and what is changed in the options."""
    found: dict[str, tuple[int, dict[str, Any]]] = {
        f"beam {size}": (size, {"search": "beam"}) for size in beam_sizes
    }
    if exact_beam:
        found["exact"] = (exact_beam, {"search": "exact"})
    if mbr_beam:
        found[f"mbr beam {mbr_beam}"] = (mbr_beam, {"search": "mbr", "candidates": 0})
    if decoding.candidates:
        found[f"mbr {decoding.candidates} samples"] = (1, {"search": "mbr"})
    return found


def _searched(
    model: Model, beam_size: int, changes: Mapping[str, Any], pairs: Sequence[Pair], stop: Stop
) -> Row:
    """Searches twice, and times the second time, when every program is compiled."""
    search = model.search(beam_size, **changes)
    sources = [pair.source for pair in pairs]
    # An exact search compiles the same with a budget that ends it at once.
    hasty = {"budget": 1} if changes["search"] == "exact" else {}
    found: list[list[Hypothesis]] = []
    seconds = math.nan
    with Progress(2 * len(pairs)) as progress:

        def done(count: int) -> None:
            progress.update(steps=count)
            if stop.requested:
                raise Interrupted("the finished rows are kept; the same command goes on.")

        for options in (hasty, {}):
            begin = time.monotonic()
            found = search(model.params, sources, progress=done, **options)
            seconds = time.monotonic() - begin
    best = [hypotheses[0] if hypotheses else None for hypotheses in found]
    return Row(
        ["" if one is None else one.text for one in best],
        [_model_score(one, model.decoding.length_penalty) for one in best],
        [one is not None and one.proven for one in best],
        seconds,
    )


def _model_score(one: Hypothesis | None, length_penalty: float) -> float | None:
    """As in `rx.gnmt`. Not `one.score`, which is a utility where minimum Bayes risk chose."""
    if one is None or one.stop != rx.StopReason.EOS:
        return None
    return one.log_prob / ((5 + len(one.pieces) + 1) / 6) ** length_penalty


def _kept(file: Path, settings: Mapping[str, Any], count: int) -> Row | None:
    """The row as it was saved, if it is whole and was made with these settings."""
    if not file.exists():
        return None
    try:
        saved = read_json(file)
        if saved.pop("settings") != settings:
            return None
        row = Row(**saved)
    except (UserError, AttributeError, KeyError, TypeError):
        warn(f"{file} is damaged; its row is computed again.")
        return None
    return row if len(row.texts) == count else None


def _lines(
    rows: Mapping[str, Row], qualities: Mapping[str, Quality], beam_sizes: Sequence[int]
) -> dict[str, Line]:
    lines = {}
    beams = {f"beam {size}": size for size in beam_sizes}
    for label, verdict in judge(rows).items():
        scores, interval = qualities[label]
        lines[label] = Line(
            beam_size=beams.get(label),
            bleu=scores.bleu,
            bleu_interval=interval,
            p=None,
            chrf=scores.chrf,
            length_ratio=scores.length_ratio,
            milliseconds=1000 * rows[label].seconds / len(rows[label].texts),
            # Minimum Bayes risk does not look for the model's best, and claims nothing.
            certified=None if label.startswith("mbr") else verdict.certified,
            missed=verdict.missed,
            unknown=verdict.unknown,
        )
    return lines
