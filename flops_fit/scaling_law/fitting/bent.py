"""The law with a bend, `L(N, D) = E + (A/N^alpha + B/D^beta)^gamma`, for many weightings of the runs at once.

With gamma = 1 it is the five-parameter law, in which the curvature of the valley fixes how fast the frontier falls.
gamma sets the two apart, and leaves the optimum where (A, B, alpha, beta) put it. It is drawn towards 1 as by a normal
prior on ln gamma of standard deviation 0.5, worth a single run. Coordinates are
`(ln E, ln A', ln B', ln alpha, ln beta, ln gamma)`, A' and B' for centred logarithms as in `objective`.
"""

from __future__ import annotations

import numpy as np

from flops_fit.scaling_law.fitting.objective import LARGE, Centred, huber, prediction, sample
from flops_fit.scaling_law.fitting.one_step import Linearised, linearise
from flops_fit.scaling_law.fitting.parametric import DELTA_FLOOR, TUNING, robust_sigma
from flops_fit.scaling_law.fitting.starts import grid_starts

LOWER = np.array([-30.0, -60.0, -60.0, np.log(1e-3), np.log(1e-3), np.log(0.1)])
UPPER = np.array([60.0, 60.0, 60.0, np.log(5.0), np.log(5.0), np.log(10.0)])
PRIOR = 0.5  # standard deviation of ln gamma
BENDS = (0.4, 0.7, 1.0, 1.6, 3.0)  # gamma at the starts
FIRST_DELTA = 0.02
ROUNDS = 6
STARTS = 2
FREE = {"chinchilla": np.arange(6) < 5, "bent": np.ones(6, dtype=bool)}


def _limits(data: Centred) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest theta, (6,) each; E as the data say."""
    return np.append(data.lower[0], LOWER[1:]), np.append(data.upper[0], UPPER[1:])


def log_loss(theta: np.ndarray, data: Centred) -> np.ndarray:
    """ln L, shape (fits, runs) for `theta` (fits, 6)."""
    term_n, term_d = _terms(theta, data)
    return np.asarray(np.log(np.exp(theta[:, :1]) + (term_n + term_d) ** np.exp(theta[:, 5:])))


def _terms(theta: np.ndarray, data: Centred) -> tuple[np.ndarray, np.ndarray]:
    exponents = np.exp(theta[:, 3:5])
    log_n, log_d = theta[:, 1:2] - exponents[:, :1] * data.n, theta[:, 2:3] - exponents[:, 1:] * data.d
    return np.exp(np.clip(log_n, -50, 50)), np.exp(np.clip(log_d, -50, 50))


def fit_forms(data: Centred, weights: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Both forms under each row of `weights` (fits, runs): theta (fits, 6) and residual scale (fits,) by form.

    In large tables the search is that of a sample, and ends row by row on all runs that have a weight.
    """
    if len(data.n) > LARGE:
        part = sample(data)
        return _settle_each(fit_forms(data.subset(part), weights[:, part])[0], data, weights)
    found = [grid_starts(data, row, count=STARTS) for row in weights]
    rows = np.repeat(np.arange(len(weights)), [len(starts) for starts in found])
    flat = _from_five(np.vstack(found))
    plain = _best_of(flat, rows, data, weights, "chinchilla")
    bends = np.repeat(np.arange(len(weights)), len(BENDS))
    tilted = _tilted(plain[bends], np.tile(BENDS, len(weights)))
    bent = _best_of(tilted, bends, data, weights, "bent")
    theta, scale = {}, {}
    for form, start in (("chinchilla", plain), ("bent", bent)):
        theta[form], scale[form] = _settle(start, data, weights, form)
    return theta, scale


def refit_form(
    theta: np.ndarray, scale: float, data: Centred, weights: np.ndarray, form: str, *, iterations: int = 4
) -> np.ndarray:
    """`theta` (6,) refitted under each row of `weights` (refits, runs), a few steps from where it was; (refits, 6)."""
    starts = np.repeat(theta[None], len(weights), axis=0)
    deltas = np.full(len(weights), max(TUNING * scale, DELTA_FLOOR))
    return minimise_forms(starts, data, weights, deltas, form, max_iterations=iterations)[0]


def to_members(theta: np.ndarray, data: Centred) -> np.ndarray:
    """(E, A, B, alpha, beta, gamma), shape (..., 6), A and B for N and D themselves."""
    log_e, log_a, log_b, log_alpha, log_beta, log_gamma = np.moveaxis(theta, -1, 0)
    alpha, beta = np.exp(log_alpha), np.exp(log_beta)
    A, B = np.exp(log_a + alpha * data.n_mean), np.exp(log_b + beta * data.d_mean)
    return np.stack([np.exp(log_e), A, B, alpha, beta, np.exp(log_gamma)], axis=-1)


def minimise_forms(
    theta: np.ndarray, data: Centred, weights: np.ndarray, deltas: np.ndarray, form: str, *, max_iterations: int = 40
) -> tuple[np.ndarray, np.ndarray]:
    """Levenberg-Marquardt on the Huber objective from every row of `theta`; where it ended, and the objective."""
    lower, upper = _limits(data)
    theta = np.clip(theta, lower, upper)
    free, damping = FREE[form], np.full(len(theta), 1e-2)
    ridge = (deltas / (TUNING * PRIOR)) ** 2
    value = _objective(theta, data, weights, deltas, ridge)
    active = np.arange(len(theta))
    for _ in range(max_iterations):
        if not active.size:
            break
        here = theta[active]
        step = _step(here, data, weights[active], deltas[active], ridge[active], free, damping[active])
        trial = np.clip(here + step, lower, upper)
        new = _objective(trial, data, weights[active], deltas[active], ridge[active])
        better = new < value[active]
        fall = (value[active] - new) / np.maximum(value[active], 1e-300)
        theta[active[better]], value[active[better]] = trial[better], new[better]
        damping[active] = np.where(better, np.maximum(damping[active] * 0.2, 1e-9), damping[active] * 6)
        active = active[~((better & (fall < 1e-7)) | (damping[active] > 1e8))]
    return theta, value


def _objective(
    theta: np.ndarray, data: Centred, weights: np.ndarray, deltas: np.ndarray, ridge: np.ndarray
) -> np.ndarray:
    residual = log_loss(theta, data) - data.log_loss
    return np.asarray((weights * huber(residual, deltas[:, None])).sum(axis=1) + 0.5 * ridge * theta[:, 5] ** 2)


def _step(
    theta: np.ndarray,
    data: Centred,
    weights: np.ndarray,
    deltas: np.ndarray,
    ridge: np.ndarray,
    free: np.ndarray,
    damping: np.ndarray,
) -> np.ndarray:
    """A damped Gauss-Newton step under Huber's weights, on what is free and not pushed against its bound."""
    residual, jacobian = _jacobian(theta, data)
    pull = weights * np.minimum(1.0, deltas[:, None] / np.maximum(np.abs(residual), 1e-300))
    weighted = jacobian * pull[:, None]
    gradient = np.einsum("fkr,fr->fk", weighted, residual)
    gradient[:, 5] += ridge * theta[:, 5]
    hessian = weighted @ jacobian.transpose(0, 2, 1)
    hessian[:, 5, 5] += ridge
    lower, upper = _limits(data)
    stuck = ((theta <= lower) & (gradient > 0)) | ((theta >= upper) & (gradient < 0)) | ~free
    gradient = np.where(stuck, 0.0, gradient)
    hessian = np.where(stuck[:, :, None] | stuck[:, None, :], 0.0, hessian)
    diagonal = np.einsum("fkk->fk", hessian)
    size = np.sqrt(np.maximum(diagonal, 1e-10 * diagonal.max(axis=1, keepdims=True) + 1e-300))
    size = np.where(stuck, 1.0, size)
    scaled = hessian / (size[:, :, None] * size[:, None, :])
    scaled += np.eye(6) * (stuck[:, :, None] + damping[:, None, None] + 1e-12)
    step = -np.linalg.solve(scaled, (gradient / size)[..., None])[..., 0] / size
    return np.asarray(step * np.minimum(1.0, 2.0 / np.maximum(np.abs(step).max(axis=1, keepdims=True), 1e-300)))


def _jacobian(theta: np.ndarray, data: Centred) -> tuple[np.ndarray, np.ndarray]:
    """Residuals (fits, runs) and d ln L / d theta (fits, 6, runs), by the chain rule from the five-parameter law
    without E: `ln L = ln(E + exp(gamma·ln T))` with T the sum of its two terms."""
    exponents, gamma = np.exp(theta[:, 3:5]), np.exp(theta[:, 5:])
    two_terms = np.column_stack([np.full(len(theta), -np.inf), theta[:, 1:3], exponents])
    residual, slopes = prediction(two_terms, data)
    log_terms = residual + data.log_loss
    floor, power = np.exp(theta[:, :1]), np.exp(gamma * log_terms)
    loss = floor + power
    share = gamma * power / loss
    jacobian = np.empty((len(theta), 6, len(data.n)))
    jacobian[:, 0] = floor / loss
    np.multiply(slopes[:, 1:5], share[:, None], out=jacobian[:, 1:5])
    jacobian[:, 3:5] *= exponents[:, :, None]
    np.multiply(share, log_terms, out=jacobian[:, 5])
    return np.log(loss) - data.log_loss, jacobian


def _best_of(starts: np.ndarray, rows: np.ndarray, data: Centred, weights: np.ndarray, form: str) -> np.ndarray:
    """The best end of each row's starts, (fits, 6)."""
    theta, value = minimise_forms(starts, data, weights[rows], np.full(len(rows), FIRST_DELTA), form)
    return np.array([theta[rows == row][np.argmin(value[rows == row])] for row in range(len(weights))])


def _settle(theta: np.ndarray, data: Centred, weights: np.ndarray, form: str) -> tuple[np.ndarray, np.ndarray]:
    """Alternate between the fit and delta = 1.345 residual scales."""
    scale = _scales(theta, data, weights, form)
    for _ in range(ROUNDS):
        deltas = np.maximum(TUNING * scale, DELTA_FLOOR)
        theta, _ = minimise_forms(theta, data, weights, deltas, form, max_iterations=15)
        new = _scales(theta, data, weights, form)
        if (np.abs(new - scale) <= 1e-3 * new).all():
            break
        scale = new
    return theta, scale


def _settle_each(
    starts: dict[str, np.ndarray], data: Centred, weights: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    theta, scale = {}, {}
    for form, start in starts.items():
        used = [(start[[at]], data.subset(row > 0), row[row > 0][None]) for at, row in enumerate(weights)]
        settled = [_settle(*each, form) for each in used]
        theta[form], scale[form] = (np.concatenate(each) for each in zip(*settled, strict=True))
    return theta, scale


def linearised(theta: np.ndarray, scale: float, data: Centred, weights: np.ndarray, form: str) -> Linearised:
    """A fit of `fit_forms` as one Newton step sees it; theta of its free parameters alone."""
    free, delta = FREE[form], max(TUNING * scale, DELTA_FLOOR)
    prior = np.where(np.arange(6) == 5, (delta / (TUNING * PRIOR)) ** 2, 0.0)[free]
    residual, slopes = _jacobian(theta[None], data)

    used = weights > 0

    def refit(counts: np.ndarray) -> np.ndarray:
        trusted = counts[:, used] * weights[used]
        return refit_form(theta, scale, data.subset(used), trusted, form, iterations=10)[:, free]

    box = _limits(data)[0][free], _limits(data)[1][free]
    return linearise(
        theta[free], residual[0], slopes[0, free].T, weights, np.array(delta), box=box, prior=prior, refit=refit
    )


def with_free(own: np.ndarray, theta: np.ndarray, form: str) -> np.ndarray:
    """`theta` (6,) with the parameters that `form` is free in replaced by `own` (..., free)."""
    whole = np.broadcast_to(theta, (*own.shape[:-1], 6)).copy()
    whole[..., FREE[form]] = own
    return whole


def _scales(theta: np.ndarray, data: Centred, weights: np.ndarray, form: str) -> np.ndarray:
    residual = log_loss(theta, data) - data.log_loss
    count = int(FREE[form].sum()) - (not data.free[0])
    rows = zip(residual, weights, strict=True)
    return np.array([robust_sigma(row[weight > 0], weight[weight > 0], count) for row, weight in rows])


def _from_five(theta: np.ndarray) -> np.ndarray:
    """Theta of the five-parameter law, (fits, 5) with plain exponents, as theta here."""
    exponents = np.log(np.maximum(theta[:, 3:5], 1e-3))
    return np.column_stack([theta[:, :3], exponents, np.zeros(len(theta))])


def _tilted(theta: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    """The same fits with another gamma, the exponents and coefficients divided by it."""
    tilted = theta.copy()
    tilted[:, 1:3] /= gamma[:, None]
    tilted[:, 3:5] -= np.log(gamma)[:, None]
    tilted[:, 5] = np.log(gamma)
    return tilted
