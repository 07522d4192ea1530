"""The names that settings may take, where what they name lies in a higher room."""

PIPELINES = ("tfdata", "streamed", "resident")
"""Of `data.pipeline`: patches are cut on the host, of images in memory or of images that are read when a
patch is due, or on the device (`training.feeds`)."""

SHARDS = ("none", "optimizer", "parameters")
"""Of `shard`: what each device holds in part only (`training.sharding`)."""

OPTIMIZERS = ("sgd", "adamw")
"""Of `optim.method` (`training.optim`)."""

BOUNDARIES = ("edge", "distance")
"""Of `model.boundary` (`models.targets`)."""

RECOMPUTE = ("auto", "none", "blocks")
"""Of `model.recompute` (`models.recompute`)."""

LOSSES = ("cross_entropy", "cross_entropy_dice", "ce2p")
"""Of `optim.loss` (`training.objectives`)."""

AVERAGES = ("nothing", "parameters", "both")
"""Of `self_correction.average`: the cycles' warm restarts alone, averages of parameters, and of parameters
and labels."""

SCORES = ("aji", "dice")
"""Of `checkpoint.best_by`: scores of the held-out images, saved with each checkpoint."""

STAIN_WHERE = ("prepare", "model")
"""Of `stain.where`: images are normalised when a dataset is prepared, or in the network's input."""
