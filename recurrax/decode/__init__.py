"""Decoding: from a step function to token sequences."""

from recurrax.decode.automaton import Automaton, automaton, explored, intersection
from recurrax.decode.beam import beam_loop, beam_search, greedy
from recurrax.decode.best_first import best_first_search
from recurrax.decode.certificate import escalate
from recurrax.decode.coverage import excess_coverage, wu_coverage
from recurrax.decode.ctc import CTCResult, ctc_greedy, ctc_loss
from recurrax.decode.ctc_beam import LanguageModel, ctc_beam_search
from recurrax.decode.diverse import diverse_beam_search
from recurrax.decode.ensemble import ensemble, shallow_fusion
from recurrax.decode.exact import exact_search
from recurrax.decode.following import following
from recurrax.decode.minimum_risk import MinimumRiskResult, minimum_bayes_risk
from recurrax.decode.pattern import pattern
from recurrax.decode.penalties import average, gnmt, word_reward
from recurrax.decode.phrases import containing, one_of, without
from recurrax.decode.processors import (
    Processor,
    bias,
    bias_by_step,
    force_prefix,
    log_probs,
    processed,
    relative_length,
    suppress,
    temperature,
)
from recurrax.decode.queue import refilled
from recurrax.decode.records import BeamResult, Loop, ScoreResult, StepOutput, StopReason
from recurrax.decode.repetition import (
    frequency_penalty,
    no_repeat_ngrams,
    presence_penalty,
    repetition_penalty,
)
from recurrax.decode.rerank import replace_unknown, reranked
from recurrax.decode.sampling import sample
from recurrax.decode.scheduled import scheduled_sampling
from recurrax.decode.score import score
from recurrax.decode.shortlist import from_shortlist, shortlisted
from recurrax.decode.stochastic import SampleSet, stochastic_beam_search
from recurrax.decode.training import (
    Distilled,
    distilled,
    distinct,
    minimum_risk_loss,
    sampled_risk_loss,
)
from recurrax.decode.truncation import keep_min_p, keep_top_k, keep_top_p, keep_typical
from recurrax.decode.utilities import (
    character_table,
    chrf,
    ngram_f,
    sentence_bleu,
    text_lengths,
)

__all__ = [
    "Automaton",
    "BeamResult",
    "CTCResult",
    "Distilled",
    "LanguageModel",
    "Loop",
    "MinimumRiskResult",
    "Processor",
    "SampleSet",
    "ScoreResult",
    "StepOutput",
    "StopReason",
    "automaton",
    "average",
    "beam_loop",
    "beam_search",
    "best_first_search",
    "bias",
    "bias_by_step",
    "character_table",
    "chrf",
    "containing",
    "ctc_beam_search",
    "ctc_greedy",
    "ctc_loss",
    "distilled",
    "distinct",
    "diverse_beam_search",
    "ensemble",
    "escalate",
    "exact_search",
    "excess_coverage",
    "explored",
    "following",
    "force_prefix",
    "frequency_penalty",
    "from_shortlist",
    "gnmt",
    "greedy",
    "intersection",
    "keep_min_p",
    "keep_top_k",
    "keep_top_p",
    "keep_typical",
    "log_probs",
    "minimum_bayes_risk",
    "minimum_risk_loss",
    "ngram_f",
    "no_repeat_ngrams",
    "one_of",
    "pattern",
    "presence_penalty",
    "processed",
    "refilled",
    "relative_length",
    "repetition_penalty",
    "replace_unknown",
    "reranked",
    "sample",
    "sampled_risk_loss",
    "scheduled_sampling",
    "score",
    "sentence_bleu",
    "shallow_fusion",
    "shortlisted",
    "stochastic_beam_search",
    "suppress",
    "temperature",
    "text_lengths",
    "without",
    "word_reward",
    "wu_coverage",
]
