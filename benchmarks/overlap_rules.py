"""Print how right draws are by rules for which overlap is enough.

    python benchmarks/overlap_rules.py RUN RUN ...

For the epochs of runs that kept their references (see `readiness.py`): of each
rule at some thresholds, how many utterances have a candidate, and how many of
their candidates are right on average over the anchors, in percent. The rules:

overlap: as `SharedNeighborSampling` has it.
popularity: the same, with each shared neighbour weighted by one over the lists
    that it is on.
own: the overlap over the geometric mean of both utterances' overlap with
    themselves an epoch ago.
second order: where the overlap is at least 0.08, of the utterances that have
    one of 0.08 with either of the two (which are included), how many have it
    with both; 0 if these are the two only.
both: second order by popularity's overlaps, from 0.065 on for the others.
further apart: the overlap with the lists of three epochs kept before, not one.
joined: the overlap where an epoch's references are those of two epochs joined,
    so that cosines are averaged: of this and the last, against the two before.

The last line is what chance alone makes of an overlap: pairs for each utterance
as they are, those of the wrong speaker, and those of a space without structure,
whose directions are as stable from epoch to epoch: the canonical variates of
both epochs' whitened references, each shuffled over the utterances. It is there
where the references of two epochs are.

This reads the speakers of the training manifest, which training never does, and
compares everything with everything, for corpora of some thousand utterances.
"""

import argparse

import torch
import torch.nn.functional as F
from one_core import use_one_core
from run_labels import check_lists, load_epochs, read_speakers, run_main
from torch import Tensor

from ssps_plugin.report.run import Run
from ssps_plugin.sampling.neighbor_lists import NUM_NEIGHBORS, NeighborLists
from ssps_plugin.sampling.strategy import Whitening

# The least overlap of a candidate, by all rules of the second order.
BASE = 0.08
THRESHOLDS = {
    "overlap": (0.08, 0.1, 0.1125, 0.125, 0.14),
    "popularity": (0.08, 0.1, 0.1125, 0.125, 0.14),
    "own": (0.5, 0.6, 0.7, 0.8, 0.9),
    "second order": (0.2, 0.3, 0.35, 0.4, 0.45),
    "both": (0.2, 0.3, 0.35, 0.4, 0.45),
    "further apart": (0.08, 0.1, 0.1125, 0.125, 0.14),
    "joined": (0.08, 0.1, 0.1125, 0.125, 0.14),
}
# Epochs that the last two rules compare.
NUM_EPOCHS = 4


def jaccard(
    present: Tensor, former: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Return the overlap of all pairs, `(num, num)`; own ones included."""
    num = len(present)
    now, before = (
        torch.zeros(num, num).scatter_(1, lists.long(), 1.0)
        for lists in (present, former)
    )
    if weights is None:
        weights = torch.ones(num)
    shared = (now * weights) @ before.T
    sizes = (now @ weights)[:, None] + before @ weights
    one_way = shared / (sizes - shared)
    return (one_way + one_way.T) / 2


def measures(lists: NeighborLists) -> dict[str, Tensor]:
    """Return the measure of all pairs by each rule, 0 of one with itself."""
    overlap = jaccard(lists.present, lists.former)
    own = overlap.diagonal().clamp(min=1e-6).sqrt()
    both = torch.cat([lists.present, lists.former]).flatten().long()
    popularity = both.bincount(minlength=len(overlap)).clamp(min=2)
    weighted = jaccard(lists.present, lists.former, 1 / popularity)
    found = {
        "overlap": overlap,
        "popularity": weighted,
        "own": overlap / own[:, None] / own,
        "second order": second_order(overlap, BASE),
        "both": second_order(weighted, 0.065),
    }
    return {name: of.clone().fill_diagonal_(0) for name, of in found.items()}


def second_order(overlap: Tensor, least: float) -> Tensor:
    """Return the overlap of the sets of those that share with each of two."""
    shares = (overlap >= least).float().fill_diagonal_(1.0)
    common = shares @ shares.T
    sizes = shares.sum(1)
    jaccards = common / (sizes[:, None] + sizes - common)
    return jaccards * (overlap >= BASE) * (common > 2)


def over_epochs(references: list[Tensor]) -> dict[str, Tensor]:
    """Return the measures that take four epochs, the oldest first."""
    if len(references) < NUM_EPOCHS:
        return {}
    pairs = {
        "further apart": (references[0], references[-1]),
        "joined": (torch.cat(references[:2], 1), torch.cat(references[2:], 1)),
    }
    found = {}
    for name, rows in pairs.items():
        lists = NeighborLists(NUM_NEIGHBORS)
        lists.allocate(len(references[0]))
        for each in rows:
            lists.renew(torch.arange(len(each)), F.normalize(each, dim=1))
        overlap = jaccard(lists.present, lists.former)
        found[name] = overlap.fill_diagonal_(0)
    return found


def precision(measure: Tensor, is_right: Tensor, threshold: float) -> str:
    """Return a cell: utterances with candidates, and right ones of these."""
    enough = (measure >= threshold).float()
    num = enough.sum(1)
    has_one = num > 0
    if not has_one.any():
        return "0: –"
    right = ((enough * is_right).sum(1) / num)[has_one].mean()
    share = has_one.double().mean()
    return f"{100 * float(share):.0f}: {100 * float(right):.0f}"


def whiten(references: Tensor) -> Tensor:
    """Return whitened references, not normalised."""
    whitening = Whitening(1.0)
    whitening.allocate(references.shape[1])
    whitening.fit(references)
    return (references - whitening.mean) @ whitening.transform


def by_chance(present: Tensor, former: Tensor) -> Tensor:
    """Return the overlaps of references whose structure was shuffled."""
    one, other = whiten(present), whiten(former)
    turn, _, turn_other = torch.linalg.svd(one.T @ other)
    generator = torch.Generator().manual_seed(0)
    orders = torch.rand(one.shape, generator=generator).argsort(0)
    lists = NeighborLists(NUM_NEIGHBORS)
    lists.allocate(len(present))
    for rows in (other @ turn_other.T, one @ turn):
        shuffled = F.normalize(rows.gather(0, orders), dim=1)
        lists.renew(torch.arange(len(rows)), shuffled)
    return jaccard(lists.present, lists.former).fill_diagonal_(0)


def print_epoch(
    lists: NeighborLists,
    references: list[Tensor],
    is_right: Tensor,
    chance: Tensor | None,
) -> None:
    """Print a line for each rule."""
    found = measures(lists) | over_epochs(references)
    for rule, measure in found.items():
        cells = [
            f"{threshold} {precision(measure, is_right, threshold)}"
            for threshold in THRESHOLDS[rule]
        ]
        print(f"  {rule:13}  {'   '.join(cells)}", flush=True)
    if chance is None:
        return
    overlap, num = found["overlap"], len(is_right)
    cells = []
    for threshold in THRESHOLDS["overlap"]:
        enough = overlap >= threshold
        wrong = enough & ~is_right.bool()
        counts = [
            float(of.sum()) / num for of in (enough, wrong, chance >= threshold)
        ]
        cells.append(
            f"{threshold} {' / '.join(f'{count:.2f}' for count in counts)}"
        )
    print(f"  {'by chance':13}  {'   '.join(cells)}", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", help="output folders of runs")
    parser.add_argument(
        "--epochs", type=int, nargs="+", help="by default all that were kept"
    )
    options = parser.parse_args()
    use_one_core()
    for folder in options.runs:
        run = Run(folder)
        sampler, speakers = read_speakers(run, parser)
        check_lists(run, len(speakers))
        is_right = (speakers[:, None] == speakers).float().fill_diagonal_(0)
        lists = NeighborLists(NUM_NEIGHBORS)
        lists.allocate(len(speakers))
        former = None
        kept: list[Tensor] = []
        for epoch in load_epochs(run, sampler):
            references = sampler.bank.references.float().clone()
            whitened = F.normalize(whiten(references), dim=1)
            lists.renew(torch.arange(len(references)), whitened)
            kept = [*kept, whitened][-NUM_EPOCHS:]
            is_asked = not options.epochs or epoch in options.epochs
            if lists.are_of_two_epochs and is_asked and former is not None:
                print(f"{run.name}, epoch {epoch}")
                chance = by_chance(references, former)
                print_epoch(lists, kept, is_right, chance)
            former = references


if __name__ == "__main__":
    run_main(main)
