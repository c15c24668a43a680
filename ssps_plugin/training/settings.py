"""Values of settings: read as they are typed, checked by type and range.

A path is text, whatever it looks like to YAML. Any other value is YAML, of the
type that the recipe's YAML file has.
"""

import math
import os
import re
import sys
from collections.abc import Collection, Mapping
from typing import Any

import ruamel.yaml
from ruamel.yaml.comments import TaggedScalar

# Keys that hold a path, besides those that end in `_folder`.
_PATHS = {"made_trials", "overlay", "save_file", "train_log", "train_manifest"}
_PATHS |= {"trials", "warm_start_from", "checkpoints_dir"}
_PATHS |= {"reference_encoder"}
# Of these several may be given, as `[A, B]`.
_PATH_LISTS = {"data_folder", "overlay", "reference_encoder", "trials"}
# Keys that may be null, also in a file where they are not: of a path, and of
# another value, with an example of it.
_NULL_PATHS = {"data_folder", "noise_folder", "overlay", "rir_folder"}
_NULL_PATHS |= {"trials", "trials_folder", "warm_start_from"}
_NULL_PATHS |= {"reference_encoder"}
_NULL_VALUES: dict[str, Any] = {
    "clip_gradients": {},
    "compile_backend": "",
    "frontend_lr": 0.0,
    "last_reference_epoch": 0,
    "projector": {},
    "reference_precision": "",
    "ssps_latest_start_epoch": 1,
    "warmup_teacher_temperature": 0.0,
}
# Whole numbers in the YAML files, that fractions may replace.
_FRACTIONS_TOO = {"cosine_epochs", "rank_timeout_minutes", "schedule_epochs"}
_FRACTIONS_TOO |= {"warmup_epochs", "warmup_teacher_epochs"}

# Keys that an object may be given for: of True or False, or of a number, for
# which `[first, last]` may be given, too.
_SCHEDULES_TOO = {"coverage", "num_clusters", "num_neighbors"}
_OBJECTS_TOO = {"use_wandb"} | _SCHEDULES_TOO
# Words that may be given for a number.
_WORDS_TOO = {"coverage": ("auto",)}

# What is in range, by key: (lowest, highest). What would train something else
# or end in an error that names no key is not. Other counts are at least 0.
_ABOVE_0 = math.nextafter(0.0, 1.0)
_BELOW_1 = math.nextafter(1.0, 0.0)
_INF = math.inf
_FINITE = sys.float_info.max
_ANY = (-_INF, _INF)
_LARGEST = 2**62  # a tensor's size
_RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**32 - 1),
    "sample_rate": (1000, 384000),
    **dict.fromkeys(
        (
            *("attention_channels", "bottleneck_dim", "embedding_dim"),
            *("encoder_channels", "feature_queue_size", "hidden_dim"),
            *("feature_queue_start_epoch", "global_batch_size"),
            *("lr_interval_epochs", "negatives_size", "num_checkpoints"),
            *("num_clusters", "num_epochs", "num_global_crops", "num_mels"),
            *("num_outputs", "num_prototypes", "num_sinkhorn_iterations"),
            *("projection_dim", "queue_size", "ssps_start_epoch"),
            "ssps_latest_start_epoch",
            *("reference_interval", "ssps_schedule_epochs"),
            *("cohort_top_n", "num_made_trials", "verify_interval"),
        ),
        (1, _LARGEST),
    ),
    **dict.fromkeys(
        ("averaged_epochs", "cohort_size", "frozen_epochs"), (0, _LARGEST)
    ),
    # An hour of audio is more than a step can hold.
    **dict.fromkeys(
        (
            *("crop_seconds", "global_crop_seconds", "local_crop_seconds"),
            "reference_seconds",
        ),
        (_ABOVE_0, 3600.0),
    ),
    **dict.fromkeys(
        (
            *("cosine_epochs", "lr", "lr_factor", "prediction_temperature"),
            *("frontend_lr", "lr_per_256", "sharpening_temperature"),
            *("rank_timeout_minutes", "schedule_epochs", "sinkhorn_epsilon"),
            *("student_temperature", "teacher_temperature", "temperature"),
            "warmup_teacher_temperature",
        ),
        (_ABOVE_0, _FINITE),
    ),
    **dict.fromkeys(
        (
            *("covariance_weight", "final_lr", "invariance_weight"),
            *("dimension_weight", "diversity_weight", "entropy_weight"),
            *("min_seconds", "own_cluster_below", "rank_decay"),
            "variance_weight",
            *("warmup_epochs", "warmup_teacher_epochs", "weight_decay"),
        ),
        (0.0, _FINITE),
    ),
    **dict.fromkeys(
        (
            *("ema_momentum", "false_acceptance_rate", "max_unreadable"),
            *("noise_probability", "reverb_probability", "whitening"),
            "coverage",
        ),
        (0.0, 1.0),
    ),
    "center_momentum": (0.0, _BELOW_1),
    "max_parameter_grad_norm": (_ABOVE_0, _INF),
}

# More brackets, commas and colons than anybody types.
_MOST_MARKS = 300
_BREAKS = {"\x85", "\u2028", "\u2029"}
_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}
_NAME = re.compile(r"<(\w+)>")
# An item of a list of paths, between commas: quoted or as it is.
_ITEM = re.compile(r"""\s*('(?:[^']|'')*'|"(?:[^"\\]|\\.)*"|[^,]*?)\s*(,|$)""")


def is_path(key: str) -> bool:
    """Whether the value of a key is a path, by the key's name."""
    return key in _PATHS or key.endswith("_folder")


def parse_value(key: str, text: str, tree: Mapping[str, Any]) -> Any:
    """Read a value of the command line, of the type of the YAML file's own.

    Arguments
    ---------
    key : str
        The key.
    text : str
        What was typed. A path is taken literally, but for `null`, and for
        `[A, B]` where several may be given and nothing has this name.
    tree : mapping
        The YAML file as ruamel.yaml reads it.

    Returns
    -------
    object
        A plain value, or a node with a tag as ruamel.yaml reads it.

    Raises
    ------
    ValueError
        The value is empty, is not YAML, or is of another type.

    Example
    -------
    >>> tree = {"data_folder": None, "lr": 0.1}
    >>> parse_value("data_folder", "/x/my #2", tree)
    '/x/my #2'
    >>> parse_value("lr", "1e-3", tree), parse_value("lr", "1", tree)
    (0.001, 1)
    >>> parse_value("lr", "1,5e-3", tree)
    Traceback (most recent call last):
    ...
    ValueError: Expected a number for lr, got 1,5e-3: change --lr.
    """
    present, change = resolve_value(tree, key), f"change --{key}"
    if not text.strip() and present != "":
        raise ValueError(
            f"Expected {_describe_type(key, present)} for {key}, got an empty "
            f"value: {change} (is a variable unset?), or leave it out."
        )
    if is_path(key):
        if _BREAKS & set(text):
            raise ValueError(
                f"Expected {_describe_type(key, present)} for {key}, got "
                f"{text!r}, with a line separator that YAML does not keep: "
                f"rename it and {change}."
            )
        value: Any = None if text == "null" else _split_paths(key, text)
    elif _is_text(key, present) and text != "null":
        value = _unquote(text)
    else:
        value = _read_yaml_value(key, text, _describe_type(key, present))
    return check_value(key, value, tree, f"got {text}", change)


def check_value(
    key: str, value: Any, tree: Mapping[str, Any], got: str, change: str
) -> Any:
    """Check that a value is of the type of the YAML file's own.

    Arguments
    ---------
    key : str
        The key.
    value : object
        A value or a node, as ruamel.yaml reads it.
    tree : mapping
        The YAML file as ruamel.yaml reads it.
    got, change : str
        The error's words for what came and for what to change.

    Returns
    -------
    object
        The value; `yes` and `no` as bool, a whole number written as a
        fraction (`1E5`) as int.

    Raises
    ------
    ValueError
        It is of another type; the message names the key.
    """
    return _check_node(key, value, resolve_value(tree, key), tree, got, change)


def check_ranges(settings: Mapping[str, Any], source: object) -> None:
    """Check that the numbers among settings are in range.

    Arguments
    ---------
    settings : mapping
        Values by key; those that are no plain values are left out.
    source : object
        Where they come from, for the error.

    Raises
    ------
    ValueError
        A number is out of range, or nan; the message names the key.

    Example
    -------
    >>> check_ranges({"num_workers": -1}, "x.yaml")
    Traceback (most recent call last):
    ...
    ValueError: Expected num_workers of at least 0, got -1: change ...
    """
    for key, values in settings.items():
        for value in values if isinstance(values, list) else [values]:
            if value in _WORDS_TOO.get(key, ()):
                continue
            if _find_range(key) != _ANY and isinstance(value, (str, bool)):
                raise ValueError(
                    f"Expected {_describe_kind(key, 1.0)} for {key} in "
                    f"{source}, got {value!r}: change {key}."
                )
            if not isinstance(value, (int, float)):
                continue
            low, high = _find_range(key)
            if not low <= value <= high:
                raise ValueError(
                    f"Expected {_describe_range(key, low, high, value)}, got "
                    f"{value}: change {key} ({source})."
                )


def resolve_value(tree: Mapping[str, Any], key: str) -> Any:
    """Return the value of a key, through references to other keys.

    Nothing is built or executed.

    Arguments
    ---------
    tree : mapping
        A file as ruamel.yaml reads it.
    key : str
        One of its keys.

    Returns
    -------
    object
        A plain value, or a node with a tag where it is no reference to one
        other key.
    """
    return resolve_node(tree, tree[key], {key})


def resolve_node(
    tree: Mapping[str, Any], node: Any, seen: Collection[str] = ()
) -> Any:
    """Return a node of a YAML file, through references to keys.

    Arguments
    ---------
    tree : mapping
        A file as ruamel.yaml reads it.
    node : object
        A value anywhere in it.
    seen : collection of str
        Keys that are not gone through again.

    Returns
    -------
    object
        As `resolve_value` returns it.
    """
    if not _is_reference(node):
        return node
    match = _NAME.fullmatch(str(node.value).strip())
    if match is None or match[1] in seen or match[1] not in tree:
        return node
    return resolve_node(tree, tree[match[1]], {*seen, match[1]})


def pin_paths(tree: Any) -> None:
    """Replace references to paths by what they are, in place.

    HyperPyYAML would look for references and for sums in a path.

    Arguments
    ---------
    tree : mapping
        A file as ruamel.yaml reads it.
    """
    replaced = True
    while replaced:
        paths = {
            key: value
            for key, value in tree.items()
            if isinstance(key, str) and is_path(key) and isinstance(value, str)
        }
        replaced = _pin_below(tree, tree, paths)


# -- types -----------------------------------------------------------------


def _check_node(
    key: str,
    value: Any,
    present: Any,
    tree: Mapping[str, Any],
    got: str,
    change: str,
) -> Any:
    error = ValueError(
        f"Expected {_describe_type(key, present)} for {key}, {got}: {change}."
    )
    if is_path(key):
        return _check_path(key, value, present, error)
    if _is_reference(value):
        return value
    if key in _NULL_VALUES:
        if value is None:
            return None
        present = _NULL_VALUES[key] if present is None else present
    if present is None or _is_reference(present):
        return value  # of any type
    if key in _OBJECTS_TOO and tag_of(value) is not None and _is_object(value):
        return value
    if _is_object(present):
        if value is not None and not _is_object(value):
            raise error
        if key in _NULL_VALUES and tag_of(value) is tag_of(present) is None:
            raise error  # arguments, but of no object
        _check_arguments(key, value, present, tree, got, change)
        return value
    if isinstance(present, list):
        return _check_list(key, value, present, error)
    if key in _SCHEDULES_TOO and isinstance(value, list) and len(value) == 2:
        return _check_list(key, value, [present], error)
    if value in _WORDS_TOO.get(key, ()):
        return value
    checked = _convert(key, value, present)
    if checked is None:
        raise error
    return checked


def _check_path(key: str, value: Any, present: Any, error: Exception) -> Any:
    if value is None and (present is None or key in _NULL_PATHS):
        return None
    if _is_reference(value):
        return value
    if isinstance(value, list) and key in _PATH_LISTS:
        if value and all(isinstance(v, str) and v.strip() for v in value):
            return value
    elif isinstance(value, str) and value.strip():
        return value
    raise error


def _check_arguments(
    key: str,
    value: Any,
    present: Any,
    tree: Mapping[str, Any],
    got: str,
    change: str,
) -> None:
    """Check the arguments that are to replace those of the present object."""
    if not isinstance(value, Mapping) or not isinstance(present, Mapping):
        return
    if tag_of(value) not in (None, tag_of(present)):
        return  # an object of another class
    for name, argument in value.items():
        example = resolve_node(tree, present.get(name))
        # A whole number may be an example of any.
        if isinstance(example, int) and not isinstance(example, bool):
            example = float(example)
        if example is not None:
            inner = f"in {key} {got}"
            _check_node(name, argument, example, tree, inner, change)


def _check_list(
    key: str, value: Any, present: list[Any], error: Exception
) -> list[Any]:
    """Return a list of items of one type with the present ones."""
    if not isinstance(value, list) or tag_of(value) is not None:
        raise error
    if not present or _is_object(present[0]):
        return value
    items = [
        item if _is_reference(item) else _convert(key, item, present[0])
        for item in value
    ]
    if None in items:
        raise error
    return items


def _convert(key: str, value: Any, present: Any) -> Any:
    """Return the value in the type of another; None if it is of none such."""
    if isinstance(present, str):
        return value if isinstance(value, str) else None
    if isinstance(present, bool):
        word = str(value).lower()
        is_word = isinstance(value, (bool, int, str))
        if is_word and word in _TRUE | _FALSE:
            return word in _TRUE
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    if isinstance(value, int):
        return int(value)
    if isinstance(present, float) or key in _FRACTIONS_TOO:
        return float(value)
    return int(value) if value.is_integer() else None


def _describe_type(key: str, present: Any) -> str:
    """Say what a value should be, by its key and by the present one."""
    kind = _describe_kind(key, present)
    if key in _NULL_PATHS or key in _NULL_VALUES:
        return f"{kind} or null"
    return kind


def _describe_kind(key: str, present: Any) -> str:
    if is_path(key):
        return "a path or several as [A, B]" if key in _PATH_LISTS else "a path"
    if present is None:
        present = _NULL_VALUES.get(key)
    if present is None or _is_reference(present):
        return "a value"
    if _is_object(present):
        # Where there is null, there is nothing to give arguments to.
        is_null = present is _NULL_VALUES.get(key)
        arguments = "" if is_null else " or its arguments ({name: value})"
        return f"an object (!new:…){arguments}"
    if isinstance(present, list):
        items = " such as " + repr(list(present))
        return "a list" + ("" if any(map(_is_object, present)) else items)
    if isinstance(present, bool):
        object_too = " or an object (!new:…)" if key in _OBJECTS_TOO else ""
        return f"True or False{object_too}"
    if isinstance(present, str):
        return "text"
    is_whole = isinstance(present, int) and key not in _FRACTIONS_TOO
    kind = "a whole number" if is_whole else "a number"
    if key in _SCHEDULES_TOO:
        others = ", ".join(["[first, last]", *_WORDS_TOO.get(key, ())])
        return f"{others} or {kind}"
    return kind


def _find_range(key: str) -> tuple[float, float]:
    return _RANGES.get(key, (0, _LARGEST) if key.startswith("num_") else _ANY)


def _describe_range(key: str, low: float, high: float, value: float) -> str:
    if (low, high) == _ANY:
        return f"a number for {key}"
    finite = "" if math.isfinite(value) else "a finite "
    lowest = "more than 0" if low == _ABOVE_0 else f"at least {low:g}"
    text = f"{finite}{key} of {lowest}"
    if high == _BELOW_1:
        return f"{text} and less than 1"
    if high in (_LARGEST, _FINITE, _INF):
        return text
    return f"{text} and at most {high:.10g}"


def tag_of(node: Any) -> str | None:
    """Return a node's own tag; a plain value has none."""
    tag = getattr(getattr(node, "tag", None), "value", None)
    return None if tag is None else str(tag)


def _is_object(node: Any) -> bool:
    tag = tag_of(node)
    return isinstance(node, Mapping) or (
        tag is not None and tag.startswith("!") and not _is_reference(node)
    )


def _is_reference(node: Any) -> bool:
    return isinstance(node, TaggedScalar) and tag_of(node) in ("!ref", "!copy")


def _is_text(key: str, present: Any) -> bool:
    if present is None:
        present = _NULL_VALUES.get(key)
    return isinstance(present, str)


# -- reading what was typed ------------------------------------------------


def _read_yaml_value(key: str, text: str, expected: str) -> Any:
    yaml = ruamel.yaml.YAML()
    try:
        # Takes the parser minutes.
        if sum(map(text.count, "[{?-:,")) > _MOST_MARKS:
            raise ValueError("too much of it")
        if any(isinstance(t, ruamel.yaml.AliasToken) for t in yaml.scan(text)):
            raise ValueError("an alias (*), which refers to nothing here")
        return yaml.load(text)
    except (
        *(ruamel.yaml.error.YAMLError, ValueError, RecursionError),
        *(TypeError, AttributeError, KeyError, IndexError, OverflowError),
        *(AssertionError, NotImplementedError),
    ) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"Expected {expected} for {key}, got {text}, which is not YAML "
            f"({reason or type(error).__name__}): change --{key}."
        ) from None


def _split_paths(key: str, text: str) -> str | list[str]:
    """Split `[A, B]`, where several paths may be given."""
    is_list = text.startswith("[") and text.endswith("]")
    if key not in _PATH_LISTS or not is_list or os.path.exists(text):
        return text
    items, place = [], 0
    inner = text[1:-1].rstrip().removesuffix(",")
    while place < len(inner):
        match = _ITEM.match(inner, place)
        if match is None:  # at the end
            break
        items.append(_unquote(match[1]))
        place = match.end()
    return items


def _unquote(text: str) -> str:
    """Return what is in quotes where all of a text is, else the text."""
    if len(text) < 2 or text[0] != text[-1] or text[0] not in "'\"":
        return text
    try:
        value = ruamel.yaml.YAML(typ="safe", pure=True).load(text)
    except ruamel.yaml.error.YAMLError:
        return text
    return value if isinstance(value, str) else text


# -- references ------------------------------------------------------------


def _pin_below(tree: Any, node: Any, paths: Mapping[str, str]) -> bool:
    """Replace references to paths below a node; whether there was any."""
    entries: Any = ()
    if isinstance(node, Mapping):
        entries = list(node.items())
    elif isinstance(node, list):
        entries = list(enumerate(node))
    replaced = False
    for place, value in entries:
        if not _is_reference(value):
            replaced |= _pin_below(tree, value, paths)
            continue
        text = _substitute(tree, str(value.value), paths)
        if text is not None:
            node[place] = text
            replaced = True
    return replaced


def _substitute(
    tree: Any, reference: str, paths: Mapping[str, str]
) -> str | None:
    """Return the text of a reference to paths; None if it is no such."""
    names = _NAME.findall(reference)
    if not set(names) & set(paths) or len(names) != reference.count("<"):
        return None
    values = {name: resolve_value(tree, name) for name in names if name in tree}
    if len(values) < len(set(names)):
        return None
    if not all(isinstance(v, (str, int, float)) for v in values.values()):
        return None
    return _NAME.sub(lambda match: str(values[match[1]]), reference)
