"""How many knots the water data carry: splines of 8 to 48 coefficients from the stored run of the finest.

usage: python basis_sweep.py MODEL RUN OUT.png

MODEL is a folder with this study's `model.toml`, its `spacing` set to 0.01375 nm (48 intervals), RUN the output folder of
`bayescg run MODEL -o RUN`. The bank of that run serves every size: nothing is simulated.
"""

import argparse
import json
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402
import xarray as xr  # noqa: E402

from bayescg.analysis import basis_sweep, spline_basis  # noqa: E402
from bayescg.data import read_frames  # noqa: E402
from bayescg.inference import read_bank  # noqa: E402
from bayescg.output import figure_basis_sweep  # noqa: E402
from bayescg.physics import SplinePair, reduce  # noqa: E402
from bayescg.study import read_model_file  # noqa: E402

SIZES = (8, 12, 16, 24, 48)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("model", "run", "out"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    model, _ = read_model_file(arguments.model / "model.toml")
    table = model.potential["water"]

    def spline(size: int) -> SplinePair:
        return SplinePair.uniform(
            inner=table.inner,
            cutoff=table.cutoff,
            spacing=(table.cutoff - table.inner) / size,
            core_distance=table.core_distance,
            core_strength=table.core_strength,
        )

    fine = spline(SIZES[-1])
    frames = read_frames(arguments.model / model.data.frames[0])
    statistics, bank = reduce(frames.blocks(64), fine), read_bank(arguments.run / "bank.nc")
    with xr.open_datatree(arguments.run / "posterior.nc") as tree:
        draws = tree["posterior_raw"].to_dataset().mean(["chain", "draw"])
        start = np.append(draws["water_coefficients"].values, 1.0)
        smoothness = float(draws["water_coefficients_smoothness"])
    bases = [spline_basis(fine, spline(size), smoothness=smoothness) for size in SIZES]
    sweep = basis_sweep(statistics, bank.surrogate(), bases, start=start, bank=bank)
    print(
        f"{statistics.n_frames} frames, {len(bank.features)} reference frames, smoothness {smoothness:.3f} kJ/mol"
    )
    columns = ("train_relative_entropy", "block_cv", "difference", "difference_se", "tic_gap", "variance")
    columns += ("bias_proxy", "effective_parameters", "effective_reference_frames", "converged")
    print(sweep[list(columns)].to_dataframe().round(5).to_string())
    print(
        f"recommended: {sweep.attrs['recommended']}; independent frames {sweep.attrs['independent_frames']:.0f}"
    )
    print(*json.loads(sweep.attrs["warnings"]), sep="\n")
    figure_basis_sweep(sweep).savefig(arguments.out)


if __name__ == "__main__":
    main()
