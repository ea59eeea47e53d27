"""From a template to words for people: all comes with the package, is said in the language spoken, and is escaped."""

from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fnrbc_device.language import as_decimal, decimal, gettext, local, ngettext, number, plural, resay, spoken
from fnrbc_device.records import Image
from fnrbc_device.reporting.report_picture import data_uri
from fnrbc_device.texts import class_words

CROP_QUALITY: Final = 90
"""A 120x120 crop takes 3-5 kB, and a person sees the chromatin as in the crop itself."""


def environment(package: str) -> Environment:
    """Templates of a package, in which ``_``, ``ngettext`` and ``{% trans %}`` say what a person reads."""
    made = Environment(
        loader=PackageLoader(package, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    made.policies["ext.i18n.trimmed"] = True
    made.install_gettext_callables(gettext, plural, newstyle=True)  # type: ignore[attr-defined]
    made.globals.update(ngettext=ngettext, number=number, decimal=decimal, as_decimal=as_decimal)
    made.globals.update(local=local, spoken=spoken, resay=resay, class_words=class_words)
    made.filters.update(decimal=decimal, as_decimal=as_decimal)
    return made


def render(template: str, **context: Any) -> Markup:
    """Render a file of ``templates``; gives HTML that other templates take as it is."""
    return Markup(_TEMPLATES.get_template(template).render(**context))


def _written(value: object) -> str:
    """Write a value; of a number, what a person can compare."""
    return as_decimal(f"{value:.4g}") if isinstance(value, float) else str(value)


def _crop_uri(crop: Image) -> str:
    return data_uri(crop, CROP_QUALITY)


_TEMPLATES: Final = environment("fnrbc_device.reporting")
_TEMPLATES.filters.update(written=_written, crop_uri=_crop_uri)
