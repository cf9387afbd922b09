"""The compiled engine. Imports nothing of ``fastrnn`` outside this folder.

    engine.pyx          arrays -> plan -> scratch -> release the GIL -> run; the only file that sees
                        both Python and C
      arrays.pxi        ... arrays and memory as C sees them
      evaluation.pxi    ... one evaluation of a layer, and its pullback
      stack.pxi         ... how layers are joined: directions merged, dropout, skips
      stream.pxi        ... a layer stepped through time
      matrix.pxi        ... products of plain matrices; kernels by name, for tests
      tree.pxi          ... tree LSTMs
      optim.pxi         ... passes over flat buffers of values and gradients
      losses.pxi        ... cross entropy and CTC
    core.pxd            the C side as Cython sees it
    sequence.c bptt.c   THE time loop: forward; backward (BPTT)
      sequence_impl.h   ... what the two share: rows, tiles, products of many rows
    gradients.c         gradients of weights and inputs of a block of steps (bptt_impl.h: shared with bptt.c)
    bricks.c            the large products of backward on a matrix unit (Intel AMX)
    gemm.c unitgemm.c   a matrix product on the same micro-kernel; on a matrix unit
    tree.c              tree LSTMs: the loop over levels
    crossentropy.c      rows of logits: loss and gradient
    ctc.c               sequences of log probabilities: loss and gradient
    plan.c              sizes and places of packed weights, gradients, what is kept for backward
    dispatch.c          which instruction set runs; the only place that asks the CPU
    memory.c            aligned memory, in huge pages where it is large
    pool.c team.h       the worker threads; how several share one run
    kernels/            cells.def: the list of cells; one .inc per family of cells, backward right
                        under forward; product, packing, exp/tanh/sigmoid; optimisers, losses,
                        nodes of a tree
    simd/               the vector vocabulary the kernels are written in, one header per
                        instruction set
    targets/            targets.def: the list of instruction sets; one file each, which compiles
                        all kernels for it
    products.py         BLAS or our own product
    blas.pyx            the only user of scipy's BLAS
"""
