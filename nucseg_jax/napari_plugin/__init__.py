"""The plugin for napari: a widget that finds the nuclei of the active image layer (extra `napari`).

napari reads `napari.yaml`, which names `widget.NucleiWidget`. `layers` says what an image layer holds,
`finding` runs the engine on it. This file imports nothing, so that napari starts as fast with the plugin.
"""
