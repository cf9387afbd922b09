"""Texts, vocabularies, and the layers of language models."""

import numpy as np

from .messages import described
from .scalars import integer, real


def text(value, name="text"):
    """A string."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a string, got {described(value)}")
    return value


def text_or_bytes(value, name="text"):
    """A string, or bytes."""
    if not isinstance(value, (str, bytes, bytearray, memoryview)):
        raise TypeError(f"{name}: expected a string or bytes, got {described(value)}")
    return value if isinstance(value, str) else bytes(value)


def alphabet(characters):
    """The characters of a vocabulary: a string in which each occurs once."""
    text(characters, "characters")
    if not characters or len(set(characters)) != len(characters):
        problem = "none" if not characters else "one that occurs twice"
        raise ValueError(f"characters: expected different ones, got {problem}")
    return characters


def known_words(words, pattern):
    """The words of a vocabulary: each matches ``pattern`` and occurs once."""
    if isinstance(words, (str, bytes)) or not hasattr(words, "__iter__"):
        raise TypeError(f"words: expected a sequence of strings, got {described(words)}")
    words = tuple(words)
    for word in words:
        if not pattern.fullmatch(text(word, "words: each")):
            raise ValueError(f"words: expected words, punctuation marks and newlines, got {word!r:.60}")
    if not words or len(set(words)) != len(words):
        problem = "none" if not words else "one that occurs twice"
        raise ValueError(f"words: expected different ones, got {problem}")
    return words


def vocabulary_size(value, tokens):
    """How many numbers a vocabulary may have, with that of the unknown; None: as many as it takes."""
    if value is None:
        return None
    if tokens == "bytes":
        raise ValueError(f"max_size: expected None for bytes, of which there are 256, got {described(value)}")
    return integer(value, "max_size", minimum=2)


def text_length(size, minimum, name="text", what="characters"):
    """How many characters a text has, if that is enough."""
    if size < minimum:
        raise ValueError(f"{name}: expected at least {minimum} {what}, got {size}")
    return size


def known_characters(unknown, name, what="characters"):
    """Refuse a text with characters that are not in the vocabulary; ``unknown`` are these."""
    if unknown:
        listed = ", ".join(map(ascii, unknown[:8])) + ", ..." * (len(unknown) > 8)
        raise ValueError(f"{name}: expected {what} of the vocabulary, got {listed}")


def embedding_width(cell, embedding_dim, hidden_size):
    """The width of the embedding of a cell that adds its input to its units."""
    if embedding_dim != hidden_size:
        raise ValueError(f"embedding_dim: expected hidden_size {hidden_size}, or None, for {cell}, got {embedding_dim}")


def one_token(codes, first, name):
    """The number of a text that is a single token of a vocabulary, whose numbers begin with ``first``."""
    if codes.size != 1 or codes[0] < first:
        problem = "one that is not in it" if codes.size == 1 else f"a text of {codes.size}"
        raise ValueError(f"{name}: expected one token of the vocabulary, got {problem}")
    return int(codes[0])


def held_out(codes, valid, encode):
    """Numbers to train on and numbers held out, by a text of its own or by a part of the first one, in (0, 1)."""
    if isinstance(valid, (str, bytes, np.ndarray)):
        return codes, encode(valid)
    part = real(valid, "valid", above=0, below=1)
    count = codes.size - round(part * codes.size)
    return codes[:count], codes[count:]


def vocabulary(value, kind):
    """A vocabulary."""
    if not isinstance(value, kind):
        raise TypeError(f"vocabulary: expected a Vocabulary, such as Vocabulary.of(text), got {described(value)}")
    return value


def language_options(options, cell, given):
    """Options of the layer of a language model, other than those that ``cell`` itself stands for (``given``)."""
    for name in ("bidirectional", "batch_first", "return_cell_states"):
        if options.get(name, False) is not False:
            raise ValueError(f"{name}: expected no such option in a language model, got {described(options[name])}")
    for name, value in given.items():
        if name in options:
            got = described(options[name])
            raise ValueError(f"{name}: expected no such option, cell={cell!r} stands for {value!r}, got {got}")
    return options
