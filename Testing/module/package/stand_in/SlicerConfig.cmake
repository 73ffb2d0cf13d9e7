# A stand-in for a built Slicer, as far as a scripted extension needs one: the same macros with the same checks
# of their arguments. It copies and installs as Slicer does, and writes down what it was told.
#
# Written after Slicer's CMake/SlicerMacroBuildScriptedModule.cmake, SlicerMacroPythonTesting.cmake,
# SlicerExtensionCPack.cmake and CTK's ctkMacroCompilePythonScript.cmake of August 2026.

set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/GenerateConfig.cmake)
set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/ExtensionCPack.cmake)
