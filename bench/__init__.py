"""The benchmark suite: recurrent layers of several libraries on the same weights and inputs.

    cells.py       the cells of the cases: layers, options, products
    shapes.py      what a case is, and the named sets of cases
    targets.py     the bounds a set has to keep, and whether it does
    problem.py     weights and inputs of a case; whether contenders agree
    contenders/    one file per library: how it runs a case the fastest documented way
    timing.py      interleaved rounds; median, quartiles, percentiles
    yardstick.py   what a cell is expected to take, by an LSTM's time
    machine.py     CPU, versions, FMA peak and memory bandwidth
    worker.py      one set in one fresh process: ``python -m bench.worker``
    processes.py   the sets that measure whole processes: import, memory, busy
    child.py       what those start: ``python -m bench.child``
    results.py     figures of several processes made one; the ratio that is judged
    table.py       the terminal
    compare.py     base against head
    page.py        a short page in Markdown
    report.py      a page with plots
    __main__.py    ``python -m bench``: the command line

Only contenders/ and child.py import the libraries that are compared.
"""
