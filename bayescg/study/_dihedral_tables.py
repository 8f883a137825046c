"""Fine tables of a stored run's potential of an angle, for a simulation engine."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from bayescg import output
from bayescg.errors import InputError
from bayescg.physics import AngleFourier
from bayescg.physics._potential import terms_of
from bayescg.study._pair_tables import stored_draws


def has_angle(folder: Path) -> bool:
    """Whether all terms of a stored run's potential are of angles.

    Args:
        folder: the run's output folder.

    Raises:
        InputError: no result, or a run of labelled configurations.
    """
    return all(isinstance(term, AngleFourier) for term in terms_of(stored_draws(folder, 1).potential))


def dihedral_tables(folder: Path, n_draws: int) -> output.DihedralTables:
    """Tables of the mean potential of an angle and of an ensemble of calibrated draws of a stored run.

    Args:
        folder: the run's output folder.
        n_draws: draws in the ensemble, spread evenly over the chains.

    Raises:
        InputError: no result, a model that is no potential of an angle, or more draws than there are.

    Example:
        >>> import xarray as xr
        >>> from tempfile import TemporaryDirectory
        >>> lines = [
        ...     'title = "An angle"', 'units = "lj"', 'temperature = 1.0', 'data.frames = ["angles.nc"]',
        ...     'potential.phi = {kind = "angle-fourier", kappa1 = 0.0, kappa2 = 0.0}',
        ...     'prior.phi_kappa1 = {distribution = "normal", loc = 0.0, scale = 2.0}',
        ...     'prior.phi_kappa2 = {distribution = "normal", loc = 0.0, scale = 2.0}',
        ...     'simulation = {time_step = 0.3, friction = 1.0, stride = 10}',
        ... ]
        >>> draws = np.array([[[1.0, 0.0], [3.0, 0.0]]])  # two, of kappa1 and kappa2
        >>> unconstrained = xr.Dataset({"z_calibrated": (("chain", "draw", "coordinate"), draws)})
        >>> tree = xr.DataTree.from_dict({"unconstrained": unconstrained})
        >>> tree.attrs |= {"schema_version": 1, "model_file_text": "\\n".join(lines), "seed": 1}
        >>> tree.attrs |= {"title": "An angle", "calibration": "none", "data_checksum": "of no data", "temperature": 1.0}
        >>> tree.attrs |= {"units": "lj", "versions": "{}"}
        >>> with TemporaryDirectory() as folder:
        ...     tree.to_netcdf(Path(folder) / output.RESULT_FILE, engine="netcdf4")
        ...     tables = dihedral_tables(Path(folder), 2)
        >>> tables.draw_ids, tables.mean_energy[[0, 360]].tolist()  # at -180 and 0 degrees
        (['0:0', '0:1'], [2.0, -2.0])
    """
    stored = stored_draws(folder, n_draws)
    if not all(isinstance(term, AngleFourier) for term in terms_of(stored.potential)):
        raise InputError(
            f"{folder}: the model is no potential of an angle alone, so there is no dihedral to write"
        )
    angles = jnp.asarray(output.dihedral_angles())

    def curve(point: jax.Array) -> tuple[jax.Array, jax.Array]:
        potential = stored.prior.potential(point)
        # in an open direction the coordinate is the angle itself
        energy = jax.value_and_grad(lambda angle: potential.energy(angle[None, None], jnp.full(1, jnp.inf)))
        return jax.vmap(energy)(angles)

    energy, slope = (np.asarray(a) for a in jax.lax.map(curve, jnp.asarray(stored.flat), batch_size=64))
    return output.DihedralTables(
        energy.mean(axis=0),
        slope.mean(axis=0),
        energy[stored.chosen],
        slope[stored.chosen],
        stored.draw_ids,
        stored.units.kT(stored.temperature),
        stored.units,
        output.table_provenance(stored.tree),
    )
