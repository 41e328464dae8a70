/* torch's functions on integers and booleans: what stays a whole number, and what becomes a float. */
#ifndef DPPO_AUTOGRAD_INTEGERS_H
#define DPPO_AUTOGRAD_INTEGERS_H

#include "autograd/map.h"

/* The type two operands have together: bool, int64, float32, float64, the later of both. */
dppo_dtype dppo_promoted(dppo_dtype a, dppo_dtype b);

/* Whether op of these operands is computed in int64: all are integers, and op and its parameters keep them
 * so. */
bool dppo_stays_integer(dppo_map_op op, dppo_tensor *const *inputs, double p, double q);
/* op in int64, wrapping around as torch's does, over the operands' common shape. */
dppo_tensor *dppo_integer_map(dppo_cx *cx, const char *function, dppo_map_op op, dppo_tensor *const *inputs,
                              double p, double q);

/* An integer operand of a function of floats, as float32; others as they are. Functions that torch does not
 * have for integers get them as they are, too, and refuse them. */
dppo_tensor *dppo_float_operand(dppo_cx *cx, dppo_map_op op, dppo_tensor *input);

/* The first largest (or smallest) of n, and the product. */
int64_t dppo_integer_extreme(const int64_t *x, int64_t n, bool largest);
int64_t dppo_integer_product(const int64_t *x, int64_t n);

#endif
