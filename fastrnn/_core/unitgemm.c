#include "unitgemm.h"

#include <string.h>

/* What is multiplied at a time: the bricks of so many columns and so much depth, 768 KB of the right operand, stay in L2 for
 * all rows; those of two bricks of rows are 96 KB. */
enum { COLUMNS = 256, DEPTH = 512, BRICKS_DEEP = DEPTH / FR_BRICK_DEPTH };

typedef struct Scratch {
    char right[COLUMNS / FR_BRICK][BRICKS_DEEP][FR_BRICK_BYTES], left[2][BRICKS_DEEP][FR_BRICK_BYTES];
    float edge[FR_BRICK * FR_BRICK_DEPTH]; /* a brick's numbers where the matrix has fewer, and zeros */
} Scratch;

size_t fr_unit_gemm_scratch(void) { return sizeof(Scratch); }

static ptrdiff_t least(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

/* The brick of rows from `row` and of the depth from k on. */
static void left(const FrUnitGemm *g, Scratch *s, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t k, ptrdiff_t depth, void *brick)
{
    const int whole = rows == FR_BRICK && depth == FR_BRICK_DEPTH;
    const float *from = g->transposed ? g->a + k * g->a_row + row : g->a + row * g->a_row + k;
    const ptrdiff_t count = g->transposed ? depth : rows, width = g->transposed ? rows : depth;
    ptrdiff_t step = g->a_row;
    if (!whole) {
        const ptrdiff_t wide = g->transposed ? FR_BRICK : FR_BRICK_DEPTH;
        memset(s->edge, 0, sizeof s->edge);
        for (ptrdiff_t i = 0; i < count; i++)
            memcpy(s->edge + i * wide, from + i * step, width * sizeof *from);
        from = s->edge;
        step = wide;
    }
    if (g->transposed) {
        g->unit->left_transposed(from, step, count, brick);
        return;
    }
    const void *pointers[FR_BRICK];
    for (ptrdiff_t i = 0; i < count; i++)
        pointers[i] = from + i * step;
    g->unit->left(pointers, (int)count, 0, FR_BRICK, brick);
}

/* The bricks of `columns` columns from `column` on, and of the depth from `first` on. */
static void right(const FrUnitGemm *g, Scratch *s, ptrdiff_t column, ptrdiff_t columns, ptrdiff_t first, ptrdiff_t depth)
{
    const void *rows[FR_BRICK_DEPTH];
    for (ptrdiff_t k = 0; k < depth; k += FR_BRICK_DEPTH) {
        const ptrdiff_t count = least(depth - k, FR_BRICK_DEPTH);
        for (ptrdiff_t i = 0; i < count; i++)
            rows[i] = g->b + (first + k + i) * g->b_row;
        for (ptrdiff_t j = 0; j < columns; j += FR_BRICK)
            g->unit->right(rows, count, column + j, (int)least(columns - j, FR_BRICK),
                           s->right[j / FR_BRICK][k / FR_BRICK_DEPTH]);
    }
}

/* Rows from `row` to `end`, against the bricks there. */
static void rows_by_bricks(const FrUnitGemm *g, Scratch *s, ptrdiff_t row, ptrdiff_t end, ptrdiff_t column, ptrdiff_t columns,
                           ptrdiff_t first, ptrdiff_t depth)
{
    FrBricks product = {
        .left = {s->left[0], s->left[1]}, .right = s->right, .right_next = sizeof s->right[0],
        .depth = (depth + FR_BRICK_DEPTH - 1) / FR_BRICK_DEPTH, .columns = (int)columns, .c_row = g->c_row, .add = g->add || first,
    };
    for (; row < end; row += 2 * FR_BRICK) {
        product.count = 0;
        for (ptrdiff_t r = row; r < end && product.count < 2; r += FR_BRICK) {
            const int i = product.count++, rows = (int)least(end - r, FR_BRICK);
            for (ptrdiff_t k = 0; k < depth; k += FR_BRICK_DEPTH)
                left(g, s, r, rows, first + k, least(depth - k, FR_BRICK_DEPTH), s->left[i][k / FR_BRICK_DEPTH]);
            product.rows[i] = rows;
            product.c[i] = g->c + r * g->c_row + column;
        }
        g->unit->multiply(&product);
    }
}

void fr_unit_gemm(const FrUnitGemm *g, ptrdiff_t first, ptrdiff_t last, char *scratch)
{
    Scratch *const s = (Scratch *)scratch;
    for (ptrdiff_t k = 0; k < g->depth; k += DEPTH)
        for (ptrdiff_t column = 0; column < g->columns; column += COLUMNS) {
            const ptrdiff_t depth = least(g->depth - k, DEPTH), columns = least(g->columns - column, COLUMNS);
            right(g, s, column, columns, k, depth);
            rows_by_bricks(g, s, first, last, column, columns, k, depth);
        }
}
