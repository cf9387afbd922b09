"""Seeing gradients: do they vanish or explode, where, and why?

    gradients   gradient_norms, jacobian_singular_values, spectral_radius: how much of a gradient comes through
    regulariser gradient_regulariser: Omega of Pascanu, Mikolov & Bengio 2013
    gates       gate_saturation: how often a gate is open, closed or in between
    counts      nan_counts; ClipCounter: gradient clipping that counts
    plots       plot_gradient_norms, plot_singular_values, plot_saturation

Below these, ``walk`` runs a layer a step at a time and ``activations`` has their values and slopes.

Everything is computed in float64 on a copy of the layer, without dropout or zoneout: the layer's gradients, its
random numbers and its packed weights stay as they are. ``h_t`` is the state after t steps of a sequence:
``h_0`` the initial one, ``h_T`` the final one, and ``h_t`` is ``y[t-1]``. A result has an axis
L*D, in the order of the states, for a layer that has several layers or directions, and none otherwise.

Imports numpy; matplotlib only where something is drawn (``pip install "fastrnn[plot]"``).
"""

from .counts import ClipCounter, nan_counts
from .gates import gate_saturation
from .gradients import gradient_norms, jacobian_singular_values, spectral_radius
from .plots import plot_gradient_norms, plot_saturation, plot_singular_values
from .regulariser import gradient_regulariser

__all__ = [
    "ClipCounter", "gate_saturation", "gradient_norms", "gradient_regulariser", "jacobian_singular_values", "nan_counts",
    "plot_gradient_norms", "plot_saturation", "plot_singular_values", "spectral_radius",
]  # fmt: skip
