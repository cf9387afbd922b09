# make demo | test | test-all | test-interop | bench | examples | examples-seeds | wheel | clean
# PYTHON=python3.12 chooses the Python of a new .venv; ARGS="..." goes to pytest, the benchmark or the experiments.

PYTHON ?= python3
PY := .venv/bin/python
ISAS := $(shell sed -nE 's/^(UNIT_)?TARGET.([a-z0-9]*),.*/\2/p' fastrnn/_core/targets/targets.def)
# What tests/interop compares with; torch comes first, so that nothing chooses its version.
TORCH := torch==2.13.0
# sktime and statsmodels have the data of two experiments.
INTEROP := safetensors expecttest scikit-learn pandas sktime statsmodels keras h5py \
	"onnx>=1.23" onnxruntime onnxscript
OLDEST := numpy==2.0.0 scipy==1.13.0

BUILD_REQUIRES := $(shell sed -n 's/^requires = \[\(.*\)\]/\1/p' pyproject.toml | tr -d ',')
NATIVE := setup.py pyproject.toml $(shell find fastrnn/_core -name '*.py[x]' -o -name '*.px[di]' \
	-o -name '*.[ch]' -o -name '*.inc' -o -name '*.def')
# Every Python that fastrnn supports and this machine has.
PYTHONS = $(shell for v in 3.10 3.11 3.12 3.13; do \
	for p in python$$v "$$HOME"/.pyenv/versions/$$v.*/bin/python$$v; do \
	"$$p" -m venv --help >/dev/null 2>&1 && echo "$$p" && break; done; done)

.PHONY: demo test test-all test-isas test-wheels test-faults test-interop bench examples examples-seeds wheel clean
.DELETE_ON_ERROR:
.NOTPARALLEL:

demo: .venv/has-demo
	$(PY) -m fastrnn demo $(ARGS)

test: .venv/has-test
	HYPOTHESIS_PROFILE=ci $(PY) -m pytest $(ARGS)

# Beside the libraries it compares with, in an environment of its own.
bench: .venv-bench/has-bench
	.venv-bench/bin/python -m bench $(ARGS)

# The experiments: figures, pictures and docs/experiments.md. With seed 0, then with three others.
examples: .venv/has-examples
	$(PY) examples/experiments.py $(ARGS)

examples-seeds: .venv/has-examples
	$(PY) examples/experiments.py --seeds 1 2 3 $(ARGS)

# Everything, without a time limit.
test-all: test-isas test-wheels test-faults

# An import that fails for one instruction set only: this CPU does not have it.
test-isas: .venv/has-test
	$(PY) -c "import fastrnn"
	set -e; for isa in $(ISAS); do \
	    if FASTRNN_ISA=$$isa $(PY) -c "import fastrnn" 2>/dev/null; then \
	        echo "== nightly, $$isa"; \
	        FASTRNN_ISA=$$isa HYPOTHESIS_PROFILE=nightly $(PY) -m pytest -m "not mutation and not kill" $(ARGS); \
	    else echo "== nightly, $$isa: not on this machine, skipped"; fi; done

# The wheel of each Python, in an environment of its own and out of sight of the sources. With the
# oldest numpy and scipy on the oldest Python, and on 3.12: newest that can have them, so the widest
# gap between the scipy a wheel was built with and the one it runs with.
test-wheels:
	rm -rf build/wheels
	set -e; for p in $(PYTHONS); do \
	    v=$$("$$p" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	    extra=; case $$v in 3.10|3.12) extra=oldest;; esac; \
	    "$$p" -m venv --clear build/venv-$$v; \
	    build/venv-$$v/bin/python -m pip wheel --no-deps -w build/wheels/$$v .; \
	    wheel=$$(echo build/wheels/$$v/*.whl); \
	    for versions in newest $$extra; do \
	        echo "== wheel on Python $$v, $$versions numpy and scipy"; \
	        pins=; [ $$versions = newest ] || pins="$(OLDEST)"; \
	        build/venv-$$v/bin/python -m pip install $$pins "$$wheel[test]"; \
	        (cd build/wheels && HYPOTHESIS_PROFILE=ci $(CURDIR)/build/venv-$$v/bin/pytest \
	            -c $(CURDIR)/pyproject.toml --rootdir $(CURDIR) $(CURDIR)/tests $(ARGS)); \
	    done; done

# Do the tests notice seeded faults? Does the library survive kills?
test-faults: .venv/has-test
	HYPOTHESIS_PROFILE=ci $(PY) -m pytest -m "mutation or kill" $(ARGS)

# Against other libraries; here a test that skips, for want of one of them, has failed.
test-interop: .venv-interop/has-test
	.venv-interop/bin/python -m pip install $(TORCH)
	.venv-interop/bin/python -m pip install $(INTEROP)
	FASTRNN_NO_SKIPS=1 HYPOTHESIS_PROFILE=ci .venv-interop/bin/python -m pytest tests/interop $(ARGS)

wheel: .venv/ready
	$(PY) -m pip wheel --no-deps -w dist .

clean:
	rm -rf build dist *.egg-info .pytest_cache .hypothesis .venv*/has-*
	rm -f fastrnn/_core/*.so
	find fastrnn tests bench examples -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# Stamps. They are as old as the moment their recipe began: an edit made meanwhile is not missed.
%/ready:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "fastrnn needs Python 3.10 or newer: make PYTHON=...")'
	test -x $*/bin/python || $(PYTHON) -m venv $*
	$*/bin/python -m pip --version >/dev/null || $*/bin/python -m ensurepip
	$*/bin/python -m pip install $(BUILD_REQUIRES)
	touch $@

define has
%/has-$(1): %/ready $$(NATIVE)
	touch $$@.new
	$$*/bin/python -m pip install --no-build-isolation -e ".[$(1)]"
	mv $$@.new $$@
endef
$(foreach extra,demo test bench examples,$(eval $(call has,$(extra))))

.PRECIOUS: %/ready
