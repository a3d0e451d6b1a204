"""What the page of a depth study shows."""

from jaxinterp import report
from jaxinterp.pipelines._depth_settings import DepthCondition, DepthStudy
from jaxinterp.pipelines._workdir import WorkDir


def run_name(condition: DepthCondition, seed: int) -> str:
    """The part of the work directory of one training."""
    return f"depth.{condition.name}.{seed}"


def depth_page(study: DepthStudy, workdir: WorkDir) -> report.Page:
    return report.Page(title=study.title)
