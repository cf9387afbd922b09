"""The engine without Python: under sanitizers, and for Arm under an emulator.

``tests/native/compare.c`` runs every cell forward and backward on two instruction sets and compares.
"""

import platform
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fastrnn._core import engine

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "fastrnn/_core"
BASE = ["-std=gnu11", "-pthread", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", f"-I{CORE}"]
SANITIZERS = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def build(folder, compiler, targets, flags):
    """The comparison with the given targets (name -> flags) built in; the path of the program."""
    listing = (CORE / "targets/targets.def").read_text()
    names = re.findall(r"^(?:TEST_|UNIT_)?TARGET\((\w+),", listing, re.M)
    listed = [f"-DFR_BUILT_{name}={int(name in targets)}" for name in names]
    objects = {}
    for name, target_flags in targets.items():
        for dtype in [[]] if f"UNIT_TARGET({name}," in listing else [[], ["-DFR_DOUBLE"]]:
            built = folder / f"{name}{len(objects)}.o"
            objects[built] = [*target_flags, *dtype, "-c", CORE / f"targets/{name}.c", "-o", built]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda arguments: run(compiler, *BASE, *flags, *arguments), objects.values()))
    sources = [CORE / f"{name}.c" for name in ("dispatch", "plan", "pool", "sequence", "bptt", "gradients", "bricks")]
    program = folder / "compare"
    run(compiler, *BASE, *flags, *listed, *sources, ROOT / "tests/native/compare.c", *objects, "-lm", "-o", program)
    return program


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check(output):
    assert re.findall(r"(\d+)-bit: (\d+) cases", output) == [("32", "2452"), ("64", "2452")]


@pytest.mark.nightly
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the flags are those of x86-64")
def test_sanitizers(tmp_path):
    program = build(tmp_path, "cc", {"avx2": ["-mavx2", "-mfma"], "scalar": []}, SANITIZERS)
    check(run(program, "avx2", "scalar"))


@pytest.mark.nightly
@pytest.mark.skipif("amx" not in engine.isas(), reason="this CPU has no AMX")
def test_matrix_unit(tmp_path):
    flags = dict(re.findall(r'^(?:UNIT_)?TARGET\((amx|avx512), "([^"]*)"', (CORE / "targets/targets.def").read_text(), re.M))
    targets = {name: text.split() for name, text in flags.items()}
    program = build(tmp_path, "cc", {**targets, "scalar": []}, SANITIZERS)
    check(run(program, "amx", "scalar"))


@pytest.mark.nightly
def test_arm(tmp_path):
    compiler, emulator = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
    if not (compiler and emulator):
        pytest.skip("needs Debian's gcc-aarch64-linux-gnu and qemu-user")
    program = build(tmp_path, compiler, {"neon": [], "scalar": []}, ["-O3", "-static"])
    check(run(emulator, program, "neon", "scalar"))
