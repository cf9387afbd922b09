"""Ready-made models. ``import fastrnn`` does not import them; ``fastrnn.models`` and ``fastrnn.LanguageModel`` do.

    language      LanguageModel: tokens -> the next token
    vocabulary    what tokens there are: characters, words, bytes
    files         a model in a file
    layers        recurrent layers by the names of their cells
    attention     Attention: a mean of a memory, weighted by how well it fits a query
    encoderdecoder  the net from sequences, or vectors, to sequences of tokens
    texts         texts of a folder
"""

from .attention import Attention
from .language import LanguageModel
from .vocabulary import ByteVocabulary, Vocabulary, WordVocabulary

__all__ = ["Attention", "ByteVocabulary", "LanguageModel", "Vocabulary", "WordVocabulary"]
