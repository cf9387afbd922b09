"""Models with the API of scikit-learn, which they need: ``pip install 'fastrnn[sklearn]'``.

    classifier    SequenceClassifier: a label for a sequence
    tagger        SequenceTagger: a label for every step
    regressor     SequenceRegressor: numbers for a sequence
    narx          NARXForecaster: what a series does next
    seq2seq       Seq2Seq: a sequence of tokens for a sequence or a vector
    recognizer    CTCRecognizer: what is in a sequence, in order
    labels        what the first two share
    base          what all share: training, threads, seeds
    files         an estimator in a safetensors file

``fastrnn.models`` imports this package when one of them is first used; the networks and the training are fastrnn's own.
"""

try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(f"the estimators of fastrnn.models need scikit-learn: pip install 'fastrnn[sklearn]' ({error})") from error

from .base import Estimator
from .classifier import SequenceClassifier
from .narx import NARXForecaster
from .recognizer import CTCRecognizer
from .regressor import SequenceRegressor
from .seq2seq import Seq2Seq
from .tagger import SequenceTagger

__all__ = [
    "CTCRecognizer", "Estimator", "NARXForecaster", "Seq2Seq", "SequenceClassifier", "SequenceRegressor", "SequenceTagger",
]  # fmt: skip
