"""A Brain that verifies speakers with what its framework exports."""

import copy
import pathlib
from collections.abc import Sequence
from typing import Any

import speechbrain as sb
from speechbrain.utils.distributed import if_main_process
from torch import Tensor

from ssps_plugin.compilation import uncompiled
from ssps_plugin.distributed import broadcast_state, without_wrapper
from ssps_plugin.evaluation.cohort import Cohort
from ssps_plugin.evaluation.embedding_cache import EmbeddingCache
from ssps_plugin.evaluation.verification import (
    Verification,
    VerificationResult,
)
from ssps_plugin.frameworks import Framework
from ssps_plugin.snapshots import Snapshots


class VerifyingBrain(sb.Brain):
    """Score trial lists, with the present encoder or the last epochs' average.

    `modules` holds `framework`, a `Framework`; `hparams` holds `output_folder`
    and `averaged_epochs`.

    Arguments
    ---------
    verifications : sequence of Verification
        A trial list each.
    *args, **kwargs
        As for `speechbrain.Brain`.
    """

    def __init__(
        self,
        *args: Any,
        verifications: Sequence[Verification] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.verifications = list(verifications)
        self.snapshots = Snapshots(
            pathlib.Path(self.hparams.output_folder, "snapshots"),
            self.hparams.averaged_epochs,
        )

    @property
    def framework(self) -> Framework:
        """The framework itself, without the wrapper of parallel training."""
        bare: Framework = without_wrapper(self.modules.framework)
        return bare

    def embed(self, wavs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return speaker embeddings, `(batch, dim)`; see the framework's."""
        return self.framework.embed(wavs, lengths)

    def verify_average(
        self, cohort: Cohort | None = None
    ) -> tuple[list[VerificationResult], int]:
        """Score all lists with the last epochs' average; it is not kept.

        Arguments
        ---------
        cohort : Cohort, optional
            Normalise the scores by it.

        Returns
        -------
        list of VerificationResult
            One a list; empty on all processes but the main one.
        int
            How many epochs were averaged.
        """
        model = self.framework.exported_model
        kept = copy.deepcopy(model.state_dict())
        epoch = self.epoch_counter.current
        num_averaged = 1
        if if_main_process():  # which alone keeps snapshots
            num_averaged = self.snapshots.average_into(model, epoch)
        broadcast_state(model)
        results = self._verify(self.verifications, cohort)
        model.load_state_dict(kept)
        return results, num_averaged

    def verify(self, cohort: Cohort | None = None) -> VerificationResult | None:
        """Score the first list with the present encoder, on all ranks.

        Arguments
        ---------
        cohort : Cohort, optional
            Normalise the scores by it.

        Returns
        -------
        VerificationResult or None
            None without trials, and on the other processes.
        """
        return next(iter(self._verify(self.verifications[:1], cohort)), None)

    def _verify(
        self, verifications: Sequence[Verification], cohort: Cohort | None
    ) -> list[VerificationResult]:
        """Score lists; an utterance of several is embedded once."""
        if not verifications:
            return []
        self.modules.eval()
        known = EmbeddingCache()
        with self.evaluation_ctx, uncompiled():
            results = [
                verification.run(
                    self.embed,
                    self.device,
                    progress=not self.noprogressbar and if_main_process(),
                    cohort=cohort,
                    known=known,
                )
                for verification in verifications
            ]
        return [result for result in results if result is not None]

    def _verified(self) -> dict[str, float]:
        """Verify, and return the error rates as the history keeps them."""
        result = self.verify()
        if result is None:
            return {}
        costs = {f"min_dcf_{p}": cost for p, cost in result.min_dcf.items()}
        return {"eer": 100 * result.eer, **costs}
