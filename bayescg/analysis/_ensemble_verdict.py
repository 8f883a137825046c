"""Which ensemble of draws covers held-out labels, in words."""

import numpy as np
import xarray as xr

from bayescg.analysis._ensemble_coverage import ALONE, NARROW, NOISY, NOMINAL, WIDE, pooled_coverage

ENSEMBLE_WORDS = {"pops": "POPS"}
"""What ensembles are called in sentences where not by their own names."""


def ensemble_words(ensemble: str, interval: str = ALONE) -> str:
    """An ensemble's name in a sentence, and whether noise was added.

    Example:
        >>> ensemble_words("pops"), ensemble_words("posterior", "with noise")
        ('POPS', 'posterior with noise')
    """
    words = ENSEMBLE_WORDS.get(ensemble, ensemble)
    return f"{words} with noise" if interval == NOISY else words


def ensemble_sentences(table: xr.Dataset) -> list[str]:
    """Coverage of held-out labels by every ensemble side by side, and which covers as nominal.

    Args:
        table: from `coverage_by_ensemble`.

    Example:
        >>> by_group = ("ensemble", "interval", "quantity", "group", "level")
        >>> shares = np.array([[0.1, 0.3], [0.5, 0.91], [0.52, 0.9], [0.8, 1.0]]).reshape(2, 2, 1, 1, 2)
        >>> table = xr.Dataset(
        ...     {"coverage": (by_group, shares), "width": (by_group, 1.0 + shares),
        ...      "residual": (("ensemble", "quantity", "group"), [[[0.4]], [[0.4]]]),
        ...      "count": (("quantity", "group"), [[900]]), "configurations": (("quantity", "group"), [[300]]),
        ...      "linearisation_error": ("ensemble", [0.0, 0.0])},
        ...     coords={"ensemble": ["posterior", "discrepancy"], "interval": [ALONE, NOISY], "quantity": ["forces"],
        ...             "level": [0.5, 0.9], "unit": ("quantity", ["eV/angstrom"])},
        ... )
        >>> for sentence in ensemble_sentences(table)[:3]:
        ...     print(sentence)
        Held-out labels inside 90 % intervals of the parameters alone: posterior forces 30 %; discrepancy forces 90 %.
        With noise: posterior forces 91 %; discrepancy forces 100 %.
        From nominal 50 to 90 %, as nominal: posterior with noise, discrepancy; too narrow: posterior; \
too wide: discrepancy with noise.
    """
    pooled = pooled_coverage(table)
    if not pooled.sizes["quantity"]:
        return ["No held-out label says anything about coverage."]
    level = pooled["level"].values
    shown = float(level[np.argmin(np.abs(level - 0.9))])
    sentences = [
        f"Held-out labels inside {100 * shown:.0f} % intervals of the parameters alone: {_shares(pooled, ALONE, shown)}.",
        f"With noise: {_shares(pooled, NOISY, shown)}.",
    ]
    found = {verdict: _with_verdict(pooled, verdict) for verdict in (NOMINAL, NARROW, WIDE)}
    few, many = int(100 * level.min()), int(100 * level.max())
    parts = [f"{verdict}: {', '.join(names) or 'none'}" for verdict, names in found.items()]
    sentences.append(f"From nominal {few} to {many} %, {'; '.join(parts)}.")
    configurations = int(pooled["configurations"].min())
    least = 100 * pooled["least_difference"].max("quantity").values
    span = f"{least.min():.0f}" if np.ptp(least) < 0.5 else f"{least.min():.0f} to {least.max():.0f}"
    sentences.append(
        f"With {configurations} held-out configurations differences from nominal below {span} % count as none."
    )
    bent = [ensemble_words(str(name)) for name in pooled["ensemble"].values[pooled["bent"].values]]
    if bent:
        sentences.append(
            f"Do not rely on the coverage of {', '.join(bent)}: it is that of linear predictions, which do not hold there."
        )
    return [*sentences, *_choice(pooled, shown)]


def _shares(pooled: xr.Dataset, interval: str, level: float) -> str:
    """The share inside intervals of one level, ensemble by ensemble."""
    parts = []
    for ensemble in pooled["ensemble"].values:
        one = pooled["coverage"].sel(ensemble=ensemble, interval=interval, level=level)
        numbers = [f"{q} {100 * float(one.sel(quantity=q)):.0f} %" for q in pooled["quantity"].values]
        if np.isfinite(one.values).all():
            parts.append(f"{ensemble_words(str(ensemble))} {', '.join(numbers)}")
    return "; ".join(parts)


def _with_verdict(pooled: xr.Dataset, verdict: str) -> list[str]:
    """Ensembles with a verdict; the quantities too, where it is not on all of them."""
    names = []
    for interval in pooled["interval"].values:
        for ensemble in pooled["ensemble"].values:
            here = pooled["verdict"].sel(ensemble=ensemble, interval=interval) == verdict
            if not here.any():
                continue
            quantities = [str(q) for q in pooled["quantity"].values[here.values]]
            suffix = "" if here.all() else f" ({', '.join(quantities)})"
            names.append(ensemble_words(str(ensemble), str(interval)) + suffix)
    return sorted(names, key=lambda name: "with noise" not in name) if verdict == NOMINAL else names


def _choice(pooled: xr.Dataset, level: float) -> list[str]:
    """The narrowest intervals that cover all quantities as nominal, with noise or without, and without it."""
    good = (pooled["verdict"] == NOMINAL).all("quantity") & ~pooled["bent"]
    width = xr.apply_ufunc(np.log, pooled["width"].sel(level=level)).mean("quantity").where(good)
    caveat = (
        " Without noise too few labels are inside also where the labels themselves have errors; nothing here says what"
        " holds far from the held-out configurations."
    )
    if not good.any():
        return ["No ensemble covers every quantity as nominal: quote each with its coverage." + caveat]
    best = width.where(width == width.min(), drop=True)
    first = ensemble_words(str(best["ensemble"].values[0]), str(best["interval"].values[0]))
    alone = width.sel(interval=ALONE)
    if not np.isfinite(alone).any():
        second = "none without noise does, so that no band of a property holds the error of the form"
    else:
        narrowest = alone["ensemble"].values[int(np.nanargmin(alone.values))]
        second = f"for properties, which have no noise, {ensemble_words(str(narrowest))}"
    return [f"Narrowest of those that cover every quantity as nominal: {first}; {second}." + caveat]
