"""``SampleData`` that only records what is registered."""

import types
from typing import Any


class SampleDataLogic:
    """The static registration methods.

    Attributes:
        categories: Registered categories with their titles.
        sources: Registered samples, as given.
    """

    categories: dict[str, str] = {}  # noqa: RUF012 (one registry, as in Slicer)
    sources: list[dict[str, Any]] = []  # noqa: RUF012

    @staticmethod
    def registerCustomSampleDataCategory(category: str, title: str | None = None, **_more: Any) -> None:
        """Remember a category."""
        SampleDataLogic.categories[category] = title or category

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom", sampleName: str | None = None, **more: Any
    ) -> None:
        """Remember a sample."""
        known = {"uris", "fileNames", "nodeNames", "customDownloader", "thumbnailFileName", "loadFileType"}
        known |= {"loadFiles", "checksums", "loadFileProperties", "sampleDescription"}
        if not set(more) <= known:
            raise TypeError(f"registerCustomSampleDataSource does not know {set(more) - known}")
        SampleDataLogic.sources.append({"category": category, "sampleName": sampleName, **more})


def makeModule() -> types.ModuleType:
    """Build ``SampleData``."""
    module = types.ModuleType("SampleData")
    module.SampleDataLogic = SampleDataLogic
    return module
