"""Print how right and how wide draws of shared neighbours are, by whitening.

    python benchmarks/list_whitening.py RUN RUN ... --epochs 5 15

For epochs of runs that kept their references of these and of the epochs before
(see `readiness.py`): lists of neighbours among references that are whitened by
several powers, and for some thresholds of the overlap, in percent: utterances
that have a candidate; of their candidates, averaged over these anchors, how
many are right and of another recording, and of the own recording; and of the
other recordings' utterances of all speakers, how many are candidates.

This reads the speakers and recordings of the training manifest, which training
never does, and compares everything with everything, for corpora of some
thousand utterances.
"""

import argparse

import torch
from one_core import use_one_core
from overlap_rules import jaccard
from run_labels import check_lists, load_epochs, read_run, run_main
from torch import Tensor

from ssps_plugin.report.run import Run
from ssps_plugin.sampling.neighbor_lists import NUM_NEIGHBORS, NeighborLists
from ssps_plugin.sampling.strategy import Whitening

THRESHOLDS = {
    0.0: (0.135, 0.16, 0.19),
    0.25: (0.135, 0.16, 0.19),
    0.5: (0.11, 0.135, 0.15, 0.17),
    0.75: (0.09, 0.11, 0.12, 0.13),
    1.0: (0.08, 0.1, 0.1125),
}


def whitened_lists(references: Tensor, power: float) -> Tensor:
    """Return every utterance's own number and those of its neighbours."""
    whitening = Whitening(power)
    whitening.allocate(references.shape[1])
    whitening.fit(references)
    lists = NeighborLists(NUM_NEIGHBORS)
    lists.allocate(len(references))
    lists.renew(torch.arange(len(references)), whitening(references))
    return lists.present.clone()


def describe(enough: Tensor, right: Tensor, own: Tensor) -> str:
    """Return a cell: covered, right, own, and how wide."""
    num = enough.sum(1)
    covered = num > 0
    shares = (
        ((enough & those).sum(1) / num)[covered].mean()
        for those in (right, own)
    )
    wide = (enough & right).sum(1) / right.sum(1).clamp(min=1)
    found = *shares, wide.mean()
    precise, of_own, width = (f"{100 * float(one):.0f}" for one in found)
    cover = f"{100 * float(covered.double().mean()):.0f}"
    return f"{cover}: {precise} + {of_own}, {width}"


def main() -> None:
    """Print a table for each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", help="output folders of runs")
    parser.add_argument("--epochs", type=int, nargs="+", required=True)
    options = parser.parse_args()
    use_one_core()
    for folder in options.runs:
        run = Run(folder)
        sampler, speakers, recordings = read_run(run, parser)
        check_lists(run, len(speakers))
        own = (recordings[:, None] == recordings).fill_diagonal_(False)
        right = (speakers[:, None] == speakers) & ~own
        right.fill_diagonal_(False)
        former: dict[float, Tensor] = {}
        former_epoch = None
        for epoch in load_epochs(run, sampler):
            if not {epoch, epoch + 1} & set(options.epochs):
                continue
            references = sampler.bank.references.float()
            lists = {one: whitened_lists(references, one) for one in THRESHOLDS}
            if epoch in options.epochs and former_epoch == epoch - 1:
                print(f"{run.name}, epoch {epoch}")
                for power, thresholds in THRESHOLDS.items():
                    overlap = jaccard(lists[power], former[power])
                    overlap.fill_diagonal_(-1)
                    cells = [
                        f"{least} {describe(overlap >= least, right, own)}"
                        for least in thresholds
                    ]
                    print(f"  {power:<4}  {'   '.join(cells)}", flush=True)
            former, former_epoch = lists, epoch


if __name__ == "__main__":
    run_main(main)
