"""The way to the edge of the manifold: what the figure draws is what a step along it is worth."""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bayescg.analysis import least_squares_manifold, manifold_boundary
from bayescg.output import figure_boundary

TIMES = jnp.array([0.3, 1.0, 2.0, 5.0])


def two_rates(z):
    """A sum of two decays with rates exp(z): the softest direction makes them equal, or one of them fast."""
    return jnp.exp(-jnp.exp(z[0]) * TIMES) + jnp.exp(-jnp.exp(z[1]) * TIMES)


def test_the_lower_panel_is_the_information_of_a_step():
    start = np.log([1.0, 4.0])
    found = manifold_boundary(least_squares_manifold(two_rates), start, names=("k1", "k2"))
    data = xr.Dataset(
        {
            "geodesic": (("step", "parameter"), found.z),
            "geodesic_smallest_eigenvalue": ("step", found.smallest_eigenvalue),
            "geodesic_log_speed": ("step", found.log_speed),
        },
        coords={"parameter": list(found.names)},
        attrs={"boundary": found.words, "boundary_end": str(found.end)},
    )
    figure = figure_boundary(data)
    top, bottom = figure.axes
    assert [line.get_label() for line in top.lines[1:]] == ["k1", "k2"]
    np.testing.assert_allclose(top.lines[1].get_ydata(), found.z[:, 0] - start[0])
    np.testing.assert_allclose(bottom.lines[0].get_xdata()[:150], found.length[:150], rtol=1e-3, atol=1e-6)
    inner = slice(1, 100)
    unit = np.gradient(found.z, found.length, axis=0)[inner]
    jacobian = np.asarray(jax.vmap(jax.jacfwd(two_rates))(jnp.asarray(found.z[inner])))
    exact = np.sum(np.einsum("tij,tj->ti", jacobian, unit) ** 2, axis=1)
    np.testing.assert_allclose(bottom.lines[1].get_ydata()[inner], exact, rtol=0.02)
    assert exact[-1] < 0.9 * exact[0] or exact[-1] > 1.1 * exact[0], (
        "nothing changes: the comparison is empty"
    )
    assert str(found.end) in figure.get_suptitle() and found.words in figure._supxlabel.get_text().replace(
        "\n", " "
    )
