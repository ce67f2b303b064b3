"""Tagging: the generated words decide their tags, treebanks are read, and the measures counted."""

import lzma

import jax
import numpy as np
import pytest

from experiments.common.errors import UserError
from experiments.uses.contract import Data, Example, Examples
from experiments.uses.settings import Settings
from experiments.uses.tagging.data import TAGS, Sentence, generate, read
from experiments.uses.tagging.use import About, Tagging, confusion_matrix, examples, marked, scores
from experiments.uses.words import UNKNOWN, Vocabulary

WORD_CLASSES = {
    "DET": "the a no every",
    "PRON": "we you they she he",
    "ADP": "in with behind near under",
    "ADJ": "old small happy green cold",
    "ADV": "often again soon there",
    "NOUN": "dog baker park river garden teacher bridge",
    "VERB": "painted found loved said thought heard",
    "PUNCT": ".",
}
TAKE_VERBS, TAKE_PLACES = (
    ["hoped", "wanted", "failed", "learned"],
    ["returned", "went", "hurried", "came"],
)
BY_WORD = {word: tag for tag, words in WORD_CLASSES.items() for word in words.split()}
BY_ENDING = {
    **dict.fromkeys(("ness", "ment", "ism"), "NOUN"),
    **dict.fromkeys(("ous", "ful", "ish"), "ADJ"),
    **dict.fromkeys(("ized", "ified"), "VERB"),
    "ly": "ADV",
}


def parse(words: tuple[str, ...]) -> list[str]:
    """The tags, from the words alone: a pass from left to right with a stack, then "after"."""
    tags: list[str] = []
    waiting: list[str] = []  # for their "to"
    for word in words:
        before = tags[-1] if tags else ""
        ending = [tag for ending, tag in BY_ENDING.items() if word.endswith(ending)]
        if word in BY_WORD:
            tags.append(BY_WORD[word])
        elif word in TAKE_VERBS or word in TAKE_PLACES:
            tags.append("VERB")
            waiting.append(word)
        elif word in ("can", "will", "must", "may", "saw"):
            other = "VERB" if word == "saw" else "AUX"
            tags.append("NOUN" if before in ("DET", "ADJ") else other)
        elif word == "that":
            said = words[len(tags) - 1] in ("said", "thought", "heard")
            tags.append("SCONJ" if said else "PRON" if before == "NOUN" else "DET")
        elif word == "to":
            tags.append("PART" if waiting.pop() in TAKE_VERBS else "ADP")
        elif word in ("after", "before"):
            tags.append("ADP")  # for now
        elif word[0].isupper():
            tags.append("PROPN")
        elif ending and len(word) > 6:
            tags.append(ending[0])
        else:
            by_to = words[len(tags) - 1] == "to" and before == "ADP"
            tags.append("NOUN" if by_to or before in ("DET", "ADJ") else "VERB")
    assert not waiting
    for at, word in enumerate(words):
        if word in ("after", "before"):
            # Heads of clauses: what is no word by "to" or an auxiliary. Each "that" has one.
            heads = [
                i
                for i in range(at, len(words))
                if tags[i] == "AUX" or (tags[i] == "VERB" and tags[i - 1] not in ("PART", "AUX"))
            ]
            clauses = sum(words[i] == "that" and tags[i] == "PRON" for i in range(at, len(words)))
            tags[at] = "SCONJ" if len(heads) > clauses else "ADP"
    return tags


def test_the_words_of_a_generated_sentence_decide_its_tags():
    sentences = generate(5, count=600)
    assert sentences == generate(5, count=600)
    assert len({sentence.words for sentence in sentences}) == 600
    tags_of: dict[str, set[int]] = {}
    for words, tags in sentences:
        assert [TAGS[tag] for tag in tags] == parse(words), words
        for word, tag in zip(words, tags, strict=True):
            tags_of.setdefault(word, set()).add(tag)
    for word in ("to", "after", "before", "can", "will", "saw", "that", "work", "help"):
        assert len(tags_of[word]) > 1, word
    # Some verb has its "to" behind another's, and most of the words of some kinds are met once.
    assert any(list(words).count("to") > 1 for words, _ in sentences)
    seen = {word for sentence in sentences[:500] for word in sentence.words}
    unseen = {word for sentence in sentences[500:] for word in sentence.words} - seen
    assert {tag for word in unseen for tag in tags_of[word]} >= {
        TAGS.index(tag) for tag in ("NOUN", "VERB", "ADJ", "ADV", "PROPN")
    }


def line(place: str, word: str, tag: str) -> str:
    return "\t".join([place, word, word.lower(), tag, "_", "_", "0", "_", "_", "_"]) + "\n"


TEXT = (
    "# text = Don't go .\n"
    + line("1-2", "Don't", "_")
    + line("1", "Do", "AUX")
    + line("2", "n't", "PART")
    + line("3", "go\u2028", "VERB")
    + line("3.1", "there", "ADV")
    + line("4", ".", "PUNCT")
    + "\n# a comment\n"
    + line("1", "Go", "VERB")
    + "\n"
)
WANTED = [
    Sentence(
        ("Do", "n't", "go\u2028", "."), tuple(map(TAGS.index, ("AUX", "PART", "VERB", "PUNCT")))
    ),
    Sentence(("Go",), (TAGS.index("VERB"),)),
]


@pytest.fixture
def treebank(tmp_path):
    (tmp_path / "xx_some-ud-train.conllu").write_text(TEXT, encoding="utf-8")
    (tmp_path / "xx_some-ud-dev.conllu.xz").write_bytes(lzma.compress(TEXT.encode()))
    windows = TEXT.replace("\n", "\r\n").encode()
    (tmp_path / "xx_some-ud-test.conllu").write_bytes(windows)
    return tmp_path


def test_reading(treebank):
    for path in (treebank, treebank / "xx_some-ud-train.conllu"):
        assert read(path) == (WANTED, WANTED, WANTED)
    (treebank / "yy-train.conllu").write_text(TEXT)
    with pytest.raises(UserError, match=r"has several: xx_some-ud-train.conllu, yy-train.conllu"):
        read(treebank)
    assert read(treebank / "xx_some-ud-train.conllu")[0] == WANTED
    with pytest.raises(UserError, match=r"holds no yy-dev\.conllu"):
        read(treebank / "yy-train.conllu")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (TEXT[:-1].encode(), "ends within a sentence"),
        (TEXT[:-12].encode(), r"line 10: \d fields, expected 10"),
        (b"", "holds no sentence"),
        (TEXT.replace("PART", "_").encode(), r"line 4: '_' is no universal tag"),
        (TEXT.replace(line("2", "n't", "PART"), "").encode(), r"line 4: word '3', expected 2"),
        (b"\xff\xfe" + TEXT.encode("utf-16-le"), "cannot read .*-train.conllu"),
    ],
)
def test_broken_files(treebank, content, match):
    (treebank / "xx_some-ud-train.conllu").write_bytes(content)
    with pytest.raises(UserError, match=match):
        read(treebank)


def test_missing_and_cut_files(treebank):
    dev = treebank / "xx_some-ud-dev.conllu.xz"
    dev.write_bytes(dev.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"cannot read .*dev.conllu.xz, perhaps cut short"):
        read(treebank)
    dev.unlink()
    with pytest.raises(UserError, match=r"holds no xx_some-ud-dev\.conllu"):
        read(treebank)
    for nothing in (treebank / "nowhere", treebank / "xx_some-ud-test.conllu"):
        with pytest.raises(UserError, match="it has none"):
            read(nothing)


@pytest.fixture(scope="module")
def about():
    words = Vocabulary.of([["go", "go", "stop", "extraordinarily"]])
    return About(words, np.array([0, 0, 0, 2, 1, 1]), Vocabulary.of(["go", "stop", "extrdinaly"]))


def test_letters_from_both_ends(about):
    sentence = Sentence(("go", "extraordinarily", "Gone"), (0, 1, 2))
    (x,), (y,) = examples([sentence], about)
    np.testing.assert_array_equal(y, [0, 1, 2])
    letters = ["", *about.letters.words]  # 0: none
    assert "".join(letters[code] for code in x[0, 1:]) == "go"
    assert "".join(letters[code] for code in x[1, 1:]) == "extr" + "dinarily"
    assert [letters[code] for code in x[2, 1:5]] == ["<unknown>", "o", "n", "e"]
    assert not x[2, 5:].any()
    assert list(x[:, 0]) == [3, about.words.words.index("extraordinarily"), UNKNOWN]


def test_scores_and_confusion_against_loops(about, tmp_path):
    random = np.random.default_rng(0)
    ys = [random.integers(0, 5, length) for length in (4, 1, 6)]
    found = [np.where(random.random(len(y)) < 0.7, y, (y + 1) % 5) for y in ys]
    xs = [random.integers(0, 2, (len(y), 3)) for y in ys]
    result = scores(Examples(xs, ys), found)
    right = total = unseen = unseen_right = 0
    counts = np.zeros((len(TAGS), len(TAGS)), int)
    for x, y, tags in zip(xs, ys, found, strict=True):
        for t in range(len(y)):
            total += 1
            right += y[t] == tags[t]
            unseen += x[t, 0] == 0
            unseen_right += x[t, 0] == 0 and y[t] == tags[t]
            counts[y[t], tags[t]] += 1
    assert 0 < unseen_right < right < total
    assert result["accuracy"] == pytest.approx(right / total)
    assert result["accuracy_unseen"] == pytest.approx(unseen_right / unseen)
    whole = [list(y) == list(tags) for y, tags in zip(ys, found, strict=True)]
    assert result["sentences"] == pytest.approx(sum(whole) / 3)
    known = scores(Examples([x + 3 for x in xs], ys), found)
    assert "accuracy_unseen" not in known
    picture = tmp_path / "confusion.png"
    drawn = confusion_matrix(np.concatenate(ys), np.concatenate(found), picture)
    np.testing.assert_array_equal(drawn, counts)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_baseline_takes_the_most_frequent_tag(about):
    sentences = [
        Sentence(("go", "go", "go", "stop"), (15, 15, 7, 0)),
        Sentence(("extraordinarily",), (2,)),
        Sentence(("stop",), (0,)),
    ]
    train = examples(sentences, about)
    tested = examples([Sentence(("go", "stop", "what"), (15, 0, 2))], about)
    use = Tagging(Settings(features=2), about._replace(counts=np.array([0, 0, 0, 3, 1, 2])))
    found = use.baseline(Data(train, tested, tested, about))
    assert found == {"accuracy": 1.0, "accuracy_unseen": 1.0, "sentences": 1.0}
    assert marked(["go", "stop"], [15, 15], [15, 7]) == "go/VERB stop/VERB(NOUN)"


def test_rare_words_are_read_as_unknown_ones(about):
    use = Tagging(Settings(features=2, dropout=0.0), about)
    params = use.init(jax.random.key(0))
    # What has read the unknown word shows it.
    params = params._replace(words=params.words.at[UNKNOWN].set(np.nan))
    xs, ys = examples([Sentence((word,), (15,)) for word in ("go", "stop", "what")], about)
    batch = Example(np.stack(xs), np.ones(3, int), np.stack(ys), np.ones(3, int))

    @jax.jit
    def losses(params, keys):
        by_key = jax.vmap(use.loss, in_axes=(None, None, 0))
        return jax.vmap(by_key, in_axes=(None, 0, None))(params, batch, keys)[0]

    unknown = np.isnan(losses(params, jax.random.split(jax.random.key(1), 1000))).mean(1)
    np.testing.assert_allclose(unknown, [0.25 / 2.25, 0.25 / 1.25, 1], atol=0.04)
