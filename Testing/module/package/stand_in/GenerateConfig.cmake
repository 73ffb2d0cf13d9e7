# Slicer writes <extension>Config.cmake here; a scripted extension has no targets to name in it.
if(NOT EXTENSION_NAME)
  message(FATAL_ERROR "include(\${Slicer_USE_FILE}) must come first")
endif()
