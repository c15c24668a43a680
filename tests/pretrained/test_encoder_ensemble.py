"""Claims about several encoders that are used as one."""

import pytest
import torch
from torch import nn

from ssps_plugin.pretrained import EncoderEnsemble, SpeakerEncoder


class Linear(nn.Module):
    """Embed a waveform of four samples by a matrix; padding counts for 0."""

    def __init__(self, dim, seed, scale=1.0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(
            scale * torch.randn(4, dim, generator=generator)
        )

    def forward(self, wavs, lengths=None):
        if lengths is not None:
            wavs = wavs * (torch.arange(4) < 4 * lengths[:, None])
        return wavs @ self.weight


def encoder(dim, seed, rate=4, scale=1.0):
    model = Linear(dim, seed, scale)
    return SpeakerEncoder(model, rate, device="cpu")


def test_the_cosine_is_the_mean_of_the_encoders_cosines():
    encoders = [encoder(3, 0, scale=100.0), encoder(5, 1), encoder(2, 2)]
    ensemble = EncoderEnsemble(encoders)
    wavs = torch.randn(6, 4, generator=torch.Generator().manual_seed(3))
    lengths = torch.tensor([1.0, 0.5, 0.75, 1.0, 1.0, 0.5])
    embeddings = ensemble(wavs, lengths)
    assert embeddings.shape == (6, ensemble.embedding_dim) == (6, 10)
    cosine = nn.functional.cosine_similarity
    for i in range(6):
        for j in range(6):
            each = [one(wavs, lengths) for one in encoders]
            mean = sum(cosine(e[i], e[j], dim=0) for e in each) / 3
            torch.testing.assert_close(embeddings[i] @ embeddings[j], mean)


def test_one_encoder_is_itself_at_unit_norm():
    one = encoder(3, 0)
    wavs = torch.randn(2, 4)
    by_hand = nn.functional.normalize(one(wavs), dim=1)
    torch.testing.assert_close(EncoderEnsemble([one])(wavs), by_hand)


def test_half_precision_in_float32_out():
    ensemble = EncoderEnsemble([encoder(3, 0)]).half()
    embeddings = ensemble(torch.randn(2, 4).half())
    assert embeddings.dtype == torch.float32


def test_what_is_no_ensemble_is_refused():
    with pytest.raises(ValueError, match="got none"):
        EncoderEnsemble([])
    with pytest.raises(ValueError, match="4 and 8 Hz"):
        EncoderEnsemble([encoder(3, 0), encoder(3, 1, rate=8)])
    with pytest.raises(ValueError, match=r"\[\[results/simclr\]\]"):
        EncoderEnsemble.from_folders("results/simclr")
