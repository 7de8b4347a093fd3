"""Hardware costs of architectures, as tables over the choices of a search space."""

from nas_hw.conventions import CONVENTIONS, Convention
from nas_hw.count import bitops, macs, params
from nas_hw.memory import peak_memory, traffic
from nas_hw.tables import tables

__all__ = [
    "CONVENTIONS",
    "Convention",
    "bitops",
    "macs",
    "params",
    "peak_memory",
    "tables",
    "traffic",
]
