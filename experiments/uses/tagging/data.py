"""Sentences and the part of speech of each word, in the universal tag set."""

from __future__ import annotations

import lzma
import random
from pathlib import Path
from typing import NamedTuple

from experiments.common.errors import UserError
from experiments.common.files import read_file

_NAMES = "ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X"
TAGS = tuple(_NAMES.split())
"""Nivre et al. (2016), in the order of the alphabet."""
_ENDINGS = (".conllu", ".conllu.xz")


class Sentence(NamedTuple):
    """Words, and of each its tag's place in TAGS."""

    words: tuple[str, ...]
    tags: tuple[int, ...]


def read(path: Path) -> tuple[list[Sentence], list[Sentence], list[Sentence]]:
    """Train, validation ("dev") and test of a treebank of Universal Dependencies (CoNLL-U).

    Words are those of the syntax: the parts of a contraction, not the contraction; what is not
    written (an "empty node") is left out.

    Args:
      path: a folder with NAME-train.conllu, NAME-dev.conllu and NAME-test.conllu, each perhaps
        compressed as .xz; or the first of them, where a folder holds several treebanks.

    Raises:
      UserError: one of them is not there, or damaged, or has words or tags left out.
    """
    folder = path if path.is_dir() else path.parent
    train = sorted(
        file
        for ending in _ENDINGS
        for file in folder.glob(f"*-train{ending}")
        if path in (folder, file)
    )
    if len(train) != 1:
        found = f"has several: {', '.join(file.name for file in train)}" if train else "has none"
        raise UserError(f"{path} must be a folder with one NAME-train.conllu, or it; it {found}.")
    name = train[0].name.partition("-train.conllu")[0]
    others = [_find(folder, f"{name}-{part}") for part in ("dev", "test")]
    train, val, test = (_sentences(file) for file in (*train, *others))
    return train, val, test


def _find(folder: Path, name: str) -> Path:
    for ending in _ENDINGS:
        if (folder / (name + ending)).is_file():
            return folder / (name + ending)
    raise UserError(f"{folder} holds no {name}.conllu, nor {name}.conllu.xz.")


def _sentences(path: Path) -> list[Sentence]:
    content = read_file(path)
    try:
        text = (lzma.decompress(content) if path.suffix == ".xz" else content).decode()
    except (lzma.LZMAError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}, perhaps cut short: {error}.") from error
    sentences, words, tags = [], [], []
    # By newlines alone: a word may hold another of Unicode's separators.
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        fields = line.rstrip("\r").split("\t")
        if fields == [""]:
            if words:
                sentences.append(Sentence(tuple(words), tuple(tags)))
            words, tags = [], []
        elif not line.startswith("#"):
            if len(fields) != 10:
                raise UserError(f"{path}, line {number}: {len(fields)} fields, expected 10.")
            place, word, _, tag, *_ = fields
            if "-" in place or "." in place:
                continue
            if place != str(len(words) + 1):
                raise UserError(
                    f"{path}, line {number}: word {place!r}, expected {len(words) + 1}."
                )
            if tag not in TAGS:
                raise UserError(f"{path}, line {number}: {tag!r} is no universal tag.")
            words.append(word)
            tags.append(TAGS.index(tag))
    if words:
        raise UserError(f"{path} ends within a sentence, perhaps cut short.")
    if not sentences:
        raise UserError(f"{path} holds no sentence.")
    return sentences


DETERMINERS = ("the", "a", "no", "every", "that")
PRONOUNS = ("we", "you", "they", "she", "he")
PREPOSITIONS = ("in", "with", "behind", "near", "under")
AUXILIARIES = ("can", "will", "must", "may")
NOUNS = (
    "dog",
    "baker",
    "park",
    "river",
    "garden",
    "teacher",
    "song",
    "bridge",
    "can",
    "will",
    "saw",
)
EITHER = ("walk", "work", "dream", "help", "dance", "hunt", "visit", "rest", "race", "study")
"""Nouns and verbs."""
ADJECTIVES = ("old", "small", "happy", "green", "cold")
ADVERBS = ("often", "again", "soon", "there")
TAKE_OBJECTS = ("saw", "painted", "found", "loved")
TAKE_VERBS = ("hoped", "wanted", "failed", "learned")
TAKE_PLACES = ("returned", "went", "hurried", "came")
TAKE_SENTENCES = ("said", "thought", "heard")
ENDINGS = {
    "NOUN": ("ness", "ment", "ism"),
    "ADJ": ("ous", "ful", "ish"),
    "ADV": ("ly",),
    "VERB": ("ized", "ified"),
}
"""Of invented words; one without any is a noun or a verb."""


def generate(seed: int, count: int = 2500) -> list[Sentence]:
    """Sentences of a small English grammar; the words of a sentence decide its tags, and alone do.

    What must be learnt:
    near: "can", "will" and "saw" are nouns after a determiner or an adjective, and so are EITHER;
        "that" is a pronoun after a noun, a conjunction after TAKE_SENTENCES, else a determiner.
    far: in "hoped ... to work" the last two words are PART VERB, in "went ... to work" ADP NOUN.
        Each such verb has its "to", with up to three phrases between, and in these may be others
        that have theirs: "hoped near the dog that went there to work to help". And "after" is a
        conjunction where a verb follows that is not of such a clause: far to the right.
    letters: every fourth or so of the nouns, adjectives, adverbs, verbs and all names are invented,
        each for its one place, so that hardly any is met again. ENDINGS and capitals tell what they
        are; those without an ending are nouns or verbs as EITHER are.

    It is a fair test because no word by itself, and no window of a few words, has all the answers,
    and there is always one: nothing is noise.
    """
    draw = random.Random(f"tagging {seed}")
    sentences: dict[Sentence, None] = {}  # each once, in order
    while len(sentences) < count:
        sentences[_Writer(draw).sentence()] = None
    return list(sentences)


class _Writer:
    """Writes one sentence from left to right."""

    def __init__(self, draw: random.Random):
        self._draw = draw
        self._words: list[str] = []
        self._tags: list[int] = []
        self._depth = 0  # in how many clauses that say more of a noun

    def sentence(self) -> Sentence:
        self._clause()
        if self._sometimes(0.5):
            joint, whole = self._draw.choice(("after", "before")), self._sometimes(0.5)
            self._add(joint, "SCONJ" if whole else "ADP")
            self._phrase()
            if whole:
                self._predicate(self._draw.randrange(4))
        self._add(".", "PUNCT")
        return Sentence(tuple(self._words), tuple(self._tags))

    def _clause(self) -> None:
        if self._sometimes(0.5):
            self._one_of(PRONOUNS, "PRON")
        else:
            self._phrase()
        self._predicate(self._draw.randrange(5))

    def _predicate(self, kind: int) -> None:
        if kind == 0:
            if self._sometimes(0.3):
                self._invent("VERB")
            else:
                self._one_of(TAKE_OBJECTS, "VERB")
            self._phrase()
        elif kind == 1:
            self._one_of(AUXILIARIES, "AUX")
            self._either("VERB")
            if self._sometimes(0.5):
                self._adverb()
        elif kind == 4:
            self._one_of(TAKE_SENTENCES, "VERB")
            self._add("that", "SCONJ")
            self._clause()
        else:
            self._one_of(TAKE_VERBS if kind == 2 else TAKE_PLACES, "VERB")
            for _ in range(self._draw.randrange(4)):
                if self._sometimes(0.3):
                    self._adverb()
                else:
                    self._with_preposition()
            self._add("to", "PART" if kind == 2 else "ADP")
            self._either("VERB" if kind == 2 else "NOUN")

    def _phrase(self) -> None:
        """A noun and what belongs to it."""
        self._one_of(DETERMINERS, "DET")
        if self._sometimes(0.4):
            if self._sometimes(0.25):
                self._invent("ADJ")
            else:
                self._one_of(ADJECTIVES, "ADJ")
        if self._sometimes(0.3):
            self._either("NOUN")
        elif self._sometimes(0.25):
            self._invent("NOUN")
        else:
            self._one_of(NOUNS, "NOUN")
        if self._depth < 2 and self._sometimes(0.25):
            self._depth += 1
            self._add("that", "PRON")
            self._predicate(self._draw.randrange(4))
            self._depth -= 1

    def _with_preposition(self) -> None:
        self._one_of(PREPOSITIONS, "ADP")
        if self._sometimes(0.3):
            self._add(self._stem().capitalize(), "PROPN")
        else:
            self._phrase()

    def _adverb(self) -> None:
        if self._sometimes(0.25):
            self._invent("ADV")
        else:
            self._one_of(ADVERBS, "ADV")

    def _either(self, tag: str) -> None:
        if self._sometimes(0.25):
            self._add(self._stem(), tag)
        else:
            self._one_of(EITHER, tag)

    def _invent(self, tag: str) -> None:
        self._add(self._stem() + self._draw.choice(ENDINGS[tag]), tag)

    def _stem(self) -> str:
        """Like "lorak": no ending of ENDINGS, no word of the others."""
        letters = [self._draw.choice("bdfglmnprstv") + self._draw.choice("aeiou") for _ in "ab"]
        return "".join(letters) + self._draw.choice("kpz")

    def _one_of(self, words: tuple[str, ...], tag: str) -> None:
        self._add(self._draw.choice(words), tag)

    def _add(self, word: str, tag: str) -> None:
        self._words.append(word)
        self._tags.append(TAGS.index(tag))

    def _sometimes(self, p: float) -> bool:
        return self._draw.random() < p
