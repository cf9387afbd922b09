"""What a case of the set cells is expected to take, timed in its own rounds: its multiply-adds at the speed of an LSTM's.

A forward pass without recurrent product is one large product and little else; of it that product's time is expected, as
`Linear` takes it (packing its weights included, some 2 %).
"""

import statistics

from .cells import CELLS
from .contenders import CONTENDERS
from .contenders.base import Contender
from .problem import Problem
from .timing import Turns, warm_up


class Product(Contender):
    """The products of x of a case, all steps at once."""

    name, needs = "product", ("fastrnn",)

    def __init__(self, problem, threads):
        import fastrnn as fr

        fr.set_num_threads(threads)
        case = problem.case
        linear = fr.Linear(case.input, int(CELLS[case.cell].inner) * case.hidden, dtype=case.dtype, rng=0)
        self.names, self.code = {"linear": linear, "x": problem.x}, "y = linear(x)"

    def outputs(self, assigned):
        """As `Contender.outputs`."""
        return assigned


class Yardstick:
    """Call it once a round."""

    def __init__(self, case, threads):
        alone = case.what == "forward" and not CELLS[case.cell].recurrent
        beside = case if alone else case._replace(cell="LSTM")
        contender = (Product if alone else CONTENDERS["fastrnn"])(Problem.of(beside), threads)
        self.share = case.flops / beside.flops
        self.turns = Turns(contender, warm_up(contender), threads, False)

    def __call__(self):
        """A turn, as every contender has it."""
        self.turns.take()

    def median(self):
        """Microseconds."""
        return self.share * statistics.median(self.turns.times)
