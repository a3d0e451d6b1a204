"""The numbers of a gallery as CSV: one row a unit, or one row a unit and concept."""

from jaxinterp.report._gallery_fields import fields
from jaxinterp.report._gallery_records import UnitGallery
from jaxinterp.report._tables import csv_text


def units_csv(gallery: UnitGallery) -> str:
    """Every column of every unit, one row a unit.

    Args:
        gallery: the units of one layer; its pictures are not asked for.

    Returns:
        CSV (RFC 4180), the first line names the columns: `unit`, those of every set of images, for example `IoU (real)`, and
        the further ones. Yes and no are 1 and 0, what is missing is empty, numbers have every digit.
    """
    columns = fields(gallery)
    rows = ([unit, *(field.values[unit] for field in columns)] for unit in range(gallery.num_units))
    return csv_text(["unit", *(field.title for field in columns)], rows)


def concepts_csv(gallery: UnitGallery) -> str:
    """The nearest concepts of every unit, one row a unit, set of images and concept.

    Args:
        gallery: the units of one layer; sets without labels have no rows, those without `ranked` one row a labelled unit.

    Returns:
        CSV (RFC 4180) with the columns `unit`, `images`, `rank` (from 1), `concept`, `category`, `IoU`.
    """
    rows = []
    for unit in range(gallery.num_units):
        for one in gallery.sets:
            labels = one.labels
            if labels is None:
                continue
            if labels.ranked is None or labels.ranked_iou is None:
                pairs = [(int(labels.concept[unit]), float(labels.iou[unit]))]
            else:
                pairs = list(zip(labels.ranked[unit].tolist(), labels.ranked_iou[unit].tolist(), strict=True))
            for rank, (number, iou) in enumerate(pairs, 1):
                if number:
                    rows.append([unit, one.name, rank, labels.names[number], labels.categories[number], iou])
    return csv_text(["unit", "images", "rank", "concept", "category", "IoU"], rows)
