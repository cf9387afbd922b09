"""The engine broken on purpose: each mutation of its C text is built, and the suite must turn red.

Runs in a temporary copy of the tree, for the scalar instruction set only. A replaced text must
occur exactly once, so that a change of the engine cannot silently void a mutation.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ["fastrnn", "tests", "setup.py", "pyproject.toml", "README.md", "LICENSE"]
SUBSET = ["tests/test_forward.py", "tests/test_gradients.py", "tests/test_kernels.py"]

pytestmark = pytest.mark.mutation


class Mutation(NamedTuple):
    """A file of ``_core``, a text in it, and what replaces it."""

    file: str
    old: str
    new: str


LSTM, GRU, RNN = "kernels/lstm.inc", "kernels/gru.inc", "kernels/rnn.inc"
MUTATIONS = {
    "gates i and f swapped": Mutation(
        "kernels/cells.def",
        "CELL1(lstm,                  2,      4,     0,       STAGE(GATES(0, 1, 2, 3)",
        "CELL1(lstm,                  2,      4,     0,       STAGE(GATES(1, 0, 2, 3)"),
    "gru: recurrent gradients begin at the wrong gate": Mutation(
        "kernels/cells.def", "GATES(0, 1, 2), 4, 0, 1)", "GATES(0, 1, 2), 4, 0, 0)"),
    "d_f from the new c": Mutation(LSTM, "d_f = v_mul(v_mul(dc, c_prev), v_dsigmoid(f))",
                                   "d_f = v_mul(v_mul(dc, c), v_dsigmoid(f))"),
    "peephole of o on the old c": Mutation(LSTM, "pre_o = v_fma(VECTOR(PEEP_O), c, pre_o)",
                                           "pre_o = v_fma(VECTOR(PEEP_O), c_prev, pre_o)"),
    "peephole gradient of o from the old c": Mutation(LSTM, "ADD_TO_VECTOR(PEEP_O, v_mul(d_o, c))",
                                                      "ADD_TO_VECTOR(PEEP_O, v_mul(d_o, c_prev))"),
    "coupled: i = f": Mutation(LSTM, "i = v_sub(v_set(1), f)", "i = f"),
    "d_c lost from step to step": Mutation(LSTM, "v_dtanh(tanh_c), ROW(FR_DC))", "v_dtanh(tanh_c), v_zero())"),
    "reset gate left out of d_bias_hh": Mutation(GRU, "SET_DG(3, v_mul(d_n, r))", "SET_DG(3, d_n)"),
    "sign of d_z": Mutation(GRU, "SET_DG(2, v_mul(v_mul(dh, v_sub(ROW(FR_PREV), n)), v_dsigmoid(z)))",
                            "SET_DG(2, v_mul(v_mul(dh, v_sub(n, ROW(FR_PREV))), v_dsigmoid(z)))"),
    "d_h does not pass the reset gate": Mutation(GRU, "SET_ROW(FR_DH, v_fma(d_rh, r, ROW(FR_DH)))",
                                                 "SET_ROW(FR_DH, ROW(FR_DH))"),
    "relu' is 1 everywhere": Mutation(
        RNN, "return v_select(v_gt(y, v_zero()), d, v_min(v_zero(), y));", "(void)y; return d;"),
    "reverse direction starts at T": Mutation(
        "sequence_impl.h", "run->length[slot] - 1 - s : s", "run->length[0] - 1 - s : s"),
    "lengths off by one": Mutation("sequence_impl.h", "run->length[n - 1] <= s)", "run->length[n - 1] <= s + 1)"),
    "final states in the order of lengths": Mutation(
        "sequence.c", "memcpy(run->h + run->row[j] * plan->output * size,", "memcpy(run->h + j * plan->output * size,"),
    "h_t for h_{t-1} in dW_hh": Mutation(
        "bptt.c", "fr_row(run, &run->y, j, s - 1)", "fr_row(run, &run->y, j, s)"),
    "first step dropped from dW_hh": Mutation(
        "bptt.c", "back->h0 ? back->h0 + run->row[j] * plan->output * size : w->zeros;", "w->zeros;"),
    "c_t for c_{t-1} in backward": Mutation(
        "bptt.c", "run->ws_cell + (kept - n_prev + j) * padded", "run->ws_cell + (kept + j) * padded"),
    "dx of the reverse direction only": Mutation("bptt.c", "int add = back->dx_add;", "int add = 0;"),
    "gradients overwritten, not added": Mutation(
        "bptt.c", "whole ? product->out : w->zeros;\n        product->init_row = whole ? strip->row : 0;",
        "w->zeros;\n        product->init_row = 0;"),
    "bias gradients of the wrong gates": Mutation(
        "bptt.c", "fr_at(plan, w->acc, (s->rec_at + g * s->blocks) * VL)", "fr_at(plan, w->acc, (s->gx_at + g * s->blocks) * VL)"),
    "bias of the wrong unit": Mutation(
        "kernels/pack.inc", "bias[m->gates->row[g] * m->units + unit] : 0", "bias[m->gates->row[g] * m->units] : 0"),
    "ln 2 off in its last bits": Mutation(
        "kernels/vmath.inc", "#define VM_LN2_LO 0x1.7f7d1cp-20f", "#define VM_LN2_LO 0x1.7f7d1cp-19f"),
}  # fmt: skip


class Copy:
    """A copy of the tree that is built for the scalar set and runs the smoke tests of the subset."""

    def __init__(self, folder):
        self.folder, self.core = folder, folder / "fastrnn/_core"
        ignored = shutil.ignore_patterns("*.so", "__pycache__", ".hypothesis")
        for name in NEEDED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=ignored)
            elif source.exists():
                shutil.copy(source, folder)
        self.environment = {
            **os.environ, "FASTRNN_TARGETS": "scalar", "FASTRNN_CFLAGS": "-O1", "PYTHONDONTWRITEBYTECODE": "1",
            "HYPOTHESIS_PROFILE": "dev", "FASTRNN_ISA": "scalar",
        }  # fmt: skip

    def run(self, *arguments):
        """A Python command in the copy."""
        return subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, env=self.environment,
            capture_output=True, text=True, timeout=900,
        )  # fmt: skip

    def build(self):
        done = self.run("setup.py", "build_ext", "--inplace")
        assert done.returncode == 0, done.stdout + done.stderr

    def test(self, files):
        """The exit code of pytest on the smoke tests of some files, and its output; hangs count as failures."""
        try:
            done = self.run("-m", "pytest", *files, "-m", "smoke", "-x", "-q", "-p", "no:cacheprovider")
        except subprocess.TimeoutExpired:
            return 1, "timeout"
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The unbroken copy, built; its tests pass, and they test the copy."""
    copy = Copy(tmp_path_factory.mktemp("mutated"))
    copy.build()
    where = copy.run("-c", "import fastrnn; print(fastrnn.__file__)").stdout
    assert Path(where.strip()).is_relative_to(copy.folder)
    code, output = copy.test(SUBSET + MASKED)
    assert code == 0, output
    return copy


def assert_seen(tree, mutation, files):
    path = tree.core / mutation.file
    text = path.read_text()
    assert text.count(mutation.old) == 1, "the text to break must be there exactly once"
    path.write_text(text.replace(mutation.old, mutation.new))
    try:
        tree.build()
        code, output = tree.test(files)
    finally:
        path.write_text(text)
    assert code not in (0, 2, 4, 5), f"not seen, or not run:\n{output[-2000:]}"


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_suite_sees(tree, name):
    assert_seen(tree, MUTATIONS[name], SUBSET)


def test_the_list_is_long():
    assert len(MUTATIONS) >= 10


# ---------------------------------------------------------------- masks in the time loop and checkpoints

MASKED = ["tests/test_regularisers.py", "tests/test_checkpoint.py"]
MASKED_MUTATIONS = {
    "zoneout: h and c with one mask": Mutation("sequence_impl.h", "fr_scramble(2 * t + e)", "fr_scramble(2 * t)"),
    "zoneout: one mask for all sequences": Mutation("sequence_impl.h", "0x9e3779b97f4a7c15u + run->row[j]);", "0x9e3779b97f4a7c15u);"),
    "zoneout: by slot, not by sequence": Mutation("sequence_impl.h", "0x9e3779b97f4a7c15u + run->row[j]);", "0x9e3779b97f4a7c15u + j);"),
    "zoneout: one mask for all places": Mutation("evaluation.pxi", "self.drawn.key + at * <unsigned long long>0x9e3779b97f4a7c15",
                                                 "self.drawn.key"),
    "zoneout: no gradient of what stays": Mutation(
        "kernels/cell.inc", "return x->tile->slot[slot] ? v_mul(ROW(slot), d) : v_zero();", "(void)slot; (void)d; return v_zero();"),
    "zoneout: h from the c that was kept": Mutation(
        LSTM, "    SET_ROW(FR_CELL, zoned(x, FR_ZONE_C, FR_CELL_PREV, c));\n    SET_ROW(FR_OUT, zoned(x, FR_ZONE_H, FR_PREV, h));",
        "    const vec kept = zoned(x, FR_ZONE_C, FR_CELL_PREV, c);\n    SET_ROW(FR_CELL, kept);\n    SET_ROW(FR_OUT, "
        "zoned(x, FR_ZONE_H, FR_PREV, v_mul(squash(o, 0, a_o), v_activate(&o->activation[2], kept))));"),
    "recurrent dropout: gradient of h not masked": Mutation(
        "kernels/cell.inc", "{ return x->tile->slot[FR_DROP] ? v_mul(d, ROW(FR_DROP)) : d; }", "{ (void)x; return d; }"),
    "recurrent dropout: gradient of the initial h not masked": Mutation(
        "bptt.c", "[FR_DROP] = run->drop ? w.drop : NULL}", "[FR_DROP] = NULL}"),
    "recurrent dropout: gradient of R from h": Mutation("bptt.c", "for (int i = !run->drop; i < plan->stages; i++)\n                w->",
                                                        "for (int i = 1; i < plan->stages; i++)\n                w->"),
    "weight drop: gradient not masked": Mutation("evaluation.pxi", "np.multiply(gradient, mask, out=gradient)", "pass"),
    "checkpoints: the first one's c before every segment": Mutation(
        "evaluation.pxi", "data_of(self.marks[l][k][s]) + d *", "data_of(self.marks[l][0][s]) + d *"),
    "checkpoints: the first one's states for every segment": Mutation(
        "evaluation.pxi", "part[...] = self.marks[l][k][s][d]", "part[...] = self.marks[l][0][s][d]"),
    "checkpoints: segments that cut blocks": Mutation("evaluation.pxi", "return (least + steps - 1) // steps * steps", "return least"),
    "checkpoints: every segment begins anew": Mutation("bptt.c", "begin(back, &w, !live);", "begin(back, &w, 1);"),
    "checkpoints: the initial state after every segment": Mutation("bptt.c", "if (!live || run->first)", "if (!live)"),
}  # fmt: skip


@pytest.mark.parametrize("name", MASKED_MUTATIONS)
def test_the_suite_sees_masks(tree, name):
    assert_seen(tree, MASKED_MUTATIONS[name], MASKED)
