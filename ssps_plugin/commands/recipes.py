"""Recipes and YAML files for who installed the package by pip."""

from __future__ import annotations

import filecmp
import pathlib
import shutil

import click

from ssps_plugin.commands.installed_files import find_root

_FOLDERS = ("hparams", "recipes")
_SUFFIXES = (".py", ".yaml", ".md")
_NUM_SHOWN = 5


@click.command(short_help="Copy recipes and YAML files to a folder.")
@click.argument("folder", required=False, type=click.Path(file_okay=False))
@click.option(
    "--path",
    "shows_path",
    is_flag=True,
    help="Print where the recipes are; copy nothing.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace files in FOLDER that differ from those that are copied.",
)
def recipes(folder: str | None, shows_path: bool, overwrite: bool) -> None:
    """Copy the recipes and YAML files that came with the package to FOLDER,
    to read and to change. Without FOLDER, list them.

    Files that are there and differ are not overwritten, and then nothing is
    copied. Recipes that were copied are run by their own file.

    \b
    Example:
      ssps recipes my_experiment
      cd my_experiment
      python recipes/voxceleb/train_ssl.py hparams/simclr_ssps.yaml
    \b
    A recipe that was not copied, under torchrun:
      torchrun --nproc_per_node=4 -m ssps_plugin train simclr_ssps
      torchrun --nproc_per_node=4 \\
          $(ssps recipes --path)/recipes/voxceleb/train_ssl.py simclr_ssps.yaml
    """
    root = find_root()
    if shows_path:
        click.echo(root)
        return
    files = list_files(root)
    if folder is None:
        click.echo("\n".join(path.as_posix() for path in files))
        return
    num_copied = copy_files(root, files, pathlib.Path(folder), overwrite)
    kept = len(files) - num_copied
    click.echo(
        f"Copied {num_copied} files to {folder}"
        + (f"; {kept} were there already." if kept else ".")
    )


def list_files(root: pathlib.Path) -> list[pathlib.Path]:
    """List recipes and YAML files, relative to the folder that holds them."""
    return sorted(
        path.relative_to(root)
        for folder in _FOLDERS
        for path in (root / folder).rglob("*")
        if path.suffix in _SUFFIXES and path.is_file()
    )


def copy_files(
    root: pathlib.Path,
    files: list[pathlib.Path],
    folder: pathlib.Path,
    overwrite: bool = False,
) -> int:
    """Copy files to a folder, all of them or none.

    Arguments
    ---------
    root : pathlib.Path
        What the files are relative to.
    files : list of pathlib.Path
        Relative paths.
    folder : pathlib.Path
        Where they are copied to.
    overwrite : bool
        Replace files there that differ.

    Returns
    -------
    int
        How many were copied: those that are the same are kept.

    Raises
    ------
    FileExistsError
        A file that differs is there.
    """
    is_there = [file for file in files if (folder / file).exists()]
    same = {
        file
        for file in is_there
        if (folder / file).is_file()
        and filecmp.cmp(root / file, folder / file, shallow=False)
    }
    differing = [str(folder / file) for file in is_there if file not in same]
    if differing and not overwrite:
        shown = ", ".join(differing[:_NUM_SHOWN])
        more = len(differing) - _NUM_SHOWN
        raise FileExistsError(
            f"Expected no other files in {folder}, got {len(differing)} that "
            f"differ from those to copy: {shown}"
            f"{f' and {more} more' if more > 0 else ''}. Copy to another "
            "folder, or replace them by --overwrite."
        )
    for file in files:
        if file not in same:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / file, folder / file)
    return len(files) - len(same)
