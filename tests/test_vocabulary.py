"""Vocabularies: numbers and text, one after the other too, and what they were made of."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrnn.models import ByteVocabulary, Vocabulary, WordVocabulary
from fastrnn.models.vocabulary import KINDS, restored

TEXT = "It's 3.5 (or 1,000) well-known words...\n\n\"No,\" said he: 'yes'! $5, 7% -- and\tso on. na\u00efve\n"
KIND = pytest.mark.parametrize("tokens", KINDS)


def streamed(vocabulary, codes):
    """The text of numbers that come one at a time."""
    decoder = vocabulary.decoder()
    return "".join([*map(decoder.feed, codes), decoder.end()])


# ---- Characters ---------------------------------------------------------------------------------


def test_round_trip():
    vocabulary = Vocabulary.source_code()
    text = "".join(map(chr, range(32, 127))) + "\n"
    assert vocabulary.decode(vocabulary.encode(text)) == text
    assert len(vocabulary) == 97 and 0 not in vocabulary.encode(text)


def test_unknown_characters():
    vocabulary = Vocabulary("az")
    codes = vocabulary.encode("a\ud800z\U0010ffff\0")
    assert codes.tolist() == [1, 0, 2, 0, 0]
    assert vocabulary.decode(codes) == "a\ufffdz\ufffd\ufffd"
    assert vocabulary.unknown("za?!") == ["!", "?"]
    assert vocabulary.find_unknown("az?a!") == ("?", 2) and vocabulary.find_unknown("za") is None
    assert vocabulary.encode("").shape == (0,) and vocabulary.find_unknown("") is None


# ---- Words --------------------------------------------------------------------------------------


def test_what_words_are():
    vocabulary = WordVocabulary.of(TEXT, "words")
    assert vocabulary.encode("a,b 1,2").size == 4
    assert [vocabulary.decode([code]).strip(" ") for code in vocabulary.encode(TEXT)] == [
        "It's", "3.5", "(", "or", "1,000", ")", "well-known", "words", "...", "\n", "\n", '"', "No", ",", '"', "said", "he", ":",
        "'", "yes", "'", "!", "$", "5", ",", "7", "%", "--", "and", "so", "on", ".", "na\u00efve", "\n",
    ]  # fmt: skip


def test_words_read_well():
    vocabulary = Vocabulary.of(TEXT, "words")
    shown = vocabulary.decode(vocabulary.encode(TEXT))
    assert shown == TEXT.replace("\t", " ")


@pytest.mark.parametrize("text", ['say "a\n"b" c', "a. . b", "'a' 'b", '("a") [b]!', "x, y,z 1,2", "$5 (7%)", "\u201ca\u201d, b"])
def test_spaces_are_where_they_are_usual(text):
    """A quote is open until the end of a line; equal marks stay two."""
    vocabulary = Vocabulary.of(text, "words")
    assert vocabulary.decode(vocabulary.encode(text)) == text.replace("y,z", "y, z")


@given(st.text(st.sampled_from("ab1 \n.,-'\"`(){}[]$%!?:;#\u2019\u201c\u201d\u2018_\u00e9\u3042\r\t"), max_size=60))
def test_words_are_read_again_as_they_were(text):
    """Decoding puts spaces where tokens would join, so that its text has the same tokens."""
    vocabulary = Vocabulary.of(text + " a", "words")
    codes = vocabulary.encode(text)
    again = vocabulary.decode(codes)
    assert vocabulary.encode(again).tolist() == codes.tolist()
    assert re.sub(r"[^\S\n]", "", again) == re.sub(r"[^\S\n]", "", text)
    assert "  " not in again


def test_unknown_words():
    vocabulary = WordVocabulary(["the", "cat", "."])
    assert vocabulary.encode("the dog. cat dogs").tolist() == [1, 0, 3, 2, 0]
    assert vocabulary.decode([1, 0, 3]) == "the \ufffd."
    assert vocabulary.unknown("the dog. cat dogs") == ["dog", "dogs"]
    assert vocabulary.find_unknown("the dog. cat") == ("dog", 4) and vocabulary.find_unknown("the cat.") is None


# ---- Bytes --------------------------------------------------------------------------------------


@given(st.text(max_size=30))
def test_bytes_of_text(text):
    vocabulary = ByteVocabulary()
    codes = vocabulary.encode(text)
    assert codes.tolist() == list(text.encode()) == vocabulary.encode(text.encode()).tolist()
    assert vocabulary.decode(codes) == text and vocabulary.unknown(text) == []


@given(st.binary(max_size=30))
def test_any_bytes(data):
    vocabulary = ByteVocabulary()
    codes = vocabulary.encode(data)
    assert codes.tolist() == list(data) and vocabulary.decode(codes) == data.decode(errors="replace")
    assert vocabulary.encode(bytearray(data)).tolist() == list(data)


def test_a_character_appears_with_its_last_byte():
    decoder = ByteVocabulary().decoder()
    assert [decoder.feed(byte) for byte in "a\u20acb".encode()] == ["a", "", "", "\u20ac", "b"]
    assert decoder.feed(0xE2) == "" and decoder.end() == "\ufffd"


def test_half_of_a_surrogate_pair():
    assert ByteVocabulary().encode("\ud800").tolist() == [0xED, 0xA0, 0x80]


# ---- All ----------------------------------------------------------------------------------------


@KIND
@given(st.text(max_size=40))
def test_streams_decode_as_whole(tokens, text):
    vocabulary = Vocabulary.of(text + " a", tokens)
    codes = vocabulary.encode(text + " a")
    assert streamed(vocabulary, codes) == vocabulary.decode(codes)
    assert codes.min() >= vocabulary.first and codes.max() < len(vocabulary)
    assert vocabulary.unknown(text) == [] and vocabulary.find_unknown(text) is None


@KIND
def test_described_and_restored(tokens):
    vocabulary = Vocabulary.of(TEXT, tokens)
    again = restored(json.loads(json.dumps(vocabulary.described())))
    assert type(again) is type(vocabulary) is KINDS[tokens]
    assert again == vocabulary and hash(again) == hash(vocabulary) and repr(again) == repr(vocabulary)
    assert again.encode(TEXT).tolist() == vocabulary.encode(TEXT).tolist()
    assert again != Vocabulary("ab") and len({*map(Vocabulary.of, [TEXT] * 3, KINDS)}) == 3


def test_old_files_had_a_string():
    assert restored("ab") == Vocabulary("ab")


@KIND
def test_a_text_begins_after_a_newline(tokens):
    assert Vocabulary.of("b\na", tokens).decode([Vocabulary.of("b\na", tokens).start]) == "\n"
    if tokens != "bytes":
        assert Vocabulary.of("c c", tokens).start == 1


def test_the_most_frequent_are_kept():
    text = "b b b a a c c d"
    assert Vocabulary.of(text, "words").words == ("b", "a", "c", "d")
    limited = Vocabulary.of(text, "words", max_size=3)
    assert limited.words == ("b", "a") and len(limited) == 3
    assert limited.encode(text).tolist() == [1, 1, 1, 2, 2, 0, 0, 0]
    assert Vocabulary.of(text, max_size=4).characters == " ab"  # in their order
    assert Vocabulary.of(text, max_size=100).characters == " abcd"


@pytest.mark.parametrize(
    "call, error",
    [
        (lambda: Vocabulary(""), ValueError),
        (lambda: Vocabulary("aba"), ValueError),
        (lambda: Vocabulary(3), TypeError),
        (lambda: Vocabulary("ab").encode(b"ab"), TypeError),
        (lambda: Vocabulary("ab").decode([3]), ValueError),
        (lambda: Vocabulary.of("ab", "syllables"), ValueError),
        (lambda: Vocabulary.of("ab", 3), TypeError),
        (lambda: Vocabulary.of(b"ab"), TypeError),
        (lambda: Vocabulary.of(""), ValueError),
        (lambda: Vocabulary.of("", "bytes"), ValueError),
        (lambda: Vocabulary.of(" \t", "words"), ValueError),
        (lambda: Vocabulary.of("ab", max_size=1), ValueError),
        (lambda: Vocabulary.of("ab", max_size=2.0), TypeError),
        (lambda: Vocabulary.of("ab", "bytes", max_size=300), ValueError),
        (lambda: WordVocabulary("ab"), TypeError),
        (lambda: WordVocabulary([]), ValueError),
        (lambda: WordVocabulary([3]), TypeError),
        (lambda: WordVocabulary(["a", "a"]), ValueError),
        (lambda: WordVocabulary(["a b"]), ValueError),
        (lambda: WordVocabulary(["a"]).encode(b"a"), TypeError),
        (lambda: WordVocabulary(["a"]).decode([2]), ValueError),
        (lambda: ByteVocabulary().encode(3), TypeError),
        (lambda: ByteVocabulary().decode([256]), ValueError),
    ],
)
def test_refused(call, error):
    with pytest.raises(error):
        call()


def test_arrays_of_any_shape_decode():
    assert Vocabulary("abc").decode(np.array([[1, 2], [3, 0]])) == "abc\ufffd"
