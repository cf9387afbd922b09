"""Texts and vocabularies."""

from .messages import described


def text(value, name="text"):
    """A string."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a string, got {described(value)}")
    return value


def alphabet(characters):
    """The characters of a vocabulary: a string in which each occurs once."""
    text(characters, "characters")
    if not characters or len(set(characters)) != len(characters):
        problem = "none" if not characters else "one that occurs twice"
        raise ValueError(f"characters: expected different ones, got {problem}")
    return characters


def text_length(size, minimum, name="text"):
    """How many characters a text has, if that is enough."""
    if size < minimum:
        raise ValueError(f"{name}: expected at least {minimum} characters, got {size}")
    return size


def known_characters(unknown, name):
    """Refuse a text with characters that are not in the vocabulary; ``unknown`` are these."""
    if unknown:
        listed = ", ".join(map(ascii, unknown[:8])) + ", ..." * (len(unknown) > 8)
        raise ValueError(f"{name}: expected characters of the vocabulary, got {listed}")
