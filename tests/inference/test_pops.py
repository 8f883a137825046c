"""Pointwise optima and their hypercube: laws, another package's numbers, and labels that a wrong form misses."""

import numpy as np
import pytest

from bayescg.errors import InputError
from bayescg.inference import WhiteRows, hypercube, pointwise_optima, pops_ensemble, pops_hypercube


def regression(design, observations, *, noise=1.0, prior_precision=0.0):
    """Rows at the mode of y = Xθ + ε, θ ~ N(0, 1/λ)."""
    n, p = design.shape
    return WhiteRows(
        np.zeros(p),
        np.arange(p),
        residual=-observations / noise,
        jacobian=design / noise,
        prior_precision=prior_precision * np.eye(p),
        prior_score=np.zeros(p),
        kind=np.zeros(n, int),
        configuration=np.arange(n),
        noise=np.full(n, noise),
    ).at_mode()


X = np.linspace(-1.0, 1.3, 11)
QUADRATIC = np.stack([np.ones_like(X), X, X**2], axis=1)
CURVE = np.sin(3.0 * X) + 0.5 * np.cos(2.0 * X)

# popsregression 0.4.0 on (QUADRATIC, CURVE): POPSRegression(posterior=..., leverage_percentile=50, tol=1e-12,
# max_iter=10000), without intercept; alpha_ and lambda_ are those it found by maximising the evidence.
ALPHA, LAMBDA = 2.295772367404263, 3.6826166391821684
COEFFICIENTS = [0.29418526570928244, 0.3337363771830673, -0.6325566858399652]
USED = [0, 1, 2, 8, 9, 10]
CORRECTIONS = [
    [0.015704288287172425, -0.16091718768780533, 0.14629289500533385],
    [-0.11120953131867399, 0.25225766785121423, -0.13548154696902362],
    [-0.4623381847087366, 0.4396964142406779, 0.024467059586956302],
    [0.16868950112780254, 0.25097683326944814, 0.028536574993804065],
    [-0.02217102057791459, -0.11334383213023977, -0.10608336932528648],
    [0.05651031114590356, -0.18238661129301761, -0.35185799367524095],
]
EDGES = [0.3872062636468958, 0.4719281758433325, 0.8390063355277133]
LOWER = [-1.1067215248448377, -0.5388908177531783, -0.4230154060299296]
UPPER = [0.4065806648478897, 0.36619675881723435, 0.36939363622517174]
AT = np.array([-0.9, 0.0, 0.35])


def same_model():
    return regression(QUADRATIC, CURVE, noise=ALPHA**-0.5, prior_precision=LAMBDA)


def test_pointwise_optima_are_those_of_popsregression():
    rows = same_model()
    np.testing.assert_allclose(rows.z, COEFFICIENTS, rtol=1e-9)
    optima = pointwise_optima(rows)
    assert optima.row.tolist() == USED
    np.testing.assert_allclose(optima.steps, CORRECTIONS, rtol=1e-8, atol=1e-10)


def test_hypercube_is_that_of_popsregression():
    box = hypercube(pointwise_optima(same_model()))
    np.testing.assert_allclose(np.sort(box.upper - box.lower), EDGES, rtol=1e-8)
    lower, upper = box.range_of(np.stack([np.ones(3), AT, AT**2], axis=1))
    np.testing.assert_allclose(lower, LOWER, rtol=1e-8)
    np.testing.assert_allclose(upper, UPPER, rtol=1e-8)


def test_hypercube_draws_have_the_spread_of_popsregression():
    """Their second moment from 200 000 draws; ours differ by the error of two such estimates."""
    theirs = [
        [0.03578939834540488, -0.039105556692802544, 0.00751664259429624],
        [-0.039105556692802544, 0.08446847632825616, -0.016412997236028532],
        [0.00751664259429624, -0.016412997236028532, 0.02842732100192432],
    ]
    rows = same_model()
    steps = pops_hypercube(rows, n=200_000, seed=0) - rows.z
    np.testing.assert_allclose(steps.T @ steps / len(steps), theirs, atol=5e-4)


def test_every_optimum_says_its_label_exactly_at_the_least_loss():
    rng = np.random.default_rng(1)
    design, y = rng.normal(size=(30, 4)), rng.normal(size=30)
    rows = regression(design, y, noise=0.3, prior_precision=0.7)
    optima = pointwise_optima(rows, leverage_quantile=0.0)
    theta = rows.z + optima.steps
    np.testing.assert_allclose(np.einsum("if,if->i", design, theta), y, atol=1e-12)

    def loss(t):
        return 0.5 * np.sum((y - design @ t) ** 2) / 0.09 + 0.35 * t @ t

    for k in range(5):
        for _ in range(20):
            along = rng.normal(size=4)
            along -= design[k] * (along @ design[k]) / (design[k] @ design[k])  # still says label k
            assert loss(theta[k] + 1e-3 * along) > loss(theta[k])


@pytest.mark.parametrize("quantile", [0.0, 0.5, 0.9])
def test_hypercube_reaches_every_label_it_was_made_of(quantile):
    """However wrong the form: the range of predictions over the box holds each used label, whatever the noise."""
    rows = regression(QUADRATIC, CURVE, noise=1e-3)
    optima = pointwise_optima(rows, leverage_quantile=quantile)
    lower, upper = hypercube(optima).range_of(rows.jacobian[optima.row])
    asked = -rows.residual[optima.row]
    scale = np.abs(asked).max()
    assert np.all(lower <= asked + 1e-9 * scale) and np.all(upper >= asked - 1e-9 * scale)


def test_spread_of_the_optima_does_not_shrink_with_more_data():
    widths = {}
    for n in (50, 5000):
        x = np.random.default_rng(n).uniform(-1.0, 1.0, size=n)
        rows = regression(np.stack([np.ones(n), x], axis=1), np.sin(3.0 * x), noise=0.01)
        widths[n] = (
            pops_ensemble(rows, n=4000, seed=0).std(axis=0),
            pops_hypercube(rows, n=4000, seed=0).std(axis=0),
            np.sqrt(np.diag(rows.covariance())),
        )
    assert np.all(widths[5000][0] > 0.7 * widths[50][0]) and np.all(widths[5000][1] > 0.7 * widths[50][1])
    np.testing.assert_allclose(widths[5000][2], widths[50][2] / 10.0, rtol=0.3)


def test_a_form_that_is_right_leaves_no_spread():
    rows = regression(QUADRATIC, QUADRATIC @ [1.0, -2.0, 0.5])
    assert np.abs(pops_ensemble(rows, n=200, seed=0) - rows.z).max() < 1e-12


def test_clipping_leaves_the_outermost_out():
    optima = pointwise_optima(same_model(), leverage_quantile=0.0)
    whole, clipped = hypercube(optima), hypercube(optima, clip=0.1)
    assert np.all(clipped.upper < whole.upper) and np.all(clipped.lower > whole.lower)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pointwise_optima(same_model(), leverage_quantile=1.0), "leverage_quantile"),
        (lambda: hypercube(pointwise_optima(same_model()), clip=0.5), "clip"),
        (lambda: regression(np.ones((4, 2)), np.ones(4)), "neither labels nor prior determine"),
        (
            lambda: pointwise_optima(regression(np.zeros((4, 1)), np.ones(4), prior_precision=1.0)),
            "no label depends",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
