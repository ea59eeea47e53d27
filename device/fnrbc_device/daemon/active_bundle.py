"""Which bundle a session counts with."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

# The store and the configuration are heavy: `fnrbc --help` stays quick.
if TYPE_CHECKING:
    from fnrbc_device.config import Config
    from fnrbc_device.inference.bundle_store import BundleStore
    from fnrbc_device.inference.choose import EngineSettings
    from fnrbc_device.model.bundle import Bundle
    from fnrbc_device.records import ErrorCounts

_log = logging.getLogger(__name__)


def bundle_for(config: "Config") -> Path | None:
    """Give the bundle that a session counts with: the configured one, else the one in use, None for the shipped one."""
    return config.bundle if config.bundle is not None else store_of(config).active()


def engines_for(config: "Config", bundle: Path | None) -> "EngineSettings | None":
    """Give where the engines of a bundle lie and what to do without one; None where the processor counts."""
    from fnrbc_device.inference.choose import EngineSettings

    inference = config.inference
    if inference.runtime == "onnxruntime":
        return None
    return EngineSettings(bundle, config.state_dir / "engines", inference.fallback, inference.build_timeout_s)


def store_of(config: "Config") -> "BundleStore":
    """Give the bundles that are installed on this device."""
    from fnrbc_device.inference.bundle_store import BundleStore

    return BundleStore(config.state_dir / "bundles", config.bundle_key)


def errors_for(config: "Config", bundle: "Bundle") -> "tuple[ErrorCounts, ...]":
    """Give the errors that a count is corrected by: those measured at this site, else those that the bundle ships."""
    from fnrbc_device.errors import BundleError, JournalError
    from fnrbc_device.model.error_counts import shipped_errors

    shipped = shipped_errors(bundle.manifest)
    try:
        figures = store_of(config).site_figures(bundle.id)
    except (BundleError, JournalError) as error:
        _log.warning("counts are corrected by what the bundle ships: %s", error)
        return shipped
    return shipped if figures is None else (figures.errors(shipped),)
