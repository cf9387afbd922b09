"""onnxruntime on its CPU provider; it does not train, and its recurrent kernels know float32 only."""

from . import onnxmodel
from .base import Contender


class Ort(Contender):
    """``session.run`` with NumPy arrays."""

    name, needs, cells = "ort", ("onnxruntime", "onnx"), onnxmodel.HAS
    spin = 0.04  # its workers: about 30 ms

    def __init__(self, problem, threads):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self.case = problem.case
        self.session = onnxruntime.InferenceSession(
            onnxmodel.model(problem), options, providers=["CPUExecutionProvider"]
        )
        self.ready(problem)

    @classmethod
    def can_run(cls, case, threads):
        """What the model can express."""
        return onnxmodel.has_model(case)

    def ready(self, problem):
        """Code and names."""
        self.code = "results = run(None, feeds)"
        self.names = {"run": self.session.run, "feeds": onnxmodel.feeds(problem)}

    def outputs(self, assigned):
        """As `Contender.outputs`."""
        return onnxmodel.outputs(self.case, assigned["results"])


class OrtBinding(Ort):
    """``io_binding``: inputs and outputs are bound once. Outputs bound to arrays of ours are no quicker."""

    name = "ort-iobind"

    def ready(self, problem):
        """Code and names."""
        self.binding = self.session.io_binding()
        for name, array in onnxmodel.feeds(problem).items():
            self.binding.bind_cpu_input(name, array)
        for name in onnxmodel.output_names(self.case):
            self.binding.bind_output(name)
        self.code = "run(binding)"
        self.names = {"run": self.session.run_with_iobinding, "binding": self.binding}

    def outputs(self, assigned):
        """As `Contender.outputs`."""
        return onnxmodel.outputs(self.case, self.binding.copy_outputs_to_cpu())
