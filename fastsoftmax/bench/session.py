"""What every command that measures shares: needed packages, Ctrl-C, whole files, one-line errors. Light to import."""

import contextlib
import importlib.util
import os
import signal
import threading

INTERRUPTED = 130  # what a shell reports for a program ended by Ctrl-C


class CommandError(Exception):
    """A package, file or argument is missing or of no use; the text, one line, says which and the remedy."""


def need(packages, extra):
    """Raise CommandError where a package of the list is not installed; `extra` is our extra that brings it."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise CommandError(f'{", ".join(missing)} not installed: pip install "fastsoftmax[{extra}]"')


def make_folder(path):
    """Make the folder of a report, or raise CommandError."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise CommandError(f"cannot write to {path}: {error.strerror}") from error


def run(results, steps, write):
    """Call steps(stop), then write(), also after Ctrl-C or an error -> the exit status.

    results["status"] becomes "complete", "interrupted" or "failed"; `steps` fills the rest of `results` as it goes,
    so that what was done is written whatever happens.
    """
    results["status"] = "interrupted"
    with _ctrl_c() as stop:
        try:
            steps(stop)
            stop.deferred = True  # from here on Ctrl-C waits until the report is whole
            results["status"] = "complete"
        except KeyboardInterrupt:
            pass
        except BaseException:
            results["status"] = "failed"
            raise
        finally:
            stop.deferred = True
            write()
    return 0 if results["status"] == "complete" and not stop.requested else INTERRUPTED


def replace(path, text):
    """Write a whole file or nothing, so that a reader never sees half of one."""
    with open(path + ".part", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".part", path)


@contextlib.contextmanager
def progress(stop, title, total=None):
    """Gives tell(text), called before each of about `total` steps: shown on a terminal, and where Ctrl-C is noticed."""
    from tqdm import tqdm

    form = "{desc} {bar}{postfix} [{elapsed}]" if total else "{desc}{postfix} [{elapsed}]"
    with tqdm(total=total, desc=title, bar_format=form, leave=False, disable=None) as bar:
        def tell(text):
            stop.check()
            bar.set_postfix_str(text)
            bar.update()

        yield tell


class Stop:
    """Remembers Ctrl-C: a KeyboardInterrupt that lands in a callback or destructor would otherwise be lost."""

    requested = deferred = False

    def handle(self, *_):
        first, self.requested = not self.requested, True
        if first and not self.deferred:  # a second one must not cut the report short
            raise KeyboardInterrupt

    def check(self):
        """Raise KeyboardInterrupt if Ctrl-C was pressed."""
        if self.requested and not self.deferred:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def whole(self):
        """What Ctrl-C must not cut in half: it waits until the block is done."""
        self.deferred = True
        try:
            yield
        finally:
            self.deferred = False
        self.check()


@contextlib.contextmanager
def _ctrl_c():
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may set handlers, and only it is interrupted
        return
    before = signal.signal(signal.SIGINT, stop.handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
