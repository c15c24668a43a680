"""Completion of commands, options and file names in a shell."""

import click

_COMPLETE_VARIABLE = "_SSPS_COMPLETE"


@click.command(short_help="Print a script that completes commands in a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that completes commands, options and YAML files.

    \b
    Once, for every shell that is opened later:
      bash:  ssps completion bash >> ~/.bashrc
      zsh:   ssps completion zsh >> ~/.zshrc
      fish:  ssps completion fish > ~/.config/fish/completions/ssps.fish

    \b
    In this shell only:
      eval "$(ssps completion bash)"
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    command = context.find_root().command
    if kind is None:
        raise click.UsageError(f"Expected bash, zsh or fish, got {shell}.")
    script = kind(command, {}, "ssps", _COMPLETE_VARIABLE)
    click.echo(script.source_template % script.source_vars())
