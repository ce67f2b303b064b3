"""A German-English corpus that this file makes up: the translator's data when it is given none.

    splits = generate(seed=0, train=25_000)  # {"train": [Pair, ...], "val": ..., "test": ...}

Sentences of 3 to 18 German words: statements, questions and requests, with subordinate, relative
and infinitive clauses. What makes them a test of attention: the verb's parts stand at both ends of
a German clause ("macht ... auf": opens), clauses differ in word order, endings tell who does what
to whom ("Den Apfel isst der Hund": the dog eats the apple), and time and place change sides.

A German sentence has one translation; an English one may have several ("du", "ihr": you). No
sentence, on either side, occurs twice, in two splits least of all.
"""

from __future__ import annotations

import random
import re

from experiments.common.errors import UserError
from experiments.translation.grammar import (
    MODALS,
    NUMBERS,
    Clause,
    Phrase,
    Subject,
    be,
    english,
    german,
    german_form,
    noun_phrase,
)
from experiments.translation.lexicon import ADJECTIVES, BELONG, THAT_VERBS, TO_VERBS, VERBS
from experiments.translation.phrases import PhraseWriter
from experiments.translation.text import Pair

_COMPARED = {"größer": "taller", "älter": "older", "jünger": "younger", "stärker": "stronger"}
_COMPARED |= {"kleiner": "smaller", "klüger": "smarter", "reicher": "richer", "netter": "nicer"}


def generate(
    seed: int = 0, *, train: int = 25_000, val: int = 500, test: int = 500, source: str = "de"
) -> dict[str, list[Pair]]:
    """The splits of the corpus that `seed` stands for.

    Args:
      source: the language to translate from, "de" or "en"; the other one is the target.

    Raises:
      UserError: another language.
    """
    if source not in ("de", "en"):
        raise UserError(f"the generated corpus is in de and en; got {source!r} as its source.")
    writer = SentenceWriter(random.Random(seed))
    seen: set[str] = set()
    pairs: list[Pair] = []
    while len(pairs) < train + val + test:
        phrase = writer.sentence()
        new = seen.isdisjoint((phrase.german, phrase.english))
        if new and 3 <= len(phrase.german.split()) <= 18:
            seen.update(phrase)
            pairs.append(Pair(*(phrase if source == "de" else reversed(phrase))))
    # The held-out splits come first: they stay the same when more training pairs are asked for.
    return {"val": pairs[:val], "test": pairs[val : val + test], "train": pairs[val + test :]}


class SentenceWriter(PhraseWriter):
    """Draws sentences."""

    def sentence(self) -> Phrase:
        kinds = {
            self.statement: 34,
            self.question: 16,
            self.subordinate: 15,
            self.that: 7,
            self.infinitive: 8,
            self.coordination: 5,
            self.quality: 7,
            self.existence: 3,
            self.possession: 3,
            self.request: 4,
        }
        words, mark = self.draw(kinds)(), "."
        if words.german[-1] in "?!":
            mark = ""
        return Phrase(*(_finish(side + mark) for side in words))

    # Sentences

    def statement(self) -> Phrase:
        clause = self.clause(self.subject())
        front = self.front(clause)
        return Phrase(german(clause, front=front), english(clause, front=front))

    def question(self) -> Phrase:
        word = self.draw(["", "", "", "wer", "was", "warum", "wann", "wo"])
        clause = self.clause(
            Subject("wer", "who") if word == "wer" else self.subject(relative=False),
            modes=("present", "past", "future", *MODALS),
            negated=False,
        )
        if word == "wer":
            return Phrase(german(clause) + "?", english(clause) + "?")
        asked = word
        if word == "was" and clause.objects:
            accusative = not clause.verb.dative or len(clause.objects) + len(clause.pronouns) > 1
            person = "person" in (clause.verb.accusative if accusative else clause.verb.dative)
            asked, word = ("wen" if accusative else "wem") if person else "was", "what"
            word = "who" if person else "what"
            clause = clause._replace(objects=clause.objects[:-1])
        elif word == "wann":
            word, clause = "when", clause._replace(time=None, frequency=None)
        elif word == "wo":
            asked, word = ("wohin" if clause.goal else "wo"), "where"
            clause = clause._replace(place=None, goal=None)
        elif word == "warum":
            word = "why"
        else:
            asked = word = ""
        return Phrase(
            f"{asked} {german(clause, 'first')}?".strip(),
            f"{word} {english(clause, question=True)}?".strip(),
        )

    def subordinate(self) -> Phrase:
        german_word, english_word = self.draw(
            {("weil", "because"): 4, ("obwohl", "although"): 3, ("wenn", "when"): 3}
            | {("während", "while"): 2}
        )
        modes = ("present", "past") if german_word in ("weil", "obwohl") else ("present",)
        main = self.clause(self.subject(relative=False), modes=modes, short=True)
        other = self.clause(self.subject(relative=False), modes=modes, short=True)
        sides = f"{german_word} {german(other, 'last')}", f"{english_word} {english(other)}"
        if self.chance(0.4):
            return Phrase(f"{sides[0]}, {german(main, 'first')}", f"{sides[1]}, {english(main)}")
        return Phrase(f"{german(main)}, {sides[0]}", f"{english(main)} {sides[1]}")

    def that(self) -> Phrase:
        main = Clause(self.subject(relative=False), self.draw(THAT_VERBS), self.past())
        other = self.clause(self.subject(relative=False), short=True)
        return Phrase(
            f"{german(main)}, dass {german(other, 'last')}",
            f"{english(main)} that {english(other)}",
        )

    def infinitive(self) -> Phrase:
        subject = self.subject(animals=False)
        purpose = self.chance(0.3)
        if purpose:
            verb = self.draw([verb for verb in VERBS if verb.towards])
            main = self.clause(subject, verb, short=True, negated=False)
        else:
            main = Clause(subject, self.draw(TO_VERBS), self.past())
        act = self.draw([verb for verb in VERBS if verb.active and not verb.towards])
        other = self.clause(
            Subject("", ""), act, modes=("infinitive",), short=True, negated=False
        )._replace(time=None)
        return Phrase(
            f"{german(main)},{' um' if purpose else ''} {german(other, 'last')}",
            f"{english(main)} {english(other)}",
        )

    def coordination(self) -> Phrase:
        first, second = (self.clause(self.subject(relative=False), short=True) for _ in "12")
        word, translation = self.draw([(" und", " and"), (", aber", ", but")])
        return Phrase(
            f"{german(first)}{word} {german(second)}",
            f"{english(first)}{translation} {english(second)}",
        )

    def quality(self) -> Phrase:
        past = self.chance(0.4)
        no = self.draw({("", ""): 3, (" nicht", " not"): 1})
        kind = self.draw(
            {"person": 5, "animal": 2, "thing": 2, "clothing": 1, "food": 1, "text": 1}
        )
        if kind == "person" and self.chance(0.4):
            subject, other = self.subject(animals=False), self.noun_phrase(("person",), "nom")
            word, translation = self.draw(list(_COMPARED.items()))
            quality = Phrase(f"{word} als {other.german}", f"{translation} than {other.english}")
        else:
            subject = self.noun_subject((kind,))
            adjective = self.draw(ADJECTIVES[kind])
            quality = Phrase(adjective.german, adjective.english)
        copula = german_form("war" if past else "sein", subject.person, subject.plural)
        return Phrase(
            f"{subject.german} {copula}{no[0]} {quality.german}",
            f"{subject.english} {be(subject, past)}{no[1]} {quality.english}",
        )

    def existence(self) -> Phrase:
        many = self.chance(0.5)
        kinds = ("animal", "thing", "machine", "food", "person")
        article = self.draw(["viel", "einig", *NUMBERS]) if many else self.draw(["ein", "kein"])
        noun, place = self.noun(kinds), self.place()
        thing = noun_phrase(noun, article, "acc", many=many, adjective=self.adjective(noun))
        no = " no" if article == "kein" else ""
        words = thing.english.split(" ", 1)[1] if no else thing.english
        return Phrase(
            f"es gibt {thing.german} {place.german}",
            f"there {'are' if many else 'is'}{no} {words} {place.english}",
        )

    def possession(self) -> Phrase:
        subject = self.noun_subject(("thing", "machine", "text", "clothing", "animal"))
        owner = self.noun_phrase(("person",), "dat")
        clause = Clause(subject, BELONG, objects=(owner,), negated=self.chance(0.2))
        return Phrase(german(clause), english(clause))

    def request(self) -> Phrase:
        subject = Subject("Sie", "please", 3, True)
        verb = self.draw([verb for verb in VERBS if verb.active])
        clause = self.clause(subject, verb, modes=("present",), negated=False)
        clause = clause._replace(time=Phrase("bitte", ""), frequency=None)
        return Phrase(german(clause, "first") + "!", english(clause) + "!")


def _finish(words: str) -> str:
    """A sentence as it is written: its first letter, and no comma before another mark."""
    return words[0].upper() + re.sub(",+(?=[,.!?])", "", words[1:])
