"""MoCo: queries of the trained network against keys of its average."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ssps_plugin.checks import check_flag
from ssps_plugin.distributed import JointBatch, is_distributed
from ssps_plugin.frameworks.framework import EmbeddingModel, flatten_view_pair
from ssps_plugin.frameworks.momentum import (
    MomentumFramework,
    MomentumSchedule,
    make_momentum_copy,
)


class MoCo(MomentumFramework):
    """MoCo: queries by the encoder, keys by its momentum copy.

    It is symmetric: both views are queries, each against the key of the other
    view. Over several ranks the keys are encoded with shuffled batch norm: in
    batches other than those of their queries, so that batch statistics do not
    reveal which key belongs to a query. The query network is verified and
    exported.

    Arguments
    ---------
    embedding_model : EmbeddingModel
        Embeds the queries; the network of the keys starts as its copy.
    momentum : MomentumSchedule
        Momentum of the key network: 0.999 as published.
    projector : torch.nn.Module, optional
        `(batch, dim) -> (batch, projected)`; none by default, as published for
        speaker verification.
    average_buffers : bool
        The key network's running statistics, too, are an average of those of
        the queries. As published, they are of its own batches.
    seed : int
        Seed of the shuffles.
    views_together : bool
        Embed both views in one pass of each network, so that they share batch
        statistics. False: one after the other, each with statistics of its own
        (and a shuffle of its own), as in the code of Lepage and Dehak.

    Source: K. He et al., CVPR 2020 (arXiv 1911.05722), section 3.3, and
    X. Chen et al., arXiv 2003.04297; settings of Lepage and Dehak, SSPS,
    Interspeech 2025 (arXiv 2505.14561).
    """

    def __init__(
        self,
        embedding_model: EmbeddingModel,
        momentum: MomentumSchedule,
        projector: nn.Module | None = None,
        average_buffers: bool = False,
        seed: int = 1986,
        views_together: bool = True,
    ) -> None:
        super().__init__()
        check_flag("average_buffers", average_buffers)
        check_flag("views_together", views_together)
        self.embedding_model: EmbeddingModel = embedding_model
        self.projector = nn.Identity() if projector is None else projector
        self.key_embedding_model = make_momentum_copy(
            embedding_model, average_buffers
        )
        self.key_projector = make_momentum_copy(self.projector, average_buffers)
        self.momentum = momentum
        self.average_buffers = average_buffers
        self.seed = seed
        self.views_together = views_together
        # A number, not a buffer: so no step waits for a device to read it.
        self.num_shuffles = 0

    def forward(self, *views: Tensor) -> tuple[Tensor, Tensor]:
        """Embed both views, as queries and as keys.

        Arguments
        ---------
        *views : torch.Tensor
            One group, `(batch, 2, samples)`. The batch may differ between
            ranks.

        Returns
        -------
        torch.Tensor
            Queries, `(2, batch, dim)`: of the first view, then of the second.
        torch.Tensor
            Keys, `(2, batch, dim)`: of the second view, then of the first,
            so row by row the positives of the queries. Without gradient.

        Raises
        ------
        ValueError
            Other than one group of two views.
        """
        wavs = flatten_view_pair(views)
        if self.views_together:
            embeddings, queries, keys = self._encode(wavs)
        else:
            encoded = map(self._encode, wavs.chunk(2))
            embeddings, queries, keys = map(
                torch.cat, zip(*encoded, strict=True)
            )
        self.first_view_embedding = embeddings.chunk(2)[0]
        # (2 * batch, dim) -> (2, batch, dim); keys in the order of the queries
        return queries.unflatten(0, (2, -1)), keys.unflatten(0, (2, -1)).flip(0)

    @property
    def positives_are_embeddings(self) -> bool:
        """Whether there is no projector."""
        return isinstance(self.projector, nn.Identity)

    def momentum_pairs(self) -> Iterable[tuple[nn.Module, nn.Module]]:
        """Return the key networks, and those of the queries."""
        yield self.key_embedding_model, self.embedding_model
        yield self.key_projector, self.projector

    def get_extra_state(self) -> Tensor:
        """Return the number of shuffles so far, 0-d int64."""
        return torch.tensor(self.num_shuffles)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the number of shuffles."""
        self.num_shuffles = int(state)

    def _encode(self, wavs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return embeddings without gradient, queries and keys of views."""
        features, _ = self.embedding_model.compute_features(wavs)
        embeddings = self.embedding_model.encode(features, None)
        queries = self.projector(embeddings)
        with torch.no_grad():
            if not self.embedding_model.has_fixed_features:
                features, _ = self.key_embedding_model.compute_features(wavs)
            if self.training and is_distributed():
                keys = self._encode_shuffled_keys(features)
            else:
                keys = self._encode_keys(features)
        return embeddings.detach(), queries, keys

    def _encode_keys(self, features: Tensor) -> Tensor:
        embedding = self.key_embedding_model.encode(features, None)
        keys: Tensor = self.key_projector(embedding)
        return keys

    def _encode_shuffled_keys(self, features: Tensor) -> Tensor:
        """Encode a share of all ranks' views, and return this rank's keys."""
        joint = JointBatch.of(features)
        (features,) = joint.gather(features)
        order = self._draw_permutation(len(joint)).to(features.device)
        share = order[joint.own]
        keys = self._encode_keys(features[share])
        (shuffled,) = joint.gather(keys)
        # The key of view i is where the inverse permutation says.
        return shuffled[order.argsort()[joint.own]]

    def _draw_permutation(self, num_rows: int) -> Tensor:
        """Draw the permutation of a step, the same on every rank."""
        generator = torch.Generator().manual_seed(
            self.seed * 2**32 + self.num_shuffles
        )
        self.num_shuffles += 1
        return torch.randperm(num_rows, generator=generator)
