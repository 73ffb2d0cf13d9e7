"""The two bundled scans in Slicer's Sample Data module; nothing is downloaded."""

from pathlib import Path

from slicer.i18n import tr as _

RESOURCES = Path(__file__).parents[2] / "Resources"
FOLDER = RESOURCES / "Samples" / "chaos_mr"
CATEGORY = "CRGLoCoSegment"

# Name -> file below the folder and its SHA-256.
SAMPLES = {
    "CRGLoCoAbdomenMR1": (
        "imagesTr/chaos_13_0000.nii.gz",
        "de9a57d9d62c755c2e32a7256e0efd8c05dd1209b784e6ab90832b1a4c536007",
    ),
    "CRGLoCoAbdomenMR2": (
        "imagesUl/chaos_32_0000.nii.gz",
        "ca438c903fd14f11dfe39d3bf03a2106e7fb743a104b68469850e4e3aab1d798",
    ),
}


def register() -> None:
    """Offer the scans; Sample Data copies them into its cache, so that no scene points into the module.

    A copy also is why these are ``file:`` addresses and not a loader of ours: Sample Data takes the
    storage node away, and saving the scene then cannot overwrite what belongs to the extension.
    """
    from SampleData import SampleDataLogic

    if not hasattr(SampleDataLogic, "registerCustomSampleDataCategory"):
        return  # a Slicer before 5.12: the section Environment says so
    SampleDataLogic.registerCustomSampleDataCategory(CATEGORY, title=_("CRG LoCo Segment"))
    for name, (file, digest) in SAMPLES.items():
        SampleDataLogic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=name,
            uris=(FOLDER / file).as_uri(),
            fileNames=f"{name}.nii.gz",
            nodeNames=name,
            checksums=f"SHA256:{digest}",
            thumbnailFileName=str(RESOURCES / "Icons" / f"{name}.png"),
        )
