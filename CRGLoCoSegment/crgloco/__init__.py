"""CRGLoCoSegment's engine: dual-resolution segmentation and semi-supervised training without Slicer."""

__version__ = "0.1.0"
