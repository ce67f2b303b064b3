"""The options of a search, the same for `translate` and `evaluate`, and what is wrong with them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import tyro

from experiments.common.errors import UserError
from experiments.common.precision import Precision


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How sentences are searched; the beam size is not here, for `evaluate` takes several.

    Raises:
      UserError: an option is out of its range.
    """

    search: Literal["beam", "greedy", "exact", "diverse", "sample", "stochastic", "mbr"] = "beam"
    """exact: beam search, then branch and bound wherever the beam proved nothing. sample: from the
    model's distribution; stochastic: so, too, but no translation twice. mbr: the candidate that is
    most like the others (minimum Bayes risk)."""
    length_penalty: float = 0.6
    """alpha of the GNMT length penalty: above 0 favours longer translations."""
    patience: float = 1.0
    """beam, exact: a beam search ends once this many times its size of hypotheses have; inf: only
    where none that is still alive can be better."""
    budget: int = 10_000
    """exact: the most prefixes of a sentence that are read."""
    groups: int = 1
    """diverse: the beam is divided among so many groups, which avoid each other's words."""
    diversity: float = 0.5
    """diverse: what a piece costs for each earlier group that has it at the same place, in nats."""
    candidates: int = 64
    """mbr: how many samples; 0: the hypotheses of the beam instead."""
    utility: Literal["ngram", "bleu", "chrf"] = "ngram"
    """mbr: what "like" means; ngram is the F-score of runs of one to four pieces."""
    seed: int = 0
    """sample, stochastic, mbr: another one draws other translations."""
    temperature: float = 1.0
    """Below 1 sharpens the distribution, above 1 flattens it; of every search."""
    top_k: int = 0
    """Only the likeliest so many pieces may follow; 0: all."""
    top_p: float = 1.0
    """Only the likeliest pieces that reach this probability together may follow."""
    coverage: float = 0.0
    """beta of the GNMT coverage penalty on source pieces that were hardly looked at; it ranks what
    the search has found."""
    excess_coverage: float = 0.0
    """A penalty on source pieces that were looked at more than once; it ranks, too."""
    no_repeat: int = 0
    """No run of so many pieces stands twice in a translation; 0: any may."""
    min_ratio: float = 0.0
    """The fewest pieces of a translation, the end counted, for each piece of its source."""
    max_ratio: float = 2.0
    """The most pieces for each piece of the source; ten more are allowed to every sentence."""
    require: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Words that every translation must contain, as a phrase; may be given several times."""
    ensemble: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """Another trained folder, with the same vocabularies, that votes too; may be given several
    times."""
    mean: Literal["linear", "log_linear"] = "linear"
    """ensemble: the mean of the probabilities, or of their logarithms."""
    precision: Precision = "float32"
    """bfloat16: products of roundings, summed in float32; scores and all else stay float32."""
    queue: int = 1
    """beam, greedy: so many batches share the slots of one; where a sentence is done, the next
    takes its place at once. For files of many batches; it changes the speed and nothing else."""
    replace_unknown: bool = False
    """An unknown piece becomes the source's piece that was looked at most."""

    def __post_init__(self) -> None:
        for names, fits, wanted in _RANGES:
            for name in names.split():
                if not fits(value := getattr(self, name)):
                    raise UserError(f"the {name.replace('_', ' ')} must be {wanted}; got {value}.")
        if self.min_ratio > self.max_ratio:
            raise UserError(
                f"the min ratio must not be above the max ratio {self.max_ratio}; got "
                f"{self.min_ratio}."
            )
        if self.covered and self.search == "mbr":
            raise UserError(
                "coverage penalties rank by score and mbr by utility; give one of them."
            )
        if self.queue > 1 and self.search not in ("beam", "greedy"):
            raise UserError(f"a queue is for beam and greedy search; the search is {self.search}.")
        if len(self.require) > 8:
            raise UserError(f"at most 8 phrases may be required; got {len(self.require)}.")
        if not all(phrase.strip() for phrase in self.require):
            raise UserError("a required phrase must have a word in it; got an empty one.")

    @property
    def covered(self) -> bool:
        """Whether the attention has a say in the ranking."""
        return self.coverage > 0 or self.excess_coverage > 0

    @property
    def plan(self) -> Plan:
        """What a compiled program depends on."""
        return Plan(
            search=self.search,
            groups=self.groups,
            candidates=self.candidates,
            utility=self.utility,
            temperature=self.temperature != 1,
            top_k=self.top_k > 0,
            top_p=self.top_p < 1,
            no_repeat=self.no_repeat,
            precision=self.precision,
        )

    @property
    def strengths(self) -> Strengths:
        """What changes nothing that is compiled."""
        return Strengths(*(getattr(self, name) for name in Strengths._fields))

    def longest(self, source_length: int) -> int:
        """The most target pieces for a source length: no reasonable translation is longer."""
        return round(self.max_ratio * source_length) + EXTRA

    def rows(self, beam_size: int, n_best: int) -> int:
        """How many hypotheses a search must return so that the `n_best` are among them.

        Raises:
          UserError: `beam_size` or `n_best` is out of its range, or the groups do not divide it.
        """
        if beam_size < 0:
            raise UserError(f"a beam size must be at least 1, or 0 for greedy; got {beam_size}.")
        width = 1 if self.search == "greedy" else max(beam_size, 1)
        if self.search == "diverse" and width % self.groups:
            raise UserError(
                f"the groups must divide the beam size {width} evenly; got {self.groups}."
            )
        drawn = self.search in ("sample", "stochastic")
        sampled = self.search == "mbr" and self.candidates > 0
        most, what = (
            (self.candidates, "the number of candidates") if sampled else (width, "the beam size")
        )
        if n_best < 1 or (n_best > most and not drawn):
            raise UserError(
                f"the number of translations a sentence must be from 1 to {what} {most}; "
                f"got {n_best}."
            )
        if drawn:
            return n_best
        ranked_again = self.covered or self.search in ("diverse", "mbr")
        return most if ranked_again else n_best


class Plan(NamedTuple):
    """Which search, and which changes of the distribution are made at all."""

    search: str
    groups: int
    candidates: int
    utility: str
    temperature: bool
    top_k: bool
    top_p: bool
    no_repeat: int
    precision: Precision


class Strengths(NamedTuple):
    """Numbers that a compiled program takes."""

    length_penalty: Any
    patience: Any
    budget: Any
    diversity: Any
    temperature: Any
    top_k: Any
    top_p: Any
    coverage: Any
    excess_coverage: Any
    min_ratio: Any
    max_ratio: Any


EXTRA = 10
"""Target pieces that every sentence may have beyond its ratio."""

_RANGES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("length_penalty", math.isfinite, "a finite number"),
    ("patience", lambda value: value > 0, "above 0"),
    ("temperature max_ratio", lambda value: 0 < value < math.inf, "a finite number above 0"),
    ("top_p", lambda value: 0 < value <= 1, "above 0 and at most 1"),
    (
        "diversity coverage excess_coverage min_ratio",
        lambda value: 0 <= value < math.inf,
        "a finite number from 0",
    ),
    ("budget groups queue", lambda value: value >= 1, "at least 1"),
    ("top_k no_repeat candidates", lambda value: value >= 0, "at least 0"),
    ("seed", lambda value: 0 <= value < 2**32, "from 0 to 2^32 - 1"),
)
