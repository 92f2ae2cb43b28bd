"""Where data comes from: one loader per source, cleaning, the synthetic sample."""

from __future__ import annotations

from recommender.datasets.formats import FORMATS, detect_format, open_source
from recommender.datasets.importing import (
    ImportCounts,
    ImportFinished,
    import_data,
    import_source,
)

__all__ = [
    "FORMATS",
    "ImportCounts",
    "ImportFinished",
    "detect_format",
    "import_data",
    "import_source",
    "open_source",
]
