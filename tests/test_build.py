"""The structure that DESIGN gives the code, the build, and what a wheel and an sdist hold.

A structural rule is a function from the folder of a package to the list of its violations, one
string each. It has to find none in fastrnn, and one in a package made to break it.
"""

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import fastrnn

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "fastrnn"
C_FILES = (".c", ".h", ".inc", ".def")
PYTHON_FILES = (".py", ".pyx", ".pxd", ".pxi")


# ---- Reading source -----------------------------------------------------------------------------


def files(folder, suffixes):
    return sorted(p for p in folder.rglob("*") if p.suffix in suffixes and p.is_file())


def c_code(path):
    """The text of a C file with its comments blanked, line numbers kept."""

    def blank(match):
        return match[0] if match[0][0] == '"' else re.sub(r"[^\n]+", " ", match[0])

    return re.sub(r'"(?:\\.|[^"\\\n])*"|/\*.*?\*/|//[^\n]*', blank, path.read_text(), flags=re.S)


def python_code(path):
    """The text of a Python or Cython file, its comments and triple-quoted strings blanked."""

    def blank(match):
        text = match[0]
        return re.sub(r"[^\n]+", " ", text) if text[0] == "#" or text[:3] in ('"""', "'''") else text

    strings = r'"""(?:\\.|[^\\])*?"""|' + r"'''(?:\\.|[^\\])*?'''|"
    strings += r'"(?:\\.|[^"\\\n])*"|' + r"'(?:\\.|[^'\\\n])*'|#[^\n]*"
    return re.sub(strings, blank, path.read_text(), flags=re.S)


def imports(path):
    """(line, dotted name) of everything that a Python or Cython file imports or cimports.

    `from .a import b` gives `.a.b`, because b may be a module.
    """
    code = python_code(path)
    names = r"\(([^)]*)\)|([^\n]+)"
    for m in re.finditer(rf"^[ \t]*from[ \t]+([.\w]+)[ \t]+c?import[ \t]*(?:{names})", code, re.M):
        for name in re.split(r"\s*,\s*", (m[2] or m[3]).strip()):
            if name:
                joint = "" if m[1].endswith(".") else "."
                yield code.count("\n", 0, m.start()) + 1, m[1] + joint + name.split()[0]
    for m in re.finditer(r"^[ \t]*c?import[ \t]+([^\n(]+)", code, re.M):
        for name in m[1].split(","):
            yield code.count("\n", 0, m.start()) + 1, name.split()[0]


def absolute(name, path, package):
    """`.a.b` as seen from `path` -> `fastrnn...a.b`."""
    dots = len(name) - len(name.lstrip("."))
    if not dots:
        return name
    parts = ("fastrnn", *path.relative_to(package).parent.parts)
    return ".".join([*parts[: len(parts) - dots + 1], name[dots:]])


def grep(pattern, paths, read):
    return [
        f"{path}:{number}: {line.strip()}"
        for path in paths
        for number, line in enumerate(read(path).splitlines(), 1)
        if re.search(pattern, line)
    ]


# ---- The rules ----------------------------------------------------------------------------------


def core_imports_only_core(package):
    """`_core` imports nothing of fastrnn outside `_core`."""
    found = []
    for path in files(package / "_core", PYTHON_FILES):
        for line, name in imports(path):
            name = absolute(name, path, package)
            if name.split(".")[0] == "fastrnn" and not name.startswith("fastrnn._core"):
                found.append(f"{path}:{line}: {name}")
    return found


def c_knows_no_python(package):
    """C files include neither Python.h nor NumPy's headers."""
    pattern = r'#\s*include\s*[<"](Python\.h|numpy/)'
    return grep(pattern, files(package / "_core", C_FILES), c_code)


def kernels_only_compute(package):
    """Kernels call neither BLAS nor an allocator."""
    pattern = (
        r"\b(cblas_\w+|[sd](gemm|gemv|ger|axpy|dot|scal)_?"
        r"|malloc|calloc|realloc|free|alloca|aligned_alloc|posix_memalign|mmap)\s*\("
    )
    return grep(pattern, files(package / "_core/kernels", C_FILES), c_code)


def intrinsics_only_in_simd(package):
    """Vector intrinsics, their types and headers appear only in simd/."""
    pattern = (
        r"\b_mm\d*_|\b_tile_|\b__m(128|256|512|mask)|\bv(ld|st)[1-4]q?_\w+\d"
        r"|\bv[a-z]\w*_f(32|64)\b|\bfloat(32|64)x\d|\w+mmintrin\.h|immintrin|arm_neon"
    )
    paths = [p for p in files(package, C_FILES + PYTHON_FILES) if p.parent.name != "simd"]
    return grep(pattern, paths, lambda p: c_code(p) if p.suffix in C_FILES else python_code(p))


def cpu_asked_only_in_dispatch(package):
    """The CPU is queried only in dispatch.c and in the list of targets that it includes."""
    pattern = r"__builtin_cpu_|cpuid|_xgetbv|getauxval|hwcap|/proc/cpuinfo|sysctlbyname"
    paths = files(package, C_FILES + PYTHON_FILES)
    paths = [p for p in paths if p.name not in ("dispatch.c", "targets.def")]
    return grep(pattern, paths, lambda p: c_code(p) if p.suffix in C_FILES else python_code(p))


def scipy_only_in_blas(package):
    """SciPy is touched only in blas.pyx."""
    paths = [p for p in files(package, PYTHON_FILES) if p != package / "_core/blas.pyx"]
    return grep(r"(?i)\bscipy\b", paths, python_code)


def oracle_imported_nowhere(package):
    """No module of the package imports the oracle."""
    found, paths = [], [p for p in files(package, PYTHON_FILES) if package / "reference" not in p.parents]
    for path in paths:
        for line, name in imports(path):
            if f"{absolute(name, path, package)}.".startswith("fastrnn.reference."):
                found.append(f"{path}:{line}: {name}")
    return found + grep(r"import.*[\"'][\w.]*\breference[\"']", paths, python_code)


def oracle_imports_numpy_only(package):
    """The oracle shares nothing with the engine: it imports itself, NumPy and the standard library."""
    found, allowed = [], {"numpy", *sys.stdlib_module_names}
    for path in files(package / "reference", PYTHON_FILES):
        for line, name in imports(path):
            name = absolute(name, path, package)
            if name.split(".")[0] not in allowed and not name.startswith("fastrnn.reference."):
                found.append(f"{path}:{line}: {name}")
    return found


def user_errors_only_in_validate(package):
    """TypeError and ValueError are raised only in _validate/, so never by `_core`."""
    exempt = {*files(package / "_validate", PYTHON_FILES), *files(package / "reference", PYTHON_FILES)}
    paths = [p for p in files(package, PYTHON_FILES) if p not in exempt]
    return grep(r"\braise\s+(TypeError|ValueError)\b|PyErr_(SetString|Format)", paths, python_code)


def nothing_generated_in_tree(package):
    """Cython's output stays in build/."""
    return [str(p) for p in files(package, (".c", ".cpp")) if "Generated by Cython" in p.read_text()[:200]]


def targets_match_list(package):
    """Every line of targets.def has its file, every file its line."""
    folder = package / "_core/targets"
    rows = re.findall(r"^(?:TEST_|UNIT_)?TARGET\((\w+),", (folder / "targets.def").read_text(), re.M)
    there = {p.stem for p in folder.glob("*.c")}
    return sorted(there.symmetric_difference(rows)) + [r for r in set(rows) if rows.count(r) > 1]


RULES = {
    core_imports_only_core: {
        "_core/a.pyx": "from .. import layers\n",
        "_core/b.py": "import numpy, fastrnn.params as p\n",
        "_core/c.pyx": "from . cimport engine\nfrom ..cells import (\n    LSTM,\n)\n",
        "_core/__init__.py": "    from fastrnn import layers\n",
    },
    c_knows_no_python: {
        "_core/a.c": "#include <Python.h>\n",
        "_core/kernels/b.inc": '# include "numpy/arrayobject.h"\n',
    },
    kernels_only_compute: {
        "_core/kernels/a.inc": "real *p = malloc(8);\n",
        "_core/kernels/b.h": "/* ok: malloc() */ cblas_sgemm (1);\n",
        "_core/kernels/c.inc": "dgemv_(n);\n",
    },
    intrinsics_only_in_simd: {
        "_core/sequence.c": "x = _mm512_add_ps(x, y);\n",
        "_core/kernels/a.inc": "__m256 v;\n",
        "_core/kernels/e.inc": "_tile_zero(0);\n",
        "_core/kernels/b.inc": "v = vfmaq_f32(a, b, c);\n",
        "_core/c.c": "vld1q_f32(p);\n",
        "_core/d.c": "#include <immintrin.h>\n",
        "_core/e.pyx": 'cdef extern from "arm_neon.h":\n',
    },
    cpu_asked_only_in_dispatch: {
        "_core/plan.c": 'if (__builtin_cpu_supports("avx2"))\n',
        "_core/a.c": "#include <cpuid.h>\n",
        "threads.py": 'open("/proc/cpuinfo")\n',
    },
    scipy_only_in_blas: {
        "losses.py": "from scipy.special import expit\n",
        "cli.py": 'x = __import__("scipy.linalg")\n',
        "_core/engine.pyx": "from scipy.linalg cimport cython_blas\n",
    },
    oracle_imported_nowhere: {
        "layers.py": "from .reference import lstm\n",
        "cells.py": "from . import params, reference\n",
        "models/a.py": "from ..reference import (\n    lstm)\n",
        "cli.py": "import fastrnn.reference as r\n",
        "optim.py": 'm = importlib.import_module("fastrnn.reference")\n',
    },
    oracle_imports_numpy_only: {
        "reference/__init__.py": "import math\nfrom .. import params\nfrom . import rnn\n",
        "reference/rnn.py": "from fastrnn._core import engine\nfrom .spec import Cell\n",
    },
    user_errors_only_in_validate: {
        "_core/engine.pyx": '    raise ValueError("x")\n',
        "layers.py": "raise TypeError(f'x')\n",
        "models/losses.py": "raise ValueError\n",
    },
    nothing_generated_in_tree: {"_core/engine.c": "/* Generated by Cython 3.1.0 */\n"},
    targets_match_list: {"_core/targets/sse2.c": "\n"},
}


@pytest.mark.smoke
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(rule):
    assert rule(PACKAGE) == []


@pytest.mark.parametrize(
    "rule, name", [(r, n) for r in RULES for n in RULES[r]], ids=lambda p: getattr(p, "__name__", p)
)
def test_rule_can_fail(rule, name, tmp_path):
    good = {
        "reference/__init__.py": '"""As scipy does."""\nimport numpy as np\nraise ValueError\n',
        "reference/walk.py": "from . import rnn\nfrom .rnn import step\n",
        "_validate/losses.py": "raise ValueError('x')\n",
        "layers.py": "from . import _validate\nfrom ._core import engine  # not scipy\n",
        "_core/engine.pyx": "cimport numpy as cnp\nfrom . import blas\nfrom fastrnn._core import x\n",
        "_core/blas.pyx": "from scipy.linalg.cython_blas cimport sgemm\nsgemm(1)\n",
        "_core/dispatch.c": '#include "dispatch.h"\n__builtin_cpu_supports("avx2");\n',
        "_core/plan.c": "/* Python.h\n _mm_add_ps */ p = malloc(8); // cpuid\nv_store(p, v_load(q));\n",
        "_core/simd/vec_avx2.h": "#include <immintrin.h>\n__m256 v;\n",
        "_core/kernels/a.inc": "/* no malloc() here */\nfused(v_fma(a, b, c));\n",
        "_core/targets/targets.def": 'TARGET(scalar, "", 1)\n#undef TARGET\n',
        "_core/targets/scalar.c": "\n",
    }
    for path, text in good.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert rule(tmp_path) == []
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(RULES[rule][name])
    assert len(rule(tmp_path)) == 1


# ---- What an import costs -----------------------------------------------------------------------

HEAVY = {"scipy", "matplotlib", "tqdm", "pandas", "torch", "onnx", "onnxruntime", "keras"}
HEAVY |= {"tensorflow", "jax", "sklearn", "safetensors", "fastrnn.reference"}


def heavy_modules(code):
    """The heavy modules that a fresh Python has loaded after `code`."""
    code += "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return HEAVY.intersection(json.loads(done.stdout))


@pytest.mark.smoke
def test_import_is_light():
    assert heavy_modules("import fastrnn") == set()


def test_small_forward_is_light():
    code = "import numpy, fastrnn as fr; fr.LSTM(3, 5)(numpy.zeros((2, 1, 3)))"
    assert heavy_modules(code) == set()


def test_heavy_import_is_noticed():
    assert heavy_modules("import sys; sys.modules['tqdm'] = sys") == {"tqdm"}


# ---- Version, and what is tracked ---------------------------------------------------------------


def test_one_version():
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M)[1]
    assert fastrnn.__version__ == version
    try:
        assert importlib.metadata.version("fastrnn") == version
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("built in place, not installed")


def generated(names):
    """Those of the tracked files that a tool makes."""
    pattern = r"\.(so|o|a|d|pyc|pyd|whl|egg|html|log)$|\.egg-info/|(^|/)(build|dist|__pycache__|\.venv)/"
    return [name for name in names if re.search(pattern, name)]


def test_nothing_generated_is_tracked():
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert generated(listed.stdout.splitlines()) == []


def test_generated_files_are_noticed():
    bad = ["fastrnn/_core/a.cpython-311.so", "build/cython/x.c", "fastrnn.egg-info/PKG-INFO"]
    assert generated([*bad, "fastrnn/_core/plan.c", "tests/test_build.py", ".ci/run"]) == bad


# ---- Builds, in a copy of the tree --------------------------------------------------------------


def copy_tree(folder):
    """What a clean checkout holds, plus what is not committed yet."""
    made = ("build", "dist", ".git", ".venv*", "*.egg-info", "*.so", "__pycache__", ".hypothesis")
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*made, ".pytest_cache"))
    return folder


def run(command, cwd, **env):
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def build(kind, cwd, folder):
    """The file that the build backend makes, without isolation, in the environment of the tests."""
    pytest.importorskip("Cython")
    pytest.importorskip("setuptools")
    code = f"from setuptools import build_meta as b; b.build_{kind}({str(folder)!r})"
    folder.mkdir(exist_ok=True)
    run([sys.executable, "-c", code], cwd)
    (made,) = folder.iterdir()
    return made


@pytest.mark.nightly
def test_sdist_builds_the_wheel(tmp_path):
    """The sdist holds what the wheel needs, and the tests; the wheel holds no sources."""
    tree = copy_tree(tmp_path / "tree")
    sdist = build("sdist", tree, tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        names = {n.split("/", 1)[1] for n in archive.getnames() if "/" in n}
        archive.extractall(tmp_path / "unpacked")
    sources = {str(p.relative_to(tree)) for p in files(tree / "fastrnn", C_FILES + PYTHON_FILES)}
    sources |= {str(p.relative_to(tree)) for p in files(tree / "tests", (".py",))}
    sources |= {"setup.py", "pyproject.toml", "Makefile", "LICENSE", "README.md", ".ci/run"}
    assert sources - names == set()
    assert [n for n in names if n.endswith((".so", ".pyc"))] == []

    (unpacked,) = (tmp_path / "unpacked").iterdir()
    wheel = build("wheel", unpacked, tmp_path / "wheel")
    assert wheel.stat().st_size < 3e6
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    kinds = {Path(n).suffix for n in names if n.startswith("fastrnn/")}
    assert kinds == {".py", ".so"}
    modules = {str(p.relative_to(tree)) for p in files(tree / "fastrnn", (".py",))}
    assert modules - set(names) == set()
    assert {n.split("/")[0].split("-")[0] for n in names} == {"fastrnn"}


@pytest.mark.nightly
def test_compiler_without_a_flag_drops_the_target(tmp_path):
    """With a message; the rest is built and runs."""
    pytest.importorskip("Cython")
    tree = copy_tree(tmp_path / "tree")
    cc = tmp_path / "cc"
    cc.write_text('#!/bin/sh\ncase "$*" in *-mavx512f*) echo "unknown flag" >&2; exit 1;; esac\nexec cc "$@"\n')
    cc.chmod(0o755)
    command = [sys.executable, "setup.py", "build_ext", "--inplace"]
    env = {"CC": str(cc), "FASTRNN_CFLAGS": "-O1"}
    out = run(command, tree, **env)
    assert "target avx512 dropped" in out
    if platform.machine() == "x86_64":
        assert "target amx dropped: there is no avx512" in out
    code = "import numpy, fastrnn as fr; fr.GRU(3, 5)(numpy.zeros((2, 1, 3)))"
    run([sys.executable, "-c", code], tree, FASTRNN_ISA="scalar")
    with pytest.raises(AssertionError, match="ImportError.*avx512"):
        run([sys.executable, "-c", code], tree, FASTRNN_ISA="avx512")

    again = run(command, tree, **env)
    assert "compiled" not in again, "nothing had changed"
    header = tree / "fastrnn/_core/simd/vec_avx2.h"
    header.write_text(header.read_text() + "\n/* changed */\n")
    labels = re.findall(r"^compiled (\w+)", run(command, tree, **env), re.M)
    assert set(labels) <= {"avx2", "linear"}


@pytest.mark.nightly
def test_cross_compilation(tmp_path):
    """CC alone chooses another architecture, and its instruction sets."""
    pytest.importorskip("Cython")
    cc = shutil.which("aarch64-linux-gnu-gcc")
    if not cc:
        pytest.skip("no compiler for another architecture")
    tree = copy_tree(tmp_path / "tree")
    out = run([sys.executable, "setup.py", "build_ext"], tree, CC=cc, FASTRNN_CFLAGS="-O1")
    assert "building targets neon scalar linear" in out
    libraries = list(tree.glob("build/lib*/fastrnn/_core/*.so"))
    assert len(libraries) == 2
    assert all(p.read_bytes()[18:20] == b"\xb7\x00" for p in libraries)  # ELF: AArch64
