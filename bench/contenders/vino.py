"""OpenVINO on its CPU plugin: the ONNX model, in float32; it does not train."""

import io
import sys

from ..cells import PLAIN
from . import onnxmodel
from .base import Contender


class OpenVino(Contender):
    """An inference request whose inputs are our arrays and whose outputs are shared, not copied."""

    name, needs = "openvino", ("openvino", "onnx")
    cells = (*PLAIN, "RNN relu", "LSTM coupled", "GRU before")  # it overlooks peepholes, and has not every activation
    spin = 0.01

    def __init__(self, problem, threads):
        # Its import would start a thread and a process that report the use; without the module they are left out.
        sys.modules.setdefault("openvino_telemetry", None)
        import openvino

        core = openvino.Core()
        hints = {
            "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads,
        }  # fmt: skip
        self.case = problem.case
        self.model = core.compile_model(core.read_model(io.BytesIO(onnxmodel.model(problem))), "CPU", hints)
        self.request = self.model.create_infer_request()
        self.feeds = onnxmodel.feeds(problem)  # the tensors share their memory
        for name, array in self.feeds.items():
            self.request.set_tensor(name, openvino.Tensor(array, shared_memory=True))
        self.code = "results = infer(share_outputs=True)"
        self.names = {"infer": self.request.infer}

    @classmethod
    def can_run(cls, case, threads):
        """What the model can express."""
        return onnxmodel.has_model(case)

    def outputs(self, assigned):
        """As `Contender.outputs`; copies, because the next call writes there."""
        arrays = [assigned["results"][name].copy() for name in onnxmodel.output_names(self.case)]
        return onnxmodel.outputs(self.case, arrays)
