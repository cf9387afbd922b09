"""One class per library. Each is given a case, torch-shaped weights and an input, and offers ``run()``,
which is timed, and ``outputs()``, what ``run`` last computed, which is checked before.

Included in the time: the input product, the copies of states, for training the gradients of the input and
of all parameters. Not included: making the layer, and putting the gradients back to zero.
"""

import importlib.util

import numpy as np


class Fastrnn:
    """This library; a call, or vjp and pullback."""

    name, needs = "fastrnn", "fastrnn"

    def __init__(self, case, weights, x, dy, threads):
        import fastrnn as fr

        fr.set_num_threads(threads)
        self.layer = getattr(fr, case.cell)(case.input, case.hidden)
        self.layer.load_state_dict(weights)
        self.x, self.dy, self.train = x, dy, case.what == "train"
        self.result = None

    def run(self):
        """One call, or one forward and backward pass."""
        if self.train:
            y, _, pullback = self.layer.vjp(self.x)
            self.result = y, pullback(self.dy)[0]
        else:
            self.result = (self.layer(self.x)[0],)

    def outputs(self):
        """y, and dx when training."""
        return self.result


class Torch:
    """torch.nn on its CPU kernels, in inference mode unless it trains."""

    name, needs = "torch", "torch"

    def __init__(self, case, weights, x, dy, threads):
        import torch

        torch.set_num_threads(threads)
        self.torch, self.train = torch, case.what == "train"
        self.module = getattr(torch.nn, case.cell)(case.input, case.hidden)
        self.module.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
        self.x, self.dy = torch.from_numpy(x).requires_grad_(self.train), torch.from_numpy(dy)
        self.y = None

    def run(self):
        """One call, or one forward and backward pass; gradients add up as here."""
        if self.train:
            self.x.grad = None
            self.y = self.module(self.x)[0]
            self.y.backward(self.dy)
        else:
            with self.torch.inference_mode():
                self.y = self.module(self.x)[0]

    def outputs(self):
        """y, and dx when training."""
        y = self.y.detach().numpy()
        return (y, self.x.grad.numpy()) if self.train else (y,)


class OnnxRuntime:
    """onnxruntime through io_binding, weights as constants of the model; it does not train."""

    name, needs = "onnxruntime", "onnxruntime"
    order = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}  # torch's gates in ONNX's order

    def __init__(self, case, weights, x, dy, threads):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self.shape = case.steps, case.batch, case.hidden
        self.session = onnxruntime.InferenceSession(
            self.model(case, weights), options, providers=["CPUExecutionProvider"]
        )
        self.binding = self.session.io_binding()
        self.binding.bind_cpu_input("X", x)
        for output in self.session.get_outputs():
            self.binding.bind_output(output.name)

    def model(self, case, weights):
        """The bytes of a model of one node."""
        from onnx import TensorProto, helper, numpy_helper

        def gates(name):
            parts = np.split(weights[name], len(self.order[case.cell]))
            return np.concatenate([parts[i] for i in self.order[case.cell]])

        tensors = {
            "W": gates("weight_ih_l0")[None],
            "R": gates("weight_hh_l0")[None],
            "B": np.concatenate([gates("bias_ih_l0"), gates("bias_hh_l0")])[None],
        }
        outputs = ["Y", "Y_h"] + ["Y_c"] * (case.cell == "LSTM")
        attributes = {"linear_before_reset": 1} if case.cell == "GRU" else {}
        node = helper.make_node(case.cell, ["X", *tensors], outputs, hidden_size=case.hidden, **attributes)
        shape = [case.steps, case.batch, case.input]
        graph = helper.make_graph(
            [node], "recurrent", [helper.make_tensor_value_info("X", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(np.ascontiguousarray(a), name) for name, a in tensors.items()],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
        return model.SerializeToString()

    def run(self):
        """One run with everything bound."""
        self.session.run_with_iobinding(self.binding)

    def outputs(self):
        """y."""
        return (self.binding.copy_outputs_to_cpu()[0].reshape(self.shape),)


CONTENDERS = {c.name: c for c in (Fastrnn, Torch, OnnxRuntime)}


def installed():
    """Names of the contenders that can be imported here."""
    return [name for name, c in CONTENDERS.items() if importlib.util.find_spec(c.needs)]


def can_run(name, case):
    """Whether a contender offers what the case asks for."""
    return not (name == "onnxruntime" and (case.what == "train" or not importlib.util.find_spec("onnx")))
