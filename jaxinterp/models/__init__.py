"""Networks in torchvision's layout, with named layers and taps, and their weights."""

from jaxinterp.models._alexnet import alexnet as alexnet
from jaxinterp.models._checkpoint import fingerprint as fingerprint
from jaxinterp.models._checkpoint import last_conv as last_conv
from jaxinterp.models._checkpoint import load as load
from jaxinterp.models._checkpoint import save as save
from jaxinterp.models._concept_world import small_alexnet as small_alexnet
from jaxinterp.models._concept_world import small_resnet18 as small_resnet18
from jaxinterp.models._concept_world import small_vgg16 as small_vgg16
from jaxinterp.models._download import fetch as fetch
from jaxinterp.models._download import published_weights as published_weights
from jaxinterp.models._download import weights_file as weights_file
from jaxinterp.models._fold import fold_batch_norm as fold_batch_norm
from jaxinterp.models._network import IMAGENET_MEAN as IMAGENET_MEAN
from jaxinterp.models._network import IMAGENET_STD as IMAGENET_STD
from jaxinterp.models._published import Published as Published
from jaxinterp.models._published import published as published
from jaxinterp.models._resized import at_size as at_size
from jaxinterp.models._resnet import resnet18 as resnet18
from jaxinterp.models._resnet import resnet50 as resnet50
from jaxinterp.models._squeezenet import squeezenet1_1 as squeezenet1_1
from jaxinterp.models._vgg import vgg16 as vgg16
