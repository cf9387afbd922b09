"""What is started afresh: ``python -m bench.child first NAME``, ``memory NAME TASK`` or ``roofline``.

Prints a number, or a line of JSON."""

import ctypes
import json
import sys
import time

FIRST = 10, 1, 64, 64  # T, B, I, H


def first(name):
    """Seconds to make a layer and call it once; imports and weights of a model file are ready."""
    import numpy as np

    x = np.ones(FIRST[:3], np.float32)
    if name == "fastrnn":
        import fastrnn

        start = time.perf_counter()
        fastrnn.LSTM(*FIRST[2:])(x)
    elif name == "torch":
        import torch

        x = torch.from_numpy(x)
        start = time.perf_counter()
        with torch.inference_mode():
            torch.nn.LSTM(*FIRST[2:])(x)
    else:
        import onnxruntime

        from .contenders.onnxmodel import model
        from .problem import Problem
        from .shapes import Case

        model = model(Problem.of(Case("forward", "LSTM", *FIRST)))
        start = time.perf_counter()
        onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    return time.perf_counter() - start


def memory(name, case, threads):
    """Megabytes that a call needs at its highest, beyond its input and what it returns."""
    from .contenders import CONTENDERS
    from .problem import Problem

    small = CONTENDERS[name](Problem.of(case._replace(steps=2, input=8, hidden=8)), threads)
    contender = CONTENDERS[name](Problem.of(case), threads)
    with contender.around():
        small.call()  # so that the library has started what it starts once
        give_back()
        reset_peak()
        before = resident("VmRSS")
        assigned = contender.call()
        after = resident("VmHWM")
    return max(0.0, (after - before - returned(assigned.values())) / 1e6)


def give_back():
    """Have the C library return freed memory to the system, so that a call cannot have it again for nothing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)


def reset_peak():
    """Let VmHWM begin anew."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError as error:
        raise SystemExit(f"peak memory needs /proc/self/clear_refs of Linux: {error}") from None


def resident(key):
    """A line of /proc/self/status, in bytes."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key))


def returned(values):
    """Bytes of all arrays and tensors in nested tuples and lists."""
    total = 0
    for value in values:
        if isinstance(value, (tuple, list)):
            total += returned(value)
        else:
            total += getattr(value, "nbytes", 0)
    return total


def main(argv):
    """Print what is asked for."""
    if argv[0] == "first":
        print(first(argv[1]))
    elif argv[0] == "memory":
        from .shapes import Case

        task = json.loads(argv[2])
        print(memory(argv[1], Case(*task["case"]), task["threads"]))
    else:
        from . import machine

        machine.pin(1)
        print(json.dumps(machine.roofline()))


if __name__ == "__main__":
    main(sys.argv[1:])
