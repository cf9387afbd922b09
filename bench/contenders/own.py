"""fastrnn: a call, ``vjp`` and its pullback, or a stream's step."""

from ..cells import CELLS
from .base import Contender


class Fastrnn(Contender):
    """This library."""

    name, needs, cells = "fastrnn", ("fastrnn",), tuple(CELLS)

    def __init__(self, problem, threads):
        import fastrnn as fr

        fr.set_num_threads(threads)
        case, state = problem.case, problem.state
        self.case = case
        self.layer = getattr(fr, CELLS[case.cell].layer)(
            case.input, case.hidden, case.layers, bidirectional=case.directions == 2, dtype=case.dtype, rng=0,
            **case.options,
        )  # fmt: skip
        if problem.weights:
            self.layer.load_state_dict(problem.weights)
        if state and len(state) == 1:
            (state,) = state
        self.names = {"layer": self.layer, "x": problem.x, "dy": problem.dy, "state": state}
        if case.what == "stream":
            self.stream = self.layer.stream()
            self.stream.reset(state)
            self.names.update(step=self.stream.step, x=problem.x[0, 0])
            self.code = "y = step(x)"
            return
        more = ", state" if state is not None else ""
        if problem.lengths is not None:
            self.names["lengths"] = problem.lengths
            more = ", lengths=lengths"
        self.code = f"y, final = layer(x{more})"
        if case.what == "train":
            self.code = f"y, final, pullback = layer.vjp(x{more})\ndx, dstate = pullback(dy)"

    def outputs(self, assigned):
        """As `Contender.outputs`; gradients add up, so this wants the first call's."""
        if self.case.what == "stream":
            assigned = {"y": assigned["y"][None, None], "final": self.stream.state}
        found, final = {"y": assigned["y"]}, assigned["final"]
        if self.case.what == "train":
            return {**found, "dx": assigned["dx"], **self.layer.grads}
        final = final if isinstance(final, tuple) else (final,)
        return {**found, **dict(zip(self.layer.state_names, final, strict=True))}
