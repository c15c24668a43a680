"""How the package is built, held over its source: who may know whom."""

import ast
import pathlib

import pytest

import ssps_plugin

PACKAGE = pathlib.Path(ssps_plugin.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# What a room may import of the package, besides itself. Rooms that are not
# listed lie above these: nothing listed here can reach them.
ALLOWED = {
    "clustering": {"distributed"},
    "distributed": set(),
    "heads": {"objective_module"},
    "memory": set(),
    "reference": {"distributed"},
    "same_utterance": set(),
    "objective_module": set(),
    "momentum": {"distributed"},
    "padding": set(),
    "learning_rate": set(),
    "gradients": set(),
    "losses": {"distributed", "objective_module"},
    "frameworks": {"distributed", "heads", "momentum", "padding"},
    "sampling": {"clustering", "memory"},
    "positive_sampler": {"distributed", "memory", "sampling"},
    "loss_wrapper": {"distributed", "positive_sampler", "same_utterance"},
}
# SSPS itself, which neither data nor diagnostics know.
SAMPLER = {"positive_sampler", "loss_wrapper", "memory", "sampling"}
# The only files that may handle speaker labels: diagnostics, true positives,
# and what writes a folder's name into a manifest or makes a corpus.
MAY_SEE_SPEAKERS = (
    "evaluation/",
    "simulation/",
    "dataio/oracle.py",
    "dataio/manifest.py",
    "dataio/corpus.py",
    "dataio/speaker_folders.py",
)
TRAINABLE = {"Parameter", "Linear", "Embedding", "Conv1d", "BatchNorm1d"}


def name_of(path):
    return path.relative_to(PACKAGE).as_posix()


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def room_of(path):
    """The folder, or the file itself at the top."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path):
    """Full dotted names of everything a file imports, wherever in it."""
    names = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms_imported(path):
    """Rooms of the package that a file imports, other than its own."""
    inside = (
        name.split(".")[1]
        for name in imports_of(path)
        if name.startswith("ssps_plugin.")
    )
    return set(inside) - {room_of(path)}


def files_of(room):
    return [path for path in FILES if room_of(path) == room]


def identifiers_of(tree):
    """Names, attributes, arguments, and strings that are one word."""
    for node in ast.walk(tree):
        for field in ("id", "attr", "arg", "name"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                yield value
        text = getattr(node, "value", None)
        if isinstance(text, str) and text.isidentifier():
            yield text


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_what_lies_below_it(room):
    assert files_of(room), f"no such room: {room}"
    for path in files_of(room):
        too_much = rooms_imported(path) - ALLOWED[room]
        assert not too_much, f"{name_of(path)} imports {sorted(too_much)}"


@pytest.mark.parametrize("room", ["dataio", "evaluation", "simulation"])
def test_neither_data_nor_diagnostics_know_the_sampler(room):
    for path in files_of(room):
        known = rooms_imported(path) & (SAMPLER | {"brain", "frameworks"})
        assert not known, f"{name_of(path)} imports {sorted(known)}"


def test_only_the_distributed_room_knows_torch_distributed():
    knowing = {
        name_of(path)
        for path in FILES
        for name in imports_of(path)
        if name.startswith("torch.distributed")
    }
    assert knowing == {"distributed.py"}


def test_speaker_labels_stay_in_evaluation_and_the_oracle():
    for path in FILES:
        if not name_of(path).startswith(MAY_SEE_SPEAKERS):
            seen = {
                word
                for word in identifiers_of(tree_of(path))
                if "speaker" in word.lower()
            }
            assert not seen, f"{name_of(path)} handles {sorted(seen)}"


def test_a_loss_owns_nothing_trainable():
    for path in files_of("losses"):
        owned = set(identifiers_of(tree_of(path))) & TRAINABLE
        assert not owned, f"{name_of(path)} makes {sorted(owned)}"


def test_the_package_imports_nothing_beside_it():
    beside = ("recipes", "tests", "benchmarks", "hparams")
    for path in FILES:
        roots = {name.split(".")[0] for name in imports_of(path)}
        assert not roots & set(beside), name_of(path)


def test_the_library_neither_prints_nor_exits_nor_asserts():
    for path in FILES:
        for node in ast.walk(tree_of(path)):
            where = f"{name_of(path)}:{getattr(node, 'lineno', 0)}"
            assert not isinstance(node, ast.Assert), where
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("print", "exit", "quit"), where


def test_the_rules_see_what_they_forbid():
    source = (
        "import torch.distributed as dist\nself.speaker_id = row['speaker']"
    )
    tree = ast.parse(source)
    assert {"speaker_id", "speaker"} <= set(identifiers_of(tree))
    sampler = PACKAGE / "positive_sampler.py"
    assert rooms_imported(sampler) == {"distributed", "memory", "sampling"}
    assert "torch.Tensor" in imports_of(sampler)
