"""Ready-made models. Not imported by ``import fastrnn``.

    language    LanguageModel: characters -> the next character
"""

from .language import LanguageModel, Vocabulary

__all__ = ["LanguageModel", "Vocabulary"]
