"""Which regions of a slide to annotate: those that a network is least certain of, spread over the tissue.

`candidates` (where a region may lie) → `uncertainty` (how doubtful it is) → `spread` (which are chosen) →
`region_file` (GeoJSON for QuPath). `finding` does so for one slide, `all_suggestions` for those of a command.
"""
