"""A test host: Slicer's Python world made of PySide6 and slicer-core, with PythonQt's behaviour."""
