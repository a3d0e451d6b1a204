"""Statistics over the activations of a layer: top images, exact quantiles, pooled features, dissection tallies.

Each is a `Statistic`: one pass over a data set computes any number of them, and `merge` joins the states of several
devices or several runs. Adversarial images carry the concept maps of the images they were made from.
"""

from jaxinterp.activations._concept_histogram import ConceptHistogram as ConceptHistogram
from jaxinterp.activations._concept_histogram import concept_histogram as concept_histogram
from jaxinterp.activations._concept_histogram import histogram_edges as histogram_edges
from jaxinterp.activations._depth_bins import DepthBins as DepthBins
from jaxinterp.activations._depth_bins import kitti_bins as kitti_bins
from jaxinterp.activations._depth_bins import nyu_bins as nyu_bins
from jaxinterp.activations._depth_response import DepthResponse as DepthResponse
from jaxinterp.activations._depth_response import depth_maps as depth_maps
from jaxinterp.activations._depth_response import depth_response as depth_response
from jaxinterp.activations._depth_response import response_sums as response_sums
from jaxinterp.activations._depth_selectivity import assigned_bins as assigned_bins
from jaxinterp.activations._depth_selectivity import cross_validated_selectivity as cross_validated_selectivity
from jaxinterp.activations._depth_selectivity import depth_selectivity as depth_selectivity
from jaxinterp.activations._depth_selectivity import selective_bins as selective_bins
from jaxinterp.activations._discrepancy import DiscrepancyMaps as DiscrepancyMaps
from jaxinterp.activations._discrepancy import Drop as Drop
from jaxinterp.activations._discrepancy import discrepancy_maps as discrepancy_maps
from jaxinterp.activations._discrepancy_image import discrepancy_on_image as discrepancy_on_image
from jaxinterp.activations._discrepancy_image import discrepancy_regions as discrepancy_regions
from jaxinterp.activations._masks import MaskSet as MaskSet
from jaxinterp.activations._masks import masks as masks
from jaxinterp.activations._pooled import mean_pooled as mean_pooled
from jaxinterp.activations._pooled import pooled as pooled
from jaxinterp.activations._quantile import CoarseQuantile as CoarseQuantile
from jaxinterp.activations._quantile import quantile_coarse as quantile_coarse
from jaxinterp.activations._quantile import quantile_fine as quantile_fine
from jaxinterp.activations._tally import AreaRule as AreaRule
from jaxinterp.activations._tally import Tally as Tally
from jaxinterp.activations._tally import tally as tally
from jaxinterp.activations._topk import TopK as TopK
from jaxinterp.activations._topk import top_count as top_count
from jaxinterp.activations._topk import top_k as top_k
from jaxinterp.activations._upsample import Anchor as Anchor
from jaxinterp.activations._upsample import unit_masks as unit_masks
from jaxinterp.activations._upsample import upsample as upsample
