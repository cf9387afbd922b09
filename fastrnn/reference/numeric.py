"""Gradients from differences."""

import numpy as np


def central_difference(f, x, eps=1e-5):
    """(f(x + eps e_j) - f(x - eps e_j)) / (2 eps) for every entry j of x: an array of x's shape; f returns a scalar."""
    x = np.array(x, np.float64)
    gradient = np.zeros_like(x)
    for j in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[j] += eps
        down[j] -= eps
        gradient[j] = (f(up) - f(down)) / (2 * eps)
    return gradient
