"""The benchmark suite: recurrent layers of several libraries on the same weights and inputs.

    shapes.py      the named sets of cases
    contenders.py  one class per library: how it runs a case the fastest documented way
    timing.py      interleaved rounds, median and spread
    __main__.py    ``python -m bench``: command line, table, JSON
"""
