/* Sizes and places, computed once per layer: how its matrices are cut into panels, where each packed
 * matrix stands in its buffer, and how much scratch a run needs. Counts are elements. */
#ifndef FR_PLAN_H
#define FR_PLAN_H

#include "kernels/kernels.h"

extern const FrCell fr_cells[FR_CELLS];

typedef struct FrStagePlan {
    FrMatrix gx, rec;          /* weights of the input and of the recurrent product                  */
    FrGates gx_gates, rec_gates;
    const FrStage *of;
    int units, blocks, panels; /* hidden units, hidden blocks per panel, panels                      */
    int hidden_blocks;         /* that hold units                                                    */
    int gx_width, rec_width, dg_width; /* vectors of a panel in each product and in the gradients    */
    int gx_at, rec_at;         /* first vector of each product's gradients in dg                     */
    FrCellKernel forward, backward;
    ptrdiff_t gx_panels, gx_bias, rec_panels, rec_bias; /* in the packed weights                     */
    ptrdiff_t gx_back, rec_back;                        /* in the packed transposed weights          */
    ptrdiff_t gx_bricks, rec_bricks;                    /* in these as bricks, bytes                 */
} FrStagePlan;

typedef struct FrPlan {
    const FrKernels *kernels;
    const FrUnit *unit;                       /* a matrix unit for products of backward, or NULL         */
    const FrCell *cell;
    int input, hidden, output; /* I, H, and the width of h: P with a projection, else H              */
    int stages, padded; /* padded: H rounded up to whole vectors                      */
    FrOptions options;
    int zoned;                                /* zoneout of h or c                                   */
    FrStagePlan stage[FR_MAX_STAGES];
    ptrdiff_t packed, packed_back;            /* sizes of the two buffers                            */
    ptrdiff_t packed_bricks;                  /* bytes of the second one as bricks                   */
    ptrdiff_t vectors;                        /* the elementwise weights, in the first               */
} FrPlan;

/* The arrays of one layer's parameters for one direction, by FR_W_IH ...; NULL where there is none. They stand one
 * behind the other, weight_ih first. */
typedef struct FrParameters {
    void *of[FR_MAX_PARAMETERS];
    ptrdiff_t count; /* elements from the first to the last */
} FrParameters;

/* The same arrays in another piece of memory, which begins at `base`. */
FrParameters fr_parameters_at(const FrParameters *p, void *base);

void fr_plan(FrPlan *plan, const FrKernels *kernels, const FrUnit *unit, int cell, int input, int hidden, int projection,
             const FrOptions *options);
/* Where the elementwise weight begins that is `row` times H into parameter `from`; NULL without it. */
char *fr_vector_at(const FrPlan *plan, const FrParameters *p, int from, int row);

int fr_cell_by_name(const char *name); /* -1 when unknown */

void fr_pack(const FrPlan *plan, const FrParameters *p, void *packed);
void fr_pack_back(const FrPlan *plan, const FrParameters *p, void *packed_back);
/* The same for the matrix unit. */
void fr_pack_bricks(const FrPlan *plan, const FrParameters *p, void *packed_bricks);
/* Bricks of depth, in which the rows of a matrix stand in the order of gate gradients. */
ptrdiff_t fr_brick_depth(const FrMatrix *m);

#endif
