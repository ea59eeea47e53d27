"""From a template to a part of a report: all comes with the package, and what is laid in is escaped."""

from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fnrbc_device.records import Image
from fnrbc_device.reporting.report_picture import data_uri

CROP_QUALITY: Final = 90
"""A 120x120 crop takes 3-5 kB, and a person sees the chromatin as in the crop itself."""


def render(template: str, **context: Any) -> Markup:
    """Render a file of ``templates``; gives HTML that other templates take as it is."""
    return Markup(_TEMPLATES.get_template(template).render(**context))


def _written(value: object) -> str:
    """Write a value; of a number, what a person can compare."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _crop_uri(crop: Image) -> str:
    return data_uri(crop, CROP_QUALITY)


_TEMPLATES: Final = Environment(
    loader=PackageLoader("fnrbc_device.reporting", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters.update(written=_written, crop_uri=_crop_uri)
