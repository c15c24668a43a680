"""Attentive statistics pooling whose context is computed once an utterance.

Source: Okabe et al., Interspeech 2018 (arXiv 1803.10963), with the global
context of Desplanques et al., Interspeech 2020 (arXiv 2005.07143).

This file needs nothing but SpeechBrain, so it can be taken into it as it is.
"""

import torch
from speechbrain.dataio.dataio import length_to_mask
from speechbrain.lobes.models.ECAPA_TDNN import AttentiveStatisticsPooling
from torch import Tensor, nn
from torch.nn import functional as F


class SplitAttentivePooling(AttentiveStatisticsPooling):
    """SpeechBrain's AttentiveStatisticsPooling, with a third of its work.

    The attention of a frame is computed from the frame `x` and from mean and
    standard deviation of its utterance. SpeechBrain repeats these over time,
    concatenates all three, and runs a convolution of width 1 over three times
    the channels. That convolution is linear, so it is the sum of three:
    `W1 x + W2 mean + W3 std`, where the last two are the same for all frames
    and are computed once. Without `lengths` there is no mask either. On a CPU,
    mean and variance are then two passes of sums: `torch.var_mean` takes four
    times as long there, 3 to 4 % of a step of a small ECAPA-TDNN.

    Parameters and their names are the same; results differ by rounding, some
    1e-14 of their size in float64. (SpeechBrain's own are rounded to 1e-9
    there, where the number of frames is no power of two: its weights of the
    frames are float32.) Where the convolution has hooks (weight normalisation,
    pruning) or is of another kind, all is as in SpeechBrain's.
    `split_attentive_pooling` turns SpeechBrain's module into this one.

    Arguments
    ---------
    channels, attention_channels, global_context
        As of SpeechBrain's.

    Example
    -------
    >>> pooling = SplitAttentivePooling(8, attention_channels=4).eval()
    >>> frames = torch.randn(2, 8, 30)
    >>> expected = AttentiveStatisticsPooling.forward(pooling, frames)
    >>> torch.allclose(pooling(frames), expected, atol=1e-6)
    True
    """

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Pool the frames of each utterance.

        Arguments
        ---------
        x : torch.Tensor
            Frames, `(batch, channels, frames)`.
        lengths : torch.Tensor, optional
            `(batch,)`, relative to the longest; all are full by default.

        Returns
        -------
        torch.Tensor
            Weighted mean and standard deviation, `(batch, 2 * channels, 1)`.
        """
        if not self._is_plain():
            pooled: Tensor = super().forward(x, lengths)
            return pooled
        mask = None
        if lengths is not None:
            num_frames = x.shape[2]
            mask = length_to_mask(
                lengths * num_frames, max_len=num_frames, device=x.device
            ).unsqueeze(1)
        attention = self._attention(x, mask)
        if mask is not None:
            attention = attention.masked_fill(mask == 0, float("-inf"))
        statistics = self._weighted(x, attention.softmax(dim=2))
        return torch.cat(statistics, dim=1).unsqueeze(2)

    def _is_plain(self) -> bool:
        """Whether nothing depends on the convolution's being called."""
        called = (self.tdnn, self.tdnn.conv, self.tdnn.conv.conv)
        is_hooked = any(
            m._forward_pre_hooks or m._forward_hooks for m in called
        )
        return not is_hooked and isinstance(called[-1], nn.Conv1d)

    def _attention(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return the attention before the softmax, shaped as `x`."""
        convolution, block = self.tdnn.conv.conv, self.tdnn
        if self.global_context:
            # (attention_channels, channels), and the same for mean and std
            weight = convolution.weight
            num_channels = x.shape[1]
            context = F.linear(
                torch.cat(self._statistics(x, mask), dim=1),
                weight[:, num_channels:].squeeze(2),
                convolution.bias,
            )
            hidden = F.conv1d(x, weight[:, :num_channels])
            hidden = hidden + context.unsqueeze(2)
        else:
            hidden = convolution(x)
        hidden = block.dropout(block.norm(block.activation(hidden)))
        attention: Tensor = self.conv(self.tanh(hidden))
        return attention

    def _statistics(
        self, x: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation, `(batch, channels)` each."""
        if mask is not None:
            return self._weighted(x, mask / mask.sum(dim=2, keepdim=True))
        # In float16, eps would be 0, and the gradient of the root infinite.
        x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        if x.device.type != "cpu":  # one kernel, and no tensors to keep
            variance, mean = torch.var_mean(x, dim=2, correction=0)
            return mean, variance.clamp(self.eps).sqrt()
        mean = x.mean(dim=2)
        # The variance does not change with the mean around which it is taken,
        # to first order: its gradient by the mean is 0.
        centred = x - mean.detach().unsqueeze(2)
        variance = (centred * centred).mean(dim=2)
        return mean, variance.clamp(self.eps).sqrt()

    def _weighted(self, x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return the statistics under weights that sum to 1 over frames."""
        mean = (weights * x).sum(dim=2)
        squares = (x - mean.unsqueeze(2)).pow(2)
        variance = (weights * squares).sum(dim=2)
        return mean, variance.clamp(self.eps).sqrt()


def split_attentive_pooling(network: nn.Module) -> int:
    """Turn attentive pooling into `SplitAttentivePooling`, in place.

    Arguments
    ---------
    network : torch.nn.Module
        Contains SpeechBrain's AttentiveStatisticsPooling, at any depth.
        Subclasses of it are left as they are.

    Returns
    -------
    int
        Number of modules that were changed.

    Example
    -------
    >>> network = nn.Sequential(AttentiveStatisticsPooling(4, 2))
    >>> split_attentive_pooling(network)
    1
    """
    modules = [
        module
        for module in network.modules()
        if type(module) is AttentiveStatisticsPooling
    ]
    for module in modules:
        module.__class__ = SplitAttentivePooling
    return len(modules)
