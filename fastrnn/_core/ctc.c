#include "ctc.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Widths are whole numbers of the largest vector, and so of every other. */
enum { LANES = 8 };

/* One sequence. A row of alpha is: LANES times -inf, labels, blanks. */
typedef struct Sequence {
    ptrdiff_t number, steps, labels, width;
    const ptrdiff_t *target;
    double *alpha, *beta_blanks, *beta_labels, *skip, *emitted, *posterior, *by_class;
} Sequence;

static ptrdiff_t width_of(ptrdiff_t labels) { return (labels + LANES) / LANES * LANES; }
static ptrdiff_t row_of(ptrdiff_t width) { return LANES + 2 * width; }

size_t fr_ctc_scratch(const FrCtc *c)
{
    const size_t width = width_of(c->most_labels);
    const size_t doubles = (c->most_steps + 1) * row_of(width) + 5 * (width + LANES) + c->classes;
    return (doubles * sizeof(double) + 63) & ~(size_t)63;
}

static void fill(double *array, ptrdiff_t n, double value)
{
    for (ptrdiff_t i = 0; i < n; i++)
        array[i] = value;
}

static Sequence sequence(const FrCtc *c, ptrdiff_t n, char *scratch)
{
    Sequence s = {.number = n, .steps = c->steps[n], .labels = c->labels[n], .width = width_of(c->labels[n]),
                  .target = c->targets + n * c->most_labels};
    double *base = (double *)scratch;
    double **arrays[] = {&s.beta_blanks, &s.beta_labels, &s.skip, &s.emitted, &s.posterior};
    for (int i = 0; i < 5; i++, base += s.width + LANES) {
        *arrays[i] = base;
        fill(base, s.width + LANES, -INFINITY);
    }
    s.alpha = base;
    s.by_class = base + (s.steps + 1) * row_of(s.width);
    memset(s.by_class, 0, c->classes * sizeof(double));
    for (ptrdiff_t i = 1; i < s.labels; i++)
        if (s.target[i] != s.target[i - 1])
            s.skip[i] = 0;
    return s;
}

static double *alpha_labels(const Sequence *s, ptrdiff_t step) { return s->alpha + step * row_of(s->width) + LANES; }
static double *alpha_blanks(const Sequence *s, ptrdiff_t step) { return alpha_labels(s, step) + s->width; }

static double element(const char *row, ptrdiff_t i, int size)
{
    return size == 4 ? (double)((const float *)row)[i] : ((const double *)row)[i];
}

/* What step t emits for each state; nonzero where all of it is below infinity, so not NaN. */
static int emit(const FrCtc *c, const Sequence *s, ptrdiff_t t, double *blank)
{
    const char *row = c->log_probs + (t * c->count + s->number) * c->classes * c->size;
    *blank = element(row, c->blank, c->size);
    int good = *blank <= DBL_MAX;
    for (ptrdiff_t i = 0; i < s->labels; i++) {
        s->emitted[i] = element(row, s->target[i], c->size);
        good &= s->emitted[i] <= DBL_MAX;
    }
    return good;
}

/* Fills alpha, of which row t + 1 belongs to step t; returns minus the log probability of the target. */
static double forward(const FrCtc *c, const Sequence *s)
{
    fill(s->alpha, row_of(s->width), -INFINITY);
    alpha_blanks(s, 0)[0] = 0;                                                          /* (CT1) */
    for (ptrdiff_t t = 0; t < s->steps; t++) {
        double blank;
        if (!emit(c, s, t, &blank))
            return NAN;
        fill(alpha_labels(s, t + 1) - LANES, LANES, -INFINITY);
        c->kernels->ctc_forward(&(FrCtcStep){
            .width = s->width, .skip = s->skip, .blank = blank, .emitted = s->emitted,
            .from_blanks = alpha_blanks(s, t), .from_labels = alpha_labels(s, t),
            .blanks = alpha_blanks(s, t + 1), .labels = alpha_labels(s, t + 1),
        });
    }
    const double a = alpha_blanks(s, s->steps)[s->labels], b = alpha_labels(s, s->steps)[s->labels - 1];
    const double top = a > b ? a : b, low = a > b ? b : a;
    return top == -INFINITY ? INFINITY : -(top + log1p(exp(low - top)));                /* (CT4) */
}

static void put(char *row, ptrdiff_t i, int size, double x)
{
    if (size == 4)
        ((float *)row)[i] = fabs(x) < FLT_MIN ? 0 : (float)x; /* making a denormal takes longer than all else */
    else
        ((double *)row)[i] = x;
}

/* The gradient of one step from the posteriors of its states. */
static void put_step(const FrCtc *c, const Sequence *s, ptrdiff_t t, double blanks, double scale)
{
    char *row = c->gradient + (t * c->count + s->number) * c->classes * c->size;
    for (ptrdiff_t i = 0; i < s->labels; i++)
        s->by_class[s->target[i]] += s->posterior[i];
    for (ptrdiff_t i = 0; i < s->labels; i++)
        put(row, s->target[i], c->size, -scale * s->by_class[s->target[i]]);            /* (CT15) */
    for (ptrdiff_t i = 0; i < s->labels; i++)
        s->by_class[s->target[i]] = 0;
    put(row, c->blank, c->size, -scale * blanks);
}

static void backward(const FrCtc *c, const Sequence *s, double value)
{
    const FrKernels *k = c->kernels;
    s->beta_blanks[s->labels] = 0;                                                      /* (CT11) */
    if (s->labels)
        s->beta_labels[s->labels - 1] = 0;
    FrCtcStep step = {.width = s->width, .skip = s->skip, .emitted = s->emitted,
                      .blanks = s->beta_blanks, .labels = s->beta_labels};
    for (ptrdiff_t t = s->steps - 1; t >= 0; t--) {
        if (t + 1 < s->steps)
            k->ctc_backward(&step);
        const double blanks = k->ctc_posterior(alpha_blanks(s, t + 1), s->beta_blanks, value, s->width, s->posterior);
        k->ctc_posterior(alpha_labels(s, t + 1), s->beta_labels, value, s->width, s->posterior);
        put_step(c, s, t, blanks, c->scale[s->number]);
        emit(c, s, t, &step.blank);
    }
}

static void fill_nan(const FrCtc *c, const Sequence *s)
{
    for (ptrdiff_t t = 0; t < s->steps; t++)
        for (ptrdiff_t i = 0; i < c->classes; i++)
            put(c->gradient + (t * c->count + s->number) * c->classes * c->size, i, c->size, NAN);
}

void fr_ctc(FrCtc *c, char *scratch)
{
    for (ptrdiff_t n; (n = atomic_fetch_add(&c->next, 1)) < c->count;) {
        const Sequence s = sequence(c, n, scratch);
        const double value = forward(c, &s);
        const int none = value == INFINITY && c->zero_infinity;
        c->values[n] = none ? 0 : value;
        if (value < INFINITY)
            backward(c, &s, value);
        else if (!none)
            fill_nan(c, &s);
    }
}
