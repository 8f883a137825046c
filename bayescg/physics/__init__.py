"""What parameters imply: potentials, simulation, free energies, observables."""

from bayescg.physics._histogram import HistogramPair as HistogramPair
from bayescg.physics._histogram import WeeksChandlerAndersen as WeeksChandlerAndersen
from bayescg.physics._linear import DoubleWell as DoubleWell
from bayescg.physics._linear import LinearPotential as LinearPotential
from bayescg.physics._pair import LennardJones as LennardJones
from bayescg.physics._pair import PairPotential as PairPotential
from bayescg.physics._potential import ParameterInfo as ParameterInfo
from bayescg.physics._potential import Potential as Potential
from bayescg.physics._potential import SumPotential as SumPotential
from bayescg.physics._spline import SplinePair as SplinePair
from bayescg.physics._bank import Reference as Reference
from bayescg.physics._bank import ReferenceBank as ReferenceBank
from bayescg.physics._bank import Surrogate as Surrogate
from bayescg.physics._reduce import FrameReducer as FrameReducer
from bayescg.physics._reduce import SufficientStatistics as SufficientStatistics
from bayescg.physics._reduce import reduce as reduce
from bayescg.physics._simulate import SimulationSettings as SimulationSettings
from bayescg.physics._simulate import Simulator as Simulator
