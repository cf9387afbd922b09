"""Build of fastrnn's two extensions; everything else is in pyproject.toml.

`fastrnn._core.engine`  engine.pyx, every fastrnn/_core/*.c, and each targets/NAME.c compiled twice
                        (float32; float64 with -DFR_DOUBLE), that of a matrix unit once, with the flags of
                        its line in targets/targets.def. A target the compiler cannot build is left out.
`fastrnn._core.blas`    blas.pyx alone.

Everything made goes to build/. An object is made again when its command, the compiler, or the
contents of a file it included changed; so switching flags, branches or Pythons is always safe.

Environment: CC (also a cross compiler), CFLAGS and LDFLAGS as in every setuptools build;
FASTRNN_TARGETS="avx2 linear" builds these and scalar only; FASTRNN_CFLAGS adds flags after ours,
for compiling and linking, and keeps the symbols (sanitizers, coverage, -Werror).
"""

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CORE = Path("fastrnn/_core")
BUILD = Path("build")
USER_FLAGS = shlex.split(os.environ.get("FASTRNN_CFLAGS", ""))
FLAGS = [
    "-O3", "-g0", "-std=gnu11", "-pthread", "-fvisibility=hidden",
    # Also against what a Python or the environment may put in CFLAGS.
    "-ffp-contract=off", "-fno-fast-math", "-fno-lto",
    f"-I{CORE}",
]  # fmt: skip
WARNINGS = ["-Wall", "-Wextra"]
# The generated C is not ours to warn about.
GENERATED = ["-w", "-DNPY_NO_DEPRECATED_API=NPY_1_7_API_VERSION"]
LINK = ["-pthread", "-lm", "-fno-fast-math"]
if sys.platform.startswith("linux") and not USER_FLAGS:
    LINK.append("-Wl,-s")

# Compiles where the line is for this architecture and the compiler and assembler know its flags.
PROBE = """
#define TARGET(name, flags, cpu) enum { here_##name = 1 };
#include "targets/targets.def"
void probe(float *x) { for (int i = 0; i < 64; i++) x[i] = 2 * x[i] + here_%s; }
"""


def digest(data):
    return hashlib.sha256(data).hexdigest()


def file_digest(path):
    return digest(Path(path).read_bytes())


def key_of(*parts):
    return digest(json.dumps([str(p) for p in parts]).encode())[:12]


def unchanged(stamp, product):
    """Was `product` made from what the files recorded in `stamp` hold now?"""
    try:
        inputs = json.loads(stamp.read_text())
        return product.exists() and all(file_digest(p) == d for p, d in inputs.items())
    except (OSError, ValueError):
        return False


def record(stamp, inputs, started):
    """Write down what the inputs hold, unless one was edited while it was being read."""
    if all(os.stat(p).st_mtime < started for p in inputs):
        stamp.write_text(json.dumps({str(p): file_digest(p) for p in inputs}, indent=1))


def files_in(depfile):
    """Files of this tree named by a make rule; those outside are covered by versions in the key."""
    text = depfile.read_text().replace("\\\n", " ").split(": ", 1)[1]
    names = (n.replace("\\ ", " ") for n in re.split(r"(?<!\\)\s+", text.strip()))
    return [os.path.normpath(n) for n in names if not os.path.isabs(n)]


@dataclass
class Target:
    name: str
    flags: str  # for a test target: the names whose flags it may borrow
    is_test: bool
    unit_of: str | None  # a matrix unit, for float32 alone, beside the kernels of this target


def all_targets():
    row = re.compile(r'^(TEST_|UNIT_|)TARGET\((\w+), *"([^"]*)"(?:, *(\w+))?', re.M)
    text = (CORE / "targets/targets.def").read_text()
    return [Target(name, flags, kind == "TEST_", of if kind == "UNIT_" else None) for kind, name, flags, of in row.findall(text)]


class BuildExtensions(build_ext):
    def build_extensions(self):
        import numpy

        self.check_tools()
        version = f'-DFR_VERSION="{self.distribution.get_version()}"'
        python = [f"-I{d}" for d in [*self.include_dirs, numpy.get_include()]]
        (BUILD / "obj").mkdir(parents=True, exist_ok=True)
        jobs = self.parallel if isinstance(self.parallel, int) else os.cpu_count() or 1

        targets = all_targets()
        built = self.choose(targets)
        units = {t.name for t in targets if t.unit_of}
        listed = [f"-DFR_BUILT_{t.name}={int(t.name in built)}" for t in targets]
        with ThreadPoolExecutor(max(2, jobs)) as pool:

            def start(source, label, flags, **outside):
                return pool.submit(self.compile, source, label, flags, **outside)

            pending = []  # largest first
            for name, flags in built.items():
                source = CORE / f"targets/{name}.c"
                if name not in units:
                    pending.append(start(source, f"{name}-float64", [*WARNINGS, *flags, "-DFR_DOUBLE"]))
                pending.append(start(source, f"{name}-float32", [*WARNINGS, *flags]))
            for source in sorted(CORE.glob("*.c")):
                pending.append(start(source, source.stem, [*WARNINGS, *listed, version]))
            # Cython runs here while the compilers run there.
            generated = {
                ext.name: start(
                    self.cythonize(ext), ext.name.split(".")[-1] + "-pyx", [*GENERATED, version],
                    include=python, versions=(sys.version, numpy.__version__),
                )
                for ext in self.extensions
            }  # fmt: skip
            objects = {name: [made.result()] for name, made in generated.items()}
            objects["fastrnn._core.engine"] += [made.result() for made in pending]

        # Always: a link goes by dates, which say nothing after a change back to known flags.
        self.compiler.force = True
        for ext in self.extensions:
            path = Path(self.get_ext_fullpath(ext.name))
            path.parent.mkdir(parents=True, exist_ok=True)
            self.compiler.link_shared_object(
                [str(o) for o in objects[ext.name]], str(path),
                libraries=self.get_libraries(ext), extra_postargs=[*LINK, *USER_FLAGS],
            )  # fmt: skip

    def check_tools(self):
        """Say plainly what a fresh machine lacks."""
        command = self.compiler.compiler_so[0]
        try:
            done = subprocess.run([command, "--version"], capture_output=True, text=True)
        except OSError as error:
            raise SystemExit(f"fastrnn: no C compiler: {error}. Install gcc, or set CC.") from None
        self.compiler_version = done.stdout
        if not any(Path(d, "Python.h").exists() for d in self.include_dirs):
            raise SystemExit(f"fastrnn: no Python.h in {', '.join(self.include_dirs)}. "
                             "Install Python's development files (python3-dev).")  # fmt: skip

    def choose(self, targets):
        """Name -> flags of the targets to build, units behind what they belong to, test targets last; scalar is always there."""
        wanted = re.split(r"[\s,]+", os.environ.get("FASTRNN_TARGETS", "").strip())
        wanted = {*wanted, "scalar"} if wanted != [""] else {t.name for t in targets}
        if unknown := wanted - {t.name for t in targets}:
            raise SystemExit(f"FASTRNN_TARGETS: no target is called {', '.join(sorted(unknown))}")
        built = {}
        for target in sorted(targets, key=lambda t: (t.is_test, bool(t.unit_of))):
            flags = shlex.split(target.flags)
            if target.is_test:
                flags = next(built[name] for name in flags if name in built)
            if target.name not in wanted:
                print(f"fastrnn: target {target.name} left out by FASTRNN_TARGETS")
            elif target.unit_of and target.unit_of not in built:
                print(f"fastrnn: target {target.name} dropped: there is no {target.unit_of}, beside which it works")
            elif error := self.probe(target, flags):
                if target.name == "scalar":
                    raise SystemExit(f"fastrnn: the C compiler does not work:\n{error}")
                print(f"fastrnn: target {target.name} dropped: it is for another architecture "
                      "or the compiler lacks its flags")  # fmt: skip
            else:
                built[target.name] = flags
        print("fastrnn: building targets", " ".join(built))
        return built

    def probe(self, target, flags):
        """What the compiler says against the target; empty if nothing. A unit's own few lines are in assembler, of which only
        the assembler knows whether it knows them."""
        text = PROBE % target.name + (f'#include "targets/{target.name}.c"\n' if target.unit_of else "")
        command = [*self.compiler.compiler_so, *FLAGS, *flags, *USER_FLAGS]
        command += ["-x", "c", "-c", "-", "-o", os.devnull, "-DFR_BUILT_avx2=0"]
        done = subprocess.run(command, input=text, capture_output=True, text=True)
        return done.stderr or "failed" if done.returncode else ""

    def compile(self, source, label, flags, include=(), versions=()):
        """The object made from `source`. `include` are folders outside the tree, told apart by
        `versions`, not by path: an isolated build gives them a new path each time."""
        command = [*self.compiler.compiler_so, *FLAGS, *flags, *USER_FLAGS]
        key = key_of(*command, self.compiler_version, *versions)
        product = BUILD / f"obj/{label}-{key}.o"
        stamp = product.with_suffix(".json")
        if unchanged(stamp, product):
            return product
        started = time.time()
        fresh = product.with_suffix(f".{os.getpid()}.o")
        depfile = fresh.with_suffix(".d")
        command += [*include, "-MMD", "-MF", str(depfile), "-c", str(source), "-o", str(fresh)]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        sys.stdout.write(f"compiled {label} in {time.time() - started:.1f} s\n")
        if done.returncode:
            raise SystemExit(f"{shlex.join(command)}\n{done.stderr}")
        sys.stderr.write(done.stderr)
        stamp.unlink(missing_ok=True)
        fresh.replace(product)
        record(stamp, files_in(depfile), started)
        depfile.unlink()
        return product

    def cythonize(self, ext):
        """The C file made from the extension's .pyx."""
        import Cython
        from Cython.Build import cythonize

        source = ext.sources[0]
        product = BUILD / "cython" / Path(source).with_suffix(".c")
        inputs = [source, *CORE.glob("*.pxd"), *CORE.glob("*.pxi")]
        key = key_of(Cython.__version__, *self.versions("numpy", "scipy"), *map(str, inputs))
        stamp = product.with_suffix(f".{key}.json")
        if not unchanged(stamp, product):
            for old in product.parent.glob(f"{product.stem}.*.json"):
                old.unlink()
            started = time.time()
            cythonize(
                [Extension(ext.name, [source])], build_dir=BUILD / "cython", force=True,
                language_level=3, quiet=True,
            )  # fmt: skip
            record(stamp, inputs, started)
        return product

    @staticmethod
    def versions(*names):
        from importlib.metadata import version

        return [version(name) for name in names]


def native_sources():
    engine = ["engine.pyx", *sorted(p.name for p in CORE.glob("*.c"))]
    engine += sorted(f"targets/{p.name}" for p in (CORE / "targets").glob("*.c"))
    headers = [str(p) for ext in ("pxd", "pxi", "h", "inc", "def") for p in CORE.rglob(f"*.{ext}")]
    return [str(CORE / name) for name in engine], sorted(headers)


engine, headers = native_sources()
setup(
    ext_modules=[
        Extension("fastrnn._core.engine", engine, depends=headers),
        Extension("fastrnn._core.blas", [str(CORE / "blas.pyx")], depends=headers),
    ],
    cmdclass={"build_ext": BuildExtensions},
)
