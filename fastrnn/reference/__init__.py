"""The oracle: the equations of ``docs/equations.md`` in float64 NumPy, line by line.

It exists to be read and to be compared with. It imports numpy only, shares no line with the
engine, is never imported by the package, and checks no input. Comments cite equation numbers.

    module       groups of the page
    spec         what a layer, a cell and a cell's place are: Spec, Cell, Local
    functions    (F) (E)         functions of one number and their slopes; clip (O1)
    products     (A) (N)         products, biases, layer norm
    rnn          (R) (I) (Q) (Y) RNN, IndRNN, FastRNN, FastGRNN
    lstm         (L) (P) (K) (J) the LSTM, with peepholes, coupled gates, projection; multiplicative (X)
    gru          (G) (C)         both GRUs
    mgu          (M) (U) (V) (W) MGU, MUT1, MUT2, MUT3
    elementwise  (SR) (MG) (ML)  SRU, minGRU, minLSTM
    slstm        (SL)            sLSTM
    tree         (T)             tree_forward, tree_backward: the child-sum tree LSTM
    cells                        the table of cells: parameters, states, kinks
    walk         (S)             walk_forward, walk_backward: the one time loop of all cells
    stack        (S) (H) (D)     forward, backward: layers, directions, how they are joined, masks
    numeric                      central_difference

A cell, one ``*_forward`` and below it one ``*_backward``, works on the ``n`` sequences that are alive at a time step:

    forward (k, x, state)       -> (state', saved)         x (n, I), state a tuple: h (n, H or P)[, c (n, H)]...
    backward(k, saved, dstate') -> (dx, dstate, grads)     the vector-Jacobian product of one step

``k`` is the cell's place: ``k.spec``, and ``k.p``, which maps names without layer suffix (``weight_ih``, ...) to
arrays; ``d_v`` in the page is ``dv`` here, ``a_v`` what a function is applied to.
"""

from .cells import (
    cell_of, has_kinks, join_state, kink_margin, local_parameters, local_shapes, parameter_shapes, places,
    random_parameters, random_state, split_state, state_names, state_shapes,
)  # fmt: skip
from .functions import FUNCTIONS, function_of, sigmoid
from .numeric import central_difference
from .products import linear_backward, linear_forward, preactivation, product_forward
from .spec import Cell, Local, Spec
from .stack import Noise, Tape, backward, forward
from .tree import tree_backward, tree_forward, tree_parameter_shapes
from .walk import valid_steps

__all__ = [
    "Cell", "FUNCTIONS", "Local", "Noise", "Spec", "Tape", "backward", "cell_of", "central_difference",
    "forward", "function_of", "has_kinks", "join_state", "kink_margin", "linear_backward", "linear_forward",
    "local_parameters", "local_shapes", "parameter_shapes", "places", "preactivation", "product_forward",
    "random_parameters", "random_state", "sigmoid", "split_state", "state_names", "state_shapes",
    "tree_backward", "tree_forward", "tree_parameter_shapes", "valid_steps",
]  # fmt: skip
