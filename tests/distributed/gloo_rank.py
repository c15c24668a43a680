"""One rank of a process group over gloo, in a process of its own."""

import importlib.util
import pathlib
import pickle
import traceback
from datetime import timedelta

import torch
import torch.distributed as dist


def run_rank(rank, path, name, world_size, folder, arguments):
    """Run a test file's function `name(rank, *arguments)`, keep its result."""
    folder = pathlib.Path(folder)
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'store'}",
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=60),
    )
    spec = importlib.util.spec_from_file_location("rank_functions", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        result = (getattr(module, name)(rank, *arguments), None)
    except Exception:  # raised again in the test's own process
        result = (None, traceback.format_exc())
    (folder / str(rank)).write_bytes(pickle.dumps(result))
    if result[1] is None:
        dist.barrier()
    dist.destroy_process_group()
