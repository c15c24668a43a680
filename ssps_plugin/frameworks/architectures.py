"""Which encoder weights belong to, by their names and shapes."""

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from speechbrain.nnet.CNN import Conv1d, Conv2d
from speechbrain.nnet.linear import Linear
from speechbrain.nnet.normalization import BatchNorm1d, BatchNorm2d, LayerNorm
from torch import Tensor, nn

# SpeechBrain's layers around one of torch's, and the attribute that holds it.
_WRAPPERS: dict[type[nn.Module], str] = {
    Conv1d: "conv",
    Conv2d: "conv",
    BatchNorm1d: "norm",
    BatchNorm2d: "norm",
    LayerNorm: "norm",
    Linear: "w",
}
# The same in names alone, where there is no module to look at.
_WRAPPED = re.compile(
    r"(^|\.)(conv\d*|norm|fc|asp_bn|shortcut)\.(?:conv|norm)\."
)
_ECAPA = "speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN"
_RESNET = "speechbrain.lobes.models.ResNet.ResNet"
_XVECTOR = "speechbrain.lobes.models.Xvector.Xvector"
_FAST_RESNET = "ssps_plugin.frameworks.FastResNet34"
# Keys of the YAML files that set an argument of an encoder.
_YAML_KEYS = {
    "input_size": "num_mels",
    "in_channels": "num_mels",
    "lin_neurons": "embedding_dim",
    "channels": "encoder_channels",
    "tdnn_channels": "encoder_channels",
    "attention_channels": "attention_channels",
}


@dataclass(frozen=True)
class Architecture:
    """An encoder's class and the arguments that give its weights' shapes.

    Arguments
    ---------
    class_name : str
        Dotted, as HyperPyYAML builds it.
    arguments : dict
        Those that shapes tell; what they do not tell is left to defaults.
    """

    class_name: str
    arguments: dict[str, Any]

    @property
    def name(self) -> str:
        """The class's own name."""
        return self.class_name.rpartition(".")[2]

    @property
    def input_size(self) -> int:
        """Bands of the features."""
        is_xvector = "in_channels" in self.arguments
        return int(
            self.arguments["in_channels" if is_xvector else "input_size"]
        )

    @property
    def yaml_keys(self) -> dict[str, Any]:
        """The arguments by the keys of the YAML files that set them."""
        return {
            _YAML_KEYS[name]: value
            for name, value in self.arguments.items()
            if name in _YAML_KEYS
        }


def unwrapped_names(module: nn.Module) -> dict[str, str]:
    """Name a module's tensors as without SpeechBrain's layers around torch's.

    Arguments
    ---------
    module : torch.nn.Module
        Such as SpeechBrain's ECAPA_TDNN.

    Returns
    -------
    dict of str to str
        For each name of `state_dict()`, the one without the wrappers'
        attributes.

    Example
    -------
    >>> layer = nn.ModuleDict({"fc": Conv1d(1, 1, in_channels=1)})
    >>> unwrapped_names(layer)
    {'fc.conv.weight': 'fc.weight', 'fc.conv.bias': 'fc.bias'}
    """
    inner = {
        f"{path}.{attribute}.": f"{path}."
        for path, one in module.named_modules()
        for wrapper, attribute in _WRAPPERS.items()
        if isinstance(one, wrapper) and path
    }
    names = {}
    for name in module.state_dict():
        names[name] = name
        for wrapped, bare in inner.items():
            if name.startswith(wrapped):
                names[name] = bare + name[len(wrapped) :]
    return names


def find_architecture(tensors: Mapping[str, Tensor]) -> Architecture | None:
    """Find the encoder that tensors belong to, and its arguments.

    Arguments
    ---------
    tensors : mapping of str to torch.Tensor
        An encoder's, with SpeechBrain's names or with the same names without
        its wrappers; without a prefix.

    Returns
    -------
    Architecture or None
        None where it is none of ECAPA_TDNN, ResNet, Xvector (SpeechBrain's)
        and FastResNet34.

    Example
    -------
    >>> from ssps_plugin.frameworks import FastResNet34
    >>> encoder = FastResNet34(input_size=40, lin_neurons=8)
    >>> find_architecture(encoder.state_dict()).arguments["lin_neurons"]
    8
    """
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    bare = {_WRAPPED.sub(r"\1\2.", name): s for name, s in shapes.items()}
    finders: tuple[Callable[..., Architecture], ...] = (
        _ecapa,
        _fast_resnet,
        _resnet,
        _xvector,
    )
    for finder in finders:
        with contextlib.suppress(KeyError, IndexError):
            return finder(shapes if finder is _xvector else bare)
    return None


def _ecapa(shapes: Mapping[str, tuple[int, ...]]) -> Architecture:
    num_blocks = 1
    while f"blocks.{num_blocks}.tdnn1.conv.weight" in shapes:
        num_blocks += 1
    first = shapes["blocks.0.conv.weight"]
    convolutions = [
        shapes[f"blocks.{n}.res2net_block.blocks.0.conv.weight"]
        for n in range(1, num_blocks)
    ]
    widths = [
        shapes[f"blocks.{n}.tdnn1.conv.weight"][0] for n in range(1, num_blocks)
    ]
    kernels = [shape[2] for shape in convolutions]
    scale = sum(
        bool(
            re.fullmatch(
                r"blocks\.1\.res2net_block\.blocks\.\d+\.conv\.weight", n
            )
        )
        for n in shapes
    )
    last = shapes["mfa.conv.weight"]
    return Architecture(
        _ECAPA,
        {
            "input_size": first[1],
            "lin_neurons": shapes["fc.weight"][0],
            "channels": [first[0], *widths, last[0]],
            "kernel_sizes": [first[2], *kernels, last[2]],
            "attention_channels": shapes["asp.tdnn.conv.weight"][0],
            "res2net_scale": scale + 1,
            "se_channels": shapes["blocks.1.se_block.conv1.weight"][0],
            "global_context": shapes["asp.tdnn.conv.weight"][1] == 3 * last[0],
        },
    )


def _fast_resnet(shapes: Mapping[str, tuple[int, ...]]) -> Architecture:
    for pooled in ("attention", "sap_linear.weight"):  # or in a module of its
        if not any(f".{name}".endswith(f".{pooled}") for name in shapes):
            raise KeyError(pooled)
    return Architecture(
        _FAST_RESNET,
        {
            # Weights fit any number of bands; the published one.
            "input_size": 40,
            "lin_neurons": shapes["fc.weight"][0],
            "channels": _stage_channels(shapes),
            "block_sizes": _stage_sizes(shapes),
            "squeeze_excitation": "layer1.0.se.fc.0.weight" in shapes,
        },
    )


def _resnet(shapes: Mapping[str, tuple[int, ...]]) -> Architecture:
    channels = _stage_channels(shapes)
    pooled = shapes["attention.0.weight"][1] // channels[-1]
    return Architecture(
        _RESNET,
        {
            # Any of eight numbers of bands gives the same shapes.
            "input_size": 8 * pooled,
            "lin_neurons": shapes["fc_embed.weight"][0],
            "channels": channels,
            "block_sizes": _stage_sizes(shapes),
        },
    )


def _xvector(shapes: Mapping[str, tuple[int, ...]]) -> Architecture:
    layers = sorted(
        int(match[1])
        for match in (
            re.fullmatch(r"blocks\.(\d+)\.conv\.weight", name)
            for name in shapes
        )
        if match
    )
    convolutions = [shapes[f"blocks.{n}.conv.weight"] for n in layers]
    last = shapes[f"blocks.{layers[-1] + 4}.w.weight"]
    return Architecture(
        _XVECTOR,
        {
            "in_channels": convolutions[0][1],
            "lin_neurons": last[0],
            "tdnn_blocks": len(layers),
            "tdnn_channels": [shape[0] for shape in convolutions],
            "tdnn_kernel_sizes": [shape[2] for shape in convolutions],
        },
    )


def _stage_channels(shapes: Mapping[str, tuple[int, ...]]) -> list[int]:
    return [shapes[f"layer{n}.0.conv2.weight"][0] for n in range(1, 5)]


def _stage_sizes(shapes: Mapping[str, tuple[int, ...]]) -> list[int]:
    return [
        sum(
            bool(re.fullmatch(rf"layer{n}\.\d+\.conv2\.weight", name))
            for name in shapes
        )
        for n in range(1, 5)
    ]
