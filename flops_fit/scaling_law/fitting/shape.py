"""Does the five-parameter law have the shape of the runs? A specification test of its residuals (Ramsey 1969).

Squares and cubes of (ln N, ln D), freed of what the law's own parameters could explain, are regressed on the clipped
residuals: an F test on up to 7 terms. It sees a bend that all runs share, where scatter does not add up to one.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from flops_fit.scaling_law.fitting.objective import free_columns, jacobian
from flops_fit.scaling_law.fitting.parametric import ParametricFit

CLIP = 2.5
BEND = 0.01  # chance below which the runs show a bend,
PERHAPS = 0.1  # and below which one is reckoned with: real laws bend, and few runs hardly show it
EXACT = 1e-7  # residuals below this are rounding


def bend_chance(fit: ParametricFit) -> float:
    """Chance of such residuals under the law (a p-value); 1 where they are rounding, or too few to test."""
    data = fit.data
    if fit.sigma < EXACT:
        return 1.0
    own = free_columns(jacobian(fit.theta, data), data)
    n, d = data.n / max(data.n.std(), 1e-12), data.d / max(data.d.std(), 1e-12)
    terms = np.column_stack([n * n, n * d, d * d, n**3, n * n * d, n * d * d, d**3])
    basis, _ = np.linalg.qr(own)
    residual = np.clip(fit.residual / fit.sigma, -CLIP, CLIP)
    residual = residual - basis @ (basis.T @ residual)
    vectors, sizes, _ = np.linalg.svd(terms - basis @ (basis.T @ terms), full_matrices=False)
    vectors = vectors[:, sizes > 1e-8 * sizes[0]]
    freedom = len(residual) - own.shape[1] - vectors.shape[1]
    if freedom < 3:
        return 1.0
    explained = float(((vectors.T @ residual) ** 2).sum())
    left = float((residual**2).sum()) - explained
    statistic = explained / vectors.shape[1] / max(left / freedom, 1e-300)
    return float(special.fdtrc(vectors.shape[1], freedom, statistic))
