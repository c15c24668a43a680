"""The help of a command.

`.. command-help:: compare` shows what `ssps compare --help` prints.
"""

from click.testing import CliRunner
from docutils import nodes
from sphinx.util.docutils import SphinxDirective


def help_of(*command):
    """Return what `ssps COMMAND --help` prints."""
    from ssps_plugin.commands.command_line import PROGRAM, ssps

    result = CliRunner().invoke(
        ssps,
        [*command, "--help"],
        prog_name=PROGRAM,
        terminal_width=88,
        max_content_width=88,
        catch_exceptions=False,
    )
    if result.exit_code:
        raise ValueError(f"ssps {' '.join(command)} --help: {result.output}")
    return result.output.strip()


def command_names():
    """List the commands, in their order."""
    from ssps_plugin.commands.command_line import ssps

    return [n for n, command in ssps.commands.items() if not command.hidden]


class CommandHelp(SphinxDirective):
    """A command's help, as a block of text."""

    optional_arguments = 1

    def run(self):
        """Ask the command."""
        text = help_of(*self.arguments)
        return [nodes.literal_block(text, text, language="text")]


def setup(app):
    """Register the directive."""
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
