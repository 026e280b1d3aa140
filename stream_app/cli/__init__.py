"""`tidecast`: command_line.py knows the commands; each has one file.

Nothing is imported at the top, so that Ctrl-C is handled even while the rest is still being imported.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: "Sequence[str] | None" = None) -> None:
    """The entry point. None: the process is ours, its arguments and its signals too."""
    try:
        if arguments is None:
            from stream_app.cli import interrupts

            interrupts.leave_at_once()
        from stream_app.cli.command_line import run

        run(arguments)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
