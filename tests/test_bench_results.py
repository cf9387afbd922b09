"""The benchmark's figures: values, targets, the table, base against head."""

import math
import re

import pytest
from benches import result
from bench import compare, page, results, table, targets
from bench.cells import CELLS
from bench.shapes import PROCESS_SETS, SETS

# ---- Results, targets, the table ----------------------------------------------------------------


def test_the_best_other_counts():
    one = result(others=[("slow", 8.0), ("star", 1.0), ("quick", 3.0)])
    one["figures"]["star"]["counts"] = False
    assert results.best_other(one["figures"]) == "quick" and results.value(one) == 1.5
    assert results.best_other(result(others=[])["figures"]) is None and results.value(result(others=[])) is None
    text = table.others(one["figures"])
    assert re.fullmatch(r"star\* 1, quick 3, slow 8", text)


def test_values_of_the_other_sets():
    def value(**more):
        return results.value(result(ours=4.0, others=[("numpy", 5.0), ("torch", 10.0)], **more))

    assert value(set="memory", what="forward", unit="MB") == 4.0
    assert value(set="memory", what="train", unit="MB") == 0.4
    assert value(set="import", what="import") == 0.8 and value(set="import", what="first call") == 0.4
    assert value(set="peak", peak=4.0) == pytest.approx(0.5)  # 8000 operations in 4 us are 2 GF/s
    assert value(set="cells", expected=3.2) == pytest.approx(1.25)
    busy = result(ours=4.0, set="busy")
    busy["figures"]["fastrnn"]["one"] = 5.0
    assert results.value(busy) == 0.8
    assert results.value(result(others=[], set="memory", what="train")) is None


def test_combining_takes_medians_over_processes():
    raw = [result(ours=o, others=[("a", a)]) for o, a in ((1.0, 3.0), (2.0, 2.0), (4.0, 6.0))]
    raw[1]["problems"] = {"b": "no"}
    (one,) = results.combine(raw)
    assert one["values"] == [3.0, 1.0, 1.5] and one["value"] == 1.5
    assert one["figures"]["fastrnn"]["median"] == 2 and one["figures"]["fastrnn"]["between"] == 3
    assert one["best"] == "a" and one["problems"] == {"b": "no"} and one["failed"] is None
    assert results.spread(one["figures"]["fastrnn"]) == 1.5
    assert len(results.combine([*raw, result(threads=2), result(name="other"), result(set="train")])) == 4
    failed = result(failed="why", figures={})
    (both,) = results.combine([failed, raw[0]])
    assert both["failed"] == "why" and both["value"] == 3.0


def test_what_a_set_compares_with_is_a_median_too():
    raw = [result(set="cells", expected=e, others=[]) for e in (1.0, 4.0, 2.0)]
    (one,) = results.combine(raw)
    assert one["expected"] == 2.0 and one["values"] == [2.0, 0.5, 1.0] and one["value"] == 1.0 and "peak" not in one
    assert "; expected 2" in table.row(one)


def judged(values, name="step", **more):
    """Combined results with these values."""
    return [{**result(str(i)), "set": name, "hidden": 64, **more, "value": v} for i, v in enumerate(values)]


def test_a_single_case_may_miss_by_three_percent():
    target = targets.Target("step", 1.05, wide=1.0)
    for v, missed in ((1.05, False), (1.05 * 0.971, False), (1.05 * 0.969, True), (math.nan, True)):
        assert target.missed(judged([v])[0]) == missed
    assert not target.missed(judged([0.98], hidden=512)[0]) and target.missed(judged([0.96], hidden=512)[0])
    most = targets.Target("busy", 1.3, at_most=True)
    assert not most.missed(judged([1.3 * 1.029])[0]) and most.missed(judged([1.3 * 1.031])[0])


def test_a_mean_may_not_miss():
    (met,) = targets.verdicts(judged([1.6, 2.1, 1.8001]))
    assert met.missed == [] and met.worst["value"] == 1.6 and met.mean > 1.8
    (missed,) = targets.verdicts(judged([1.79, 1.79]))
    assert missed.missed == ["geometric mean: 1.790, at least 1.8"]
    (both,) = targets.verdicts(judged([0.9, 1.5]))
    assert len(both.missed) == 2 and both.missed[0] == "0: 0.90, at least 1.05"
    assert targets.verdicts(judged([None])) == []


def test_targets_are_those_of_their_set():
    def bounds(**more):
        return [(v.target.every, v.target.mean) for v in targets.verdicts(judged([2.0], **more))]

    assert bounds(name="train") == [(1.1, 1.65)] and bounds(name="train", threads=2) == [(1.2, 1.8)]
    assert bounds(name="ragged") == [(1.5, 2.0)] and bounds(name="ragged", what="train") == [(2.0, 2.5)]
    assert bounds(name="memory") == [(4.0, None)]
    assert bounds(name="memory", what="train") == [(1.0, None)]
    assert bounds(name="memory", what="train", cell="GRU") == [(0.6, None)]
    assert bounds(name="speech") == []
    assert {t.set for t in targets.TARGETS} <= {*SETS, *PROCESS_SETS}
    split = targets.verdicts([*judged([2.0]), *judged([0.5], threads=2)])
    assert [(v.threads, bool(v.missed)) for v in split] == [(1, False), (2, True)]


def test_every_cell_with_a_recurrent_product_has_one_bound_on_its_share():
    def bounds(cell, what):
        found = targets.verdicts(judged([9.0], "cells", cell=cell, what=what))
        assert all(v.missed and v.target.at_most for v in found)
        return [v.target.every for v in found]

    for what in ("forward", "train"):
        for name, cell in CELLS.items():
            share = 1.5 if cell.normed else 1.4 if cell.stages > 1 else 1.25
            linear = [1.25] if what == "forward" and name != "IndRNN" else []  # by their product's time
            assert bounds(name, what) == ([share] if cell.recurrent else linear)
    assert targets.verdicts(judged([9.0], "cells", threads=2)) == []
    (met,) = targets.verdicts(judged([1.49], "cells", cell="GRU norm"))
    assert not met.missed and table.target_line(met).startswith("target cells with layer normalisation, threads 1: ")


def test_geometric_mean():
    assert targets.geometric_mean([2.0, 8.0]) == pytest.approx(4.0) and math.isnan(targets.geometric_mean([]))


def test_row_and_footer(capsys):
    one = result(others=[("a", 3.0)], problems={"b": "cannot"})
    one["figures"]["c"] = {"median": 9.0, "warm": True, "counts": True}
    table.show(results.combine([one, result(name="worse", ours=4.0)]))
    out = capsys.readouterr().out
    assert re.search(r"forward RNN 1/1/4 +2 us +4\.0 +2 % +1\.50  a 3, c 9~\n", out)
    assert "least 0.75 (worse)" in out and "without b: cannot" in out and "MISSED" in out and "target forward" in out
    assert "failed: why" in table.row(results.combine([result(failed="why", figures={})])[0])


def test_a_cell_that_nobody_else_has(capsys):
    """The case has a value, but no best other: neither table nor page lists it as lost; a quicker library is."""
    alone = result("train MGU", ours=3.0, others=[], set="cells", cell="MGU", what="train", expected=2.0)
    beaten = result("train RNN relu", ours=3.0, set="cells", cell="RNN relu", what="train", expected=3.0, others=[("a", 1.5)])
    found = results.combine([alone, beaten])
    table.show(found)
    out = capsys.readouterr().out
    assert re.search(r"train MGU +3 us +2\.7 +2 % +1\.50  ; expected 2\n", out)
    assert "target cells of several products, threads 1: every case at most 1.4, worst 1.50: MISSED" in out
    lines = page.table("cells", found)
    assert "| train MGU | 3 |  | 1.50 |" in lines and "| train RNN relu | 3 | 1.5 a | 1.00 |" in lines
    lost = page.losses(found)
    assert "- train RNN relu (cells), threads 1: 0.50 of a's speed." in lost and not any("MGU (cells)" in s for s in lost)
    assert "- cells of several products: train MGU: 1.50, at most 1.4." in lost


def test_numbers_have_few_digits():
    numbers = [table.number(x) for x in (0.7123, 5.214, 48.14, 431.27, 5299.4)]
    assert numbers == ["0.712", "5.21", "48.1", "431.3", "5,299"]


# ---- Comparing ----------------------------------------------------------------------------------


def verdict(base, head):
    (change,) = compare.changes(*(results.combine([r]) for r in (base, head)))
    return change.verdict


def test_moved_and_not_moved():
    assert verdict(result(ours=2.0), result(ours=2.05)) == "same"
    assert verdict(result(ours=2.0), result(ours=2.2)) == "slower"
    assert verdict(result(ours=2.2), result(ours=2.0)) == "faster"


def test_what_the_others_did_too_is_the_machine():
    assert verdict(result(ours=2.0), result(ours=2.4, others=[("a", 3.6)])) == "same"
    assert verdict(result(ours=2.0), result(ours=2.0, others=[("a", 3.6)])) == "faster"
    noisy = [("a", 3.0), ("b", 3.0)], [("a", 3.0), ("b", 4.5)]  # 20 % apart from their median change
    assert verdict(result(ours=2.0, others=noisy[0]), result(ours=2.9, others=noisy[1])) == "same"


def test_a_wide_spread_is_noise():
    base, head = result(ours=2.0), result(ours=2.2)
    head["figures"]["fastrnn"]["high"] = 2.9
    assert verdict(base, head) == "same"


def test_warm_ups_tell_nothing_of_the_machine():
    base, head = result(ours=2.0), result(ours=2.0, others=[("a", 9.0)])
    head["figures"]["a"]["warm"] = True
    assert verdict(base, head) == "same"


def test_cases_of_one_file_only():
    base, head = results.combine([result("x"), result("y")]), results.combine([result("y"), result("z")])
    assert [(c.key[2], c.verdict) for c in compare.changes(base, head)] == [
        ("x", "only in base"), ("y", "same"), ("z", "only in head"),
    ]  # fmt: skip


def test_memory_does_not_drift():
    base, head = (result(ours=m, others=[("torch", 30 * m)], unit="MB", set="memory") for m in (1.0, 2.0))
    assert verdict(base, head) == "slower"
    none, little = (result(ours=m, unit="MB", set="memory") for m in (0.0, 0.05))
    assert verdict(none, little) == "same"
