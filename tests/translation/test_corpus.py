"""The generated corpus: its grammar by hand-made examples, and its splits."""

import random
import re

import pytest

from experiments.common.errors import UserError
from experiments.translation.corpus import SentenceWriter, generate
from experiments.translation.grammar import Clause, Phrase, Subject, english, german, noun_phrase
from experiments.translation.lexicon import ADJECTIVES, NOUNS, VERBS, past, plural, progressive

NOUN = {noun.german: noun for noun in NOUNS}
VERB = {verb.prefix + verb.infinitive: verb for verb in VERBS}
ADJECTIVE = {adjective.german: adjective for kind in ADJECTIVES.values() for adjective in kind}


@pytest.fixture(scope="module")
def splits():
    return generate(seed=0, train=3000, val=200, test=200)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("Mann", "der", "nom", 0, "alt"), ("der alte Mann", "the old man")),
        (("Mann", "der", "acc", 0, "alt"), ("den alten Mann", "the old man")),
        (("Mann", "ein", "nom", 0, "alt"), ("ein alter Mann", "an old man")),
        (("Mann", "ein", "dat", 0, "jung"), ("einem jungen Mann", "a young man")),
        (("Frau", "mein", "nom", 0, "nett"), ("meine nette Frau", "my nice woman")),
        (("Frau", "dies", "dat", 0, "müde"), ("dieser müden Frau", "this tired woman")),
        (("Kind", "ein", "acc", 0, "klein"), ("ein kleines Kind", "a small child")),
        (("Kind", "der", "dat", 1, "klein"), ("den kleinen Kindern", "the small children")),
        (("Kind", "dein", "acc", 1, "klug"), ("deine klugen Kinder", "your clever children")),
        (("Junge", "der", "nom", 0, "faul"), ("der faule Junge", "the lazy boy")),
        (("Junge", "der", "acc", 0, ""), ("den Jungen", "the boy")),
        (("Buch", "dies", "acc", 0, "teuer"), ("dieses teure Buch", "this expensive book")),
        (("Buch", "kein", "nom", 0, "neu"), ("kein neues Buch", "a new book")),
        (("Apfel", "", "acc", 1, "frisch"), ("frische Äpfel", "fresh apples")),
        (("Apfel", "viel", "dat", 1, "gut"), ("vielen guten Äpfeln", "many good apples")),
        (("Auto", "drei", "dat", 1, "rot"), ("drei roten Autos", "three red cars")),
        (("Kaffee", "", "acc", 0, "heiß"), ("heißen Kaffee", "hot coffee")),
        (("Wasser", "", "acc", 0, "kalt"), ("kaltes Wasser", "cold water")),
        (("Milch", "unser", "dat", 0, "kalt"), ("unserer kalten Milch", "our cold milk")),
        (("Ei", "ein", "acc", 0, ""), ("ein Ei", "an egg")),
    ],
)
def test_noun_phrases(words, expected):
    noun, article, case, many, adjective = words
    result = noun_phrase(
        NOUN[noun], article, case, many=bool(many), adjective=ADJECTIVE.get(adjective)
    )
    assert result == expected


DOOR = (Phrase("die Tür", "the door"),)
APPLE = (Phrase("den Apfel", "the apple"),)
TODAY, PARK = Phrase("heute", "today"), Phrase("im Park", "in the park")
ICH, DU, ER = Subject("ich", "I", 1), Subject("du", "you", 2), Subject("er", "he")
SIE, IHR = Subject("sie", "they", 3, True), Subject("ihr", "you", 2, True)


@pytest.mark.parametrize(
    ("clause", "second", "last", "translation"),
    [
        (
            Clause(ER, VERB["aufmachen"], objects=DOOR, time=TODAY),
            "er macht heute die Tür auf",
            "er heute die Tür aufmacht",
            "he opens the door today",
        ),
        (
            Clause(ICH, VERB["aufstehen"], "past", place=PARK),
            "ich bin im Park aufgestanden",
            "ich im Park aufgestanden bin",
            "I got up in the park",
        ),
        (
            Clause(ER, VERB["essen"], "past", objects=APPLE, time=TODAY, negated=True),
            "er hat den Apfel heute nicht gegessen",
            "er den Apfel heute nicht gegessen hat",
            "he did not eat the apple today",
        ),
        (
            Clause(DU, VERB["lesen"], objects=(Phrase("kein Buch", "a book"),), negated=True),
            "du liest kein Buch",
            "du kein Buch liest",
            "you do not read a book",
        ),
        (
            Clause(ER, VERB["zeigen"], "müssen", (Phrase("mir", "me"),), DOOR, time=TODAY),
            "er muss mir heute die Tür zeigen",
            "er mir heute die Tür zeigen muss",
            "he has to show me the door today",
        ),
        (
            Clause(ER, VERB["singen"], "müssen", negated=True),
            "er muss nicht singen",
            "er nicht singen muss",
            "he does not have to sing",
        ),
        (
            Clause(IHR, VERB["einladen"], "können", (Phrase("uns", "us"),), negated=True),
            "ihr könnt uns nicht einladen",
            "ihr uns nicht einladen könnt",
            "you cannot invite us",
        ),
        (
            Clause(SIE, VERB["essen"], "glad", objects=APPLE, place=PARK),
            "sie essen gern den Apfel im Park",
            "sie gern den Apfel im Park essen",
            "they like to eat the apple in the park",
        ),
        (
            Clause(ICH, VERB["schwimmen"], "now"),
            "ich schwimme gerade",
            "ich gerade schwimme",
            "I am swimming",
        ),
        (
            Clause(ER, VERB["waschen"], "dürfen", frequency=Phrase("oft", "often")),
            "er darf oft waschen",
            "er oft waschen darf",
            "he is often allowed to wash",
        ),
        (
            Clause(ER, VERB["laufen"], manner=Phrase("schnell", "quickly"), goal=Phrase("A", "B")),
            "er läuft schnell A",
            "er schnell A läuft",
            "he runs B quickly",
        ),
    ],
)
def test_clauses(clause, second, last, translation):
    assert german(clause) == second
    assert german(clause, "last") == last
    assert english(clause) == translation


def test_fronts_questions_and_infinitives():
    clause = Clause(ER, VERB["essen"], "past", (), APPLE, time=TODAY, place=PARK)
    assert german(clause, front="time") == "heute hat er den Apfel im Park gegessen"
    assert english(clause, front="time") == "today he ate the apple in the park"
    assert german(clause, front="objects") == "den Apfel hat er heute im Park gegessen"
    assert english(clause, front="objects") == "he ate the apple in the park today"
    assert german(clause, "first") == "hat er heute den Apfel im Park gegessen"
    assert english(clause, question=True) == "did he eat the apple in the park today"
    open_it = Clause(Subject("", ""), VERB["aufmachen"], "infinitive", objects=DOOR)
    assert (german(open_it, "last"), english(open_it)) == (
        "die Tür aufzumachen",
        "to open the door",
    )
    wash = Clause(ER, VERB["waschen"])
    assert english(wash, question=True) == "does he wash"
    assert english(wash._replace(mode="möchten"), question=True) == "would he like to wash"
    assert english(wash._replace(mode="können", negated=True), question=True) == "can he not wash"


def test_verb_forms():
    def du_er_ihr(verb):
        return [german(Clause(s, VERB[verb])).split()[1] for s in (DU, ER, IHR)]

    assert du_er_ihr("arbeiten") == ["arbeitest", "arbeitet", "arbeitet"]
    assert du_er_ihr("essen") == ["isst", "isst", "esst"]
    assert du_er_ihr("einladen") == ["lädst", "lädt", "ladet"]
    assert du_er_ihr("zeichnen") == ["zeichnest", "zeichnet", "zeichnet"]
    assert du_er_ihr("füttern") == ["fütterst", "füttert", "füttert"]
    assert du_er_ihr("tanzen") == ["tanzt", "tanzt", "tanzt"]
    assert du_er_ihr("lernen") == ["lernst", "lernt", "lernt"]
    assert [plural(w) for w in ("cherry", "box", "boy", "go")] == [
        "cherries",
        "boxes",
        "boys",
        "goes",
    ]
    assert [past(w) for w in ("cry", "play", "dance")] == ["cried", "played", "danced"]
    assert [progressive(w) for w in ("swim", "get up", "write", "see", "read")] == [
        "swimming",
        "getting up",
        "writing",
        "seeing",
        "reading",
    ]


def test_splits_are_disjoint_on_both_sides(splits):
    assert {name: len(pairs) for name, pairs in splits.items()} == {
        "val": 200,
        "test": 200,
        "train": 3000,
    }
    for side in (0, 1):
        assert len({pair[side] for pairs in splits.values() for pair in pairs}) == 3400


def test_sentences_are_sentences(splits):
    for pair in (pair for pairs in splits.values() for pair in pairs):
        assert 3 <= len(pair.source.split()) <= 18
        for text in pair:
            assert re.fullmatch(r"[A-ZÄÖÜ][A-Za-zÄÖÜäöüß,]*( [A-Za-zÄÖÜäöüß]+,?)*[.?!]", text), text
        assert pair.source[-1] == pair.target[-1]
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", pair.target), pair


def test_a_german_sentence_has_one_translation():
    writer = SentenceWriter(random.Random(1))
    translations: dict[str, str] = {}
    for _ in range(8_000):
        phrase = writer.sentence()
        assert translations.setdefault(phrase.german, phrase.english) == phrase.english


def test_the_seed_decides(splits):
    assert generate(seed=0, train=3000, val=200, test=200) == splits
    assert generate(seed=1, train=9, val=9, test=9)["train"] != splits["train"][:9]
    more = generate(seed=0, train=3100, val=200, test=200)
    assert more["train"][:3000] == splits["train"]
    assert (more["val"], more["test"]) == (splits["val"], splits["test"])
    turned = generate(seed=0, train=100, val=200, test=200, source="en")
    assert turned["val"] == [pair[::-1] for pair in splits["val"]]
    with pytest.raises(UserError, match="in de and en; got 'fr'"):
        generate(source="fr")


def test_enough_words_to_be_a_test(splits):
    words = {w.strip(",.?!") for pairs in splits.values() for p in pairs for w in p.source.split()}
    assert len(words) > 1000
