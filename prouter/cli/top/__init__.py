"""`prouter top`: a router's agents and jobs with what goes through them, kept up to date in the terminal, or once."""

from prouter.cli.top.command import run

__all__ = ["run"]
