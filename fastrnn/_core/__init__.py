"""The compiled engine. Imports nothing of ``fastrnn`` outside this folder.

    engine.pyx          arrays -> plan -> scratch -> release the GIL -> run; the only file that sees
                        both Python and C
    core.pxd            the C side as Cython sees it
    sequence.c bptt.c   THE time loop: forward; backward (BPTT)
    plan.c              sizes and places of packed weights, gradients, what is kept for backward
    dispatch.c          which instruction set runs; the only place that asks the CPU
    pool.c              the worker threads
    kernels/            cells.def: the list of cells; one .inc per family of cells, backward right
                        under forward; product, packing, exp/tanh/sigmoid
    simd/               the vector vocabulary the kernels are written in, one header per
                        instruction set
    targets/            targets.def: the list of instruction sets; one file each, which compiles
                        all kernels for it
    blas.pyx            the only user of scipy's BLAS
"""
