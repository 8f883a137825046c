"""Fine tables of a stored run's pair potential, for a simulation engine."""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bayescg import output
from bayescg.data import UnitSystem, get_unit_system
from bayescg.errors import InputError
from bayescg.inference import Prior
from bayescg.physics import PairPotential, Potential
from bayescg.physics._potential import terms_of
from bayescg.study._build import build_potential, build_prior
from bayescg.study._labelled_schema import LabelledModelFile
from bayescg.study._read import parse_model_file


def pair_tables(folder: Path, n_draws: int, *, points: int = 1000) -> output.PairTables:
    """Fine tables of the mean potential and of an ensemble of calibrated draws of a stored run.

    Args:
        folder: the run's output folder.
        n_draws: draws in the ensemble, spread evenly over the chains.
        points: distances in each table.

    Raises:
        InputError: no result, a model that is not a pair potential, or more draws than there are.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> lines = [
        ...     'title = "Argon"', 'units = "real"', 'temperature = 85.0', 'data.frames = ["argon.nc"]',
        ...     'potential.argon = {kind = "lennard-jones", epsilon = 0.24, sigma = 3.4, cutoff = 10.2}',
        ...     'simulation = {time_step = 20.0, friction = 0.004, stride = 30}',
        ... ]
        >>> draws = np.log([[[0.24, 3.4], [0.25, 3.41]]])  # two, of epsilon and sigma
        >>> unconstrained = xr.Dataset({"z_calibrated": (("chain", "draw", "coordinate"), draws)})
        >>> tree = xr.DataTree.from_dict({"unconstrained": unconstrained})
        >>> tree.attrs |= {"schema_version": 1, "model_file_text": "\\n".join(lines), "seed": 1}
        >>> tree.attrs |= {"title": "Argon", "calibration": "none", "data_checksum": "of no data", "temperature": 85.0}
        >>> tree.attrs |= {"units": "real", "versions": "{}"}
        >>> with TemporaryDirectory() as folder:
        ...     tree.to_netcdf(Path(folder) / output.RESULT_FILE, engine="netcdf4")
        ...     pair_tables(Path(folder), 2).energy.shape
        (2, 1000)
    """
    stored, terms = _stored_pairs(folder, n_draws)
    reach = max(term.cutoff for term in terms)
    distance = np.linspace(0.2 * reach, reach, points)
    # at the cutoff itself a pair has no force: the last row holds the limit from within
    r2 = jnp.asarray(np.append(distance[:-1], reach * (1.0 - 1e-12)) ** 2)

    def curve(point):
        pairs = [t for t in terms_of(stored.prior.potential(point)) if isinstance(t, PairPotential)]
        energy = sum(term.pair_energy(r2) for term in pairs)
        force = sum(term.pair_force_factor(r2) for term in pairs) * jnp.sqrt(r2)
        return energy, force

    energy, force = (np.asarray(a) for a in jax.lax.map(curve, jnp.asarray(stored.flat), batch_size=64))
    return output.PairTables(
        distance,
        energy[stored.chosen],
        force[stored.chosen],
        energy.mean(axis=0),
        force.mean(axis=0),
        stored.draw_ids,
        stored.units,
        output.table_provenance(stored.tree),
    )


def pair_potentials(folder: Path, n_draws: int) -> tuple[list[PairPotential], PairPotential | None]:
    """The potentials of the draws that `pair_tables` takes, and their mean where it is of the same form.

    Args:
        folder: the run's output folder.
        n_draws: draws in the ensemble.

    Returns:
        One potential per draw, none where the potential is a sum of several terms; and the posterior mean potential of a
        Lennard-Jones form, whose energy is linear in its coefficients, or None.

    Raises:
        InputError: as `pair_tables`.

    Example:
        >>> potentials, mean = pair_potentials(Path("runs/lj-argon"), 20)  # doctest: +SKIP
        >>> len(potentials)  # doctest: +SKIP
        20
    """
    stored, terms = _stored_pairs(folder, n_draws)
    if len(terms) > 1:
        return [], None

    def term(point: jax.Array) -> PairPotential:
        (only,) = terms_of(stored.prior.potential(point))
        assert isinstance(only, PairPotential)
        return only

    coefficients = jax.lax.map(lambda z: term(z).coefficients(), jnp.asarray(stored.flat), batch_size=64)
    some = [term(jnp.asarray(stored.flat[i])) for i in stored.chosen]
    return some, output.mean_of(some, np.asarray(coefficients).mean(axis=0).tolist())


class StoredDraws(NamedTuple):
    """A run on frames: its result, model, prior, all calibrated draws and those chosen."""

    tree: xr.DataTree
    potential: Potential
    prior: Prior
    units: UnitSystem
    temperature: float
    flat: np.ndarray
    n_per_chain: int
    chosen: np.ndarray

    @property
    def draw_ids(self) -> list[str]:
        """Chain and draw of those chosen."""
        return [f"{i // self.n_per_chain}:{i % self.n_per_chain}" for i in self.chosen]


def stored_draws(folder: Path, n_draws: int) -> StoredDraws:
    """What an export needs of a stored run, for draws spread evenly over the chains.

    Args:
        folder: the run's output folder.
        n_draws: chosen draws.

    Raises:
        InputError: no result, a run of labelled configurations, or more draws than there are.

    Example:
        >>> stored_draws(Path("runs/lj-argon"), 2).draw_ids  # doctest: +SKIP
        ['0:0', '3:499']
    """
    tree = output.open_result(folder)
    model = parse_model_file(tree.attrs["model_file_text"], folder / "posterior.nc")
    if isinstance(model, LabelledModelFile):
        raise InputError(f"{folder}: the model is of labelled configurations; use `stored_potentials` for it")
    potential = build_potential(model, path=folder / "posterior.nc")
    units = get_unit_system(model.units)
    prior = build_prior(model, potential, units, path=folder / "posterior.nc")
    z = np.asarray(tree["unconstrained"].to_dataset()["z_calibrated"])
    flat = z.reshape(-1, z.shape[-1])
    if n_draws > len(flat):
        raise InputError(f"{folder}: {n_draws} draws asked for, the run holds {len(flat)}; ask for fewer")
    index = np.linspace(0, len(flat) - 1, n_draws).astype(int)
    return StoredDraws(tree, potential, prior, units, model.temperature, flat, z.shape[1], index)


def _stored_pairs(folder: Path, n_draws: int) -> tuple[StoredDraws, tuple[PairPotential, ...]]:
    """A run whose potential is a sum of pair terms, and these."""
    stored = stored_draws(folder, n_draws)
    terms = tuple(term for term in terms_of(stored.potential) if isinstance(term, PairPotential))
    if len(terms) < len(terms_of(stored.potential)):
        raise InputError(
            f"{folder}: the model is no pair potential, so there is no table of pairs to write; of others only a potential"
            " of an angle is exported, by --engine gromacs"
        )
    return stored, terms
