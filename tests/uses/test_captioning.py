"""Captioning: the drawn pictures are what their captions say, and the real ones are read."""

import functools
import gzip
import json

import jax
import numpy as np
import pytest
from PIL import Image

import recurrax as rx
from experiments.common.errors import UserError
from experiments.uses.captioning import data as source
from experiments.uses.captioning import use as captioning
from experiments.uses.captioning.data import COLOURS, RELATIONS, SHAPES, THINGS, generate, read
from experiments.uses.contract import Data, Examples
from experiments.uses.settings import Settings
from experiments.uses.words import BEGIN, END, UNKNOWN, Vocabulary


def parsed(words: tuple[str, ...]) -> list[tuple[str, str, str, str]]:
    """(relation, size, colour, shape) of each thing; the first has no relation."""
    text = " ".join(words).replace("left of", "left_of").replace("right of", "right_of")
    things = text.replace(" and ", " ").split()
    first, rest = things[:4], things[4:]
    assert first[0] == "a"
    found = [("", first[1], first[2], first[3])]
    for i in range(0, len(rest), 5):
        relation, a, size, colour, shape = rest[i : i + 5]
        assert a == "a"
        found.append((relation.replace("_", " "), size, colour, shape))
    return found


def test_captions_say_where_the_colours_are():
    train, val, test = generate(5, (200, 60, 60))
    checked = 0
    for picture in [*train, *val, *test]:
        things = parsed(picture.words)
        assert picture.pixels.shape == (32, 32, 3)
        assert picture.pixels.dtype == np.uint8
        assert len(things) == 1 or things[0][1] == "large"
        assert all(thing[1] == "small" for thing in things[1:])
        relations = [list(RELATIONS).index(thing[0]) for thing in things[1:]]
        assert relations == sorted(set(relations))
        assert {thing[2] for thing in things} <= set(COLOURS)
        assert {thing[3] for thing in things} <= set(SHAPES)
        # Every pixel as what it is nearest to, a colour or the ground, which is light and grey.
        ground = [(shade,) * 3 for shade in (190, 222, 255)]
        known = np.array([*COLOURS.values(), *ground])
        nearest = ((picture.pixels[..., None, :] - known.astype(int)) ** 2).sum(-1).argmin(-1)
        centres = {}
        for number, colour in enumerate(COLOURS):
            y, x = np.nonzero(nearest == number)
            wanted = colour in {thing[2] for thing in things}
            if wanted:
                assert len(y) >= 8, (colour, picture.words)
                centres[colour] = np.median(x), np.median(y)
        for relation, _, colour, _ in things[1:]:
            if [thing[2] for thing in things].count(colour) > 1:
                continue
            if [thing[2] for thing in things].count(things[0][2]) > 1:
                continue
            (x0, y0), (x, y) = centres[things[0][2]], centres[colour]
            right = {"above": y0 < y, "below": y0 > y, "left of": x0 < x, "right of": x0 > x}
            assert right[relation], picture.words
            checked += 1
    assert checked > 150


def test_combinations_to_test_are_new():
    parts = generate(6, (400, 80, 80))
    again = generate(6, (400, 80, 80))
    for part, other in zip(parts, again, strict=True):
        for one, two in zip(part, other, strict=True):
            np.testing.assert_array_equal(one.pixels, two.pixels)
            assert one.words == two.words
    things = [[[thing[2:] for thing in parsed(one.words)] for one in part] for part in parts]
    assert {thing for one in things[0] for thing in one} == {*THINGS}
    together = [[{(one[0], small) for small in one[1:]} for one in part] for part in things]
    seen, *others = (set().union(*part) for part in together)
    assert len(seen) > 200
    for part, other in zip(together[1:], others[::-1], strict=True):
        assert all(pictured - seen - other for pictured in part)  # of its own in each picture


EMOJI = [
    ("\U0001f3c3", "person running"),
    ("\U0001f3c3\U0001f3ff\u200d\u2640\ufe0f", "woman running, dark skin tone"),
    ("\U0001f34e", "red apple"),
    ("\U0001f34f", "green apple"),
    ("\U0001f9d1\u200d\U0001f373", "cook"),
    ("\U0001f468\U0001f3fb\u200d\U0001f373", "man cook, light skin tone"),
]


@pytest.fixture
def folder(tmp_path):
    images = np.random.default_rng(1).integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)
    images[3] = np.clip(images[2] + 5.0, 0, 255)  # a near twin with another name
    np.savez_compressed(tmp_path / "images.npz", images=images)
    write_captions(tmp_path, [{"emoji": emoji, "en": name} for emoji, name in EMOJI])
    return tmp_path


def write_captions(folder, entries):
    text = "".join(json.dumps(entry) + "\n" for entry in entries)
    (folder / "captions.jsonl.gz").write_bytes(gzip.compress(text.encode()))


def test_reading_keeps_variants_together(folder):
    images = np.load(folder / "images.npz")["images"]
    for path in (folder, folder / "images.npz", folder / "captions.jsonl.gz"):
        groups = read(path)
        names = [[" ".join(one.words) for one in group] for group in groups]
        assert names == [
            ["person running", "woman running , dark skin tone"],
            ["red apple", "green apple"],
            ["cook", "man cook , light skin tone"],
        ]
        np.testing.assert_array_equal([one.pixels for group in groups for one in group], images)


def test_twins_are_found_as_in_a_loop():
    random = np.random.default_rng(2)
    base = random.integers(0, 256, (12, 32, 32, 3))
    noise = random.normal(0, 1, (36, 32, 32, 3)) * random.uniform(2, 25, (36, 1, 1, 1))
    images = np.clip(np.tile(base, (3, 1, 1, 1)) + noise, 0, 255).astype(np.uint8)
    found = source.variants(images, [chr(0x2190 + i) for i in range(36)])
    groups = [{i} for i in range(36)]
    for i in range(36):
        for j in range(i):
            difference = (images[i].astype(float) - images[j]) / 255
            if np.sqrt(np.mean(difference**2)) < source.NEAR:
                joined = groups[i] | groups[j]
                for k in joined:
                    groups[k] = joined
    assert found == [min(group) for group in groups]
    assert 12 < len(set(found)) < 36


def test_broken_files(folder):
    whole = (folder / "images.npz").read_bytes()
    for content, message in (
        (whole[:-200], r"images\.npz"),
        (b"", r"images\.npz"),
        (b"no archive", r"images\.npz is no \.npz"),
    ):
        (folder / "images.npz").write_bytes(content)
        with pytest.raises(UserError, match=message):
            read(folder)
    for array in (np.full((6, 32, 32, 3), np.nan), np.zeros((6, 32, 32), np.uint8)):
        np.savez(folder / "images.npz", images=array)
        with pytest.raises(UserError, match=r"images must be uint8 of shape \[N, 32, 32, 3\]"):
            read(folder)
    np.savez(folder / "images.npz", pictures=np.zeros(3))
    with pytest.raises(UserError, match=r"no \.npz with an array 'images'"):
        read(folder)
    (folder / "images.npz").write_bytes(whole)
    captions = (folder / "captions.jsonl.gz").read_bytes()
    (folder / "captions.jsonl.gz").write_bytes(captions[:-20])
    with pytest.raises(UserError, match=r"captions\.jsonl\.gz is no gzip of UTF-8"):
        read(folder)
    good = {"emoji": "a", "en": "b"}
    for entry in ({"emoji": "a"}, ["a"], {"emoji": "a", "en": None}, {"emoji": "a", "en": " "}):
        write_captions(folder, [good, entry])
        with pytest.raises(UserError, match=r"captions\.jsonl\.gz, line 2: "):
            read(folder)
    write_captions(folder, [good] * 5)
    with pytest.raises(UserError, match="holds 6 images but 5 captions"):
        read(folder)
    (folder / "images.npz").unlink()
    with pytest.raises(UserError, match=r"cannot read .*images\.npz"):
        read(folder)


@pytest.fixture(scope="module")
def small():
    """A tiny network, three random pictures; "rare" is a word that it does not know."""
    vocabulary = Vocabulary(("<unknown>", "<begin>", "<end>", "red", "blue", "rare"))
    about = captioning.About(vocabulary, known=5, longest=4)
    use = captioning.Captioning(Settings(features=3, batch_size=4), about)
    images = np.random.default_rng(5).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    captions = [np.array(words, np.int32) for words in ([3, 4, END], [5, END], [4, END])]
    examples = Examples(list(images), captions)
    params = jax.jit(use.init)(jax.random.key(0))
    return use, params, Data(examples, examples, examples, about)


def test_loss_is_that_of_the_search(small):
    use, params, data = small

    @jax.jit
    def scored(params, x, words, length):
        memory, state = use._look(params, x)
        step = functools.partial(use.step, params, memory)
        return rx.score(step, state, words, length, bos=BEGIN)

    results = [
        scored(params, x, np.resize(np.where(y < 5, y, UNKNOWN), 3), len(y))
        for x, y in zip(*data.train, strict=True)
    ]
    losses = use._forced(params, data.train)
    np.testing.assert_allclose(losses, [-one.log_prob for one in results], rtol=1e-5)
    for one, y in zip(results, data.train.ys, strict=True):
        np.testing.assert_allclose(one.attention.sum(1), np.arange(3) < len(y), rtol=1e-5)
    nats = use.score(params, data.train)["nats a token"]
    np.testing.assert_allclose(nats, np.sum(losses) / 7, rtol=1e-5)


def test_baseline_is_the_nearest_picture(small):
    use, _, data = small
    noisy = [np.clip(x + 3.0, 0, 255).astype(np.uint8) for x in data.test.xs]
    found = use.baseline(data._replace(test=Examples(noisy[::-1], data.test.ys[::-1])))
    assert found["exact"] == 1


def test_what_is_written_and_shown(small, tmp_path):
    use, params, data = small
    lines = use.show(params, data, tmp_path)
    assert len(lines) == 4
    assert {line.split("(is: ")[1] for line in lines[:3]} == {"red blue)", "rare)", "blue)"}
    for line in lines[:3]:  # marks are never written
        assert "<" not in line
    for name in ("captions.png", "attention.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) > 100
