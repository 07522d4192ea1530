"""What all experiments share: the paper's training, on the paper's split.

Hassan et al., IJIMAI 2021: SGD, rate 0.1, momentum 0.99, weight decay 1e-8, batch 2, 100 epochs of
512×512 patches, 4 tiles + 200 random crops an image. The factor on the loss is from the authors' script.
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 2  # patches a step, over all devices
    config.num_epochs = 100
    # Steps in place of num_epochs: all that is given in epochs is squeezed, or stretched, with them.
    config.num_steps = config_dict.placeholder(int)
    config.log_every = 10  # steps
    # Steps that one call to the device does, where the host is the limit: small steps on an accelerator,
    # with data.pipeline = "resident". Calls end at log_every and checkpoint.every in any case.
    # CPUs gain nothing.
    config.steps_per_dispatch = 1

    # On GPUs, too, a training gives the same bits each time, and so does one that was killed and went on. XLA
    # then takes no operation whose sums depend on which thread is first, and does not choose the fastest by
    # trying. CPUs give the same bits in any case.
    config.deterministic = False

    # What each of several devices holds in part only, to save memory: "none"; the "optimizer"'s state and the
    # moving average; or the "parameters", too. Each step then puts the parameters together. The result is the
    # same, to float rounding, and a run may go on with another setting (docs/scaling.md).
    config.shard = "none"

    # What a training starts from, where that is not random weights (training/origin.py).
    config.init = ConfigDict()
    # An installed model's name, a .safetensors file, or a run's folder; `--init` sets it.
    config.init.source = config_dict.placeholder(str)
    # Settings, and groups of settings, that are the source's, unless the command line has them.
    config.init.settings = ()
    # Side of the patches in µm: data.crop_size is so many pixels of the source, a multiple of 32. None: as
    # data.crop_size says.
    config.init.crop_um = config_dict.placeholder(float)

    config.model = ConfigDict()
    config.model.name = "psp_segnet"
    config.model.num_classes = 2  # background, nucleus; 3: the nucleus's boundary is a class of its own
    config.model.width = 1.0  # multiplies every channel count
    config.model.dtype = "float32"  # compute dtype; bfloat16 on accelerators
    # Activations that the backward pass computes again, to save memory: "blocks", those inside of each block;
    # "none"; "auto", what each network does of its own accord (FC-DenseNet its dense layers, others nothing).
    config.model.recompute = "auto"
    # What the class for boundaries is: "edge", a band along each nucleus's edge, or "distance", which grows
    # from each nucleus's middle to its edge (models/targets.py).
    config.model.boundary = "edge"
    config.model.channel_order = "RGB"
    config.model.input_scale = 1.0  # the authors' script showed U-Net and FC-DenseNet patches at 0.5
    # ImageNet's: a file of torchvision's format; "efficientnet-lite0" comes with the extra `torch`
    config.model.encoder_weights = config_dict.placeholder(str)

    config.data = ConfigDict()
    # A folder of prepared datasets, or of packed ones (data_prep.pack), which need no TensorFlow.
    config.data.dir = config_dict.placeholder(str)  # None: $TFDS_DATA_DIR, or TFDS's default
    config.data.dataset = "monuseg"  # or "folder": a user's own images
    config.data.split = "paper"
    config.data.stain = "vahadane"  # how it was prepared; or macenko, reinhard, none
    config.data.size = config_dict.placeholder(int)  # --size it was prepared with; None: the default
    config.data.validation = ()  # ids of training images held out to choose a checkpoint
    # Where data.validation names none and at least three training images are there, one of them is held out:
    # the one of the median number of nuclei.
    config.data.hold_out = False
    # The same patches in any case. "tfdata" keeps all training images in the host's memory and cuts them
    # there. "resident" keeps them in the memory of each device and cuts them there, and needs no TensorFlow:
    # 7 bytes a pixel; in cycles of self-correction 2 more a class, and with optim.loss = "ce2p" 4 more for
    # edges. "streamed" reads an image when a patch of it is due, for more images than memory holds
    # (nucseg prepare pack --shards); it needs no TensorFlow, and has no averages of self-correction.
    config.data.pipeline = "tfdata"
    config.data.crop_size = 512  # pixels
    config.data.random_crops = 200  # an image and epoch, beside its tiles
    # All sources of a dataset (data_prep.folder) get as many patches an epoch: the images of the largest one
    # get random_crops each, those of the others more.
    config.data.balance_sources = False
    config.data.fresh_crops = False  # new corners each epoch
    config.data.turns = False  # random multiples of 90°
    config.data.flips = False

    # Random changes of each training patch, drawn from (seed, step). Those of stains are below.
    config.augment = ConfigDict()
    # Each patch is shown larger or smaller by a factor between these two. What is cut for it is larger than
    # data.crop_size, by 1 / smallest_scale.
    config.augment.smallest_scale = 1.0
    config.augment.largest_scale = 1.0
    # Optical densities of each patch are multiplied by a factor between 1 / gamma and gamma.
    config.augment.gamma = 1.0
    config.augment.blur_px = 0.0  # largest standard deviation of a Gaussian; half of the patches stay sharp
    config.augment.noise = 0.0  # largest standard deviation, in grey levels; half of the patches get none

    config.stain = ConfigDict()
    # "prepare": images are normalised when the dataset is prepared, as data.stain says. "model": in the
    # network's input, patch by patch, of a dataset with data.stain = "none".
    config.stain.where = "prepare"
    config.stain.method = "vahadane"  # of "model": or macenko, reinhard, identity
    # Image whose stains the others get: an id of a training image or, for "model", a file. None: the one that
    # the dataset names.
    config.stain.target = config_dict.placeholder(str)
    # Each training patch gets each stain times 1 ± scale, plus ± shift (optical density), at random.
    config.stain.augment_scale = 0.0
    config.stain.augment_shift = 0.0
    config.stain.augment_residual = 0.0  # and what the two stains do not explain, times 1 ± this

    config.optim = ConfigDict()
    config.optim.method = "sgd"  # or "adamw"
    config.optim.learning_rate = 0.1
    config.optim.encoder_learning_rate = config_dict.placeholder(float)  # None: learning_rate
    # Batch size that the rates are meant for: with another one they grow and shrink as it does (linear
    # scaling, Goyal et al., arXiv 1706.02677, who add a warm-up of 5 epochs). None: the rates as they are.
    config.optim.reference_batch = config_dict.placeholder(int)
    config.optim.warmup_epochs = 0.0  # of num_epochs: from 0 to the rate; the first cosine starts after it
    config.optim.momentum = 0.99  # of "sgd"
    config.optim.weight_decay = 1e-8  # "sgd": on all parameters, in the gradient; "adamw": on kernels alone
    config.optim.restart_epochs = 20.0  # of num_epochs: the cosine's period; the paper gives none
    config.optim.loss_scale = 0.005
    config.optim.accumulate = 1  # parts that a batch is run in, to save memory
    # "cross_entropy"; "cross_entropy_dice", the sum of both; or "ce2p" on the three branches of
    # self_correction: Lovász-softmax, edges, consistency.
    config.optim.loss = "cross_entropy"
    config.optim.boundary_weight = 1.0  # of the class for boundaries in "cross_entropy_dice"
    # The weights that are scored and saved are a moving average of those that are trained: each step leaves
    # this share of the last average. 0: the trained ones.
    config.optim.average_decay = 0.0
    # The average soon forgets what training starts from: the first steps leave less of it. False: it keeps
    # average_decay ** steps of that, so that what is scored lies between the start and what is trained.
    config.optim.average_warmup = True
    # Batch norm keeps the statistics that training starts from, and normalises by them, as in inference: for
    # training on few images, whose own statistics would be noise.
    config.optim.freeze_statistics = False

    config.self_correction = ConfigDict()
    # Training ends in so many cycles, each with a warm restart of the learning rate and, at its end, an
    # average of parameters and labels with those before. 0: ordinary training, with optim.restart_epochs.
    config.self_correction.cycles = 0
    config.self_correction.cycle_epochs = 10.0  # of num_epochs; num_steps squeezes them with the rest
    # "both", "parameters" (the labels stay the annotation), or "nothing" (warm restarts alone, to compare).
    config.self_correction.average = "both"
    config.self_correction.warmup_epochs = 10.0  # from the floor to optim.learning_rate
    config.self_correction.restart = 0.5  # of optim.learning_rate: what a cycle starts from
    config.self_correction.floor = 0.01  # of optim.learning_rate: what each cosine ends at

    config.checkpoint = ConfigDict()
    config.checkpoint.every = 1000  # steps; validation happens then, too
    config.checkpoint.keep = 2  # the last ones; the best on validation is kept beside them
    # The score on validation that says which is best: "aji" of nuclei made as config.instances says, or
    # "dice" of the pixels above 0.5. None: "aji" where instances.method cuts nuclei, "dice" for components.
    config.checkpoint.best_by = config_dict.placeholder(str)
    # Training ends when so many scores in a row have found no better checkpoint; 0: never.
    config.checkpoint.patience = 0

    config.eval = ConfigDict()
    config.eval.batch_size = 4  # pixels worked on at once, counted in training patches; at least one tile
    # Side of the tiles that images are looked at in, and what neighbours share and blend, in pixels of the
    # network. None: what suits the network (inference/layout.py). The paper's tiles are as large as the
    # patches and do not overlap: overlap_px = 0.
    config.eval.tile_px = config_dict.placeholder(int)
    config.eval.overlap_px = config_dict.placeholder(int)
    config.eval.augment = False  # mean over eight flips and turns of each tile, at eight times the time
    config.eval.min_area_um2 = 4.375  # the paper's minimum area of a counted nucleus: 70 pixels at 40×
    config.eval.step = config_dict.placeholder(int)  # None: the best checkpoint, or the last

    config.instances = ConfigDict()
    # How nuclei are made of the network's probabilities: "components" of the mask, as the paper does;
    # "watershed" also cuts them at their waists; with model.num_classes = 3 "boundary" along boundaries,
    # "depth" between the middles of nuclei, and "polar" where closed outlines around the middles meet.
    # python -m nucseg_jax.tune finds the parameters on the validation images. Lengths are in µm, areas in
    # µm²: at 40× a pixel has 0.25 µm and 0.0625 µm².
    config.instances.method = "components"
    # Where no nucleus is looked for, told apart by colour (slides/tissue_mask.py). For other stains than H&E,
    # such as Alcian blue, without "pen".
    config.instances.masked = ("pen", "black", "fill", "fold")
    config.instances.components = ConfigDict()
    config.instances.components.threshold = 0.5  # a pixel of a higher probability is of a nucleus
    config.instances.components.min_area_um2 = 0.0  # smaller nuclei are dropped
    # Larger ones are left out: they are ink or folds. 0: no limit, since components run together. Of the
    # 32,504 nuclei that are annotated in MoNuSeg and CoNSeP the largest has 322 µm².
    config.instances.components.max_area_um2 = 0.0
    config.instances.watershed = ConfigDict()
    config.instances.watershed.threshold = 0.5
    config.instances.watershed.h_um = 0.125  # least height of a nucleus's middle over the waist, in distance
    config.instances.watershed.smoothing_um = 0.5  # of the distance to the background
    config.instances.watershed.min_area_um2 = 1.875
    config.instances.watershed.max_area_um2 = 800.0
    config.instances.boundary = ConfigDict()
    config.instances.boundary.threshold = 0.5
    config.instances.boundary.inside_threshold = 0.7  # on the probability of nucleus but not boundary
    config.instances.boundary.min_marker_um2 = 0.625  # smaller insides are no nuclei of their own
    config.instances.boundary.min_area_um2 = 1.875
    config.instances.boundary.max_area_um2 = 800.0
    config.instances.depth = ConfigDict()
    config.instances.depth.threshold = 0.5
    config.instances.depth.h = 0.15  # least height of a nucleus's middle over the pass, as probability
    config.instances.depth.smoothing_um = 0.5
    config.instances.depth.min_area_um2 = 4.375
    config.instances.depth.max_area_um2 = 800.0
    config.instances.polar = ConfigDict()
    config.instances.polar.threshold = 0.5
    config.instances.polar.h = 0.1  # of the middles around which outlines are looked for, as of "depth"
    config.instances.polar.smoothing_um = 0.5
    config.instances.polar.rise = 0.2  # that ends a nucleus on the way outwards, as a part of its height
    config.instances.polar.overlap = 0.5  # outlines that share more of the smaller one are of one nucleus
    config.instances.polar.reach_um = 16.0  # of an outline from its middle
    config.instances.polar.min_rest_um2 = 1.875  # a disc in a piece that no outline covers: then a nucleus
    config.instances.polar.min_area_um2 = 4.375
    config.instances.polar.max_area_um2 = 800.0

    config.lock()
    return config
