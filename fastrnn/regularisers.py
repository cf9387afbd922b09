"""Masks of recurrent layers: which there are, and how one call draws them. Imports ``blocks``."""

from .blocks import dropout_mask


class Masks:
    """The masks of one ``vjp`` call; None where there are none.

    Attributes
    ----------
    inputs : list of ndarray
        Of each layer's input, ``(B, I)``: the same at all steps (Gal & Ghahramani 2016).
    recurrent : ndarray
        ``(L*D, B, H or P)``: of ``h_{t-1}`` on its way into R, the same at all steps and for all gates.
    weights : list of ndarray
        Of ``weight_hh``, by layer and direction (Merity 2018).
    key : int
        From which the zoneout masks of all steps follow (Krueger 2017).
    """

    __slots__ = ("inputs", "recurrent", "weights", "key")

    def __init__(self, layer, widths, batch, weights):
        rng, dtype = layer.rng, layer.dtype
        rows = (layer.num_layers * layer.num_directions, batch, layer.output_size)
        self.inputs = self.recurrent = self.weights = None
        self.key = 0
        if layer.input_dropout:
            self.inputs = [dropout_mask(rng, layer.input_dropout, (batch, width), dtype) for width in widths]
        if layer.recurrent_dropout:
            self.recurrent = dropout_mask(rng, layer.recurrent_dropout, rows, dtype)
        if layer.weight_drop:
            self.weights = [dropout_mask(rng, layer.weight_drop, array.shape, dtype) for array in weights]
        if any(layer._zoneout):
            self.key = int(rng.integers(1 << 63))
