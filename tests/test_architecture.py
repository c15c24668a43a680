"""How the package is built, held over its source: who may know whom."""

import ast
import pathlib
import re

import pytest

import ssps_plugin

PACKAGE = pathlib.Path(ssps_plugin.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# What a room may import of the package, besides itself: every room is here.
ALLOWED = {
    "atomic_write": set(),
    "checks": set(),
    "distributed": set(),
    "memory": set(),
    "progress": set(),
    "same_utterance": set(),
    "simulation": {"progress"},
    "clustering": {"checks", "distributed", "progress"},
    "losses": {"checks", "distributed"},
    "reference": {"distributed"},
    "loss_wrapper": {"checks", "distributed", "same_utterance"},
    "heads": {"checks", "losses"},  # prototypes are an objective module
    "frameworks": {"checks", "distributed", "heads"},
    "sampling": {"checks", "clustering", "memory"},
    "positive_sampler": {"checks", "distributed", "memory", "sampling"},
    # Noise and rooms that are made, where there is no corpus of them.
    "dataio": {
        "atomic_write",
        "checks",
        "distributed",
        "progress",
        "simulation",
    },
    "evaluation": {
        "atomic_write",
        "clustering",  # agreement of labelings
        "dataio",
        "distributed",
        "progress",
    },
    "pretrained": {
        "atomic_write",
        "dataio",
        "evaluation",
        "frameworks",
        "progress",
        "training",
    },
    "training": {
        "atomic_write",
        "dataio",
        "distributed",
        "evaluation",
        "frameworks",
        "loss_wrapper",
        "losses",
        "progress",
        "reference",
        "same_utterance",
    },
    "__main__": {"commands"},
    "commands": {
        "atomic_write",
        "dataio",
        "evaluation",
        "pretrained",
        "progress",
        "report",
        "simulation",
        "training",
    },
    "report": {
        "atomic_write",
        "dataio",
        "evaluation",
        "pretrained",
        "sampling",
        "training",
    },
}
MOST_LOOSE_MODULES = 10
# The only files that may handle speaker labels: diagnostics, true positives,
# and what writes a folder's name into a manifest or makes a corpus.
MAY_SEE_SPEAKERS = (
    "commands/",  # same_speaker, and MiniVox's options
    "evaluation/",
    "pretrained/",  # same_speaker: what is answered, no label
    "report/",
    "simulation/",
    "dataio/views/oracle.py",
    "dataio/corpus/kept_manifest.py",
    "dataio/corpus/manifest.py",
    "dataio/corpus/corpus.py",
    "dataio/corpus/folders.py",
)
NO_LABELS = {"SpeakerEncoder", "speaker_encoder"}
TRAINABLE = {
    *("Parameter", "register_parameter", "Linear", "LazyLinear", "Bilinear"),
    *("Embedding", "Conv1d", "Conv2d", "BatchNorm1d", "LayerNorm"),
}


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


def module_of(path):
    """Dotted name of a file; that of a package for its `__init__`."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def imported_modules(path):
    """Modules of the package that a file imports, as dotted names."""
    modules = {module_of(one) for one in FILES}
    for name in imports_of(path):
        # `from package.module import thing`, or `from package import module`.
        for candidate in (name, name.rpartition(".")[0]):
            if candidate in modules:
                yield candidate
                break


def find_circle(edges):
    """Return modules that import each other in a circle, empty if none do."""
    state, path = {}, []

    def visit(module):
        state[module] = "open"
        path.append(module)
        for other in sorted(edges.get(module, ())):
            if state.get(other) == "open":
                return path[path.index(other) :]
            if other not in state and (circle := visit(other)):
                return circle
        path.pop()
        state[module] = "done"
        return []

    for module in sorted(edges):
        if module not in state and (circle := visit(module)):
            return circle
    return []


def test_every_room_has_its_arrows_and_few_modules_lie_loose():
    loose = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert loose | folders == set(ALLOWED)
    assert len(loose) + 1 <= MOST_LOOSE_MODULES


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_what_lies_below_it(room):
    assert files_of(room), f"no such room: {room}"
    for path in files_of(room):
        too_much = rooms_imported(path) - ALLOWED[room]
        assert not too_much, f"{name_of(path)} imports {sorted(too_much)}"


def test_no_modules_import_each_other_in_a_circle():
    edges = {
        module_of(path): set(imported_modules(path)) - {module_of(path)}
        for path in FILES
    }
    assert sum(map(len, edges.values())) > len(FILES)
    assert not find_circle(edges)


def test_a_circle_is_found():
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert find_circle({"a": {"b", "c"}, "b": {"c"}}) == []


def test_the_map_of_the_house_is_the_listing():
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.partition("| room |")[2].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    named = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    listing = {
        path.name + "/" if path.is_dir() else path.name
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert named == listing


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
                if "speaker" in word.lower() and word not in NO_LABELS
            }
            assert not seen, f"{name_of(path)} handles {sorted(seen)}"


def calls_in(tree):
    """Names of everything that is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield getattr(node.func, "attr", getattr(node.func, "id", ""))


def test_a_loss_owns_nothing_trainable():
    for path in files_of("losses"):
        made = set(calls_in(tree_of(path))) & TRAINABLE
        assert not made, f"{name_of(path)} makes {sorted(made)}"
    assert "Parameter" in calls_in(tree_of(PACKAGE / "heads.py"))


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
    rooms = {"checks", "distributed", "memory", "sampling"}
    assert rooms_imported(sampler) == rooms
    assert "torch.Tensor" in imports_of(sampler)
