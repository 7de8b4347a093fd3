"""Feature maps and cosines as pictures that stand in the page itself."""

import base64
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["cosine_colour", "grey_images"]


def grey_images(maps: Sequence[ArrayLike]) -> list[str]:
    """Return maps ``[h, w]`` as PNG data URIs in grey, all on one scale: white is the largest.

    >>> grey_images([[[0.0, 1.0]]])[0][:22]
    'data:image/png;base64,'
    """
    arrays = [np.asarray(one, dtype=np.float64) for one in maps]
    finite = np.concatenate([one[np.isfinite(one)] for one in arrays])
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    images = []
    for one in arrays:
        share = np.nan_to_num((one - low) / ((high - low) or 1.0), nan=0.0)
        images.append(_png((255 * share.clip(0, 1)).round().astype(np.uint8)))
    return [f"data:image/png;base64,{base64.b64encode(one).decode()}" for one in images]


def _png(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    """Return grey pixels ``[h, w]`` as PNG (8 bits, no filter)."""
    height, width = pixels.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(rows, 9)),
            chunk(b"IEND", b""),
        ]
    )


def cosine_colour(value: float | None) -> str:
    """Return a colour for a cosine: white at 0, blue towards 1, orange towards -1.

    >>> cosine_colour(0.0), cosine_colour(1.0), cosine_colour(-1.0)
    ('#ffffff', '#4095d0', '#d55e00')
    """
    if value is None or not np.isfinite(value):
        return "none"
    end = (0x40, 0x95, 0xD0) if value > 0 else (0xD5, 0x5E, 0x00)
    share = min(1.0, abs(value))
    return "#" + "".join(f"{round(255 + (one - 255) * share):02x}" for one in end)
