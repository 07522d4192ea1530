"""The one inference engine: images and slides of any size → probabilities → nuclei.

tiles (where the network looks) → tile_network (stain and network, on the device) → tile_store (what it
said, blended) → planes, and blocks of a large slide (nuclei). `segmentation` runs them for one slide: at
once for a small image, side by side for a large one (`feeder`). `segmenter` is what users call; `examples`
feeds it the images of a dataset. This file imports nothing, so that the processes that cut nuclei need not
load JAX.
"""
