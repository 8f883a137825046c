"""The edge of the model manifold of two Mie particles, whose distance is all there is to see.

    python tests/benchmarks/manifold_edge.py [FIGURE.png]

U = C ε [(σ/r)ⁿ − (σ/r)ᵐ] with C = n/(n−m) (n/m)^(m/(n−m)) is the same with n and m exchanged, so the manifold of its
distributions folds where n = m. Two particles in a cube of edge 6 at β = 1/1.2, cut off at 3: the distribution of their
distance is known without simulation, and with predictions 2√p the metric of least squares is the Fisher information. Prints the
spectrum at (ε, σ, n, m) = (1, 1, 12, 6), where the softest direction leads, and draws the way.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

jax.config.update("jax_enable_x64", True)

from bayescg.analysis import least_squares_manifold, manifold_boundary, participation  # noqa: E402
from bayescg.output import figure_boundary  # noqa: E402

NAMES = ("epsilon", "sigma", "n", "m")
BETA, EDGE, CUTOFF = 1.0 / 1.2, 6.0, 3.0
DISTANCE = jnp.linspace(0.5, CUTOFF, 2001)
WEIGHT = jnp.append(  # of the shells, and of all that is farther apart
    (4.0 * jnp.pi * DISTANCE**2 * (DISTANCE[1] - DISTANCE[0])).at[-1].multiply(0.5),
    EDGE**3 - 4.0 * jnp.pi * CUTOFF**3 / 3.0,
)


def energy(z: jax.Array) -> jax.Array:
    epsilon, sigma, n, m = jnp.exp(z)
    prefactor = epsilon * n / (n - m) * (n / m) ** (m / (n - m))
    x = jnp.log(sigma / DISTANCE)
    return prefactor * (jnp.exp(n * x) - jnp.exp(m * x))


def root_probability(z: jax.Array) -> jax.Array:
    """2√p of each shell: its derivatives' products, summed, are the Fisher information."""
    log_p = jnp.log(WEIGHT) - BETA * jnp.append(energy(z), 0.0)
    return 2.0 * jnp.exp(0.5 * (log_p - jax.nn.logsumexp(log_p)))


def main() -> None:
    """Prints the spectrum and where its softest direction leads, and draws the way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figure", nargs="?", type=Path)
    options = parser.parse_args()
    start = np.log([1.0, 1.0, 12.0, 6.0])
    manifold = least_squares_manifold(root_probability)
    values, vectors = np.linalg.eigh(np.asarray(manifold.metric(jnp.asarray(start))))
    print("| eigenvalue per frame | " + " | ".join(NAMES) + " |\n|---|---|---|---|---|")
    for value, shares in zip(values[::-1], participation(vectors.T[::-1]), strict=True):
        print(f"| {value:.3g} | " + " | ".join(f"{100 * share:.1f} %" for share in shares) + " |")
    found = manifold_boundary(manifold, start, names=NAMES)
    print(f"\n{found.end}: {found.words}")
    at = ", ".join(f"{name} {np.exp(value):.3f}" for name, value in zip(NAMES, found.edge, strict=True))
    print(f"edge at {at}, a way of {found.length[-1]:.2f}")
    if options.figure:
        data = xr.Dataset(
            {
                "geodesic": (("step", "parameter"), found.z),
                "geodesic_smallest_eigenvalue": ("step", found.smallest_eigenvalue),
                "geodesic_log_speed": ("step", found.log_speed),
            },
            coords={"parameter": list(NAMES)},
            attrs={"boundary": found.words, "boundary_end": str(found.end)},
        )
        figure_boundary(data).savefig(options.figure)


if __name__ == "__main__":
    main()
