"""Training: objectives and the per-replica step."""

from jaxinterp.training._objectives import Objective as Objective
from jaxinterp.training._objectives import consistent as consistent
from jaxinterp.training._objectives import masked_mean as masked_mean
from jaxinterp.training._objectives import standard as standard
from jaxinterp.training._robust import adversarial as adversarial
from jaxinterp.training._robust import trades as trades
from jaxinterp.training._step import Step as Step
from jaxinterp.training._step import TrainState as TrainState
from jaxinterp.training._step import init_state as init_state
from jaxinterp.training._step import sharded_step as sharded_step
from jaxinterp.training._step import train_step as train_step
