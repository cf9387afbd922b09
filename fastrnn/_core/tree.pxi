# Tree LSTMs: forests in the order of computation, the passes; part of engine.pyx.

# Places whose products of x are made at a time, for each thread: at H = 256 in float32 their gates are 384 KB. Whole tiles
# of 6 and of 8 rows.
cdef Py_ssize_t TREE_BLOCK = 96


def levels(parents):
    """The nodes of a forest, level by level, leaves first, and where levels begin and end.

    Parameters
    ----------
    parents : ndarray
        intp ``(N,)``, contiguous: -1 for a root.

    Returns
    -------
    order, ends : ndarray
        intp: the nodes that are on no cycle; 0, then the end of each level in ``order``.
    """
    cdef Py_ssize_t count = len(parents), done = 0, found, end, above
    waiting = np.bincount(parents[parents >= 0], minlength=count).astype(np.intp)  # children in no level yet
    order = np.empty(count, np.intp)
    cdef Py_ssize_t *parent = <Py_ssize_t *>data_of(parents)
    cdef Py_ssize_t *left = <Py_ssize_t *>data_of(waiting)
    cdef Py_ssize_t *at = <Py_ssize_t *>data_of(order)
    leaves = np.flatnonzero(waiting == 0)
    found = len(leaves)
    order[:found] = leaves
    ends = [0]
    while done < found:
        end = found
        ends.append(end)
        while done < end:
            above = parent[at[done]]
            done += 1
            if above >= 0:
                left[above] -= 1
                if left[above] == 0:
                    at[found] = above
                    found += 1
    return order[:found], np.array(ends, np.intp)


def tree_pass(tuple forest, tuple packed, bint backward, gates, sums, forget, h, c, outer, dc=None):
    """Forward or backward through a forest of N nodes, L of them leaves, and K children.

    Parameters
    ----------
    forest : tuple of ndarray
        ``order`` and ``ends`` of `levels`, ``first_kid (N + 1,)`` and ``kids (K,)`` as in `FrTree`.
    packed : tuple of Packed
        The right operands of the four products of `FrTree`.
    gates, sums, forget : ndarray
        ``(N, 4H)``, ``(N - L, H)``, ``(K, H)`` by place: set; backward takes and overwrites them.
    h, c : ndarray
        ``(N, H)`` by node: set; in backward ``h`` is dL/dh, and like ``dc`` added to.
    outer : ndarray
        ``(N, I)`` by node: x; in backward dL/dx, which is set.
    """
    cdef FrTree t
    cdef Py_ssize_t H = h.shape[1], I = outer.shape[1]
    cdef Packed x_side = packed[0], i_side = packed[1], go_side = packed[2], f_side = packed[3]
    memset(&t, 0, sizeof(FrTree))
    order, ends, first_kid, kids = forest
    t.kernels, t.threads, t.hidden = x_side.gemm.kernels, fr_get_threads(), H
    t.nodes, t.leaves = len(order), len(order) - len(sums)
    t.block, t.least = TREE_BLOCK * t.threads, <Py_ssize_t>(ROWS_THAT_SHARE * LEAST_WORK_PER_THREAD / (4 * H * H)) + 1
    if _spread:
        t.least = 1
    t.node, t.level = <Py_ssize_t *>data_of(order), <Py_ssize_t *>data_of(ends)
    t.first_kid, t.kid = <Py_ssize_t *>data_of(first_kid), <Py_ssize_t *>data_of(kids)
    t.gates, t.sums, t.forget = data_of(gates), data_of(sums), data_of(forget)
    t.c, t.dc = data_of(c), data_of(dc)
    cdef Py_ssize_t gate = H * t.kernels.size
    cdef char *inner = t.gates + 4 * gate * t.leaves
    if backward:
        t.dh = data_of(h)
        t.product[FR_TREE_INPUT] = x_side.product(t.gates, 4 * H, NULL, data_of(outer), I, t.node, False)
        t.product[FR_TREE_SUM_I] = i_side.product(inner, 4 * H, NULL, t.sums, H, NULL, False)
        t.product[FR_TREE_SUM_GO] = go_side.product(inner + 2 * gate, 4 * H, NULL, t.sums, H, NULL, True)
        t.product[FR_TREE_FORGET] = f_side.product(t.forget, H, NULL, t.dh, H, t.kid, True)
    else:
        t.h = data_of(h)
        t.product[FR_TREE_INPUT] = x_side.product(data_of(outer), I, t.node, t.gates, 4 * H, NULL, False)
        t.product[FR_TREE_SUM_I] = i_side.product(t.sums, H, NULL, inner, 4 * H, NULL, True)
        t.product[FR_TREE_SUM_GO] = go_side.product(t.sums, H, NULL, inner + 2 * gate, 4 * H, NULL, True)
        t.product[FR_TREE_FORGET] = f_side.product(t.h, H, t.kid, t.forget, H, NULL, False)
    memory = _Buffer(t.threads * fr_tree_scratch(&t))
    t.scratch = (<_Buffer>memory).data
    with nogil:
        if backward:
            fr_tree_backward(&t)
        else:
            fr_tree_forward(&t)
