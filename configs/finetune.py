"""Fine-tuning of a trained network on one to ten crops of one's own, of 256×256 to 512×512 pixels.

nucseg prepare folder --source CROPS --name mine --no-test
python -m nucseg_jax.main --config configs/finetune.py --init he --workdir runs/mine

300 steps at most; from he-fast 10 to 14 images a second on one core of a busy Intel Xeon. The network, how
its nuclei are cut, and its loss are those of `--init`: an installed model, a model's file, or a run's folder.
With three crops or more, one is held out: it chooses the best step, 0 among them, and ends training when 5
scores in a row were no better. docs/model_card.md says what it gains.
"""

from ml_collections import ConfigDict

from nucseg_jax.config import get_config as defaults


def get_config() -> ConfigDict:
    config = defaults()
    config.init.settings = ("model", "instances", "stain.where", "stain.method", "data.stain", "optim.loss")
    config.init.settings += ("optim.boundary_weight",)
    config.init.crop_um = 48.0  # 64 in he: crops of 256 pixels leave room to change sizes
    config.batch_size = 4
    config.num_steps = 300
    config.num_epochs = 1
    config.log_every = 20
    config.data.dataset = "folder"
    config.data.split = "mine"
    config.data.stain = "none"
    config.data.hold_out = True
    config.data.pipeline = "resident"
    config.data.random_crops = 34
    config.data.fresh_crops = True
    config.data.turns = True
    config.data.flips = True
    # Weaker than in the recipe of he: a laboratory's own slides differ less than those of many.
    config.augment.smallest_scale = 0.8
    config.augment.largest_scale = 1.25
    config.augment.gamma = 1.25
    config.augment.noise = 4.0
    config.stain.augment_scale = 0.15
    config.stain.augment_shift = 0.02
    config.stain.augment_residual = 0.15
    config.optim.method = "adamw"
    config.optim.learning_rate = 3e-4  # a tenth of that of he
    config.optim.weight_decay = 1e-2
    config.optim.warmup_epochs = 0.1  # 30 steps
    config.optim.restart_epochs = 1.0  # one cosine
    config.optim.loss_scale = 1.0
    # What is scored and saved keeps 0.998 ** steps of what training starts from, 55 % after 300: a network
    # between the old one and the new, which is safer than the new one (docs/model_card.md).
    config.optim.average_decay = 0.998
    config.optim.average_warmup = False
    # In a trial on crops that a script had made pale moving ones gave AJI 0.513 after 60 steps, these 0.539.
    config.optim.freeze_statistics = True
    config.checkpoint.every = 30  # the average moves slowly: 5 scores are 150 steps
    config.checkpoint.patience = 5
    return config
