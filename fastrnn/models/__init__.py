"""Ready-made models. Not imported by ``import fastrnn``.

    language      LanguageModel: tokens -> the next token
    vocabulary    what tokens there are: characters, words, bytes
    files         a model in a file
    layers        recurrent layers by the names of their cells
    texts         texts of a folder
"""

from .language import LanguageModel
from .vocabulary import ByteVocabulary, Vocabulary, WordVocabulary

__all__ = ["ByteVocabulary", "LanguageModel", "Vocabulary", "WordVocabulary"]
