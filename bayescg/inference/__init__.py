"""What the data say about the parameters: priors, likelihoods, posterior, samplers, storage."""

from bayescg.inference._calibrate import Calibration as Calibration
from bayescg.inference._calibrate import calibrate as calibrate
from bayescg.inference._calibrate import calibrated_draws as calibrated_draws
from bayescg.inference._likelihood import RelativeEntropy as RelativeEntropy
from bayescg.inference._likelihood import block_log_likelihood as block_log_likelihood
from bayescg.inference._likelihood import relative_entropy as relative_entropy
from bayescg.inference._nuts import Nuts as Nuts
from bayescg.inference._posterior import Mode as Mode
from bayescg.inference._posterior import Posterior as Posterior
from bayescg.inference._posterior import laplace as laplace
from bayescg.inference._posterior import maximise as maximise
from bayescg.inference._prior import Prior as Prior
from bayescg.inference._prior import RandomWalk as RandomWalk
from bayescg.inference._prior import Smoothness as Smoothness
from bayescg.inference._prior import independent_prior as independent_prior
from bayescg.inference._verify import Verification as Verification
from bayescg.inference._verify import verify as verify
