"""The Brain that every self-supervised recipe of this package shares."""

import copy
import math
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import speechbrain as sb
import torch
import torch.nn.functional as F
import yaml
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from speechbrain.utils.distributed import if_main_process
from speechbrain.utils.logger import get_logger
from torch import Tensor, nn

from ssps_plugin.dataio import SharedEpoch
from ssps_plugin.dataio.audio import AudioError
from ssps_plugin.dataio.augmentation.batch_augmentation import (
    BatchAugmentation,
    views_of,
)
from ssps_plugin.dataio.loading import restart_killed_workers
from ssps_plugin.dataio.read_failures import ReadFailures
from ssps_plugin.distributed import (
    broadcast_buffers,
    broadcast_state,
    mean_over_ranks,
    sum_over_ranks,
    without_wrapper,
    world_size,
)
from ssps_plugin.evaluation.epoch_table import EpochTable
from ssps_plugin.evaluation.results import History, first_covered_epoch
from ssps_plugin.evaluation.sampling_report import SamplingReport
from ssps_plugin.evaluation.scoring import Cohort, NoDirectionError
from ssps_plugin.evaluation.verification import (
    Verification,
    VerificationResult,
    score_lists,
)
from ssps_plugin.frameworks import Framework
from ssps_plugin.loss_wrapper import PositiveSamplingLoss
from ssps_plugin.losses import ObjectiveModule
from ssps_plugin.progress import progress_bar
from ssps_plugin.reference import reference_representation
from ssps_plugin.training.checkpoints import AtomicCheckpointer
from ssps_plugin.training.checks import (
    check_recoverables,
    check_references,
    check_run_options,
    check_spaces,
    pretrained_parameters,
)
from ssps_plugin.training.health import (
    check_finite,
    warn_of_collapse,
    warn_of_divergence,
    weight_norm,
)
from ssps_plugin.training.left_out_steps import LeftOutSteps
from ssps_plugin.training.optimisation import give_own_group
from ssps_plugin.training.rank_state import RankState
from ssps_plugin.training.runtime import (
    ForwardState,
    StopRequest,
    compile_encoders,
    keep_freed_memory,
    uncompiled,
    unsynchronised_batch_norm,
)
from ssps_plugin.training.snapshots import Snapshots
from ssps_plugin.training.train_loggers import (
    EpochTensorboard,
    make_wandb_logger,
    split_metrics,
)
from ssps_plugin.training.warm_start import check_finished_run
from ssps_plugin.training.weights import (
    find_save_folder,
    load_weights,
    weights_digest,
)

logger = get_logger(__name__)


class Predictions(NamedTuple):
    """Anchors, positives and references of a forward pass."""

    anchors: Tensor
    positives: Tensor
    reference: Tensor | None


class Remembered(NamedTuple):
    """What a step's updates need, once it is known that the step counts."""

    ids: list[str]
    anchors: Tensor
    positives: Tensor
    targets: Tensor
    groups: Tensor | None


@register_checkpoint_hooks
class SSLBrain(sb.Brain):
    """Train a framework on views, verify speakers, and keep the history.

    `modules` holds `framework` (a `Framework`) and `sampler` (a `Sampler`);
    every other entry (an `ObjectiveModule`, say) is passed to the loss by its
    name. `hparams` holds `crop_groups` (the views), `augmentation` (may be
    missing; one on the device is applied here), `loss`, `lr_schedule` (a
    function of the epochs passed), `schedule_epochs` (the length of the
    momentum's schedule), `clip_gradients` (a function of the parameters, or
    null), `frontend_lr` (the learning rate of a pre-trained front end, or
    null; its ratio to `lr` stays), `reference_in_eval_mode`,
    `reference_from` ("clean" or "view") and `reference_precision` (both may be
    missing),
    `verify_interval` (epochs), `averaged_epochs`, `num_checkpoints`,
    `train_logger`, `use_tensorboard`, `use_wandb` (may be missing),
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
        What to start from: the output or save folder of a finished run, or
        weights of an encoder, as `load_weights` takes them.
    reference_encoder : torch.nn.Module, optional
        A trained encoder, `(batch, samples)` to `(batch, dim)`, which embeds
        references in place of the one that is trained: pseudo-positives are
        drawn in its space. It is not trained.
    failures : ReadFailures, optional
        Which training files could not be read: counted in the history, and the
        run ends with more of them than it allows.
    *args, **kwargs
        As for `speechbrain.Brain`.
    """

    train_sampler: Any  # SpeechBrain's
    noprogressbar: bool
    max_grad_norm: float

    def __init__(
        self,
        *args: Any,
        epoch: SharedEpoch,
        report: SamplingReport,
        verifications: Sequence[Verification] = (),
        warm_start_from: str | None = None,
        reference_encoder: nn.Module | None = None,
        failures: ReadFailures | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        check_run_options(self)
        # SpeechBrain clips the first group of parameters alone.
        self._clip_norm: float = self.max_grad_norm
        self.max_grad_norm = math.inf
        check_spaces(self.framework, self.modules.sampler, reference_encoder)
        # A YAML file from before there were these keys lacks them.
        self._reference_from = getattr(self.hparams, "reference_from", "clean")
        self._reference_precision = getattr(
            self.hparams, "reference_precision", None
        )
        check_references(
            self._reference_from,
            self._reference_precision,
            has_encoder=reference_encoder is not None,
        )
        self._embeds_references: Callable[..., Tensor] = self.embed
        if reference_encoder is not None:
            # Not one of `modules`, whose mode changes, and whose weights train.
            reference_encoder.eval().requires_grad_(False).to(self.device)
            self._embeds_references = reference_encoder
        self._reference_digest = weights_digest(reference_encoder)
        self.shared_epoch = epoch
        self.report = report.to(self.device)
        self.verifications = list(verifications)
        self.warm_start_from = warm_start_from
        self.failures = failures
        # None where workers augment, or nobody does.
        self.batch_augmentation = BatchAugmentation.of(
            vars(self.hparams).get("augmentation"),
            self.hparams.crop_groups,
            self.device,
        )
        self._stop = StopRequest()
        self._forward_state: ForwardState | None = None
        self._remembered: Remembered | None = None
        # Of this batch; of the step, which may take several.
        self._batch_counts = True
        self._leaves_step_out = False
        self._stops = False
        self._left_out = LeftOutSteps(self.nonfinite_patience)
        self._first_norm = 0.0
        self._rank_state = RankState()
        if self.device_type == "cpu":
            keep_freed_memory()
        folder = pathlib.Path(self.hparams.output_folder)
        self.history = History(folder / "history.json")
        self.snapshots = Snapshots(
            folder / "snapshots", self.hparams.averaged_epochs
        )
        self.train_loggers = [self.hparams.train_logger]
        if self.hparams.use_tensorboard:
            self.train_loggers.append(EpochTensorboard(folder / "tensorboard"))
        settings = vars(self.hparams)
        wandb_logger = make_wandb_logger(
            settings.get("use_wandb"), folder, settings
        )
        if wandb_logger is not None:
            self.train_loggers.append(wandb_logger)
        # SpeechBrain's bar would stay on the screen, and go into files.
        self._shows_progress = not self.noprogressbar and if_main_process()
        self.noprogressbar = True
        self._step_bar = progress_bar(disable=True)
        if self.checkpointer is not None:
            check_recoverables(self.modules, self.checkpointer.recoverables)
            self.checkpointer.add_recoverable("sampling_report", self.report)
            self.checkpointer.add_recoverable("rank_state", self._rank_state)
            if failures is not None:
                self.checkpointer.add_recoverable("read_failures", failures)

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

    @property
    def _buffers_of_rank(self) -> list[Tensor]:
        """What differs between ranks inside an epoch."""
        own = [
            module.get_buffer(name)
            for module in self.objective_modules
            for name in module.buffers_of_rank
        ]
        return [*self.framework.buffers(), *own]

    # -- one step ----------------------------------------------------------

    def compute_forward(self, batch: Any, stage: sb.Stage) -> Predictions:
        """Embed the views, and the reference segment where SSPS needs it."""
        # Batches are pinned where there is a GPU: nobody waits for the copy.
        batch = batch.to(self.device, non_blocking=True)
        sampler = self.modules.sampler
        is_needed = sampler.needs_reference or stage != sb.Stage.TRAIN
        reference = None
        if is_needed and self._reference_from == "clean":
            reference = self._clean_reference(batch.reference.data)
        views = views_of(
            batch, self.hparams.crop_groups, self.batch_augmentation
        )
        anchors, positives = self.modules.framework(*views)
        if is_needed and self._reference_from == "view":
            reference = self._first_view_reference()
        return Predictions(anchors, positives, reference)

    def _clean_reference(self, wavs: Tensor) -> Tensor:
        """Embed a segment of its own, and leave the plain run as it is."""
        sampler = self.modules.sampler
        # One that is only checked, or never of use, must not touch batch
        # statistics. One of which that is not known yet leaves no trace.
        is_idle = not sampler.renews_references or sampler.covers_nothing
        in_eval_mode = self.hparams.reference_in_eval_mode or is_idle
        reference = reference_representation(
            self._embeds_references,
            wavs,
            in_eval_mode=in_eval_mode,
            precision=self._reference_precision,
        )
        leaves_no_trace = sampler.may_not_begin and not in_eval_mode
        if leaves_no_trace and self._forward_state is not None:
            self._forward_state.restore()  # kept when the batch began
        return reference

    def _first_view_reference(self) -> Tensor:
        """Return the embedding of the first view, which is made anyway."""
        embedding = self.framework.first_view_embedding
        if embedding is None:
            raise ValueError(
                "Expected a framework that sets first_view_embedding with "
                f"reference_from view, got {type(self.framework).__name__}: "
                "change reference_from to clean."
            )
        return F.normalize(embedding.float(), dim=-1)

    def compute_objectives(
        self, predictions: Predictions, batch: Any, stage: sb.Stage
    ) -> Tensor:
        """Compute the loss; with SSPS, on substituted positives."""
        sampling: PositiveSamplingLoss = self.hparams.loss
        positives, groups = sampling.substitute(
            predictions.positives,
            batch.id,
            predictions.reference,
            remember=False,
        )
        targets = self.framework.targets(positives)
        loss: Tensor = sampling.loss(
            predictions.anchors, targets, **groups, **self.operands
        )
        self._remembered = Remembered(
            list(batch.id),
            predictions.anchors.detach(),
            predictions.positives.detach(),
            targets.detach(),
            groups.get("positive_groups"),
        )
        return loss

    def _remember_step(self) -> None:
        """Update what remembers steps: memories, negatives, centre, report."""
        if self._remembered is None:
            return
        _, anchors, positives, targets, groups = self._remembered
        sampler = self.modules.sampler
        sampler.remember()
        for module in self.objective_modules:
            module.update_anchors(anchors)
            module.update_positives(positives)
            module.update(targets, groups)
        if sampler.last_draw is not None:
            self.report.update(*sampler.last_draw)

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
        for module in self.objective_modules:
            undecayed = module.undecayed_parameters()
            give_own_group(self.optimizer, undecayed, weight_decay=0.0)
        # A YAML file from before there was this key lacks it.
        rate = getattr(self.hparams, "frontend_lr", None)
        if rate is not None:
            parameters = pretrained_parameters(self.framework)
            give_own_group(self.optimizer, parameters, rate / self.hparams.lr)
        self.optimizer.register_step_pre_hook(self._before_step)
        self.optimizer.register_step_post_hook(self._after_step)

    def check_loss_isfinite(self, loss: Tensor) -> None:
        """Leave a step out if the loss of any rank is not finite.

        SpeechBrain would take the step, and set the weights to nan. Under fp16
        its scaler leaves the step out. The ranks agree here, too, on whether a
        signal asks them to stop after this step.
        """
        is_finite = loss.detach().isfinite().double()
        asked = torch.full_like(is_finite, float(self._stop.is_requested))
        both = sum_over_ranks(torch.stack([is_finite, asked]))
        num_finite, num_asked = both.tolist()
        self._stops = num_asked > 0
        if num_finite == world_size():
            return
        self._batch_counts = False
        self._leaves_step_out = not self.scaler.is_enabled()
        self._count_left_out("loss")

    def optimizers_step(self) -> None:
        """Step as SpeechBrain does, unless the step is left out.

        That is where a loss was not finite, or a gradient is not.
        """
        checked = not self.scaler.is_enabled() and not self._leaves_step_out
        if checked and not self._has_finite_gradients():
            self._batch_counts = False
            self._leaves_step_out = True
            self._count_left_out("gradient")
        if self._leaves_step_out:
            self._leaves_step_out = False
            self.optimizer.zero_grad(set_to_none=True)
            return
        scale = self.scaler.get_scale()
        super().optimizers_step()
        if self.scaler.get_scale() < scale:  # the scaler took no step
            self._batch_counts = False

    def _has_finite_gradients(self) -> bool:
        gradients = [
            parameter.grad
            for group in self.optimizer.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        if not gradients:
            return True
        norms = torch.stack(torch._foreach_norm(gradients))
        return bool(norms.isfinite().all())

    def _count_left_out(self, what: str) -> None:
        ids = [] if self._remembered is None else self._remembered.ids
        self._left_out.add(what, self.step, self.epoch_counter.current, ids)

    def _before_step(self, *_: Any) -> None:
        for part in self._parts:
            for parameter in part.frozen_parameters():
                parameter.grad = None
        if math.isfinite(self._clip_norm):
            nn.utils.clip_grad_norm_(
                [
                    parameter
                    for group in self.optimizer.param_groups
                    for parameter in group["params"]
                ],
                self._clip_norm,
            )
        if self.hparams.clip_gradients is not None:
            self.hparams.clip_gradients(self.modules.parameters())

    def _after_step(self, *_: Any) -> None:
        progress = self.epochs_passed / self.hparams.schedule_epochs
        self.framework.update(min(progress, 1.0))

    def on_fit_batch_start(self, batch: Any, should_step: bool) -> None:
        """Set the learning rate of the step, and keep the state before it."""
        self._set_learning_rate(steps_before=self.step - 1)
        self._batch_counts = True
        self._remembered = None
        if self._forward_state is None:
            operands = self._operands_moved_by_forward()
            self._forward_state = ForwardState(
                [self.framework, *operands],
                [weight for one in operands for weight in one.parameters()],
            )
        self._forward_state.keep()

    def on_fit_batch_end(
        self, batch: Any, outputs: Any, loss: Tensor, should_step: bool
    ) -> None:
        """Remember the step, or restore the state from before it."""
        if self.step > 1:  # the average of the steps before this one
            loss_so_far = f"loss {self.avg_train_loss:.3f}"
            self._step_bar.set_postfix_str(loss_so_far, refresh=False)
        self._step_bar.update()
        if self._batch_counts:
            self._remember_step()
            self._left_out.note_good_step(self.num_steps)
            return
        if self._forward_state is not None:
            self._forward_state.restore()
        self.modules.sampler.discard()

    def _operands_moved_by_forward(self) -> list[nn.Module]:
        """Return the operands whose forward pass changes their state."""
        bare = map(without_wrapper, self.operands.values())
        return [m for m in bare if getattr(m, "moved_by_forward", True)]

    def _set_learning_rate(self, steps_before: int) -> None:
        epochs_before = self.epoch_counter.current - 1
        self.epochs_passed = epochs_before + steps_before / self.num_steps
        self.learning_rate = self.hparams.lr_schedule(self.epochs_passed)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * group.get("lr_scale", 1.0)

    # -- one epoch ---------------------------------------------------------

    def on_stage_start(self, stage: sb.Stage, epoch: int | None = None) -> None:
        """Begin the epoch in the data, the sampler and the objective."""
        if stage != sb.Stage.TRAIN or epoch is None:
            return
        # That of the last step taken: a resume may find no step left to take.
        self._set_learning_rate(steps_before=max(self.step - 1, 0))
        self.shared_epoch.set(epoch)
        self.modules.sampler.object_to_beginning(self._explain_unready())
        self.modules.sampler.begin_epoch(epoch)
        for part in self._parts:
            part.begin_epoch(epoch)
        self._epoch_started = time.monotonic()
        self._step_bar = progress_bar(
            description=f"epoch {epoch}",
            total=self.num_steps,
            unit="step",
            disable=not self._shows_progress,
            initial=self.step,
        )

    def _explain_unready(self) -> str:
        """Say why the encoder is not one to draw by yet; empty if it may be."""
        if self._reference_digest is not None:  # it is not what is drawn by
            return ""
        reasons = [one.explain_unready() for one in self.objective_modules]
        return "; ".join(reason for reason in reasons if reason)

    def on_stage_end(
        self, stage: sb.Stage, stage_loss: float, epoch: int | None = None
    ) -> None:
        """Verify the epoch, log it, and save a checkpoint."""
        if stage != sb.Stage.TRAIN or epoch is None:
            return
        self._step_bar.close()
        self._stop_if_asked()
        # Without SyncBatchNorm each rank has batch statistics of its own. All
        # ranks verify, and go on with, those that are saved.
        broadcast_buffers(self.framework)
        self._rank_state.forget()
        self._check_state()
        if self._remembered is not None:
            warn_of_collapse(self._remembered.anchors, epoch)
        warn_of_divergence(
            self.framework, self._first_norm, epoch, self.learning_rate
        )
        self.modules.sampler.end_epoch()
        row = {
            "epoch": epoch,
            "loss": mean_over_ranks(float(stage_loss), self.device),
            "learning_rate": self.learning_rate,
            **self._count_unreadable(epoch),
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
            model, marked = self.framework.exported_model, self._marked_epochs()
            self.snapshots.save(epoch, model, marked)
        # Loggers write on the main process, and wait for the others.
        self._log(row)
        if self.checkpointer is not None:
            # SpeechBrain resets these after this hook. Were they saved before,
            # a resume would go on averaging from this epoch's last step.
            self.step, self.avg_train_loss = 0, 0.0
            self.checkpointer.save_and_keep_only(
                meta={**meta, "epoch": epoch},
                num_to_keep=self.hparams.num_checkpoints,
            )

    def _count_unreadable(self, epoch: int) -> dict[str, float]:
        """Count the epoch's files that could not be read, on all ranks.

        Raises
        ------
        TooManyUnreadableError
            More of them than `max_unreadable`.
        """
        if self.failures is None:
            return {}
        self.failures.join_ranks(self.device)
        self.failures.check(epoch)
        num_lost = self.failures.count(epoch)
        return {"unreadable": float(num_lost)} if num_lost else {}

    def _check_state(self) -> None:
        """Check that what is saved and verified next is finite.

        Raises
        ------
        RuntimeError
            It is not: the last checkpoint stays the last one.
        """
        modules = {"framework": self.framework}
        modules |= {k: without_wrapper(v) for k, v in self.operands.items()}
        check_finite(modules, self.epoch_counter.current)

    def _stop_if_asked(self) -> None:
        """Save and stop, where a signal asked any rank to.

        Raises
        ------
        SystemExit
            Of the signal's status, 128 + its number.
        """
        asked = torch.tensor(float(self._stop.is_requested), device=self.device)
        if bool(sum_over_ranks(asked) > 0):
            self._save_and_stop()

    def _save_and_stop(self) -> None:
        if self.checkpointer is not None:
            self._save_intra_epoch_ckpt()
            self._wait_for_checkpoint()
        logger.warning(
            "Stopped by a signal after step %d of epoch %d. What was trained "
            "is saved; the same command goes on from there (exit status %d).",
            self.step,
            self.epoch_counter.current,
            self._stop.exit_status,
        )
        raise SystemExit(self._stop.exit_status)

    def _should_save_intra_epoch_ckpt(self, *args: Any) -> bool:
        """Save as SpeechBrain does; before that, stop where asked to."""
        if self._stops:
            self._save_and_stop()
        save: bool = super()._should_save_intra_epoch_ckpt(*args)
        return save

    def _save_intra_epoch_ckpt(self) -> None:
        """Save as SpeechBrain does, if the state is finite."""
        self._check_state()
        if self.failures is not None:
            self.failures.join_ranks(self.device)
        self._rank_state.gather(self._buffers_of_rank, self.avg_train_loss)
        super()._save_intra_epoch_ckpt()

    def _wait_for_checkpoint(self) -> None:
        if isinstance(self.checkpointer, AtomicCheckpointer):
            self.checkpointer.wait()

    @mark_as_saver
    def _save(self, path: str | pathlib.Path) -> None:
        """Save as SpeechBrain does, and the steps that were left out."""
        super()._save(path)
        own = {
            **self._left_out.state(),
            "num_ranks": world_size(),
            "first_norm": self._first_norm,
            "reference_encoder": self._reference_digest,
        }
        with open(path, "a", encoding="utf-8") as file:
            file.write(yaml.dump(own))

    @mark_as_loader
    def _recover(self, path: str | pathlib.Path, end_of_epoch: bool) -> None:
        """Recover as SpeechBrain does, and the steps that were left out."""
        super()._recover(path, end_of_epoch)
        saved = yaml.safe_load(pathlib.Path(path).read_text(encoding="utf-8"))
        self._left_out.take_up(saved)
        self._first_norm = saved.get("first_norm", 0.0)
        self._warn_other_ranks(saved.get("num_ranks", world_size()))
        if saved.get("reference_encoder") != self._reference_digest:
            logger.warning(
                "reference_encoder has other weights than when this run was "
                "saved, or is given or left out only now: pseudo-positives are "
                "drawn in another space from here on."
            )

    def _warn_other_ranks(self, num_before: int) -> None:
        """Warn where another number of ranks has other batch statistics."""
        has_batch_norm = any(
            isinstance(module, nn.modules.batchnorm._BatchNorm)
            for module in self.framework.modules()
        )
        synchronised = self.hparams.sync_batchnorm and self.device_type != "cpu"
        if num_before == world_size() or not has_batch_norm or synchronised:
            return
        logger.warning(
            "This run was trained by %d processes and goes on with %d. Views "
            "and draws stay the same, but batch statistics are each process's "
            "own (sync_batchnorm is off, or the device is a CPU), so they are "
            "of batches of another size from here on.",
            num_before,
            world_size(),
        )

    def _clusters(self) -> Tensor | None:
        sampler = self.modules.sampler
        return sampler.clusters() if sampler.substituting else None

    def _verifies_after(self, epoch: int) -> bool:
        sampler = self.modules.sampler
        return (
            epoch % self.hparams.verify_interval == 0
            or epoch == self.epoch_counter.limit
            or sampler.may_begin_in(epoch + 1)
        )

    def _marked_epochs(self) -> set[int]:
        """Return the epochs whose snapshot is kept besides the last ones.

        The one before SSPS starts, to compare with, and the best verified one.
        """
        sampler, rows = self.modules.sampler, self.history.rows
        before = set()
        if sampler.enabled:
            begins = first_covered_epoch(rows) or sampler.start_epoch
            last = rows[-1]["epoch"] if rows else 0
            if sampler.may_begin_in(last + 1):
                begins = last + 1
            before = {begins - 1}
        rated = [row for row in rows if "eer" in row]
        best = min(rated, key=lambda row: row["eer"], default=None)
        return before if best is None else before | {best["epoch"]}

    def _log(self, row: dict[str, Any]) -> None:
        meta, metrics = split_metrics(row)
        for train_logger in self.train_loggers:
            train_logger.log_stats(meta, metrics, verbose=False)
        if if_main_process():
            seconds = time.monotonic() - self._epoch_started
            self._epoch_table.log(row, seconds)
            self._explain_loss(row)

    def _explain_loss(self, row: dict[str, Any]) -> None:
        """Explain in the epoch in which SSPS starts why the loss rises."""
        former = self.history.at(row["epoch"] - 1)
        if not row.get("coverage") or former.get("coverage"):
            return
        before = former.get("loss")
        if before is not None and row["loss"] > before:
            logger.info(
                "SSPS has started, so the loss rose from %.3f to %.3f, as it "
                "should: positives now come from other recordings, which are "
                "harder to match than two crops of one, and from here on "
                "losses compare with this epoch's.",
                before,
                row["loss"],
            )

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
        loader = restart_killed_workers(
            self.make_dataloader(
                train_set, stage=sb.Stage.TRAIN, **loader_kwargs
            )
        )
        self.num_steps = len(loader)
        sampler = self.modules.sampler
        self._epoch_table = EpochTable(
            epoch_counter.limit,
            verifies=any(not v.missing_labels for v in self.verifications),
            start_epoch=sampler.start_epoch,
            labels=self.report.names,
        )
        if self.grad_accumulation_factor > self.num_steps:
            raise ValueError(
                "Expected grad_accumulation_factor of at most "
                f"{self.num_steps}, the steps of an epoch, since SpeechBrain "
                "begins to count anew in every epoch, got "
                f"{self.grad_accumulation_factor}, with which nothing would "
                "ever be trained: change grad_accumulation_factor or "
                "global_batch_size."
            )
        with self._stop:
            super().fit(epoch_counter, loader, *args, **kwargs)
        self._wait_for_checkpoint()

    def on_fit_start(self) -> None:
        """Recover a checkpoint or, where there is none, start warm."""
        self._first_norm = weight_norm(self.framework)
        super().on_fit_start()
        loss_of_rank = self._rank_state.restore(self._buffers_of_rank)
        if loss_of_rank is not None:
            self.avg_train_loss = loss_of_rank
        self._log_start()
        self._check_epoch()
        self.history.warn_missing_epochs(self.epoch_counter.current)
        fresh = self.epoch_counter.current == 0 and self.step == 0
        if fresh and self.warm_start_from is not None:
            self._warm_start(self.warm_start_from)
            rates = self._error_rates()
            if if_main_process():
                epoch = self.epoch_counter.current
                self.history.record({"epoch": epoch, **rates})
                self.snapshots.mark(epoch, self.framework.exported_model)

    def _check_epoch(self) -> None:
        """Check that an epoch shows utterances enough for SSPS to start."""
        sampler = self.modules.sampler
        batch_size = getattr(self.hparams, "global_batch_size", None)
        if batch_size is None or self.warm_start_from is not None:
            return
        if sampler.enabled and sampler.start_epoch <= self.epoch_counter.limit:
            sampler.check_epoch(self.num_steps * batch_size)

    def _log_start(self) -> None:
        """Log what is trained, and from where a run goes on."""
        done, sampler = self.epoch_counter.current, self.modules.sampler
        num_weights = sum(
            weight.numel()
            for module in self.modules.values()
            for weight in module.parameters()
            if weight.requires_grad
        )
        ranks = "" if world_size() == 1 else f", {world_size()} processes"
        positives = "without SSPS"
        if sampler.enabled and sampler.covers_nothing:
            positives += ", since coverage is 0"
        elif sampler.enabled:
            positives = f"with SSPS from epoch {sampler.start_epoch} on"
            limit = self.epoch_counter.limit
            latest = min(sampler.plan.latest_start_epoch, limit)
            if sampler.may_not_begin and latest > sampler.start_epoch:
                positives += f", or up to {latest}"
        logger.info(
            "Training %s on %s%s: %s weights, %d epochs of %d steps, %s.",
            type(self.framework).__name__,
            self.device,
            ranks,
            f"{num_weights:,}".replace(",", " "),
            self.epoch_counter.limit,
            self.num_steps,
            positives,
        )
        if self.step:
            logger.info(
                "Going on inside epoch %d, after step %d.", done + 1, self.step
            )
        elif done:
            logger.info("Going on after epoch %d.", done)

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

    def _warm_start(self, source: str) -> None:
        """Take up a finished run or weights, and fill the memories.

        With SSPS, model, optimiser and epoch continue those of a run. The
        memories are filled in one pass over the training set, in eval mode,
        with the training augmentation, in the order of the last epoch. It
        takes the place of the epoch that would otherwise fill them. Of
        anything else, and without SSPS, the weights are taken, and training
        begins at its first epoch: SSPS may then start in it.

        Source: Lepage and Dehak, SSPS, Interspeech 2025 (arXiv 2505.14561).
        """
        save_folder, sampler = find_save_folder(source), self.modules.sampler
        if save_folder is not None and sampler.enabled:
            epoch = self._recover_finished_run(save_folder)
        else:
            self._load_weights(source)
            epoch = 0
            if sampler.start_epoch != 1:
                return
        self.shared_epoch.set(epoch)
        loader = self._loader_of_epoch(epoch)
        self.modules.eval()
        with torch.no_grad(), self.evaluation_ctx:
            bar = progress_bar(
                loader,
                "Filling the memories",
                unit="batch",
                disable=not self._shows_progress,
            )
            sampler.warm_start(self._embedded_batches(bar))

    def _load_weights(self, source: str) -> None:
        """Load weights into the framework, and log what they are."""
        report = load_weights(self.framework, source)
        logger.info("Warm start: %s", report)
        self._first_norm = weight_norm(self.framework)

    def _recover_finished_run(self, folder: pathlib.Path) -> int:
        """Recover what the run trained, and return its last epoch."""
        check_finished_run(folder, self.modules.sampler.start_epoch)
        # The bare modules: DDP and compile wrap those of `modules`.
        names = ("framework", *self.operands, "optimizer", "epoch_counter")
        recoverables = self.checkpointer.recoverables
        finished = AtomicCheckpointer(
            folder,
            recoverables={name: recoverables[name] for name in names},
        )
        finished.load_newest()
        epoch: int = self.epoch_counter.current
        logger.info("Warm start from %s, epoch %d", folder, epoch)
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
        return restart_killed_workers(loader)

    def _embedded_batches(
        self, loader: Any
    ) -> Iterator[tuple[Any, Tensor | None, Tensor]]:
        """Yield ids, references and positives of a loader's batches."""
        for batch in loader:
            if self._stop.is_requested:  # there is nothing to save yet
                raise SystemExit(self._stop.exit_status)
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
        scored = self._verify(self.verifications[:1], cohort)
        return next((result for _, result in scored), None)

    def verify_average(
        self, cohort: Cohort | None = None
    ) -> tuple[list[tuple[Verification, VerificationResult]], int]:
        """Score all trial lists with the average of the last epochs.

        All ranks call it. The model is afterwards what it was before. A list
        of which a file cannot be read any more is left out with a warning,
        unless it is the first.

        Arguments
        ---------
        cohort : Cohort, optional
            Normalise the scores by it.

        Returns
        -------
        list of (Verification, VerificationResult)
            Each list that was scored; empty on all processes but the main one.
        int
            How many epochs were averaged.

        Raises
        ------
        AudioError
            A file of the first list cannot be read.
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
    ) -> list[tuple[Verification, VerificationResult]]:
        """Score trial lists by the present encoder, as it is evaluated."""
        if not verifications:
            return []
        self.modules.eval()
        with self.evaluation_ctx, uncompiled():
            return score_lists(
                verifications,
                self.embed,
                self.device,
                progress=self._shows_progress,
                cohort=cohort,
            )

    def _error_rates(self) -> dict[str, Any]:
        """Verify, and return the error rates by the history's names.

        A model that cannot be scored is no reason to lose the epoch, nor is a
        file that cannot be read any more.
        """
        rated = [one for one in self.verifications if not one.missing_labels]
        try:
            scored = self._verify(rated[:1], None)
        except (AudioError, NoDirectionError) as error:
            epoch: int = self.epoch_counter.current
            logger.warning("Epoch %d is not verified. %s", epoch, error)
            return {}
        for _, result in scored:
            if result.eer is not None:
                costs = {f"min_dcf_{p}": c for p, c in result.min_dcf.items()}
                threshold = {"eer_threshold": result.eer_threshold}
                return {"eer": 100 * result.eer, **costs, **threshold}
        return {}
