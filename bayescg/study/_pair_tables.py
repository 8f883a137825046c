"""Fine tables of a stored run's pair potential, for a simulation engine."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr  # noqa: F401  # the example uses it

from bayescg import output
from bayescg.data import get_unit_system
from bayescg.errors import InputError
from bayescg.physics import PairPotential
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
    tree = output.open_result(folder)
    model = parse_model_file(tree.attrs["model_file_text"], folder / "posterior.nc")
    if isinstance(model, LabelledModelFile):
        raise InputError(f"{folder}: the model is of labelled configurations; use `stored_potentials` for it")
    potential = build_potential(model, path=folder / "posterior.nc")
    units = get_unit_system(model.units)
    terms = terms_of(potential)
    if not all(isinstance(term, PairPotential) for term in terms):
        raise InputError(f"{folder}: the model is no pair potential, so there is no table to write")
    prior = build_prior(model, potential, units, path=folder / "posterior.nc")
    z = np.asarray(tree["unconstrained"].to_dataset()["z_calibrated"])
    flat = z.reshape(-1, z.shape[-1])
    if n_draws > len(flat):
        raise InputError(f"{folder}: {n_draws} draws asked for, the run holds {len(flat)}; ask for fewer")
    reach = max(term.cutoff for term in terms if isinstance(term, PairPotential))
    distance = np.linspace(0.2 * reach, reach, points)
    r2 = jnp.asarray(distance**2)

    def curve(point):
        pairs = [t for t in terms_of(prior.potential(point)) if isinstance(t, PairPotential)]
        energy = sum(term.pair_energy(r2) for term in pairs)
        force = sum(term.pair_force_factor(r2) for term in pairs) * jnp.sqrt(r2)
        return energy, force

    energy, force = (np.asarray(a) for a in jax.lax.map(curve, jnp.asarray(flat), batch_size=64))
    index = np.linspace(0, len(flat) - 1, n_draws).astype(int)
    ids = [f"{i // z.shape[1]}:{i % z.shape[1]}" for i in index]
    return output.PairTables(
        distance,
        energy[index],
        force[index],
        energy.mean(axis=0),
        force.mean(axis=0),
        ids,
        units,
        output.table_provenance(tree),
    )
