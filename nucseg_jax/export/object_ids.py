"""Names of nuclei that no other nucleus has: of another slide, of another setting, or beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nucseg_jax.export.base_pixels import DECIMALS, base_pixels
from nucseg_jax.export.batches import Batch


@dataclass(frozen=True)
class ObjectIds:
    """The UUIDs of a batch's nuclei; other processes may make them (`batches.Maker`).

    A nucleus has the same one again where the slide, the settings and its exact outline in base pixels are
    the same, whatever number it has, and else another: 122 bits of BLAKE2. They are of version 8 (RFC 9562:
    of one's own making), since version 5 is bound to SHA-1.

    A copy of a slide in another folder, of the same file name, has the same ids.

    Attributes:
        origin: digest of the slide and the settings.
    """

    origin: bytes

    @classmethod
    def of(cls, slide: str, settings: Mapping[str, Any]) -> ObjectIds:
        """Those of a slide's nuclei.

        Args:
            slide: its name.
            settings: that decide which nuclei are found; what JSON can hold.
        """
        text = json.dumps({"slide": slide, "settings": settings}, sort_keys=True, allow_nan=False)
        return cls(hashlib.sha256(text.encode()).digest())

    def __call__(self, batch: Batch) -> list[str]:
        outlines = batch.outlines
        points = base_pixels(batch.canvas.frame).points(outlines)
        corners = memoryview(np.rint(points * 10**DECIMALS).astype("<i8").tobytes())
        first = (outlines.ring_start[outlines.nucleus_start] * 16).tolist()  # bytes a corner
        start = hashlib.blake2b(self.origin, digest_size=16)
        digests = []
        for begin, end in zip(first[:-1], first[1:], strict=True):
            digest = start.copy()
            digest.update(corners[begin:end])
            digests.append(digest.digest())
        return _uuids(b"".join(digests))


def _uuids(digests: bytes) -> list[str]:
    """UUIDs of version 8 from 16 bytes each."""
    octets = np.frombuffer(digests, np.uint8).reshape(-1, 16).copy()
    octets[:, 6] = octets[:, 6] & 0x0F | 0x80
    octets[:, 8] = octets[:, 8] & 0x3F | 0x80
    text = octets.tobytes().hex()
    names = [text[i : i + 32] for i in range(0, len(text), 32)]
    return [f"{name[:8]}-{name[8:12]}-{name[12:16]}-{name[16:20]}-{name[20:]}" for name in names]
