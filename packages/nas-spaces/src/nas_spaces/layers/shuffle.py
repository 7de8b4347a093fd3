"""ShuffleNetV2 units."""

from attrs import evolve, frozen

from nas_spaces.errors import InputError
from nas_spaces.layers.layer import conv_norm, scale_channels
from nas_spaces.primitives import INPUT, Graph, GraphBuilder, Shape

__all__ = ["ShuffleUnit"]


@frozen
class ShuffleUnit:
    """ShuffleNetV2 unit of SPOS's block search space (Guo et al., 2020, appendix and code).

    ``kind="k"``: 1x1, depthwise ``kernel``, 1x1. ``kind="x"`` (Xception-like): three depthwise
    3x3 convolutions, each followed by a 1x1; ``kernel`` must be 3. At stride 1 the channels are
    shuffled first: the even ones pass, the odd ones enter the main branch. At stride 2 all
    channels enter both the main branch and a projection branch. The middle of the main branch
    has ``out // 2 * scale`` channels, rounded down. Kernel 3 at scale 1 is the unit of the
    original ShuffleNetV2 (Ma et al., 2018) as its authors' code has it: at stride 2 the projection
    branch keeps its number of channels and the main branch gives the rest.
    """

    out: int
    kernel: int
    stride: int = 1
    kind: str = "k"
    scale: float = 1.0

    def graph(self, shape: Shape) -> Graph:
        """Return the primitives for an input of ``shape``."""
        channels = shape[0]
        if self.kind not in ("k", "x"):
            raise InputError(f"ShuffleUnit kind={self.kind!r} is unknown; valid: k, x")
        if self.kind == "x" and self.kernel != 3:
            raise InputError(f"ShuffleUnit kind='x' has kernel 3; received kernel={self.kernel}")
        if self.stride == 1 and (channels % 4 or channels != self.out):
            raise InputError(
                f"ShuffleUnit at stride 1 keeps a number of channels divisible by 4; "
                f"received {channels} -> {self.out}"
            )
        if self.stride not in (1, 2):
            raise InputError(f"ShuffleUnit stride={self.stride}; valid: 1, 2")
        build = GraphBuilder(shape)
        if self.stride == 1:
            passed = build.select("pass", INPUT, 0, 2)
            main = build.select("enter", INPUT, 1, 2)
        else:
            passed = conv_norm(
                build,
                "proj_dw",
                INPUT,
                channels,
                kernel=self.kernel,
                stride=2,
                groups=channels,
            )
            passed = conv_norm(build, "proj_pw", passed, channels, activation="relu")
            main = INPUT
        entering = channels // 2 if self.stride == 1 else channels
        leaving = self.out - entering
        middle = scale_channels(self.out // 2, self.scale)
        if self.kind == "k":
            main = conv_norm(build, "pw1", main, middle, activation="relu")
            main = conv_norm(
                build, "dw", main, middle, kernel=self.kernel, stride=self.stride, groups=middle
            )
            main = conv_norm(build, "pw2", main, leaving, activation="relu")
        else:
            main = conv_norm(
                build, "dw1", main, entering, kernel=3, stride=self.stride, groups=entering
            )
            main = conv_norm(build, "pw1", main, middle, activation="relu")
            main = conv_norm(build, "dw2", main, middle, kernel=3, groups=middle)
            main = conv_norm(build, "pw2", main, middle, activation="relu")
            main = conv_norm(build, "dw3", main, middle, kernel=3, groups=middle)
            main = conv_norm(build, "pw3", main, leaving, activation="relu")
        build.concatenate("join", passed, main)
        return build.graph

    def scaled(self, scale: float) -> "ShuffleUnit":
        """Return the unit with ``scale`` times the channels in the middle of its main branch."""
        return evolve(self, scale=self.scale * scale)
