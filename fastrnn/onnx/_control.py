"""If and Loop: nodes with graphs inside of them, as exporters write them around sequences of any length.

Such a function takes the values around it first, then the inputs of its node; ``reads`` are the names of those that its
graphs read.
"""

import numpy as np

from .. import _validate


class If:
    newest = 25

    def __init__(self, attributes, program, outputs):
        self.branches = program(attributes["else_branch"]), program(attributes["then_branch"])
        if any(branch.inputs or len(branch.outputs) != outputs for branch in self.branches):
            _validate.refuse(f"its branches should have no inputs and {outputs} outputs")
        self.reads = self.branches[0].reads | self.branches[1].reads

    def __call__(self, values, condition):
        branch = self.branches[bool(condition)]
        found = branch.run({}, values)
        return tuple(found[name] for name in branch.outputs)


class Loop:
    newest = 25

    def __init__(self, attributes, program, outputs):
        graph = attributes["body"]
        self.body = program(graph)
        self.carried = len(graph.inputs) - 2
        if self.carried < 0 or len(self.body.outputs) != outputs + 1 or outputs < self.carried:
            _validate.refuse(f"its body has {len(graph.inputs)} inputs and {len(self.body.outputs)} outputs, it has {outputs}")
        self.collected = graph.outputs[1 + self.carried :]
        self.reads = self.body.reads

    def __call__(self, values, count=None, condition=None, *carried):
        if len(carried) != self.carried:
            _validate.refuse(f"it carries {len(carried)} values, and its body {self.carried}")
        steps, goes_on = [], True if condition is None else bool(condition)
        number, most = 0, None if count is None else int(count)
        while goes_on and (most is None or number < most):
            given = dict(zip(self.body.inputs, (np.array(number, np.int64), np.array(True), *carried)))
            found = self.body.run(given, values)
            goes_on, *results = (found[name] for name in self.body.outputs)
            goes_on, carried = bool(goes_on), results[: self.carried]
            steps.append(results[self.carried :])
            number += 1
        return *carried, *(self._stacked([step[i] for step in steps], value) for i, value in enumerate(self.collected))

    @staticmethod
    def _stacked(arrays, value):
        """What the steps have put out, one after the other; of no step, an empty array."""
        if arrays:
            return np.stack(arrays)
        sizes = [size if isinstance(size, int) else 0 for size in value.shape or ()]
        return np.empty((0, *sizes), value.dtype or np.float32)


#: Operator -> its class.
NODES = {"If": If, "Loop": Loop}
