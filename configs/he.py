"""The recipe of `he`, the model that ships, on the `paper` split: a U-Net on EfficientNet-Lite0, at 0.25 µm.

pip install -e ".[data,torch]" -c constraints.txt    # torch: to read ImageNet's weights
nucseg prepare monuseg --source MONUSEG --stain none --size 1000
python -m nucseg_jax.main --config configs/he.py

4,500 steps. The release itself is trained on all 57 images: see docs/model_card.md.
"""

from ml_collections import ConfigDict

from nucseg_jax.config import small


def get_config() -> ConfigDict:
    return small.get_shipped(mpp=0.25)
