"""SimCLR for speaker embeddings."""

from ssps_plugin.frameworks.siamese import Siamese


class SimCLR(Siamese):
    """Two views by one network, without a projector by default.

    That is how it is published for speaker verification; the original has a
    projector, and may have one here.

    Arguments
    ---------
    embedding_model, projector
        As in `Siamese`.

    Source: T. Chen et al., ICML 2020 (arXiv 2002.05709); settings of Lepage
    and Dehak, SSPS, Interspeech 2025 (arXiv 2505.14561).
    """
