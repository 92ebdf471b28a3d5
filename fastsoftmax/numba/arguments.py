"""[5] Arguments inside compiled code: their types are checked as it is compiled, their values as it runs."""

from typing import NamedTuple

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import overload

from ..backends._numba_cache import jit
from ..backends._numba_door import absent, readable
from ..contract import NO_IGNORE, SCALES
from .errors import LabelError, Refused

LOW, HIGH = SCALES


class Given(NamedTuple):
    """The options of a loss as they were given."""

    class_weight: object
    sample_weight: object
    ignore_index: object
    label_smoothing: object
    z_loss: object
    softcap: object
    temperature: object
    dlosses: object


# ---- types -----------------------------------------------------------------------------------------------------


def is_absent(t):
    """Whether a type, or a default in its place, stands for None."""
    return t is None or isinstance(t, types.NoneType)


def is_integer(t):
    t = types.unliteral(t) if isinstance(t, types.Type) else t
    return isinstance(t, (types.Integer, int)) and not isinstance(t, (types.Boolean, bool))


def is_number(t):
    return is_integer(t) or isinstance(t, (types.Float, float))


def need_array(t, name, kinds=(types.Float, types.Integer)):
    """TypingError unless this is an array of numbers."""
    if not isinstance(t, types.Array):
        raise TypingError(f"{name} must be an array, not {t}")
    if not isinstance(t.dtype, kinds) or isinstance(t.dtype, types.Boolean):
        wanted = "float64, float32 and integers" if kinds != types.Integer else "integers"
        raise TypingError(f"{name} has dtype {t.dtype}; allowed in compiled code are {wanted}")
    if t.ndim == 0:
        raise TypingError(f"{name} must have a class axis, but is 0-dimensional")


def need_numbers(**options):
    """TypingError unless these options are numbers; softcap may be None."""
    for name, t in options.items():
        if not is_number(t) and not (name == "softcap" and is_absent(t)):
            raise TypingError(f"{name} must be a number, not {t}")


def need_per_row(t, name, ndim):
    """TypingError unless absent, a number, or an array of one number a row."""
    if is_absent(t) or is_number(t):
        return
    need_array(t, name)
    if t.ndim != ndim:
        raise TypingError(f"{name} has {t.ndim} axes, but must have {ndim}, one number a row")


def need_options(ndim, class_weight, sample_weight, ignore_index=None, dlosses=None, **numbers):
    """TypingError unless the options of a loss have types that are taken; ndim: of what has a number a row."""
    if not is_absent(class_weight):
        need_array(class_weight, "class_weight")
    need_per_row(sample_weight, "sample_weight", ndim)
    need_per_row(dlosses, "dlosses", ndim)
    if not is_absent(ignore_index) and not is_integer(ignore_index):
        raise TypingError(f"ignore_index must be an integer or None, not {ignore_index}")
    need_numbers(**numbers)


def literal(t, name, allowed):
    """The string itself, which must be written in the call."""
    value = getattr(t, "literal_value", t)
    if not isinstance(value, str):
        raise TypingError(f"{name} must be a string written in the call: one of {', '.join(map(repr, allowed))}")
    if value not in allowed:
        raise TypingError(f"{name} is {value!r}; allowed are " + ", ".join(map(repr, allowed)))
    return value


def axis_of(t, logits):
    """The class axis, which must be written in the call."""
    value = getattr(t, "literal_value", t)
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypingError("axis must be an integer written in the call")
    if not -logits.ndim <= value < logits.ndim:
        raise TypingError(f"axis is {value}, outside [{-logits.ndim}, {logits.ndim})")
    return value % logits.ndim


def real_of(*arrays):
    """The dtype of the result of these arrays together: integers count as float64."""
    return np.float32 if all(a.dtype == types.float32 for a in arrays) else np.float64


# ---- arrays ----------------------------------------------------------------------------------------------------


def turned(axis, ndim):
    """A compiled function that moves this axis to the end."""
    order = (*(i for i in range(ndim) if i != axis), axis)
    if axis == ndim - 1:
        return jit(lambda x: x)
    return jit(lambda x: np.transpose(x, order))


def shaped(per_row, lead):
    """Numbers a row in the leading shape; the number itself where there is one row."""
    raise NotImplementedError("compiled only")


@overload(shaped)
def _shaped(per_row, lead):
    if len(lead) == 0:
        return lambda per_row, lead: per_row[0]
    return (lambda per_row, lead: per_row) if len(lead) == 1 else (lambda per_row, lead: per_row.reshape(lead))


def output(out, like, real):
    """`out`, or an array for what goes there."""
    raise NotImplementedError("compiled only")


@overload(output)
def _output(out, like, real):
    if is_absent(out):
        return lambda out, like, real: np.empty(like.shape, real)
    need_array(out, "out")
    if out.dtype != real.dtype:
        raise TypingError(f"out has dtype {out.dtype}, but must have {real.dtype}")
    if out.ndim != like.ndim:
        raise TypingError(f"out has {out.ndim} axes, but must have {like.ndim}")
    if not out.mutable:
        raise TypingError("out is read-only")

    def given(out, like, real):
        if out.shape != like.shape:
            raise Refused("out has shape {}, but must have {}", out.shape, like.shape)
        return out

    return given


@jit
def reach(x):
    """The addresses between which an array lies."""
    low = high = np.int64(x.ctypes.data)
    for length, stride in zip(x.shape, x.strides):  # noqa: B905 (compiled: there is no strict)
        step = (length - 1) * stride
        low, high = low + min(step, 0), high + max(step, 0)
    return low, high + x.itemsize


@jit
def is_exactly(x, out):
    """Whether both are one and the same view of memory."""
    same = x.ctypes.data == out.ctypes.data and x.itemsize == out.itemsize
    for length, a, b in zip(x.shape, x.strides, out.strides):  # noqa: B905
        same = same and (length <= 1 or a == b)
    return same


@jit
def apart(x, out):
    """Whether they are known to share no byte: one behind the other, or both columns of one table."""
    x0, x1 = reach(x)
    out0, out1 = reach(out)
    if x.size == 0 or x1 <= out0 or out1 <= x0:
        return True
    width, step = x.shape[-1] * x.itemsize, out.strides[0]
    if x.ndim != 2 or x.strides[0] != step or x.strides[-1] != x.itemsize or out.strides[-1] != x.itemsize:
        return False
    between = (out0 - x0) % abs(step) if step != 0 else 0
    return width <= between <= abs(step) - width


@jit
def place_of(x, out):
    """1 where out is x itself, 0 where it is apart."""
    if is_exactly(x, out) and x.size:
        return 1
    if not apart(x, out):
        raise Refused("out overlaps logits without being exactly it")
    return 0


@jit
def place_of_two(x, q, out):
    """The same; 2 where it is q itself."""
    if is_exactly(q, out) and q.size and apart(x, out):
        return 2
    if not apart(q, out) and not is_exactly(q, out):
        raise Refused("out overlaps target_probs without being exactly it")
    return place_of(x, out)


# ---- a number a class, a number a row --------------------------------------------------------------------------


def per_class(weight, n_classes, real):
    """Class weights as the kernels take them."""
    raise NotImplementedError("compiled only")


@overload(per_class)
def _per_class(weight, n_classes, real):
    if is_absent(weight):
        return lambda weight, n_classes, real: absent(real)
    need_array(weight, "class_weight")
    if weight.ndim != 1:
        raise TypingError(f"class_weight has {weight.ndim} axes, but must have 1, one weight a class")

    def given(weight, n_classes, real):
        if len(weight) != n_classes:
            raise Refused("class_weight has shape {}, but must have {}, one weight a class", weight.shape, (n_classes,))
        return readable(weight.astype(real))

    return given


def per_row(value, name, lead, n_rows):
    """A number, or an array of the leading shape, as the kernels take them."""
    raise NotImplementedError("compiled only")


@overload(per_row, prefer_literal=True)
def _per_row(value, name, lead, n_rows):
    if is_absent(value):
        return lambda value, name, lead, n_rows: absent(np.float64)
    if is_number(value):
        return lambda value, name, lead, n_rows: readable(np.full(n_rows, np.float64(value)))
    text = name.literal_value + " has shape {}, but must be a number or have {}, one a row"

    def given(value, name, lead, n_rows):
        if value.shape != lead:
            raise Refused(text, value.shape, lead)
        wide = np.empty(n_rows, np.float64)
        for i, number in enumerate(value.flat):
            wide[i] = number
        return readable(wide)

    return given


def labels_of(labels, lead, n_classes, ignore_index):
    """Labels as the kernels take them, each of them in int64."""
    raise NotImplementedError("compiled only")


@overload(labels_of)
def _labels_of(labels, lead, n_classes, ignore_index):
    def one(labels, lead, n_classes, ignore_index):
        return readable(np.full(1, np.int64(labels)))

    def same(labels, lead, n_classes, ignore_index):
        if labels.shape != lead:
            raise Refused("labels has shape {}, but must have {}, one label a row", labels.shape, lead)
        return readable(labels)

    def widened(labels, lead, n_classes, ignore_index):
        if labels.shape != lead:
            raise Refused("labels has shape {}, but must have {}, one label a row", labels.shape, lead)
        wide = np.empty(labels.size, np.int64)
        for i, y in enumerate(labels.flat):
            wide[i] = y
            if y > 0 and wide[i] < 0:  # a uint64 that int64 cannot hold
                raise LabelError(y, i, lead, n_classes, ignore_index)
        return readable(wide)

    if isinstance(labels, types.Integer):
        return one
    return same if labels.dtype == types.int64 and labels.layout == "C" and labels.aligned else widened


def need_labels(t, ndim):
    """TypingError unless these are class indices, as many axes as there are leading ones."""
    if is_integer(t) and ndim == 0:
        return
    need_array(t, "labels", types.Integer)
    if t.ndim != ndim:
        raise TypingError(f"labels have {t.ndim} axes, but must have {ndim}, one label a row")


def ignored(ignore_index):
    """ignore_index, or one that no label has."""
    raise NotImplementedError("compiled only")


@overload(ignored)
def _ignored(ignore_index):
    return (lambda ignore_index: NO_IGNORE) if is_absent(ignore_index) else (lambda ignore_index: np.int64(ignore_index))


# ---- numbers ---------------------------------------------------------------------------------------------------


@jit
def scale_of(temperature):
    if not LOW <= temperature <= HIGH:
        raise Refused("temperature is {}, outside [1e-15, 1e+15]", float(temperature))
    return 1.0 / temperature


@jit
def smoothing_of(label_smoothing):
    if not 0 <= label_smoothing <= 1:
        raise Refused("label_smoothing is {}, outside [0, 1]", float(label_smoothing))
    return float(label_smoothing)


@jit
def z_loss_of(z_loss):
    if not 0 <= z_loss < np.inf:
        raise Refused("z_loss is {}, outside [0, inf)", float(z_loss))
    return float(z_loss)


def cap_of(softcap):
    """softcap, 0 for none."""
    raise NotImplementedError("compiled only")


@overload(cap_of)
def _cap_of(softcap):
    def given(softcap):
        if not LOW <= softcap <= HIGH:
            raise Refused("softcap is {}, outside [1e-15, 1e+15]", float(softcap))
        return float(softcap)

    return (lambda softcap: 0.0) if is_absent(softcap) else given


@jit
def short_sum(a, start, count):
    """Of at most 128 numbers, in eight lanes."""
    lanes, whole = np.zeros(8), count // 8 * 8
    for k in range(0, whole, 8):
        for j in range(8):
            lanes[j] += a[start + k + j]
    total = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]))
    for k in range(whole, count):
        total += a[start + k]
    return total


@jit
def pairwise_sum(a):
    """The sum in the order in which numpy.add.reduce has it: left half and right half, these likewise.

    Not recursive: out of its cache Numba 0.68 loads a function that calls such a one so that it crashes."""
    depth, start, count = 0, 0, len(a)
    waiting, lefts, has_left = np.empty((64, 2), np.int64), np.empty(64), np.zeros(64, np.bool_)
    while True:
        while count > 128:
            half = count // 2 // 8 * 8
            waiting[depth, 0], waiting[depth, 1], has_left[depth] = start + half, count - half, False
            depth, count = depth + 1, half
        total = short_sum(a, start, count)
        while depth > 0 and has_left[depth - 1]:
            depth -= 1
            total = lefts[depth] + total
        if depth == 0:
            return total
        lefts[depth - 1], has_left[depth - 1] = total, True
        start, count = waiting[depth - 1, 0], waiting[depth - 1, 1]


def rows_in(lead):
    """How many rows a leading shape has."""
    raise NotImplementedError("compiled only")


@overload(rows_in)
def _rows_in(lead):
    def product(lead):
        n = 1
        for length in lead:
            n *= length
        return n

    return (lambda lead: 1) if len(lead) == 0 else product
