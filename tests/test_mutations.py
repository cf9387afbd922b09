"""The engine broken on purpose: each mutation of its C text is built, and the suite must turn red.

Runs in a temporary copy of the tree, for the scalar instruction set only, or for a matrix unit where there is one. A
replaced text must occur exactly once, so that a change of the engine cannot silently void a mutation.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from fastrnn._core import engine

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ["fastrnn", "tests", "setup.py", "pyproject.toml", "README.md", "LICENSE"]
SUBSET = [f"tests/test_{name}.py" for name in (
    "tree", "forward", "gradients", "cells", "kernels", "stream", "regularisers", "masks", "checkpoint", "lookup", "losses",
    "losses_ctc")]  # fmt: skip


class Mutation(NamedTuple):
    """A file of ``_core``, a text in it, and what replaces it."""

    file: str
    old: str
    new: str


LSTM, GRU, RNN, NORM = (f"kernels/{name}.inc" for name in ("lstm", "gru", "rnn", "norm"))
ACTIVATIONS = "kernels/activations.inc"
MUTATIONS = {
    "gates i and f swapped": Mutation(
        "kernels/cells.def",
        "CELL1(lstm,                  2,      4,     0, NO_VECTORS,\n      STAGE(GATES(0, 1, 2, 3)",
        "CELL1(lstm,                  2,      4,     0, NO_VECTORS,\n      STAGE(GATES(1, 0, 2, 3)"),
    "gru: recurrent gradients begin at the wrong gate": Mutation(
        "kernels/cells.def",
        "CELL1(gru,                   1,      4,     0, NO_VECTORS,\n      STAGE(GATES(2, 0, 1), GATES(0, 1, 2), 4, 0, 1)",
        "CELL1(gru,                   1,      4,     0, NO_VECTORS,\n      STAGE(GATES(2, 0, 1), GATES(0, 1, 2), 4, 0, 0)"),
    "d_f from the new c": Mutation(LSTM, "d_f = v_mul(v_mul(dc, c_prev), v_dsigmoid(f))",
                                   "d_f = v_mul(v_mul(dc, c), v_dsigmoid(f))"),
    "peephole of o on the old c": Mutation(LSTM, "pre_o = v_fma(VECTOR(PEEP_O), c, pre_o)",
                                           "pre_o = v_fma(VECTOR(PEEP_O), c_prev, pre_o)"),
    "peephole gradient of o from the old c": Mutation(
        LSTM, "ADD_TO_VECTOR(PEEP_O, v_mul(d_o, c));                            /* (P23) */\n        if (!coupled) {",
        "ADD_TO_VECTOR(PEEP_O, v_mul(d_o, c_prev));\n        if (!coupled) {"),
    "coupled: i = f": Mutation(LSTM, "i = v_sub(v_set(1), f)", "i = f"),
    "d_c lost from step to step": Mutation(LSTM, "v_dtanh(tanh_c), ROW(FR_DC))", "v_dtanh(tanh_c), v_zero())"),
    "reset gate left out of d_bias_hh": Mutation(GRU, "SET_DG(3, v_mul(d_n, r))", "SET_DG(3, d_n)"),
    "sign of d_z": Mutation(GRU, "SET_DG(2, v_mul(v_mul(dh, v_sub(ROW(FR_PREV), n)), v_dsigmoid(z)))",
                            "SET_DG(2, v_mul(v_mul(dh, v_sub(n, ROW(FR_PREV))), v_dsigmoid(z)))"),
    "d_h does not pass the reset gate": Mutation(GRU, "SET_ROW(FR_DH, v_fma(dropped(x, d_rh), r, ROW(FR_DH)))",
                                                 "SET_ROW(FR_DH, ROW(FR_DH))"),
    "relu' is 1 everywhere": Mutation(
        RNN, "return v_select(v_gt(y, v_zero()), d, v_min(v_zero(), y));", "(void)y; return d;"),
    "reverse direction starts at T": Mutation(
        "sequence_impl.h", "run->length[slot] - 1 - s : s", "run->length[0] - 1 - s : s"),
    "lengths off by one": Mutation("sequence_impl.h", "run->length[n - 1] <= s)", "run->length[n - 1] <= s + 1)"),
    "final states in the order of lengths": Mutation(
        "sequence.c", "memcpy(run->state[0] + run->row[j] * plan->output * size,",
        "memcpy(run->state[0] + j * plan->output * size,"),
    "h_t for h_{t-1} in dW_hh": Mutation(
        "bptt.c", "fr_row(run, &run->y, j, s - 1)", "fr_row(run, &run->y, j, s)"),
    "first step dropped from dW_hh": Mutation(
        "bptt.c", "back->state0[0] ? back->state0[0] + run->row[j] * plan->output * size : w->zeros;", "w->zeros;"),
    "c_t for c_{t-1} in backward": Mutation(
        "bptt.c", "fr_state_row(run, &w->kept, e, j, s - 1, kept - n_prev + j)",
        "fr_state_row(run, &w->kept, e, j, s, kept + j)"),
    "dx of the reverse direction only": Mutation("gradients.c", "int add = back->dx_add;", "int add = 0;"),
    "gradients overwritten, not added": Mutation(
        "gradients.c", "whole ? product->out : w->zeros;\n        product->init_row = whole ? strip->row : 0;",
        "w->zeros;\n        product->init_row = 0;"),
    "a table's gradients in the rows of the batch": Mutation(
        "gradients.c", "fr_at(plan, to, w->code[r] * s->dg_width * VL)", "fr_at(plan, to, r % table * s->dg_width * VL)"),
    "the table's row of the step after": Mutation(
        "sequence_impl.h", "fr_time(run, slot, s) * run->lookup->time", "fr_time(run, slot, s ^ 1) * run->lookup->time"),
    "bias gradients of the wrong gates": Mutation(
        "gradients.c", "fr_at(plan, w->acc, (s->rec_at + g * s->blocks) * VL)", "fr_at(plan, w->acc, (s->gx_at + g * s->blocks) * VL)"),
    "bias of the wrong unit": Mutation(
        "kernels/pack.inc", "bias[row * m->units + unit] : 0", "bias[row * m->units] : 0"),
    "smoothing left out of the gradient": Mutation(
        "kernels/losses.inc", "v_store(y + i, spread ? v_fnma(s, v_load(spread + i), v) : v);", "v_store(y + i, v);"),
    "ctc: a label after itself": Mutation("ctc.c", "if (s.target[i] != s.target[i - 1])", "if (i)"),
    "ctc: no way back from a label to the next": Mutation(
        "kernels/losses.inc", "log_add3(stay, move, skip)); ", "log_add(stay, move)); (void)skip; "),
    "ctc: a class keeps one of its labels": Mutation("ctc.c", "+= s->posterior[i]", "= s->posterior[i]"),
    "tree: d_f from the node's own c": Mutation(
        "kernels/tree.inc", "some(t->c, kid, n)), v_dsigmoid(f))", "some(t->c, own, n)), v_dsigmoid(f))"),
    "tree: a gate f for all children": Mutation("kernels/tree.inc", "v_add(a_f, some(t->forget, at + k * H, n))", "a_f"),
    "tree: the last child left out of the sum": Mutation("tree.c", "while (++kid < end)", "while (++kid < end - 1)"),
    "tree: the sum's gradient to the first child": Mutation("tree.c", "row(t, t->dh, t->kid[i])", "row(t, t->dh, t->kid[0])"),
    "ln 2 off in its last bits": Mutation(
        "kernels/vmath.inc", "#define VM_LN2_LO 0x1.7f7d1cp-20f", "#define VM_LN2_LO 0x1.7f7d1cp-19f"),
    # functions by choice, clip, residual
    "softplus without its linear part": Mutation(
        ACTIVATIONS, "v_add(v_max(v_zero(), x), va_log1p(", "v_add(v_zero(), va_log1p("),
    "elu' without alpha": Mutation(ACTIVATIONS, "v_mul(alpha, v_exp(x))", "v_exp(x)"),
    "clip passes gradients": Mutation(ACTIVATIONS, "v_ge(clip, v_abs(a))", "v_ge(v_abs(a), v_zero())"),
    "c without its function": Mutation(
        LSTM, "h = v_mul(squash(o, 0, a_o), v_activate(&o->activation[2], c));",
        "h = v_mul(squash(o, 0, a_o), v_tanh(c));"),
    "gradient of a residual lost": Mutation(
        RNN, "SET_DG(0, v_mul(dh, dsquash(t->options, 0, SAVED(0))));", "SET_DG(0, v_mul(dh, v_zero()));"),
    # layer norm: stages that see whole rows, vectors that are sums
    "layer norm: unbiased variance": Mutation(
        NORM, "n.scale = scale_of(squares, n.share);\n    return n;\n}\n\n/* The same of a row",
        "n.scale = scale_of(squares, 1 / (1 / n.share - 1));\n    return n;\n}\n\n/* The same of a row"),
    "layer norm: gradient through the mean lost": Mutation(
        NORM, "v_sub(v_sub(u, m.u), v_mul(x, m.ux))", "v_sub(u, v_mul(x, m.ux))"),
    "layer norm: a bias left out of its shift": Mutation(
        "kernels/cells.def", "SUM(FR_EXTRA + 3, 3, FR_B_HH),\n              EXTRA(4)",
        "PART(FR_EXTRA + 3, 3),\n              EXTRA(4)"),
    "layer norm: gradient of a shift's bias lost": Mutation(
        "gradients.c", "fr_vector_at(plan, &back->grads, v->also, v->row)}", "NULL}"),
    "whole rows: the first row's product for all": Mutation(
        "bptt.c", "tile.acc = fr_at(plan, w->raw, r * whole.out_row);", "tile.acc = w->raw;"),
    # stages, operands, what is kept for a later stage
    "a later stage's weights from h": Mutation("gradients.c", "w->operand[i], w->dg[i],", "w->operand[0], w->dg[i],"),
    "mut3: z for the r that was kept": Mutation(
        "kernels/gated.inc", "v_mul(SAVED(1), ROW(FR_OPERAND))", "v_mul(SAVED(0), ROW(FR_OPERAND))"),
    "mut1: gradient of tanh(x) without its slope": Mutation(
        "kernels/gated.inc", "v_fma(d_n, v_dtanh(v_tanh(ROW(FR_X))), ROW(FR_DX))", "v_add(d_n, ROW(FR_DX))"),
    "mut2: bias of a gate without an input product": Mutation(
        "kernels/cells.def", "GATES(0), GATES(-1, 1))", "GATES(0), GATES(-1, -1))"),
    "mgu: gradient of the gate from one of its ways": Mutation(
        "kernels/gated.inc", "v_fma(d_fh, ROW(FR_OPERAND), SAVED(1))", "v_mul(d_fh, ROW(FR_OPERAND))"),
    "multiplicative: gradients of the factors swapped": Mutation(
        LSTM, "SET_DG(0, v_mul(ACC(0), SAVED(5)));", "SET_DG(0, v_mul(ACC(0), SAVED(4)));"),
    # no product of h, vectors, scalars
    "a stage without a product does one block of each share": Mutation(
        "sequence.c", "fr_blocks_in(tile.first, share, s->hidden_blocks)", "fr_blocks_in(tile.first, 1, s->hidden_blocks)"),
    "indrnn: gradient of w from h_t": Mutation(
        RNN, "ADD_TO_VECTOR(0, v_mul(d_a, ROW(FR_OPERAND)));", "ADD_TO_VECTOR(0, v_mul(d_a, ROW(FR_OUT)));"),
    "scalars not squashed": Mutation(
        "kernels/pack.inc", "for (ptrdiff_t i = 0; scalar && i < padded; i += VL)",
        "for (ptrdiff_t i = 0; scalar > 1 && i < padded; i += VL)"),
    "gradient of a scalar from the first unit": Mutation(
        "gradients.c", "unit += v->scalar ? 1 : plan->hidden", "unit += plan->hidden"),
    "fastgrnn: biases of the gates swapped": Mutation(
        "kernels/cells.def", "PART(FR_B_IH, 0), PART(FR_B_IH, 1), SQUASHED", "PART(FR_B_IH, 1), PART(FR_B_IH, 0), SQUASHED"),
    "sru: biases of the gates swapped": Mutation(
        "kernels/cells.def", "NO_GATES, 3, 0, 0, GATES(-1, 0, 1), NO_GATES", "NO_GATES, 3, 0, 0, GATES(-1, 1, 0), NO_GATES"),
    "sru: gradient of the x on the highway lost": Mutation(
        "kernels/linear.inc", "SET_ROW(FR_DX, v_add(ROW(FR_DX), d_s));", "SET_ROW(FR_DX, ROW(FR_DX));"),
    "min_lstm: f not divided by f + i": Mutation(
        "kernels/linear.inc", "v_sub(v_softplus(v_neg(a_i)), v_softplus(v_neg(a_f)))", "v_neg(v_softplus(v_neg(a_f)))"),
    # four states
    "slstm: the scale of the step before": Mutation(
        "kernels/slstm.inc", "m = v_max(kept, a_i)", "m = v_max(ROW(FR_CELL_PREV + SLSTM_M), a_i)"),
    "slstm: gradient of n lost from step to step": Mutation("kernels/slstm.inc", "v_mul(dn, f)", "v_zero()"),
    # masks in the loop
    "zoneout: shares swapped": Mutation(
        "kernels/cell.inc", "v_fma(share, ROW(prev), v_mul(v_sub(v_set(1), share), v))",
        "v_fma(share, v, v_mul(v_sub(v_set(1), share), ROW(prev)))"),
    "zoneout: no gradient past the cell": Mutation(
        "kernels/cell.inc", "v_mul(ROW(slot), d) : v_zero()", "v_zero() : v_zero()"),
    "recurrent dropout: gradient without the mask": Mutation(
        "kernels/cell.inc", "v_mul(d, ROW(FR_DROP)) : d", "d : d"),
    "zoneout: h and c with one mask": Mutation("sequence_impl.h", "fr_scramble(2 * t + e)", "fr_scramble(2 * t)"),
    "zoneout: one mask for all sequences": Mutation(
        "sequence_impl.h", "0x9e3779b97f4a7c15u + run->row[j]);", "0x9e3779b97f4a7c15u);"),
    "zoneout: by slot, not by sequence": Mutation(
        "sequence_impl.h", "0x9e3779b97f4a7c15u + run->row[j]);", "0x9e3779b97f4a7c15u + j);"),
    "zoneout: one mask for all places": Mutation(
        "evaluation.pxi", "self.drawn.key + at * <unsigned long long>0x9e3779b97f4a7c15", "self.drawn.key"),
    "zoneout: h from the c that was kept": Mutation(
        LSTM, "    SET_ROW(FR_CELL, zoned(x, FR_ZONE_C, FR_CELL_PREV, c));\n"
        "    SET_ROW(FR_OUT, zoned(x, FR_ZONE_H, FR_PREV, h));",
        "    const vec kept = zoned(x, FR_ZONE_C, FR_CELL_PREV, c);\n    SET_ROW(FR_CELL, kept);\n    SET_ROW(FR_OUT, "
        "zoned(x, FR_ZONE_H, FR_PREV, v_mul(squash(o, 0, a_o), v_activate(&o->activation[2], kept))));"),
    "recurrent dropout: gradient of the initial h not masked": Mutation(
        "bptt.c", "[FR_DROP] = run->drop ? w.drop : NULL}", "[FR_DROP] = NULL}"),
    "recurrent dropout: gradient of R from h": Mutation(
        "bptt.c", "for (int i = !run->drop; i < plan->stages; i++)\n                w->",
        "for (int i = 1; i < plan->stages; i++)\n                w->"),
    "weight drop: gradient not masked": Mutation("evaluation.pxi", "np.multiply(gradient, mask, out=gradient)", "pass"),
    # checkpoints
    "checkpoints: the first one's c before every segment": Mutation(
        "evaluation.pxi", "data_of(self.marks[l][k][s]) + d *", "data_of(self.marks[l][0][s]) + d *"),
    "checkpoints: the first one's states for every segment": Mutation(
        "evaluation.pxi", "part[...] = self.marks[l][k][s][d]", "part[...] = self.marks[l][0][s][d]"),
    "checkpoints: segments that cut blocks": Mutation(
        "evaluation.pxi", "return (least + steps - 1) // steps * steps", "return least"),
    "turns: pairs of panels one panel apart": Mutation(
        "sequence_impl.h", "fr_skip_panels(k, p, -1 - pair);", "fr_skip_panels(k, p, -1);"),
    "turns: the panel behind the last": Mutation(
        "sequence.c", "at = w->me.backwards ? p : p + panels;", "at = p + panels;"),
    "a stream's weights packed over": Mutation(
        "engine.pyx", "None if form == FORWARD and self.lent else self.packed[form]", "self.packed[form]"),
    "checkpoints: every segment begins anew": Mutation("bptt.c", "begin(back, &w, !live);", "begin(back, &w, 1);"),
    "checkpoints: the initial state after every segment": Mutation("bptt.c", "if (!live || run->first)", "if (!live)"),
}  # fmt: skip

BRICKS = "kernels/bricks.inc"
UNIT_MUTATIONS = {
    "a product of parts made twice, another not": Mutation(BRICKS, "RIGHT(R, 2);", "RIGHT(R, 1);"),
    "third parts of the left operand left out": Mutation(BRICKS, "LEFT(L, 2);", "LEFT(L, 1);"),
    "parts cut off, not rounded": Mutation("simd/unit_amx.h", "_mm512_set1_epi32(0x8000)", "_mm512_setzero_si512()"),
    "high parts in the low places": Mutation("simd/unit_amx.h", "p[i] = u_pair(l, h);", "p[i] = u_pair(h, l);"),
    "columns past the last one": Mutation(BRICKS, "const int n = columns - v < VL ? columns - v : VL;", "const int n = VL;"),
    "sums in parts not added": Mutation(BRICKS, "sizeof spare[0][0], p->add, L, R);", "sizeof spare[0][0], 0, L, R);"),
    "sequences that have ended": Mutation("bricks.c", "live = v->live - r;", "live = v->rows - r;"),
    "one half of the gradients twice": Mutation("bricks.c", "vector_at(plan, v, 2 * k + 1)", "vector_at(plan, v, 2 * k)"),
    "panels of gradients mistaken": Mutation("bricks.c", "(panel * v->capacity * v->from", "(panel * v->rows * v->from"),
    "gates of weight gradients in the wrong order": Mutation(
        "bricks.c", "f->gates->row[at / s->blocks] * s->units", "(at / s->blocks) * s->units"),
    "gates of packed weights in the wrong order": Mutation("plan.c", "(m->gates->row[gate] * m->units + unit)",
                                                           "(gate * m->units + unit)"),
    "gradients of weights overwritten, not added": Mutation("bricks.c", ".depth = depth, .add = 1,", ".depth = depth,"),
    "second pair of rows into the first one's place": Mutation("bricks.c", "fr_at(plan, out, at * wide)", "fr_at(plan, out, 0)"),
    "rows of dx past the first group": Mutation("bptt.c", "&tile, all, first + r);", "&tile, all, r);"),
    "plain product: only the last part of the depth": Mutation("unitgemm.c", ".add = g->add || first,", ".add = g->add,"),
    "plain product: not added": Mutation("unitgemm.c", ".add = g->add || first,", ".add = first > 0,"),
    "plain product: edges not zeros": Mutation("unitgemm.c", "memset(s->edge, 0, sizeof s->edge);", ""),
    "plain product: the first columns again": Mutation("unitgemm.c", "g->unit->right(rows, count, column + j,",
                                                       "g->unit->right(rows, count, j,"),
    "panels of whole rows mistaken": Mutation("bptt.c", "fr_at(plan, w->raw, q * whole.out_next)", "w->raw"),
}


class Copy:
    """A copy of the tree, built for some targets, the first of which runs the tests; unbroken, it passes them."""

    def __init__(self, folder, targets, tests):
        self.folder, self.core = folder, folder / "fastrnn/_core"
        ignored = shutil.ignore_patterns("*.so", "__pycache__", ".hypothesis")
        for name in NEEDED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=ignored)
            elif source.exists():
                shutil.copy(source, folder)
        self.tests = tests
        self.environment = {
            **os.environ, "FASTRNN_TARGETS": targets, "FASTRNN_CFLAGS": "-O1", "PYTHONDONTWRITEBYTECODE": "1",
            "HYPOTHESIS_PROFILE": "dev", "FASTRNN_ISA": targets.split()[0],
        }  # fmt: skip
        self.build()
        where = self.run("-c", "import fastrnn; print(fastrnn.__file__)").stdout
        assert Path(where.strip()).is_relative_to(folder)
        code, output = self.test()
        assert code == 0, output

    def run(self, *arguments):
        """A Python command in the copy."""
        return subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, env=self.environment,
            capture_output=True, text=True, timeout=900,
        )  # fmt: skip

    def build(self):
        done = self.run("setup.py", "build_ext", "--inplace")
        assert done.returncode == 0, done.stdout + done.stderr

    def test(self):
        """The exit code of pytest, and its output; hangs count as failures."""
        try:
            done = self.run("-m", "pytest", *self.tests, "-x", "-q", "-p", "no:cacheprovider")
        except subprocess.TimeoutExpired:
            return 1, "timeout"
        return done.returncode, done.stdout + done.stderr

    def sees(self, mutation):
        """Do the tests notice it?"""
        path = self.core / mutation.file
        text = path.read_text()
        path.write_text(text.replace(mutation.old, mutation.new))
        try:
            self.build()
            code, output = self.test()
        finally:
            path.write_text(text)
        assert code not in (0, 2, 4, 5), f"not seen, or not run:\n{output[-2000:]}"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return Copy(tmp_path_factory.mktemp("mutated"), "scalar", [*SUBSET, "-m", "smoke"])


@pytest.fixture(scope="module")
def unit_tree(tmp_path_factory):
    if "amx" not in engine.isas():
        pytest.skip("no matrix unit on this CPU")
    return Copy(tmp_path_factory.mktemp("mutated"), "amx avx512", ["tests/test_matrix_unit.py"])


@pytest.mark.parametrize("name", [*MUTATIONS, *UNIT_MUTATIONS])
def test_the_text_is_there_once(name):
    mutation = {**MUTATIONS, **UNIT_MUTATIONS}[name]
    assert (ROOT / "fastrnn/_core" / mutation.file).read_text().count(mutation.old) == 1


@pytest.mark.mutation
@pytest.mark.parametrize("name", MUTATIONS)
def test_the_suite_sees(tree, name):
    tree.sees(MUTATIONS[name])


@pytest.mark.mutation
@pytest.mark.parametrize("name", UNIT_MUTATIONS)
def test_the_suite_sees_in_the_unit(unit_tree, name):
    unit_tree.sees(UNIT_MUTATIONS[name])


def test_the_list_is_long():
    assert len(MUTATIONS) >= 10
