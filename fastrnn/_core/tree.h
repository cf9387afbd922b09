/* The child-sum tree LSTM (Tai 2015), level by level: forward from the leaves up, backward down again. */
#ifndef FR_TREE_H
#define FR_TREE_H

#include "gemm.h"

/* Forward: gates = x W^T + b; gates i and gates g, o += sums R^T; forget = h of the children R_f^T.
 * Backward: dx = gates W; sums = gates i R_i; sums += gates g, o R_go; dh of the children += forget R_f. */
enum { FR_TREE_INPUT, FR_TREE_SUM_I, FR_TREE_SUM_GO, FR_TREE_FORGET, FR_TREE_PRODUCTS };

/* Places are numbers of nodes in the order of computation: level by level, leaves first. */
typedef struct FrTree {
    const FrKernels *kernels;
    ptrdiff_t nodes, hidden;
    ptrdiff_t leaves;           /* places before the inner ones                                         */
    ptrdiff_t block;            /* places whose products of x are made at a time, still in L2 when used */
    ptrdiff_t least;            /* places a thread gets at least                                        */
    int threads;
    const ptrdiff_t *node;      /* [nodes]: the node at a place                                         */
    const ptrdiff_t *first_kid; /* [nodes + 1]: where a place's children begin in kid                   */
    const ptrdiff_t *kid;       /* the children, which are nodes, by their parent's place               */
    const ptrdiff_t *level;     /* the places at which levels end, and 0 before the first of them       */
    FrGemm product[FR_TREE_PRODUCTS];
    char *gates;                /* [place][i, f, g, o][hidden]; f: what all children's f see of x. In backward the
                                 * gradients of the pre-activations take their places                   */
    char *sums;                 /* [inner place][hidden]: of the children's h; in backward its gradient */
    char *forget;               /* [kid][hidden]: f; in backward its gradient before the sigmoid        */
    char *h, *c, *dh, *dc;      /* [node][hidden]; dh and dc are added to on the way                    */
    char *scratch;              /* fr_tree_scratch bytes for each thread, 64-byte aligned               */
} FrTree;

size_t fr_tree_scratch(const FrTree *t);
void fr_tree_forward(const FrTree *t);
void fr_tree_backward(const FrTree *t);

#endif
