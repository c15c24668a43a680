"""The Brain that every self-supervised recipe of this package shares."""

import copy
import pathlib
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import speechbrain as sb
import torch
from speechbrain.utils.checkpoints import Checkpointer
from speechbrain.utils.distributed import if_main_process
from speechbrain.utils.logger import get_logger
from speechbrain.utils.train_logger import TensorboardLogger
from torch import Tensor, nn

from ssps_plugin.dataio import SharedEpoch
from ssps_plugin.distributed import (
    broadcast_buffers,
    broadcast_state,
    mean_over_ranks,
    sum_over_ranks,
    without_wrapper,
    world_size,
)
from ssps_plugin.evaluation.embeddings import EmbeddingCache
from ssps_plugin.evaluation.results import History
from ssps_plugin.evaluation.sampling_report import SamplingReport
from ssps_plugin.evaluation.scoring import Cohort
from ssps_plugin.evaluation.verification import (
    Verification,
    VerificationResult,
)
from ssps_plugin.frameworks import Framework
from ssps_plugin.loss_wrapper import PositiveSamplingLoss
from ssps_plugin.losses import ObjectiveModule
from ssps_plugin.reference import reference_representation
from ssps_plugin.training.checkpoints import Snapshots
from ssps_plugin.training.checks import (
    check_recoverables,
    check_run_options,
    check_spaces,
)
from ssps_plugin.training.runtime import (
    compile_encoders,
    keep_freed_memory,
    uncompiled,
    unsynchronised_batch_norm,
)

logger = get_logger(__name__)


class Predictions(NamedTuple):
    """Anchors, positives and references of a forward pass."""

    anchors: Tensor
    positives: Tensor
    reference: Tensor | None


class SSLBrain(sb.Brain):
    """Train a framework on views, verify speakers, and keep the history.

    `modules` holds `framework` (a `Framework`) and `sampler` (a `Sampler`);
    every other entry (an `ObjectiveModule`, say) is passed to the loss by its
    name. `hparams` holds `crop_groups` (the views), `loss`, `lr_schedule` (a
    function of the epochs passed), `schedule_epochs` (the length of the
    momentum's schedule), `clip_gradients` (a function of the parameters, or
    null), `reference_in_eval_mode`, `verify_interval` (epochs),
    `averaged_epochs`, `num_checkpoints`, `train_logger`, `use_tensorboard`,
    `sync_batchnorm`, `compile_backend` and `output_folder`.

    Arguments
    ---------
    epoch : SharedEpoch
        The epoch, as crops and augmentation see it.
    report : SamplingReport
        Diagnostics of the draws, empty without labels.
    verifications : sequence of Verification
        One for each trial list: epochs are verified by the first that has
        error rates, the final model by all. Without any, no error rates are
        computed.
    warm_start_from : str, optional
        The `save` folder of a finished run, for SSPS to start from.
    *args, **kwargs
        As for `speechbrain.Brain`.
    """

    train_sampler: Any  # SpeechBrain's

    def __init__(
        self,
        *args: Any,
        epoch: SharedEpoch,
        report: SamplingReport,
        verifications: Sequence[Verification] = (),
        warm_start_from: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        check_run_options(self)
        check_spaces(self.framework, self.modules.sampler)
        self.shared_epoch = epoch
        self.report = report.to(self.device)
        self.verifications = list(verifications)
        self.warm_start_from = warm_start_from
        self._leaves_step_out = False
        if self.device_type == "cpu":
            keep_freed_memory()
        folder = pathlib.Path(self.hparams.output_folder)
        self.history = History(folder / "history.json")
        self.snapshots = Snapshots(
            folder / "snapshots", self.hparams.averaged_epochs
        )
        self.train_loggers = [self.hparams.train_logger]
        if self.hparams.use_tensorboard:
            self.train_loggers.append(TensorboardLogger(folder / "tensorboard"))
        if self.checkpointer is not None:
            check_recoverables(self.modules, self.checkpointer.recoverables)
            self.checkpointer.add_recoverable("sampling_report", self.report)

    # -- its parts ---------------------------------------------------------

    @property
    def framework(self) -> Framework:
        """The framework, without the wrapper of parallel training."""
        bare: Framework = without_wrapper(self.modules.framework)
        return bare

    @property
    def operands(self) -> dict[str, nn.Module]:
        """Modules that are passed to the loss by name, wrapped."""
        return {
            name: module
            for name, module in self.modules.items()
            if name not in ("framework", "sampler")
        }

    @property
    def objective_modules(self) -> list[ObjectiveModule]:
        """Operands with an update and metrics of their own, unwrapped."""
        bare = map(without_wrapper, self.operands.values())
        return [
            module for module in bare if isinstance(module, ObjectiveModule)
        ]

    @property
    def _parts(self) -> list[Framework | ObjectiveModule]:
        return [self.framework, *self.objective_modules]

    # -- one step ----------------------------------------------------------

    def compute_forward(self, batch: Any, stage: sb.Stage) -> Predictions:
        """Embed the views, and the reference segment once SSPS needs it."""
        # Batches are pinned where there is a GPU: nobody waits for the copy.
        batch = batch.to(self.device, non_blocking=True)
        reference = None
        if self.modules.sampler.remembering or stage != sb.Stage.TRAIN:
            reference = reference_representation(
                self.embed,
                batch.reference.data,
                in_eval_mode=self.hparams.reference_in_eval_mode,
            )
        views = [
            getattr(batch, group.key).data
            for group in self.hparams.crop_groups
            if group.num_crops != 0
        ]
        anchors, positives = self.modules.framework(*views)
        return Predictions(anchors, positives, reference)

    def compute_objectives(
        self, predictions: Predictions, batch: Any, stage: sb.Stage
    ) -> Tensor:
        """Compute the loss; with SSPS, on substituted positives."""
        sampling: PositiveSamplingLoss = self.hparams.loss
        positives, groups = sampling.substitute(
            predictions.positives, batch.id, predictions.reference
        )
        targets = self.framework.targets(positives)
        loss: Tensor = sampling.loss(
            predictions.anchors, targets, **groups, **self.operands
        )
        for module in self.objective_modules:
            module.update_anchors(predictions.anchors.detach())
            module.update(targets.detach(), groups.get("positive_groups"))
        if self.modules.sampler.last_draw is not None:
            self.report.update(*self.modules.sampler.last_draw)
        return loss

    def embed(self, wavs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return speaker embeddings, `(batch, dim)`; see `Framework.embed`."""
        return self.framework.embed(wavs, lengths)

    def init_optimizers(self) -> None:
        """Make the optimiser, with hooks on the steps that it takes.

        Where no step is taken (gradients accumulate, or are not finite under
        mixed precision), no momentum network is updated and nothing is
        clipped.
        """
        super().init_optimizers()
        self.optimizer.register_step_pre_hook(self._before_step)
        self.optimizer.register_step_post_hook(self._after_step)

    def check_loss_isfinite(self, loss: Tensor) -> None:
        """Leave a step out if the loss of any rank is not finite.

        SpeechBrain would take the step, and set the weights to nan. Under fp16
        its scaler leaves the step out.

        Raises
        ------
        ValueError
            There are more such losses than `nonfinite_patience`.
        """
        finite = sum_over_ranks(loss.isfinite().float()) == world_size()
        if bool(finite):
            return
        self._leaves_step_out = not self.scaler.is_enabled()
        self.nonfinite_count += 1
        message = (
            f"The loss of step {self.step} of epoch "
            f"{self.epoch_counter.current} is not finite"
        )
        if self.nonfinite_count > self.nonfinite_patience:
            raise ValueError(
                f"Expected finite losses, got {self.nonfinite_count} that are "
                f"not. {message}: lower the learning rate or, if it happens "
                "with --precision alone, train in fp32."
            )
        logger.warning("%s: the step is left out", message)

    def optimizers_step(self) -> None:
        """Step as SpeechBrain does, unless the step is left out."""
        if self._leaves_step_out:
            self._leaves_step_out = False
            self.optimizer.zero_grad(set_to_none=True)
            return
        super().optimizers_step()

    def _before_step(self, *_: Any) -> None:
        for part in self._parts:
            for parameter in part.frozen_parameters():
                parameter.grad = None
        if self.hparams.clip_gradients is not None:
            self.hparams.clip_gradients(self.modules.parameters())

    def _after_step(self, *_: Any) -> None:
        progress = self.epochs_passed / self.hparams.schedule_epochs
        self.framework.update(min(progress, 1.0))

    def on_fit_batch_start(self, batch: Any, should_step: bool) -> None:
        """Set the learning rate of the step."""
        self._set_learning_rate(steps_before=self.step - 1)

    def _set_learning_rate(self, steps_before: int) -> None:
        epochs_before = self.epoch_counter.current - 1
        self.epochs_passed = epochs_before + steps_before / self.num_steps
        self.learning_rate = self.hparams.lr_schedule(self.epochs_passed)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate

    # -- one epoch ---------------------------------------------------------

    def on_stage_start(self, stage: sb.Stage, epoch: int | None = None) -> None:
        """Begin the epoch in the data, the sampler and the objective."""
        if stage != sb.Stage.TRAIN or epoch is None:
            return
        # That of the last step taken: a resume may find no step left to take.
        self._set_learning_rate(steps_before=max(self.step - 1, 0))
        self.shared_epoch.set(epoch)
        self.modules.sampler.begin_epoch(epoch)
        for part in self._parts:
            part.begin_epoch(epoch)

    def on_stage_end(
        self, stage: sb.Stage, stage_loss: float, epoch: int | None = None
    ) -> None:
        """Verify the epoch, log it, and save a checkpoint."""
        if stage != sb.Stage.TRAIN or epoch is None:
            return
        # Without SyncBatchNorm each rank has batch statistics of its own. All
        # ranks verify, and go on with, those that are saved.
        broadcast_buffers(self.framework)
        row = {
            "epoch": epoch,
            "loss": mean_over_ranks(float(stage_loss), self.device),
            "learning_rate": self.learning_rate,
            **self.modules.sampler.metrics(),
            **self.report.metrics(self._clusters()),
        }
        self.report.reset()
        for module in self.objective_modules:
            row |= module.metrics()
        meta: dict[str, float] = {}
        if self._verifies_after(epoch):
            rates = self._error_rates()
            row |= rates
            meta = {"EER": rates["eer"]} if rates else {}
        if if_main_process():
            self.history.record(row)
            self.snapshots.save(epoch, self.framework.exported_model)
        # Loggers write on the main process, and wait for the others.
        self._log(row)
        if self.checkpointer is not None:
            # SpeechBrain resets these after this hook. Were they saved before,
            # a resume would go on averaging from this epoch's last step.
            self.step, self.avg_train_loss = 0, 0.0
            self.checkpointer.save_and_keep_only(
                meta=meta, num_to_keep=self.hparams.num_checkpoints
            )

    def _clusters(self) -> Tensor | None:
        sampler = self.modules.sampler
        return sampler.clusters() if sampler.substituting else None

    def _verifies_after(self, epoch: int) -> bool:
        sampler = self.modules.sampler
        return (
            epoch % self.hparams.verify_interval == 0
            or epoch == self.epoch_counter.limit
            or (sampler.enabled and epoch == sampler.start_epoch - 1)
        )

    def _log(self, row: dict[str, Any]) -> None:
        metrics = {key: value for key, value in row.items() if key != "epoch"}
        for train_logger in self.train_loggers:
            train_logger.log_stats({"epoch": row["epoch"]}, metrics)

    # -- fit ---------------------------------------------------------------

    def fit(
        self, epoch_counter: Any, train_set: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Fit as SpeechBrain does, with a warm start where one is asked for.

        Arguments
        ---------
        epoch_counter : speechbrain.utils.epoch_loop.EpochCounter
            Counts the epochs, from 1.
        train_set : speechbrain.dataio.dataset.DynamicItemDataset
            The training set, with the views.
        *args, **kwargs
            As for `speechbrain.Brain.fit`.
        """
        self.epoch_counter = epoch_counter
        loader_kwargs = kwargs.get("train_loader_kwargs", {})
        self.train_data = train_set, loader_kwargs
        loader = self.make_dataloader(
            train_set, stage=sb.Stage.TRAIN, **loader_kwargs
        )
        self.num_steps = len(loader)
        super().fit(epoch_counter, loader, *args, **kwargs)

    def on_fit_start(self) -> None:
        """Recover a checkpoint or, where there is none, start warm."""
        super().on_fit_start()
        self.history.warn_missing_epochs(self.epoch_counter.current)
        fresh = self.epoch_counter.current == 0 and self.step == 0
        if fresh and self.warm_start_from is not None:
            self._warm_start(self.warm_start_from)
            rates = self._error_rates()
            if if_main_process():
                self.history.record(
                    {"epoch": self.epoch_counter.current, **rates}
                )

    def _compile(self) -> None:
        """Compile as SpeechBrain does, and the encoders if asked to."""
        super()._compile()
        if self.hparams.compile_backend is not None:
            compile_encoders(self.framework, self.hparams.compile_backend)

    def _wrap_distributed(self) -> None:
        """Wrap as SpeechBrain does; synchronise batch norms if asked to."""
        synchronise = self.hparams.sync_batchnorm and self.device_type != "cpu"
        with nullcontext() if synchronise else unsynchronised_batch_norm():
            super()._wrap_distributed()

    # -- warm start --------------------------------------------------------

    def _warm_start(self, folder: str) -> None:
        """Load a finished run, and fill the memories with its encoder.

        Model, optimiser and epoch continue those of the run. The memories are
        filled in one pass over the training set, in eval mode, with the
        training augmentation, in the order of the last epoch. It takes the
        place of the epoch that would otherwise fill them.

        Source: Lepage and Dehak, SSPS, Interspeech 2025 (arXiv 2505.14561).
        """
        epoch = self._recover_finished_run(folder)
        self.shared_epoch.set(epoch)
        loader = self._loader_of_epoch(epoch)
        hidden = self.noprogressbar or not if_main_process()
        self.modules.eval()
        with torch.no_grad(), self.evaluation_ctx:
            bar = sb.core.tqdm(loader, "warm start", disable=hidden)
            self.modules.sampler.warm_start(self._embedded_batches(bar))

    def _recover_finished_run(self, folder: str) -> int:
        """Recover what the run trained, and return its last epoch.

        Raises
        ------
        FileNotFoundError
            There is no checkpoint in the folder.
        ValueError
            Its last epoch is not the one before SSPS starts.
        """
        # The bare modules: DDP and compile wrap those of `modules`.
        names = ("framework", *self.operands, "optimizer", "epoch_counter")
        recoverables = self.checkpointer.recoverables
        finished = Checkpointer(
            folder,
            recoverables={name: recoverables[name] for name in names},
        )
        checkpoint = finished.recover_if_possible()
        if checkpoint is None:
            raise FileNotFoundError(
                "Expected the save folder of a finished run, with a checkpoint "
                f"in it, got {folder}, with none: change warm_start_from."
            )
        epoch: int = self.epoch_counter.current
        start_epoch = self.modules.sampler.start_epoch
        if epoch + 1 != start_epoch:
            raise ValueError(
                f"Expected SSPS to start after the last epoch of the run in "
                f"{folder}, which is {epoch}, got a start in epoch "
                f"{start_epoch}: change ssps_start_epoch to {epoch + 1}, and "
                "num_epochs to more than that."
            )
        logger.info("Warm start from %s, epoch %d", checkpoint.path, epoch)
        return epoch

    def _loader_of_epoch(self, epoch: int) -> Any:
        """Return a loader of all batches in the order of a past epoch."""
        train_set, loader_kwargs = self.train_data
        # Making a loader replaces the sampler that training will use.
        kept = self.train_sampler
        loader = self.make_dataloader(
            train_set,
            sb.Stage.TRAIN,
            ckpt_prefix=None,
            **{**loader_kwargs, "drop_last": False},
        )
        if self.train_sampler is not None:
            self.train_sampler.set_epoch(epoch)
        self.train_sampler = kept
        return loader

    def _embedded_batches(
        self, loader: Any
    ) -> Iterator[tuple[Any, Tensor | None, Tensor]]:
        """Yield ids, references and positives of a loader's batches."""
        for batch in loader:
            predictions = self.compute_forward(batch, sb.Stage.VALID)
            yield batch.id, predictions.reference, predictions.positives

    # -- speaker verification ----------------------------------------------

    def verify(self, cohort: Cohort | None = None) -> VerificationResult | None:
        """Score the first trial list with the present encoder.

        All ranks call it: the utterances are shared among them.

        Arguments
        ---------
        cohort : Cohort, optional
            Normalise the scores by it.

        Returns
        -------
        VerificationResult or None
            None without trials, and on all processes but the main one.
        """
        return next(iter(self._verify(self.verifications[:1], cohort)), None)

    def verify_average(
        self, cohort: Cohort | None = None
    ) -> tuple[list[VerificationResult], int]:
        """Score all trial lists with the average of the last epochs.

        All ranks call it. The model is afterwards what it was before.

        Arguments
        ---------
        cohort : Cohort, optional
            Normalise the scores by it.

        Returns
        -------
        list of VerificationResult
            One for each list; empty on all processes but the main one.
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

    def _verify(
        self, verifications: Sequence[Verification], cohort: Cohort | None
    ) -> list[VerificationResult]:
        """Score trial lists; an utterance of several is embedded once."""
        if not verifications:
            return []
        self.modules.eval()
        cache = EmbeddingCache()
        with self.evaluation_ctx, uncompiled():
            results = [
                verification.run(
                    self.embed,
                    self.device,
                    progress=not self.noprogressbar and if_main_process(),
                    cohort=cohort,
                    cache=cache,
                )
                for verification in verifications
            ]
        return [result for result in results if result is not None]

    def _error_rates(self) -> dict[str, float]:
        """Verify, and return the error rates by the history's names."""
        rated = [one for one in self.verifications if not one.missing_labels]
        for result in self._verify(rated[:1], None):
            if result.eer is not None:
                costs = {f"min_dcf_{p}": c for p, c in result.min_dcf.items()}
                return {"eer": 100 * result.eer, **costs}
        return {}
