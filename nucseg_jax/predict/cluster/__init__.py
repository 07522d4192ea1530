"""Many slides by the worker processes of Dask, on this machine or on many: `nucseg predict --cluster`.

`choice` (what the user names) → `on_cluster` → `starting` (the cluster) → `submission` (the slides, from
here) → `worker` (a slide, there). This package alone knows Dask, which schedules slides, starts workers again
and notices lost ones.
"""

from nucseg_jax.predict.cluster.choice import Cluster, read_choice

__all__ = ["Cluster", "read_choice"]
