"""`tidecast`: command_line.py knows the commands, and there is one file for each.

Nothing is imported above: whoever presses Ctrl-C while the rest of us still comes in is answered as well.
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
