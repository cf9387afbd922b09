"""Vocabularies: text <-> numbers, for what a language model reads and writes.

    Vocabulary        characters        WordVocabulary    words, punctuation, newlines
    ByteVocabulary    the 256 bytes

All have ``encode``, ``decode``, ``unknown``, ``len`` and ``decoder()``, which makes text of one number after the other;
``Vocabulary.of`` makes one from a text. ``first`` is the first number that may be written: where 0 stands for what is
not known, 1.

Imports numpy and ``_validate``.
"""

import codecs
import re
from collections import Counter

import numpy as np

from .. import _validate

#: What the number of the unknown decodes to.
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Vocabulary:
    """The characters a model knows, numbered from 1; 0 stands for every other one.

    Parameters
    ----------
    characters : str
        Each once, at least one.

    Attributes
    ----------
    tokens : str
        What is numbered: ``"chars"``, ``"words"`` or ``"bytes"``.
    start : int
        What a text goes on from that begins with nothing: a newline, or the first there is.

    Raises
    ------
    TypeError, ValueError
        If there is no character, or one occurs twice.

    Examples
    --------
    >>> from fastrnn.models import Vocabulary
    >>> vocabulary = Vocabulary("abc")
    >>> vocabulary.encode("cab?"), vocabulary.decode([3, 1]), vocabulary.unknown("a?b!?")
    (array([3, 1, 2, 0]), 'ca', ['!', '?'])
    """

    tokens, first = "chars", 1
    REPLACEMENT = REPLACEMENT

    def __init__(self, characters):
        self.characters = _validate.alphabet(characters)
        points = np.array([ord(c) for c in characters])
        self._order = np.argsort(points)
        self._sorted = points[self._order]

    @classmethod
    def source_code(cls):
        """Printable ASCII and the newline."""
        return cls("\n" + "".join(map(chr, range(32, 127))))

    @staticmethod
    def of(text, tokens="chars", max_size=None):
        """The vocabulary of a text.

        Parameters
        ----------
        text : str
            For ``"bytes"`` also bytes; it has at least one token.
        tokens : "chars", "words" or "bytes"
        max_size : int, optional
            Keep the most frequent ones only, so that there are at most so many numbers, at least 2; not for ``"bytes"``,
            which are always 256.

        Returns
        -------
        Vocabulary, WordVocabulary or ByteVocabulary
            Characters in their order, words by falling frequency.

        Raises
        ------
        TypeError, ValueError
            For arguments that do not fit, or a text without a token.

        Examples
        --------
        >>> from fastrnn.models import Vocabulary
        >>> Vocabulary.of("banana").characters, Vocabulary.of("banana", max_size=3).characters
        ('abn', 'an')
        >>> Vocabulary.of("to be or not to be", tokens="words").words
        ('to', 'be', 'or', 'not')
        """
        kind = KINDS[_validate.one_of(tokens, "tokens", KINDS)]
        return kind._of(_validate.text_or_bytes(text) if tokens == "bytes" else _validate.text(text),
                        _validate.vocabulary_size(max_size, tokens))  # fmt: skip

    @classmethod
    def _of(cls, text, max_size):
        return cls("".join(sorted(_most_frequent(text, max_size))))

    def __len__(self):
        return len(self.characters) + 1

    @property
    def start(self):
        at = self.characters.find("\n")
        return max(at, 0) + 1

    def encode(self, text):
        """Numbers ``(len(text),)`` of the characters of a string."""
        text = _validate.text(text)
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        place = np.searchsorted(self._sorted, points).clip(max=self._sorted.size - 1)
        return np.where(self._sorted[place] == points, self._order[place] + 1, 0)

    def decode(self, codes):
        """The string of some numbers."""
        decoder = self.decoder()
        return "".join(map(decoder.feed, _validate.indices(codes, "codes", len(self)).flat)) + decoder.end()

    def decoder(self):
        """An object that makes text of numbers as they come: ``feed(code) -> str``, ``end() -> str``."""
        return _Characters(REPLACEMENT + self.characters)

    def unknown(self, text):
        """The characters of ``text`` that are not in the vocabulary, sorted."""
        return sorted(set(text).difference(self.characters))

    def find_unknown(self, text):
        """``token, offset`` of the first in ``text`` that is not in the vocabulary, or None."""
        codes = self.encode(text)
        at = int((codes == 0).argmax()) if codes.size else 0
        return (text[at], at) if codes.size and codes[at] == 0 else None

    def described(self):
        """JSON values from which ``restored`` makes the same vocabulary."""
        return {"tokens": self.tokens, "known": self.characters}

    def __eq__(self, other):
        return isinstance(other, Vocabulary) and self.described() == other.described()

    def __hash__(self):
        return hash((self.tokens, len(self)))

    def __repr__(self):
        return f"{type(self).__name__}({len(self)} {UNITS[self.tokens]})"


class _Characters:
    """The decoder of characters: a look into their table."""

    def __init__(self, table):
        self._table = table

    def feed(self, code):
        return self._table[code]

    def end(self):
        return ""


# -- words ----------------------------------------------------------------------------------

#: A newline, a word with hyphens, apostrophes, points and commas inside, or one punctuation mark and its repetitions.
_WORDS = re.compile(r"\n|\w+(?:(?:[-'.\N{RIGHT SINGLE QUOTATION MARK}]|(?<=\d),(?=\d))\w+)*|([^\w\s])\1*")
_CLOSING = frozenset(".,;:!?%)]}\N{HORIZONTAL ELLIPSIS}\N{RIGHT SINGLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}")
_OPENING = frozenset("([{$\N{LEFT SINGLE QUOTATION MARK}\N{LEFT DOUBLE QUOTATION MARK}")
_QUOTES = frozenset("\"'`")


class WordVocabulary(Vocabulary):
    """The words a model knows, numbered from 1; 0 stands for every other one.

    A token is a word (letters, digits, underscores; hyphens, apostrophes and points inside it, commas between digits),
    a punctuation mark with its repetitions (``...``), or a newline. Other white space only separates and is not kept:
    ``decode`` puts a space between two tokens, but none before a closing mark, after an opening one, and around
    newlines. Scripts that do not separate words, or write with combining marks, are better served by characters or
    bytes.

    Parameters
    ----------
    words : sequence of str
        Each a token, once; at least one.

    Attributes
    ----------
    words : tuple of str

    Raises
    ------
    TypeError, ValueError
        If there is none, one twice, or one that is not a token.

    Examples
    --------
    >>> from fastrnn.models import WordVocabulary
    >>> vocabulary = WordVocabulary(["(", ")", "isn't", "it", "?", "new"])
    >>> vocabulary.encode("isn't  it (new) ?")
    array([3, 4, 1, 6, 2, 5])
    >>> vocabulary.decode(vocabulary.encode("isn't  it (new) ?"))
    "isn't it (new)?"
    """

    tokens = "words"

    def __init__(self, words):
        self.words = _validate.known_words(words, _WORDS)
        self._numbers = {word: number for number, word in enumerate(self.words, 1)}

    @classmethod
    def _of(cls, text, max_size):
        return cls(_most_frequent((match[0] for match in _WORDS.finditer(text)), max_size))

    def __len__(self):
        return len(self.words) + 1

    @property
    def start(self):
        return self._numbers.get("\n", 1)

    def encode(self, text):
        """Numbers ``(n,)`` of the tokens of a string."""
        known = self._numbers.get
        return np.array([known(match[0], 0) for match in _WORDS.finditer(_validate.text(text))], np.intp)

    def decoder(self):
        """An object that makes text of numbers as they come: ``feed(code) -> str``, ``end() -> str``."""
        return _Words((REPLACEMENT, *self.words))

    def unknown(self, text):
        """The tokens of ``text`` that are not in the vocabulary, sorted."""
        return sorted({match[0] for match in _WORDS.finditer(text)}.difference(self.words))

    def find_unknown(self, text):
        """``token, offset`` of the first in ``text`` that is not in the vocabulary, or None."""
        unknown = (match for match in _WORDS.finditer(text) if match[0] not in self._numbers)
        return next(((match[0], match.start()) for match in unknown), None)

    def described(self):
        """JSON values from which ``restored`` makes the same vocabulary."""
        return {"tokens": self.tokens, "known": list(self.words)}


class _Words:
    """The decoder of words: what is between two of them follows from both."""

    def __init__(self, table):
        self._table = table
        self._last, self._glued, self._open = "\n", True, set()

    def feed(self, code):
        word = self._table[code]
        mark, closing = word[0], word[0] in _CLOSING
        glued = self._glued
        if word == "\n":
            self._open.clear()
            self._glued = True
        elif mark in _QUOTES:  # the second of a pair closes it
            closing = mark in self._open
            self._open ^= {mark}
            self._glued = not closing
        else:
            self._glued = mark in _OPENING
        # Nor would two equal marks side by side be read as two.
        space = self._last != "\n" and word != "\n" and (mark == self._last[-1] or not (glued or closing))
        self._last = word
        return " " + word if space else word

    def end(self):
        return ""


# -- bytes ----------------------------------------------------------------------------------


class ByteVocabulary(Vocabulary):
    """All 256 bytes: nothing is unknown to it, and any text, in UTF-8, or any file can be encoded.

    ``decode`` makes U+FFFD of bytes that are not UTF-8.

    Examples
    --------
    >>> from fastrnn.models import ByteVocabulary
    >>> vocabulary = ByteVocabulary()
    >>> vocabulary.encode("\N{LATIN SMALL LETTER E WITH ACUTE}!")
    array([195, 169,  33])
    >>> vocabulary.decode([195, 169, 33]) == "\N{LATIN SMALL LETTER E WITH ACUTE}!"
    True
    """

    tokens, first, start = "bytes", 0, ord("\n")

    def __init__(self):
        pass

    @classmethod
    def _of(cls, text, max_size):
        _validate.text_length(len(text), 1)
        return cls()

    def __len__(self):
        return 256

    def encode(self, text):
        """Numbers ``(n,)`` of the bytes of a string in UTF-8, or of bytes."""
        text = _validate.text_or_bytes(text)
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        return np.frombuffer(data, np.uint8).astype(np.intp)

    def decoder(self):
        """An object that makes text of numbers as they come: ``feed(code) -> str``, ``end() -> str``."""
        return _Bytes()

    def unknown(self, text):
        """Nothing."""
        return []

    def find_unknown(self, text):
        """None."""
        return None

    def described(self):
        """JSON values from which ``restored`` makes the same vocabulary."""
        return {"tokens": self.tokens}


class _Bytes:
    """The decoder of bytes: a character appears with its last byte."""

    def __init__(self):
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, code):
        return self._utf8.decode(bytes((code,)))

    def end(self):
        return self._utf8.decode(b"", final=True)


# -- all ------------------------------------------------------------------------------------

KINDS = {"chars": Vocabulary, "words": WordVocabulary, "bytes": ByteVocabulary}
#: What a model of each counts.
UNITS = {"chars": "characters", "words": "words", "bytes": "bytes"}


def _most_frequent(tokens, max_size):
    """The tokens there are, the most frequent first; of equally frequent ones the first in the text."""
    return [token for token, _ in Counter(tokens).most_common(None if max_size is None else max_size - 1)]


def restored(values):
    """The vocabulary that ``described`` described; a string is one of characters, as files once had it."""
    if isinstance(values, str):
        return Vocabulary(values)
    kind = KINDS[values["tokens"]]
    return kind() if kind is ByteVocabulary else kind(values["known"])
