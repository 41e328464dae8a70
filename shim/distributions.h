// The distributions of policies, as the Python package torch.distributions computes them step by step.
//
// Shapes: ... any dims, M modes, D dims of an event.
#ifndef DPPO_SHIM_DISTRIBUTIONS_H
#define DPPO_SHIM_DISTRIBUTIONS_H

#include "call.h"

namespace shim {

// log of the density of N(loc, scale^2) at value.
Tensor normal_log_prob(const Tensor &value, const Tensor &loc, const Tensor &scale);
// 1/2 + log(2 pi) / 2 + log scale, of loc's shape.
Tensor normal_entropy(const Tensor &loc, const Tensor &scale);
// The sum over the last `dims` dims.
Tensor sum_rightmost(const Tensor &value, int64_t dims);
// Logits (..., M) less their logsumexp.
Tensor normalised_logits(const Tensor &logits);

// A mixture of normals with independent dims: normalised logits and their softmax (..., M), loc and scale
// (..., M, D ..).
struct NormalMixture {
    Tensor logits, probs, loc, scale;
    int64_t event_dims = 1;

    Tensor log_prob(const Tensor &value) const; // (..., D ..) to (...)
    // Which mode, then a sample of every mode, of which that one is kept; no gradient.
    Tensor sample(Draws &draws, const Shape &sample_shape = {}) const;
};

// Indices (sample_shape, ...) drawn with probabilities (..., M).
Tensor categorical_sample(const Tensor &probs, Draws &draws, const Shape &sample_shape);
// A standard normal draw of the broadcast shape of loc and scale, behind sample_shape.
Tensor standard_normal(const Tensor &loc, const Tensor &scale, Draws &draws, Shape sample_shape);

} // namespace shim

#endif
