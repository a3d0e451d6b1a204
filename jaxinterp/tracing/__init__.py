"""Tracing: from a prediction back to the units that made it."""

from jaxinterp.tracing._ablation import ablated_predictions as ablated_predictions
from jaxinterp.tracing._ablation import matched_sets as matched_sets
from jaxinterp.tracing._class_maps import ClassMaps as ClassMaps
from jaxinterp.tracing._class_maps import class_maps as class_maps
from jaxinterp.tracing._difference import ablate as ablate
from jaxinterp.tracing._difference import patch as patch
from jaxinterp.tracing._difference import prediction_difference as prediction_difference
from jaxinterp.tracing._explanation import Explanation as Explanation
from jaxinterp.tracing._explanation import explain as explain
from jaxinterp.tracing._selection import random_units_of_equal_activation as random_units_of_equal_activation
from jaxinterp.tracing._selection import support as support
from jaxinterp.tracing._selection import top_units as top_units
