"""Ready-made models. ``import fastrnn`` does not import them; ``fastrnn.models`` and ``fastrnn.LanguageModel`` do.

    language      LanguageModel: tokens -> the next token
    vocabulary    what tokens there are: characters, words, bytes
    files         a model in a file
    layers        recurrent layers by the names of their cells
    attention     Attention: a mean of a memory, weighted by how well it fits a query
    texts         texts of a folder
    networks, encoderdecoder    what the estimators train
    estimators    SequenceClassifier, SequenceTagger, SequenceRegressor, NARXForecaster, Seq2Seq, CTCRecognizer, with the API
                  of scikit-learn; imported, as scikit-learn is, when one of them is first used
"""

from importlib import import_module as _import_module

from .attention import Attention
from .language import LanguageModel
from .vocabulary import ByteVocabulary, Vocabulary, WordVocabulary

__all__ = ["Attention", "ByteVocabulary", "LanguageModel", "Vocabulary", "WordVocabulary"]

#: Not in ``__all__``: they need scikit-learn, which may not be there.
_ESTIMATORS = ("CTCRecognizer", "NARXForecaster", "Seq2Seq", "SequenceClassifier", "SequenceRegressor", "SequenceTagger")


def __getattr__(name):
    if name == "estimators" or name in _ESTIMATORS:
        package = _import_module(".estimators", __name__)
        return package if name == "estimators" else getattr(package, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_ESTIMATORS, "estimators"})
