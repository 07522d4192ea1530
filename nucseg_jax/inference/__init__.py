"""The one inference engine: images and slides of any size → probabilities → nuclei.

tiles (where the network looks) → network (stain and network, on the device) → tile_store (what it said) →
blocks (nuclei). `segmentation` runs them for one slide: at once for a small image, side by side for a large
one (`feeder`). `segmenter` is what users call; `examples` brings the images of a dataset to it. Nothing is
imported here: the processes that cut nuclei do without JAX.
"""
