"""What all contenders have in common. Imports nothing but the standard library and cells.py."""

import contextlib
import importlib.util
import timeit

from ..cells import PLAIN


class Contender:
    """A library with a case made ready: what is timed is ``code``, run with ``names`` as its globals.

    The code is compiled into the loop of `timeit`, so that no call of ours stands between the clock and
    the library. It is what a user would write between having an input and having all results, whose names
    it assigns; layers, weights and inputs are ready before.

    Attributes
    ----------
    name : str
    needs : tuple of str
        The modules it imports.
    default : bool
        Whether it takes part without being named.
    cells : tuple of str
        The cells that it has, of `cells.CELLS`.
    spin : float
        Seconds for which its threads may go on spinning after a call, as measured with two threads.
    """

    name, needs, default, spin, cells = "", (), True, 0.0, PLAIN
    code, names = "", {}

    def __init__(self, problem, threads):
        """Make layer, weights and inputs ready; ``threads`` is what it may use."""
        raise NotImplementedError

    @classmethod
    def installed(cls):
        """Whether what it needs can be imported."""
        return all(importlib.util.find_spec(module) for module in cls.needs)

    @classmethod
    def can_run(cls, case, threads):
        """Whether it offers what the case, of one of its cells, asks for."""
        return True

    @classmethod
    def counts(cls, case):
        """Whether it gives everything that the case asks for, so that it can be the best other."""
        return True

    def around(self):
        """A context in which its calls run."""
        return contextlib.nullcontext()

    def call(self):
        """Run the code once; what it assigned."""
        assigned = {}
        exec(self.code, self.names, assigned)
        return assigned

    def outputs(self, assigned):
        """``y``, final ``h`` (and ``c``), for training ``y``, ``dx`` and gradients by torch's names.

        Parameters
        ----------
        assigned : dict
            What `call` returned.

        Returns
        -------
        dict of str to ndarray
            In fastrnn's shapes.
        """
        raise NotImplementedError

    def timer(self):
        """A `timeit.Timer` of the code."""
        return timeit.Timer(self.code, globals=self.names)
