"""Random parts of sentences, each in German and English: who, what, when, how and where."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from typing import Any

from experiments.translation.grammar import (
    MODALS,
    NUMBERS,
    Clause,
    Phrase,
    Subject,
    english,
    german,
    noun_phrase,
)
from experiments.translation.lexicon import ADJECTIVES, NOUNS, PLACES, VERBS, Noun, Verb

# nominative, accusative, dative; he, him; person, plural. "sie" as an object could be she or they.
_PRONOUNS = [
    ("ich", "mich", "mir", "I", "me", 1, False),
    ("du", "dich", "dir", "you", "you", 2, False),
    ("er", "ihn", "ihm", "he", "him", 3, False),
    ("sie", "", "ihr", "she", "her", 3, False),
    ("wir", "uns", "uns", "we", "us", 1, True),
    ("ihr", "euch", "euch", "you", "you", 2, True),
    ("sie", "", "ihnen", "they", "them", 3, True),
]
_NAMES = ["Anna", "Peter", "Maria", "Paul", "Lena", "Max", "Tom", "Emma", "Felix", "Julia"]
_DAYS = {"Montag": "Monday", "Freitag": "Friday", "Samstag": "Saturday", "Sonntag": "Sunday"}
_ANY_DAY = {"heute": "today", "am Abend": "in the evening", "am Morgen": "in the morning"}
_ANY_DAY |= {f"am {day}": f"on {name}" for day, name in _DAYS.items()}
_TIMES = {
    "present": _ANY_DAY | {"jetzt": "now", "jeden Tag": "every day"},
    "past": _ANY_DAY | {"gestern": "yesterday", "letzte Woche": "last week"},
    "future": _ANY_DAY | {"morgen": "tomorrow", "nächste Woche": "next week", "bald": "soon"},
    "glad": _ANY_DAY,
}
_OFTEN = {"oft": "often", "immer": "always", "nie": "never", "manchmal": "sometimes"}
_MANNERS = {"langsam": "slowly", "schnell": "quickly", "vorsichtig": "carefully"}
_MANNERS |= {"leise": "quietly", "geduldig": "patiently"}
_AROUND = {"vor": "in front of", "hinter": "behind", "neben": "next to"}
_CONTRACTED = {"in dem": "im", "an dem": "am", "in das": "ins", "an das": "ans"}
_CONTRACTED |= {"zu dem": "zum", "zu der": "zur"}
_ANIMAL_VERBS = "schlafen essen trinken suchen finden sehen hören beobachten folgen laufen warten"
_OF_ANIMALS = [v for v in VERBS if v.infinitive in _ANIMAL_VERBS.split() and not v.prefix]


@functools.cache
def _of_kinds(kinds: tuple[str, ...]) -> list[Noun]:
    nouns = [*NOUNS, *(place.noun for place in PLACES)]
    return [noun for noun in nouns if set(noun.kinds) & set(kinds)]


class PhraseWriter:
    """Draws phrases and clauses."""

    def __init__(self, rng: random.Random):
        self.rng = rng

    def clause(
        self,
        subject: Subject,
        chosen: Verb | None = None,
        *,
        modes: Sequence[str] = ("present", "past", "future", "glad", "now", *MODALS),
        short: bool = False,
        negated: bool = True,
    ) -> Clause:
        """A clause of which `subject` is the subject; a `short` one has few adverbials."""
        rare = 0.4 if short else 1.0
        verb: Verb = chosen or self.draw(_OF_ANIMALS if subject.animal else VERBS)
        common = {"present": 9, "past": 9, "future": 3}
        # What only happens to people is not done gladly, nor asked of them.
        fit = [m for m in modes if verb.active or m in common]
        mode = self.draw({m: common.get(m, 1) for m in fit})
        negated = negated and mode not in ("glad", "now") and self.chance(0.12)
        pronouns, objects = self.objects(verb, subject, negated)
        active = verb.active and not negated
        together = active and subject.german and verb.infinitive != "schlafen"
        goal = self.goal(verb) if verb.towards else None
        lasting = not verb.active and (verb.accusative or verb.dative)
        timed = mode != "now" and not lasting and self.chance(0.4 * rare)
        times = _TIMES.get(mode, _TIMES["future"])
        adverbial = not (negated or timed or lasting) and mode in ("present", "past")
        how = self.draw(["manner", "company", "place", "place", ""]) if self.chance(rare) else ""
        return Clause(
            subject,
            verb,
            mode,
            pronouns,
            objects,
            time=self.word(times) if timed else None,
            frequency=self.word(_OFTEN) if adverbial and self.chance(0.2) else None,
            manner=self.word(_MANNERS) if how == "manner" and active and mode != "glad" else None,
            company=self.company() if how == "company" and together else None,
            place=self.place() if how == "place" and not (goal or lasting) else None,
            goal=goal,
            negated=negated,
        )

    def objects(
        self, verb: Verb, subject: Subject, negated: bool
    ) -> tuple[tuple[Phrase, ...], tuple[Phrase, ...]]:
        """The pronouns and the other objects, the dative first."""
        pronouns, objects = [], []
        for case, kinds in (("dat", verb.dative), ("acc", verb.accusative)):
            if "person" in kinds and self.chance(0.35):
                # "ich sehe mich" would be a reflexive
                fit = [row for row in _PRONOUNS if row[5] == 3 or row[5] != subject.person]
                row = self.draw([row for row in fit if row[1] or case == "dat"])
                pronouns.append(Phrase(row[2 if case == "dat" else 1], row[4]))
            elif kinds:
                none = negated and case == "acc" and self.chance(0.5)
                objects.append(self.noun_phrase(kinds, case, article="kein" if none else None))
        return tuple(pronouns), tuple(objects)

    def front(self, clause: Clause) -> str | None:
        """What the sentence begins with instead of its subject."""
        choices = [name for name in ("time", "time", "place") if getattr(clause, name)]
        # Only where an ending tells that it is no subject.
        last = clause.objects[-1].german if clause.objects else ""
        if not clause.negated and last.split(" ")[0] in ("den", "dem", "einen", "diesen", "einem"):
            choices.append("objects")
        return self.draw(choices) if choices and self.chance(0.4) else None

    def subject(self, *, animals: bool = True, relative: bool = True) -> Subject:
        kind = self.draw({"pronoun": 7, "name": 2, "person": 9, "animal": 2 * animals})
        if kind == "pronoun":
            nominative, _, _, pronoun, _, person, many = self.draw(_PRONOUNS)
            return Subject(nominative, pronoun, person, many)
        if kind == "name":
            name = self.draw(_NAMES)
            return Subject(name, name)
        return self.noun_subject((kind,), relative)

    def noun_subject(self, kinds: tuple[str, ...], relative: bool = False) -> Subject:
        noun = self.noun(kinds)
        many, article = self.article(noun)
        words = noun_phrase(noun, article, "nom", many=many, adjective=self.adjective(noun))
        if relative and article == "der" and self.chance(0.25):
            words = self.relative(words, noun, many)
        return Subject(*words, 3, many, "animal" in noun.kinds)

    def noun_phrase(
        self, kinds: tuple[str, ...], case: str, *, article: str | None = None
    ) -> Phrase:
        if kinds == ("person",) and article is None and self.chance(0.2):
            return Phrase(*[self.draw(_NAMES)] * 2)
        noun = self.noun(kinds)
        many, drawn = self.article(noun, bare=True)
        if article == "kein" and "drink" in noun.kinds:
            drink = noun_phrase(noun, "kein", case, adjective=self.adjective(noun))
            return Phrase(drink.german, drink.english.split(" ", 1)[1])
        words = noun_phrase(noun, article or drawn, case, many=many, adjective=self.adjective(noun))
        if drawn == "der" and article is None and self.chance(0.1):
            words = self.relative(words, noun, many)
        return words

    def relative(self, words: Phrase, noun: Noun, many: bool) -> Phrase:
        """`words` with a relative clause: "who sees me", or "that I know"."""
        gender = "pl" if many else noun.gender
        known = [v for v in VERBS if set(noun.kinds) & set(v.accusative) and not v.dative]
        if "person" in noun.kinds and self.chance(0.5):
            pronoun = {"m": "der", "f": "die", "n": "das", "pl": "die"}[gender]
            clause = self.clause(
                Subject(pronoun, "who", 3, many), modes=("present", "past"), short=True
            )
            return _inserted(words, german(clause, "last"), english(clause))
        if not known:
            return words
        pronoun = {"m": "den", "f": "die", "n": "das", "pl": "die"}[gender]
        # Not "sie": "die Frau, die sie sieht" has two readings.
        nominative, _, _, subject, _, person, plural = self.draw(
            [_PRONOUNS[i] for i in (0, 1, 2, 4)]
        )
        clause = Clause(Subject(nominative, subject, person, plural), self.draw(known), self.past())
        return _inserted(words, f"{pronoun} {german(clause, 'last')}", f"that {english(clause)}")

    def company(self) -> Phrase:
        other = self.noun_phrase(("person",), "dat")
        return Phrase(f"mit {other.german}", f"with {other.english}")

    def place(self) -> Phrase:
        place = self.draw(PLACES)
        if "building" in place.noun.kinds and self.chance(0.3):
            word, translation = self.draw(list(_AROUND.items()))
        else:
            word, translation = place.at, place.english_at
        return self.prepositional(word, translation, place.noun, "dat")

    def goal(self, verb: Verb) -> Phrase:
        if self.chance(0.1):
            return Phrase("nach Hause", "home")
        far = verb.infinitive in ("fahren", "reisen", "reiten")
        place = self.draw([p for p in PLACES if not (far and "room" in p.noun.kinds)])
        case = "dat" if place.towards == "zu" else "acc"
        return self.prepositional(place.towards, "to", place.noun, case)

    def prepositional(self, word: str, translation: str, noun: Noun, case: str) -> Phrase:
        article = self.draw({"der": 8, "ein": 1, "unser": 1})
        adjective = self.adjective(noun, 0.15)
        words = noun_phrase(noun, article, case, adjective=adjective)
        start, *rest = f"{word} {words.german}".split(" ", 2)
        joined = f"{start} {rest[0]}"
        return Phrase(
            f"{_CONTRACTED.get(joined, joined)} {rest[1]}", f"{translation} {words.english}"
        )

    def noun(self, kinds: tuple[str, ...]) -> Noun:
        return self.draw(_of_kinds(kinds))

    def article(self, noun: Noun, bare: bool = False) -> tuple[bool, str]:
        """Plural or not, and an article; `bare`: a plural, or a drink, may have none."""
        if "drink" in noun.kinds:
            return False, self.draw({"": 3, "der": 1, "sein": 1})
        many = self.chance(0.3)
        owned = {"mein": 1, "dein": 1, "sein": 1, "unser": 1}
        if many:
            some = {"": 3 * bare, "viel": 1, "einig": 1, "drei": 1, self.draw(list(NUMBERS)): 1}
            return True, self.draw({"der": 5, "dies": 1} | some | owned)
        return False, self.draw({"der": 8, "ein": 5, "dies": 1, "jed": 1} | owned)

    def adjective(self, noun: Noun, chance: float = 0.3) -> Any:
        return self.draw(ADJECTIVES[noun.kinds[0]]) if self.chance(chance) else None

    def past(self) -> str:
        return self.draw(["present", "past"])

    def word(self, table: dict[str, str]) -> Phrase:
        return Phrase(*self.draw(list(table.items())))

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def draw(self, choices: Any) -> Any:
        """One of a sequence, or a key of a dict of weights."""
        if isinstance(choices, dict):
            return self.rng.choices(list(choices), list(choices.values()))[0]
        return self.rng.choice(choices)


def _inserted(words: Phrase, german_clause: str, english_clause: str) -> Phrase:
    return Phrase(f"{words.german}, {german_clause},", f"{words.english} {english_clause}")
