"""`nucseg stain`: image files → the same images, recoloured to a target image's stains."""
