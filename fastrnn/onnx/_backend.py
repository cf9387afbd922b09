"""The interface of the package ``onnx`` to runtimes."""

import numpy as np
import onnx
from onnx.backend.base import Backend as Base
from onnx.backend.base import BackendRep

from .. import _validate
from . import _file
from ._model import Model


class Prepared(BackendRep):
    """A model that can be run again and again."""

    def __init__(self, model):
        self.model = model

    def run(self, inputs, **kwargs):
        """The outputs in order, for inputs in order, or by name."""
        names = [value.name for value in self.model.inputs]
        if not isinstance(inputs, dict):
            inputs = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
            if len(inputs) > len(names):
                _validate.refuse(f"inputs: expected {len(names)}, got {len(inputs)}")
            inputs = dict(zip(names, inputs))
        results = self.model(**inputs)
        return tuple(results[value.name] for value in self.model.outputs)


class Backend(Base):
    """``onnx.backend.base.Backend`` on this engine.

    Examples
    --------
    ``fr.onnx.backend.prepare(onnx.load("model.onnx")).run([x])`` returns the outputs in order.
    """

    @classmethod
    def is_compatible(cls, model, device="CPU", **kwargs):
        """Whether every node can be run."""
        try:
            cls.prepare(model, device)
        except ValueError:
            return False
        return True

    @classmethod
    def prepare(cls, model, device="CPU", **kwargs):
        """A ``BackendRep`` of an ``onnx.ModelProto``; ValueError for what cannot be run, naming the node."""
        cls._known_device(device)
        return Prepared(Model(_file.parse(model.SerializeToString(), "the model")))

    @classmethod
    def run_node(cls, node, inputs, device="CPU", outputs_info=None, **kwargs):
        """The outputs of one node, for its inputs in order, those that it leaves out left out."""
        cls._known_device(device)
        helper, version = onnx.helper, kwargs.get("opset_version", onnx.defs.onnx_opset_version())
        arrays = list(map(np.asarray, inputs.values() if isinstance(inputs, dict) else inputs))
        values = [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
                  for name, array in zip(dict.fromkeys(filter(None, node.input)), arrays)]  # fmt: skip
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        graph = helper.make_graph([node], "node", values, outputs)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])
        return cls.prepare(model, device).run(arrays)

    @staticmethod
    def _known_device(device):
        if not Backend.supports_device(device):
            _validate.refuse(f"device: expected 'CPU', got {device!r}")

    @classmethod
    def supports_device(cls, device):
        """Only the CPU."""
        return device.split(":")[0] == "CPU"
