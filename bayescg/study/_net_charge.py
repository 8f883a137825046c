"""Whether labelled configurations are neutral with the charges of a model's Ewald sums."""

import numpy as np

from bayescg.analysis import Check, charge_check
from bayescg.data import Configurations
from bayescg.physics import InteratomicPotential, LongRangeCoulomb
from bayescg.physics._long_range import long_range_terms


def net_charge_checks(potential: InteratomicPotential, configurations: Configurations) -> list[Check]:
    """For each long-range Coulomb term, the configuration with the largest net charge; none without such a term.

    Args:
        potential: with the model file's charges; its species are those of the configurations, in their order.
        configurations: of the data.
    """
    checks = []
    for term in long_range_terms(potential):
        if not isinstance(term, LongRangeCoulomb):
            continue
        each, counts = np.asarray(term.species_charges(), float), configurations.composition
        worst = int(np.argmax(np.abs(counts @ each)))
        check = charge_check(np.repeat(each, counts[worst]))
        told = f"{check.sentence[:-1]} in configuration {worst}, which has the largest net charge of all"
        remedy = f"; see `potential.{term.name}.charges` and `formulas`" if check.verdict == "failed" else ""
        checks.append(check._replace(sentence=f"{told}{remedy}."))
    return checks
