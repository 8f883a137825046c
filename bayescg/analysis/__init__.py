"""What the posterior means: identifiability, predictions, checks, the statement in words."""

from bayescg.analysis._identifiability import Identifiability as Identifiability
from bayescg.analysis._identifiability import identifiability as identifiability
from bayescg.analysis._predict import StructurePrediction as StructurePrediction
from bayescg.analysis._predict import System as System
from bayescg.analysis._predict import predict_structure as predict_structure
from bayescg.analysis._statement import pressure_sentence as pressure_sentence
from bayescg.analysis._statement import rdf_sentence as rdf_sentence
from bayescg.analysis._statement import statement as statement
from bayescg.analysis._statement import value_with_error as value_with_error
from bayescg.analysis._verdicts import Check as Check
from bayescg.analysis._verdicts import bank_checks as bank_checks
from bayescg.analysis._verdicts import bias_check as bias_check
from bayescg.analysis._verdicts import data_check as data_check
from bayescg.analysis._verdicts import reweighting_khat as reweighting_khat
from bayescg.analysis._verdicts import sampler_checks as sampler_checks
from bayescg.analysis._verdicts import verification_check as verification_check
from bayescg.analysis._label_coverage import label_coverage as label_coverage
