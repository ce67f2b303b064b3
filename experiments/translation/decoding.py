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

Kind = Literal["beam", "greedy", "exact", "best-first", "diverse", "sample", "stochastic", "mbr"]


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How sentences are searched; the beam size is not here, for `evaluate` takes several.

    Words are looked for as the pieces that the tokenizer writes them with: "dog" is found in "dogs"
    where that is "dog" and "s", and another way to write it is not found.

    Raises:
      UserError: an option is out of its range.
    """

    search: Kind = "beam"
    """exact: beam search, then branch and bound wherever the beam proved nothing; best-first: then
    the most promising prefix each time, with memory for the whole budget. sample: from the model's
    distribution; stochastic: so, too, but no translation twice. mbr: the candidate that is most
    like the others (minimum Bayes risk)."""
    length_penalty: float = 0.6
    """Above 0 favours longer translations: how strong the penalty is."""
    penalty: Literal["gnmt", "average", "word-reward"] = "gnmt"
    """What a log-probability becomes by its length: over ((5 + length) / 6)^strength; over
    length^strength; plus strength for each piece."""
    patience: float = 1.0
    """beam, exact, best-first: a beam search ends once this many times its size of hypotheses have;
    inf: only where none that is still alive can be better."""
    budget: int = 10_000
    """exact, best-first: the most prefixes of a sentence that are read."""
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
    min_p: float = 0.0
    """Only pieces that are at least this many times as likely as the likeliest may follow."""
    typical: float = 1.0
    """Only the pieces nearest to the expected surprise that reach this probability together."""
    repetition_penalty: float = 1.0
    """Multiplies the log-probability of pieces that are there already: above 1, less likely."""
    frequency_penalty: float = 0.0
    """What a piece costs, in nats, for each time that it is there already."""
    presence_penalty: float = 0.0
    """What a piece costs, in nats, where it is there already."""
    coverage: float = 0.0
    """beta of the GNMT coverage penalty on source pieces that were hardly looked at; it ranks what
    the search has found."""
    excess_coverage: float = 0.0
    """A penalty on source pieces that were looked at more than once; it ranks, too."""
    no_repeat: int = 0
    """No run of so many pieces stands twice in a translation; 0: any may."""
    repeatable: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """no-repeat: words whose pieces may stand in a run that is repeated, such as a comma."""
    min_ratio: float = 0.0
    """The fewest pieces of a translation, the end counted, for each piece of its source."""
    max_ratio: float = 2.0
    """The most pieces for each piece of the source; ten more are allowed to every sentence, and as
    many as a prefix, a required phrase or the fewest pieces need."""
    min_pieces: int = 0
    """The fewest pieces of any translation, the end counted."""
    max_pieces: int = 0
    """The most pieces of any translation, the end counted, beside the ratio; 0: the ratio alone."""
    prefix: str = ""
    """Words that every translation begins with; the scores are those of what follows. It may end
    within a word, which the translation then goes on with."""
    require: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Words that every translation must contain, as a phrase; may be given several times."""
    in_order: bool = False
    """require: each phrase after the one before it."""
    forbid: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Words that no translation may contain, as a phrase; may be given several times."""
    one_of: Path | None = None
    """A file, plain or .gz, of the only translations that there may be, one a line."""
    bias: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """WORD=NATS, added to the log-probability of each piece of the word; -inf forbids it. May be
    given several times."""
    ensemble: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """Another trained folder, with the same vocabularies, that votes too; may be given several
    times."""
    mean: Literal["linear", "log_linear"] = "linear"
    """ensemble: the mean of the probabilities, or of their logarithms."""
    reverse: Path | None = None
    """A trained folder of the other direction, which ranks all that the search found, with the
    log-probability of the source, given the translation; so the beam should be wide."""
    reverse_weight: float = 0.2
    """reverse: how much that counts."""
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
        if 0 < self.max_pieces < self.min_pieces:
            raise UserError(
                f"the min pieces must not be above the max pieces {self.max_pieces}; got "
                f"{self.min_pieces}."
            )
        if (self.covered or self.reverse) and self.search == "mbr":
            raise UserError(
                "coverage penalties and a reverse model rank by score, mbr by utility; give one "
                "of them."
            )
        if self.reverse and self.search == "greedy":
            raise UserError("a reverse model ranks what was found; greedy search finds one alone.")
        if self.queue > 1 and self.search not in ("beam", "greedy"):
            raise UserError(f"a queue is for beam and greedy search; the search is {self.search}.")
        if len(self.require) > 8:
            raise UserError(f"at most 8 phrases may be required; got {len(self.require)}.")
        for option in ("require", "forbid", "repeatable"):
            if not all(phrase.strip() for phrase in getattr(self, option)):
                raise UserError(f"{option}: each must have a word in it; one is empty.")

    @property
    def covered(self) -> bool:
        """Whether the attention has a say in the ranking."""
        return self.coverage > 0 or self.excess_coverage > 0

    @property
    def plan(self) -> Plan:
        """What a compiled program depends on."""
        return Plan(
            search=self.search,
            penalty=self.penalty,
            groups=self.groups,
            candidates=self.candidates,
            budget=self.budget if self.search == "best-first" else 0,
            utility=self.utility,
            changes=frozenset(name for name, idle in _IDLE.items() if getattr(self, name) != idle),
            no_repeat=self.no_repeat,
            precision=self.precision,
        )

    @property
    def strengths(self) -> Strengths:
        """What changes nothing that is compiled."""
        return Strengths(*(getattr(self, name) for name in Strengths._fields))

    def longest(self, source_length: int, shortest: int = 1) -> int:
        """The most target pieces for a source length: no reasonable translation is longer.

        Args:
          shortest: the fewest that constraints allow.
        """
        by_ratio = round(self.max_ratio * source_length) + EXTRA
        return min(max(by_ratio, shortest, self.min_pieces), self.max_pieces or _MOST)

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
        ranked_again = self.covered or self.reverse or self.search in ("diverse", "mbr")
        return max(most, n_best) if ranked_again else n_best


class Plan(NamedTuple):
    """Which search, and which changes of the distribution are made at all."""

    search: str
    penalty: str
    groups: int
    candidates: int
    budget: int
    """Of best-first search, whose memory it sizes; else 0."""
    utility: str
    changes: frozenset[str]
    """The options among `_IDLE` that change something."""
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
    min_p: Any
    typical: Any
    repetition_penalty: Any
    frequency_penalty: Any
    presence_penalty: Any
    coverage: Any
    excess_coverage: Any
    min_ratio: Any
    max_ratio: Any
    min_pieces: Any
    max_pieces: Any


_IDLE = {
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "typical": 1.0,
    "repetition_penalty": 1.0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
}
"""Changes of the distribution, and the strengths at which they change nothing."""

EXTRA = 10
"""Target pieces that every sentence may have beyond its ratio."""

_MOST = 2**31 - 1

_RANGES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("length_penalty frequency_penalty presence_penalty", math.isfinite, "a finite number"),
    ("patience", lambda value: value > 0, "above 0"),
    (
        "temperature max_ratio repetition_penalty",
        lambda value: 0 < value < math.inf,
        "a finite number above 0",
    ),
    ("top_p typical", lambda value: 0 < value <= 1, "above 0 and at most 1"),
    ("min_p", lambda value: 0 <= value <= 1, "from 0 to 1"),
    (
        "diversity coverage excess_coverage min_ratio reverse_weight",
        lambda value: 0 <= value < math.inf,
        "a finite number from 0",
    ),
    ("budget groups queue", lambda value: 1 <= value <= _MOST, "from 1 to 2^31 - 1"),
    (
        "top_k no_repeat candidates min_pieces max_pieces",
        lambda value: 0 <= value <= _MOST,
        "from 0 to 2^31 - 1",
    ),
    ("seed", lambda value: 0 <= value < 2**32, "from 0 to 2^32 - 1"),
)
