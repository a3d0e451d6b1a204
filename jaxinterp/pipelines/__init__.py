"""Pipelines: the only place with loops over data, files and logs. A recipe builds a `Study`; `run_study` runs it."""

from jaxinterp.pipelines._context import Run as Run
from jaxinterp.pipelines._dissect_layers import LayerDissection as LayerDissection
from jaxinterp.pipelines._dissect_layers import dissect_layers as dissect_layers
from jaxinterp.pipelines._dissection_settings import Dissection as Dissection
from jaxinterp.pipelines._robustness import card_lines as card_lines
from jaxinterp.pipelines._robustness import card_texts as card_texts
from jaxinterp.pipelines._robustness import robustness_card as robustness_card
from jaxinterp.pipelines._stages import VERBS as VERBS
from jaxinterp.pipelines._stages import run_study as run_study
from jaxinterp.pipelines._stages import stages_of as stages_of
from jaxinterp.pipelines._standard import Verdicts as Verdicts
from jaxinterp.pipelines._standard import standard_evaluation as standard_evaluation
from jaxinterp.pipelines._study import Member as Member
from jaxinterp.pipelines._study import Robustness as Robustness
from jaxinterp.pipelines._study import Standard as Standard
from jaxinterp.pipelines._study import Study as Study
from jaxinterp.pipelines._study import Training as Training
from jaxinterp.pipelines._transfer import Transfers as Transfers
from jaxinterp.pipelines._transfer import transfer_evaluation as transfer_evaluation
from jaxinterp.pipelines._transfer_card import transfer_card as transfer_card
from jaxinterp.pipelines._transfer_card import transfer_lines as transfer_lines
from jaxinterp.pipelines._transfer_card import transfer_texts as transfer_texts
from jaxinterp.pipelines._transfer_settings import Transfer as Transfer
from jaxinterp.pipelines._workdir import WorkDir as WorkDir
