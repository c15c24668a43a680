"""The command `ssps`, as `python -m ssps_plugin` and `torchrun -m`."""

import sys

from ssps_plugin.commands.command_line import main

if __name__ == "__main__":
    sys.exit(main())
