"""Sentence parts in German and English at once: endings, verb forms, word order.

A `Clause` says who does what to whom, when, how and where; `german` and `english` put it into
words. German: three genders, three cases, weak, mixed and strong adjective endings, the finite verb
second, first or last with the rest of the verb at the end, prefixes that come off, time before
manner before place. English: do-support, and place before time.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from experiments.translation.lexicon import Adjective, Noun, Verb, plural, progressive

_CASES = ("nom", "acc", "dat")
_THE = {"m": "der den dem", "f": "die die der", "n": "das das dem", "pl": "die die den"}
_STRONG = {"m": "er en em", "f": "e e er", "n": "es es em", "pl": "e e en"}
_MIXED = {"m": "- en em", "f": "e e er", "n": "- - em", "pl": "e e en"}  # the article's own endings
_WEAK = {"m": "e en en", "f": "e e en", "n": "e e en", "pl": "en en en"}

MIXED_ARTICLES = {"ein": "a", "kein": "a", "mein": "my", "dein": "your", "sein": "his"}
MIXED_ARTICLES |= {"unser": "our"}
STRONG_ARTICLES = {"dies": ("this", "these"), "jed": ("every", ""), "viel": ("", "many")}
STRONG_ARTICLES |= {"einig": ("", "some")}
NUMBERS = {"zwei": "two", "drei": "three", "vier": "four", "fünf": "five", "zehn": "ten"}


class Phrase(NamedTuple):
    """The same words in both languages."""

    german: str
    english: str


class Subject(NamedTuple):
    german: str
    english: str
    person: int = 3
    plural: bool = False
    animal: bool = False


class Clause(NamedTuple):
    """A clause without its word order.

    `mode` is present, past, future, glad ("gern"), now ("gerade"), infinitive ("zu", with an empty
    subject), or one of MODALS.
    """

    subject: Subject
    verb: Verb
    mode: str = "present"
    pronouns: tuple[Phrase, ...] = ()
    objects: tuple[Phrase, ...] = ()
    time: Phrase | None = None
    frequency: Phrase | None = None
    manner: Phrase | None = None
    company: Phrase | None = None
    place: Phrase | None = None
    goal: Phrase | None = None
    negated: bool = False
    """By "nicht", or by "kein" in an object that says so."""


def noun_phrase(
    noun: Noun, article: str, case: str, *, many: bool = False, adjective: Adjective | None = None
) -> Phrase:
    """A noun with its article ("der", a stem of the tables, a number, or "" for none)."""
    column, row = _CASES.index(case), "pl" if many else noun.gender

    def ending(table: dict[str, str]) -> str:
        return table[row].split()[column].strip("-")

    if article == "der":
        german, english, endings = ending(_THE), "the", ending(_WEAK)
    elif article in MIXED_ARTICLES:
        german, english = article + ending(_MIXED), MIXED_ARTICLES[article]
        english = "" if many and english == "a" else english
        # Where the article shows no ending, the adjective does: ein alter Mann.
        endings = (ending(_MIXED) and ending(_WEAK)) or ending(_STRONG)
    elif article in STRONG_ARTICLES:
        german, english = article + ending(_STRONG), STRONG_ARTICLES[article][many]
        endings = ending(_STRONG if article in ("viel", "einig") else _WEAK)
    else:
        german, english, endings = article, NUMBERS.get(article, ""), ending(_STRONG)
    words = [english, adjective.english if adjective else "", noun.english]
    if many:
        words[-1] = noun.english_plural
    if english == "a" and re.match("[aeiou]", words[1] or words[2]):
        words[0] = "an"
    attribute = adjective.stem + endings if adjective else ""
    return Phrase(_join(german, attribute, inflected(noun, case, many)), _join(*words))


def inflected(noun: Noun, case: str, many: bool) -> str:
    """A German noun's own form."""
    if many:
        ends = noun.german_plural.endswith(("n", "s"))
        return noun.german_plural + ("n" if case == "dat" and not ends else "")
    return noun.german_plural if noun.weak and case != "nom" else noun.german


def german(clause: Clause, order: str = "second", front: str | None = None) -> str:
    """The clause with its finite verb "first", "second" or "last".

    Args:
      front: which part comes before a verb in second place, a field's name; else the subject.
    """
    finite, ends = _german_verb(clause, order)
    parts = {name: getattr(clause, name) for name in ("time", "place", "goal", "frequency")}
    fronted = ""
    if front == "objects":
        fronted, parts["objects"] = clause.objects[-1].german, clause.objects[:-1]
    elif front:
        fronted, parts[front] = parts[front].german, None
    objects = [phrase.german for phrase in parts.get("objects", clause.objects)]
    when = [parts[name].german for name in ("time", "frequency") if parts[name]]
    adverb = {"glad": ["gern"], "now": ["gerade"]}.get(clause.mode, [])
    no = clause.negated and not any(
        word.startswith("kein") for phrase in clause.objects for word in phrase.german.split()
    )
    # Only what is known comes before the time, and what is denied is known.
    middle = [*objects, *when] if no else [*when, *adverb, *objects]
    middle += ["nicht"] if no else []
    middle += [
        p.german for p in (clause.manner, clause.company, parts["place"], parts["goal"]) if p
    ]
    middle = [*(phrase.german for phrase in clause.pronouns), *middle, *ends]
    subject = clause.subject.german
    if order == "last":
        return _join(subject, *middle, finite)
    if order == "first":
        return _join(finite, subject, *middle)
    return _join(fronted, finite, subject, *middle) if front else _join(subject, finite, *middle)


def english(clause: Clause, *, question: bool = False, front: str | None = None) -> str:
    """The clause as a statement, or with its auxiliary before the subject."""
    first, rest = _english_verb(clause, question)
    often = clause.frequency.english if clause.frequency else ""
    lexical = first not in _AUXILIARIES
    verb = [often, first, *rest] if lexical else [first, often, *rest]
    ends = [*clause.pronouns, *clause.objects, clause.goal, clause.manner, clause.company]
    ends += [clause.place, clause.time]
    fronted = getattr(clause, front) if front and front != "objects" else None
    tail = [phrase.english for phrase in ends if phrase and phrase is not fronted]
    subject = clause.subject.english
    start = fronted.english if fronted else ""
    if question:
        return _join(start, first, subject, often, *rest, *tail)
    return _join(start, subject, *verb, *tail)


_AUXILIARIES = {"do", "does", "did", "will", "can", "cannot", "should", "would"}
_AUXILIARIES |= {"am", "is", "are", "was", "were", "to"}

# ich, du, er, wir, ihr, sie
_GERMAN_FORMS = {
    "haben": "habe hast hat haben habt haben",
    "sein": "bin bist ist sind seid sind",
    "wissen": "weiß weißt weiß wissen wisst wissen",
    "war": "war warst war waren wart waren",
    "future": "werde wirst wird werden werdet werden",
    "können": "kann kannst kann können könnt können",
    "müssen": "muss musst muss müssen müsst müssen",
    "wollen": "will willst will wollen wollt wollen",
    "dürfen": "darf darfst darf dürfen dürft dürfen",
    "sollen": "soll sollst soll sollen sollt sollen",
    "möchten": "möchte möchtest möchte möchten möchtet möchten",
}
# Auxiliary, or the verb that carries the tense; what comes before the infinitive.
_ENGLISH_MODES = {
    "future": ("will", ""),
    "können": ("can", ""),
    "sollen": ("should", ""),
    "möchten": ("would", "like to"),
    "dürfen": ("be", "allowed to"),
    "müssen": ("have", "to"),
    "wollen": ("want", "to"),
    "glad": ("like", "to"),
}
MODALS = ("können", "müssen", "wollen", "dürfen", "sollen", "möchten")


def conjugate(verb: Verb, person: int, many: bool) -> str:
    """The present of a German verb, without its prefix."""
    if verb.infinitive in _GERMAN_FORMS:
        return german_form(verb.infinitive, person, many)
    stem = re.sub("e?n$", "", verb.infinitive)
    if person in (1, 3) and many:
        return verb.infinitive
    if person == 1:
        return stem + "e"
    changed = stem if many or not verb.stem else verb.stem
    middle = "e" if changed == stem and re.search("(t|d|ffn|chn)$", stem) else ""
    ending = "st" if person == 2 and not many else "t"
    if ending == "st" and re.search("[sßzx]$", changed):
        ending = "t"
    if ending == "t" and changed != stem and changed.endswith("t"):
        ending = ""
    return changed + middle + ending


def german_form(word: str, person: int, many: bool) -> str:
    """The form of an auxiliary or modal."""
    return _GERMAN_FORMS[word].split()[3 * many + person - 1]


def be(subject: Subject, past: bool = False) -> str:
    """am, is, are, was or were."""
    plain = subject.plural or subject.person == 2
    if past:
        return "were" if plain else "was"
    return "are" if plain else {1: "am", 3: "is"}[subject.person]


def _german_verb(clause: Clause, order: str) -> tuple[str, list[str]]:
    """The finite verb, and what stands at the end."""
    verb, (_, _, person, many, _) = clause.verb, clause.subject
    if clause.mode == "past":
        return german_form(verb.auxiliary, person, many), [verb.participle]
    if clause.mode == "infinitive":
        return "", [f"{verb.prefix}zu{'' if verb.prefix else ' '}{verb.infinitive}"]
    if clause.mode in _GERMAN_FORMS:
        return german_form(clause.mode, person, many), [verb.prefix + verb.infinitive]
    finite = conjugate(verb, person, many)
    return (verb.prefix + finite, []) if order == "last" else (finite, [verb.prefix])


def _english_verb(clause: Clause, question: bool) -> tuple[str, list[str]]:
    """The finite verb, and what follows it."""
    subject, base = clause.subject, clause.verb.english
    third = subject.person == 3 and not subject.plural
    no = ["not"] if clause.negated else []
    if clause.mode == "infinitive":
        return "to", [base]
    if clause.mode == "now":
        return be(subject), [*no, progressive(base)]
    head, tail = _ENGLISH_MODES.get(clause.mode, (base, ""))
    rest = [tail, base] if clause.mode in _ENGLISH_MODES else []
    if head == "be":
        return be(subject), [*no, *rest]
    if head == "can" and no:
        return ("can", ["not", *rest]) if question else ("cannot", rest)
    if head in ("will", "can", "should", "would"):
        return head, [*no, *rest]
    if clause.negated or question:
        support = "did" if clause.mode == "past" else "does" if third else "do"
        return support, [*no, head, *rest]
    if clause.mode == "past":
        return clause.verb.english_past, []
    first, *particle = head.split()
    third_form = "has" if first == "have" else plural(first)
    return (third_form if third else first), [*particle, *rest]


def _join(*words: str) -> str:
    return " ".join(word for word in words if word)
