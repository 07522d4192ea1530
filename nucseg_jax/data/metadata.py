"""How a dataset was prepared, as its folder says it: checked, since a flipped digit is a digit still."""

from collections.abc import Mapping
from typing import Any

from nucseg_jax.data.json_values import is_as_written, is_finite_number, sha256_of
from nucseg_jax.errors import in_short
from nucseg_jax.slides.resolution import COARSEST_MPP, FINEST_MPP

DIGEST = "metadata_sha256"
"""In metadata.json of a dataset of TFDS: the digest of what else it holds. Earlier releases wrote none."""

_WITH_DIGEST = "region_classes"
"""An entry that no release without digests wrote."""

_TEXTS = ("mpp_source", "stain")
_TEXTS_OR_NOTHING = ("stain_backend", "stain_target")


def sealed(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata with their digest."""
    return {**metadata, DIGEST: sha256_of(metadata, DIGEST)}


def unsealed(metadata: Any) -> dict[str, Any]:
    """Metadata without their digest.

    Raises:
      ValueError: they are not those that were written, or `check` refuses them.
    """
    check(metadata)
    if not is_as_written(metadata, DIGEST, has_one=has_digest(metadata)):
        raise ValueError("the SHA-256 of the metadata is not the one that was written")
    return {key: value for key, value in metadata.items() if key != DIGEST}


def has_digest(metadata: Mapping[str, Any]) -> bool:
    """Whether the release that wrote a dataset with these metadata wrote digests."""
    return _WITH_DIGEST in metadata


def check(metadata: Any) -> None:
    """Raise ValueError unless metadata have the types and ranges that their readers rely on."""
    if not isinstance(metadata, dict):
        raise ValueError("the metadata are no object")
    mpp = metadata.get("mpp", FINEST_MPP)
    if not is_finite_number(mpp) or not FINEST_MPP <= mpp <= COARSEST_MPP:
        raise ValueError(
            f"mpp = {in_short(repr(mpp), 40)} is no number of µm a pixel from {FINEST_MPP:g} to "
            f"{COARSEST_MPP:g}"
        )
    for key in (*_TEXTS, *_TEXTS_OR_NOTHING):
        value = metadata.get(key, "")
        if not (isinstance(value, str) or (value is None and key in _TEXTS_OR_NOTHING)):
            raise ValueError(f"{key} = {in_short(repr(value), 40)} is no text")
    if not isinstance(metadata.get("stain_style"), (dict, type(None))):
        raise ValueError("stain_style is no object")
    if not _are_texts(metadata.get("sha256", {})):
        raise ValueError("sha256 has no text an image")
    if "manifest" in metadata and not _is_manifest(metadata["manifest"]):
        raise ValueError("manifest does not name images and their splits")


def check_splits(metadata: Mapping[str, Any], ids: Mapping[str, list[str]]) -> None:
    """Raise ValueError unless a dataset's splits have the images that its manifest says.

    Args:
      metadata: of the dataset, checked; those of early releases have no manifest.
      ids: by split those of its images.
    """
    if "manifest" not in metadata:
        return
    said: dict[str, list[str]] = {}
    for entry in metadata["manifest"]["images"]:
        said.setdefault(entry["split"], []).append(entry["id"])
    for split in sorted(said.keys() | ids.keys()):
        if sorted(said.get(split, [])) != sorted(ids.get(split, [])):
            raise ValueError(
                f"the split {in_short(split, 40)} has {len(ids.get(split, []))} images, and its manifest "
                f"names {len(said.get(split, []))}, or others"
            )


def of_split(metadata: Mapping[str, Any], split: str) -> dict[str, Any]:
    """The part of metadata that `check_splits` compares one split with."""
    if "manifest" not in metadata:
        return {}
    return {"manifest": {"images": [e for e in metadata["manifest"]["images"] if e["split"] == split]}}


def _are_texts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _is_manifest(value: object) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("images", []), list):
        return False
    texts = [value.get("name", ""), value.get("stain_target", "")]
    for entry in value.get("images", []):
        if not isinstance(entry, dict):
            return False
        texts += [entry.get(key) for key in ("id", "split", "sha256")]
    return all(isinstance(text, str) for text in texts)
