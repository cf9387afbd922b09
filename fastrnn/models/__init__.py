"""Ready-made models. ``import fastrnn`` does not import them; ``fastrnn.models`` and ``fastrnn.LanguageModel`` do.

    language      LanguageModel: tokens -> the next token
    vocabulary    what tokens there are: characters, words, bytes
    files         a model in a file
    layers        recurrent layers by the names of their cells
    texts         texts of a folder
"""

from .language import LanguageModel
from .vocabulary import ByteVocabulary, Vocabulary, WordVocabulary

__all__ = ["ByteVocabulary", "LanguageModel", "Vocabulary", "WordVocabulary"]
