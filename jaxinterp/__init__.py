"""jaxinterp: adversarial images against ensembles, what every unit of a network answers to, and training that keeps it so."""

from jaxinterp._base import Activations as Activations
from jaxinterp._base import Attack as Attack
from jaxinterp._base import Batch as Batch
from jaxinterp._base import Layer as Layer
from jaxinterp._base import Model as Model
from jaxinterp._base import Network as Network
from jaxinterp._base import Statistic as Statistic
from jaxinterp._base import Taps as Taps

__version__ = "0.1.0"
