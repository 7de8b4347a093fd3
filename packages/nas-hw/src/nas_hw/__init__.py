"""Hardware costs of architectures, as tables over the choices of a search space."""

from nas_hw.count import macs, params

__all__ = ["macs", "params"]
