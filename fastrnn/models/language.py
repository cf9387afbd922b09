"""``LanguageModel``: characters -> Embedding -> LSTM layers -> Linear -> the next character.

    Vocabulary       characters <-> numbers
    read_files       texts of a folder                  split_files    into trained and held-out ones
    LanguageModel    the model: logits, gradients, bits per character, text, one file

Imports numpy, the public layers, losses and ``serialize``.
"""

import json
import os

import numpy as np

from .. import _validate, lookup
from ..blocks import Embedding, Linear
from ..decoding import draw
from ..layers import LSTM
from ..losses import cross_entropy
from ..params import restoring
from ..serialize import read_safetensors, write_safetensors

FORMAT = "fastrnn-language-model"
VERSION = "1"
#: Tensors of a file whose names begin so belong to the training run, not to the model.
TRAINING = "training."


class Vocabulary:
    """The characters a model knows, numbered from 1; 0 stands for every other one.

    Parameters
    ----------
    characters : str
        Each once, at least one.

    Raises
    ------
    ValueError
        If there is no character, or one occurs twice.

    Examples
    --------
    >>> from fastrnn.models import Vocabulary
    >>> vocabulary = Vocabulary("abc")
    >>> vocabulary.encode("cab?"), vocabulary.decode([3, 1]), vocabulary.unknown("a?b!?")
    (array([3, 1, 2, 0]), 'ca', ['!', '?'])
    """

    #: What 0 decodes to.
    REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

    def __init__(self, characters):
        self.characters = _validate.alphabet(characters)
        points = np.array([ord(c) for c in characters])
        self._order = np.argsort(points)
        self._sorted = points[self._order]

    @classmethod
    def source_code(cls):
        """Printable ASCII and the newline."""
        return cls("\n" + "".join(map(chr, range(32, 127))))

    def __len__(self):
        return len(self.characters) + 1

    def encode(self, text):
        """Numbers ``(len(text),)`` of the characters of a string."""
        text = _validate.text(text)
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        place = np.searchsorted(self._sorted, points).clip(max=self._sorted.size - 1)
        return np.where(self._sorted[place] == points, self._order[place] + 1, 0)

    def decode(self, codes):
        """The string of some numbers."""
        table = self.REPLACEMENT + self.characters
        return "".join(table[code] for code in _validate.indices(codes, "codes", len(self)).flat)

    def unknown(self, text):
        """The characters of ``text`` that are not in the vocabulary, sorted."""
        return sorted(set(text).difference(self.characters))


def read_files(folder, suffix, skip=()):
    """The texts of all files below a folder, in the order of their names.

    Parameters
    ----------
    folder : str or path-like
    suffix : str
        Of the file names, such as ``".py"``.
    skip : container of str
        Names of folders and files to leave out.

    Returns
    -------
    dict of str to str
        Path within the folder -> text. Bytes that are not UTF-8 become U+FFFD; files without
        text are left out.
    """
    texts = {}
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in skip)
        for name in sorted(names):
            path = os.path.join(place, name)
            if name.endswith(suffix) and name not in skip and os.path.isfile(path):
                with open(path, encoding="utf-8", errors="replace") as file:
                    text = file.read()
                if text:
                    texts[os.path.relpath(path, folder)] = text
    return texts


def split_files(texts, part, rng):
    """Whole files in random order, some of them held out.

    Parameters
    ----------
    texts : dict of str to str
    part : float
        Held out are files with at least this part of all characters; one file at least is
        left on either side.
    rng : None, int or numpy.random.Generator

    Returns
    -------
    train, held_out : list of str
        Names of files.
    """
    names = list(texts)
    _validate.text_length(len(names), 2, "texts (files)")
    names = [names[i] for i in _validate.generator(rng).permutation(len(names))]
    wanted = part * sum(map(len, texts.values()))
    count = size = 0
    while (size < wanted and count < len(names) - 1) or count == 0:
        size += len(texts[names[count]])
        count += 1
    return names[count:], names[:count]


class LanguageModel:
    """A character language model: ``p(next character | all characters before)``.

    Parameters
    ----------
    vocabulary : Vocabulary
        ``V`` numbers.
    embedding_dim, hidden_size, num_layers : int
    dropout : float
        Between the recurrent layers, in training.
    rng : None, int or numpy.random.Generator
        Draws the parameters: the layers' own defaults, but orthogonal recurrent weights
        (Saxe et al., ICLR 2014) and forget gates with a bias of 1 (Jozefowicz et al., ICML
        2015).

    Attributes
    ----------
    embedding, layer, head : Module
        ``(V, E)``, the LSTM, and ``(H -> V)``.

    Examples
    --------
    >>> from fastrnn.models import LanguageModel, Vocabulary
    >>> model = LanguageModel(Vocabulary("abc"), embedding_dim=4, hidden_size=8, rng=0)
    >>> logits, state = model(model.vocabulary.encode("abca"))
    >>> logits.shape
    (4, 4)
    >>> len("".join(model.generate(10, prime="ab", rng=1)))
    10
    """

    def __init__(self, vocabulary, embedding_dim=48, hidden_size=128, num_layers=2, *, dropout=0.0, rng=None):
        rng = _validate.generator(rng)
        self.vocabulary = vocabulary
        self.embedding = Embedding(len(vocabulary), embedding_dim, rng=rng)
        self.layer = LSTM(embedding_dim, hidden_size, num_layers, dropout=dropout, rng=rng)
        self.head = Linear(hidden_size, len(vocabulary), rng=rng)
        self._initialise(rng)

    def _initialise(self, rng):
        hidden = self.layer.hidden_size
        with self.layer.edit() as p:
            for number in range(self.layer.num_layers):
                for gate in p[f"weight_hh_l{number}"].reshape(4, hidden, hidden):
                    gate[:] = np.linalg.qr(rng.standard_normal((hidden, hidden)))[0]
                p[f"bias_ih_l{number}"][hidden : 2 * hidden] = 1
                p[f"bias_hh_l{number}"][hidden : 2 * hidden] = 0

    @property
    def modules(self):
        """The modules that have parameters, for an optimiser."""
        return [self.embedding, self.layer, self.head]

    @property
    def parameters(self):
        """``embedding.weight``, ``layer.weight_ih_l0``, ... -> read-only array."""
        names = ("embedding", "layer", "head")
        return {f"{n}.{k}": a for n in names for k, a in getattr(self, n).parameters.items()}

    def __call__(self, codes, state=None):
        """Logits ``(T, B, V)`` and the state after numbers ``(T, B)``; also without ``B``."""
        y, state = lookup.call(self.embedding, self.layer, codes, state)
        return self.head(y), state

    def vjp(self, codes, state=None):
        """``logits, state, pullback``; ``pullback(dlogits)`` adds to the modules' gradients."""
        y, state, to_layer = lookup.vjp(self.embedding, self.layer, codes, state)
        logits, to_head = self.head.vjp(y)

        def pullback(dlogits):
            to_layer(to_head(dlogits))

        return logits, state, pullback

    def bits_per_character(self, text, *, limit=None, streams=32, steps=128):
        """Mean of ``-log2 p(character | those before)`` over a text.

        The text is read as ``streams`` pieces side by side, each from a zero state: in a long
        text that costs a hundredth of a bit and is many times faster than one piece.

        Parameters
        ----------
        text : str or ndarray of int
            A string, or its numbers; at least 2 characters.
        limit : int, optional
            Read only the beginning of each piece, about so many characters altogether.
        streams : int
            Fewer for a text of less than 64 characters per piece.
        steps : int
            Characters of each piece per call; the result does not depend on it.

        Returns
        -------
        float
        """
        codes = self.vocabulary.encode(text) if isinstance(text, str) else np.asarray(text)
        streams = max(1, min(streams, codes.size // 64))
        length = _validate.text_length(codes.size, 2) // streams
        pieces = codes[: length * streams].reshape(streams, length).T
        pieces = pieces[: max(2, limit // streams + 1)] if limit else pieces
        state, bits = None, 0.0
        for start in range(0, len(pieces) - 1, steps):
            target = pieces[start + 1 : start + steps + 1]
            logits, state = self(pieces[start : start + len(target)], state)
            bits += float(cross_entropy(logits, target, reduction="sum")[0]) / np.log(2)
        return bits / pieces[1:].size

    def generate(self, length, *, prime="", temperature=1.0, top_k=None, top_p=None, rng=None):
        """Write text, one character at a time.

        Parameters
        ----------
        length : int
            Characters to write after ``prime``.
        prime : str
            What the text begins with; not part of the result. Empty: as after a newline, or
            the first character of the vocabulary.
        temperature : float
            Logits are divided by it: below 1 likelier, above 1 more surprising; 0 always the
            likeliest character.
        top_k : int, optional
            Choose among the k likeliest characters.
        top_p : float, optional
            Choose among the likeliest characters that have this probability together.
        rng : None, int or numpy.random.Generator
            The same seed gives the same text.

        Returns
        -------
        iterator of str
            Single characters, as they are made; never the unknown one.

        Raises
        ------
        TypeError, ValueError
            For arguments out of range, or a ``prime`` with characters not in the vocabulary.
        """
        length = _validate.integer(length, "length", minimum=0)
        choosing = _validate.choosing(temperature, top_k, top_p)
        rng = _validate.generator(rng)
        known = self.vocabulary.characters
        prime = _validate.text(prime, "prime") or ("\n" if "\n" in known else known[0])
        _validate.known_characters(self.vocabulary.unknown(prime), "prime")
        return self._characters(self.vocabulary.encode(prime), length, choosing, rng)

    def _characters(self, codes, length, choosing, rng):
        """The generator behind ``generate``, all arguments checked."""
        step = lookup.stepper(self.embedding, self.layer)
        characters = self.vocabulary.characters
        for code in codes:
            y = step(code)
        for written in range(length):
            logits = self.head(y)[1:]
            code = 1 + int(draw(logits, *choosing, rng))
            yield characters[code - 1]
            if written + 1 < length:
                y = step(code)

    # -- files ------------------------------------------------------------------------------

    def _config(self):
        return {
            "embedding_dim": self.embedding.embedding_dim,
            "hidden_size": self.layer.hidden_size,
            "num_layers": self.layer.num_layers,
            "dropout": self.layer.dropout,
        }

    def save(self, path, tensors=None, metadata=None):
        """Save into one safetensors file, with the vocabulary in its metadata.

        The file appears complete or not at all; an earlier one is left intact on failure.

        Parameters
        ----------
        path : str or path-like
        tensors, metadata : mapping, optional
            More to put into the file: arrays by names that begin with ``"training."``, strings.
        """
        described = {
            "format": FORMAT,
            "format_version": VERSION,
            "configuration": json.dumps(self._config()),
            "vocabulary": json.dumps(self.vocabulary.characters),
        }
        write_safetensors(path, {**self.parameters, **(tensors or {})}, {**described, **(metadata or {})})

    @classmethod
    def load(cls, path):
        """Load a model that ``save`` or a training run wrote.

        Raises
        ------
        ValueError
            If the file is malformed or not a language model; says which file and what is wrong.
        OSError
            If it cannot be read.
        """
        return cls.read(path)[0]

    @classmethod
    def read(cls, path):
        """``model, tensors, metadata`` of a file: what ``save`` was given."""
        tensors, metadata = read_safetensors(_validate.path(path))
        if metadata.get("format") != FORMAT:
            _validate.refuse_file(path, "it is not a fastrnn language model")
        if metadata.get("format_version") != VERSION:
            found = metadata.get("format_version")
            _validate.refuse_file(path, f"format_version is {found!r}, expected {VERSION!r}")
        own = {k: a for k, a in tensors.items() if not k.startswith(TRAINING)}
        try:
            return cls._restored(own, metadata), {k: tensors[k] for k in tensors.keys() - own}, metadata
        except (KeyError, TypeError, ValueError, OverflowError, MemoryError, RecursionError) as error:
            problem = f"{type(error).__name__}: {error}"
        _validate.refuse_file(path, problem)

    @classmethod
    def _restored(cls, tensors, metadata):
        """The model of checked tensors and unchecked metadata."""
        vocabulary = Vocabulary(json.loads(metadata["vocabulary"]))
        configuration = json.loads(metadata["configuration"])
        with restoring(sum(array.size for array in tensors.values())):
            model = cls(vocabulary, **configuration)
        _validate.state_arrays(tensors, {k: a.shape for k, a in model.parameters.items()}, "tensors")
        for name in ("embedding", "layer", "head"):
            of_module = {k.split(".", 1)[1]: a for k, a in tensors.items() if k.startswith(f"{name}.")}
            getattr(model, name).load_state_dict(of_module)
        return model

    def __repr__(self):
        count = sum(array.size for array in self.parameters.values())
        sizes = ", ".join(f"{k}={v}" for k, v in self._config().items())
        return f"LanguageModel({len(self.vocabulary)} characters, {sizes})  # {count:,} parameters"
