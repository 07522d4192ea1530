"""The recipe of `he-fast`: that of `he` at 0.5 µm a pixel, where a slide has a quarter of the pixels.

pip install -e ".[data,torch]" -c constraints.txt    # torch: to read ImageNet's weights
nucseg prepare monuseg --source MONUSEG --stain none --size 500
python -m nucseg_jax.main --config configs/he_fast.py
"""

from ml_collections import ConfigDict

from nucseg_jax.config import small


def get_config() -> ConfigDict:
    return small.get_shipped(mpp=0.5)
