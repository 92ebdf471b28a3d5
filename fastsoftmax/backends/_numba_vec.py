"""[1] Explicit vector lanes for Numba: a type for LANES floats or doubles, and what can be done with it.

LLVM's own vectoriser may not reorder a maximum that must keep NaN, or fuse a sum with it; with lanes written out it need
not, and sums have one order on every CPU. LLVM splits the lanes into whatever registers the CPU has.
A carrier's type tells its meaning: float64, float32, uint16 = bfloat16, int16 = float16.
"""

import operator

from llvmlite import binding, ir
from numba import types
from numba.core.typing.templates import AbstractTemplate, ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model
from numba.np.arrayobj import populate_array

LANES = 16
_I64, _BOOLS = ir.IntType(64), ir.VectorType(ir.IntType(1), LANES)
_HALF_IN_HARDWARE = dict(binding.get_host_cpu_features()).get("f16c", False)


class Lanes(types.Type):
    """LANES numbers of the type `real`."""

    def __init__(self, real):
        self.real = real
        super().__init__(f"Lanes({real})")


F32, F64 = Lanes(types.float32), Lanes(types.float64)
_OF = {types.float32: F32, types.float64: F64, types.uint16: F32, types.int16: F32}


class Memory(types.Type):
    """Numbers of one dtype from some address on. Unlike an array it has no owner whose references would be counted,
    atomically, at every call; something else must keep it alive."""

    def __init__(self, dtype):
        self.dtype = dtype
        super().__init__(f"Memory({dtype})")


def _vector(lanes):
    return ir.VectorType(ir.FloatType() if lanes is F32 or lanes == F32 else ir.DoubleType(), LANES)


def _integers(size):
    return ir.VectorType(ir.IntType(size), LANES)


@register_model(Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager, lanes):
        super().__init__(manager, lanes, _vector(lanes))


@register_model(Memory)
class _MemoryModel(models.PrimitiveModel):
    def __init__(self, manager, memory):
        super().__init__(manager, memory, manager.lookup(memory.dtype).get_data_type().as_pointer())


def _splat(builder, scalar):
    one = builder.insert_element(ir.Constant(ir.VectorType(scalar.type, LANES), ir.Undefined), scalar, ir.IntType(32)(0))
    return builder.shuffle_vector(one, one, ir.Constant(_integers(32), [0] * LANES))


def _constant(kind, value):
    return ir.Constant(kind, [value] * LANES)


def _intrinsic(builder, name, result, arguments):
    kind = ir.FunctionType(result, [a.type for a in arguments])
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    return builder.call(function, arguments)


def _mangled(kind):
    bits = {"float": "f32", "double": "f64"}
    return f"v{LANES}{bits.get(str(kind.element)) or str(kind.element)}"


# ---- arithmetic -----------------------------------------------------------------------------------------------

for _operator, _name in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):

    @infer_global(_operator)
    class _(ConcreteTemplate):
        cases = [signature(lanes, lanes, lanes) for lanes in (F32, F64)]

    def _lower(context, builder, sig, args, name=_name):
        return getattr(builder, name)(*args)

    for _lanes in (F32, F64):
        lower_builtin(_operator, _lanes, _lanes)(_lower)


@intrinsic
def fma(typingctx, a, b, c):
    """a*b + c, rounded once."""

    def codegen(context, builder, signature, args):
        return _intrinsic(builder, f"llvm.fma.{_mangled(args[0].type)}", args[0].type, args)

    return a(a, b, c), codegen


@intrinsic
def larger(typingctx, a, b):
    """The larger of each lane; b where either is NaN, as MAXPS has it."""

    def codegen(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return a(a, b), codegen


@intrinsic
def power(typingctx, k):
    """2**n for k = n + MAGIC (_numba_math)."""
    size, shift = (32, 23) if k == F32 else (64, 52)

    def codegen(context, builder, signature, args):
        bits = builder.bitcast(args[0], _integers(size))
        return builder.bitcast(builder.shl(bits, _constant(_integers(size), shift)), args[0].type)

    return k(k), codegen


@intrinsic
def full(typingctx, carrier, value):
    """Lanes, all `value`, of the dtype in which the carrier array is computed."""
    lanes = _OF[carrier.dtype]

    def codegen(context, builder, signature, args):
        return _splat(builder, context.cast(builder, args[1], value, lanes.real))

    return lanes(carrier, value), codegen


# ---- over the lanes -------------------------------------------------------------------------------------------


def _folded(builder, vector, combine):
    """combine(lower half, upper half) until one lane is left, in float64."""
    n = vector.type.count
    while n > 1:
        n //= 2
        halves = [builder.shuffle_vector(vector, vector, ir.Constant(ir.VectorType(ir.IntType(32), n), list(range(i, i + n))))
                  for i in (0, n)]
        vector = combine(*halves)
    lane = builder.extract_element(vector, ir.IntType(32)(0))
    return lane if lane.type == ir.DoubleType() else builder.fpext(lane, ir.DoubleType())


@intrinsic
def total(typingctx, a, b, c, d):
    """The sum over the lanes of four, in float64 and in an order of its own."""

    def codegen(context, builder, signature, args):
        wide = ir.VectorType(ir.DoubleType(), LANES)
        w = [v if v.type == wide else builder.fpext(v, wide) for v in args]
        return _folded(builder, builder.fadd(builder.fadd(w[0], w[1]), builder.fadd(w[2], w[3])), builder.fadd)

    return types.float64(a, b, c, d), codegen


@intrinsic
def top(typingctx, a, b, c, d):
    """The largest lane of four, none of them NaN, as float64."""

    def codegen(context, builder, signature, args):
        def of_two(x, y):
            return builder.select(builder.fcmp_ordered(">", x, y), x, y)

        return _folded(builder, of_two(of_two(args[0], args[1]), of_two(args[2], args[3])), of_two)

    return types.float64(a, b, c, d), codegen


# ---- memory ---------------------------------------------------------------------------------------------------


@intrinsic
def memory(typingctx, array):
    """The memory of an array, from its first element on."""

    def codegen(context, builder, signature, args):
        return context.make_array(array)(context, builder, args[0]).data

    return Memory(array.dtype)(array), codegen


@intrinsic
def as_array(typingctx, memory, start, count):
    """memory[start:start + count] as an array that owns nothing."""
    kind = types.Array(memory.dtype, 1, "C")

    def codegen(context, builder, signature, args):
        array = context.make_array(kind)(context, builder)
        size = context.get_abi_sizeof(context.get_data_type(memory.dtype))
        populate_array(array, builder.gep(args[0], [args[1]]), [args[2]], [_I64(size)], _I64(size), None)
        return array._getvalue()

    return kind(memory, types.int64, types.int64), codegen


@infer_global(operator.getitem)
class _GetItem(AbstractTemplate):
    def generic(self, args, kws):
        if isinstance(args[0], Memory) and isinstance(args[1], types.Integer):
            return signature(args[0].dtype, args[0], types.int64)


@infer_global(operator.setitem)
class _SetItem(AbstractTemplate):
    def generic(self, args, kws):
        if isinstance(args[0], Memory) and isinstance(args[1], types.Integer):
            return signature(types.none, args[0], types.int64, args[0].dtype)


@lower_builtin(operator.getitem, Memory, types.int64)
def _getitem(context, builder, sig, args):
    return builder.load(builder.gep(args[0], [args[1]]))


@lower_builtin(operator.setitem, Memory, types.int64, types.Any)
def _setitem(context, builder, sig, args):
    builder.store(args[2], builder.gep(args[0], [args[1]]))
    return context.get_dummy_value()


def _stored(carrier):
    """The vector as it lies in memory."""
    if carrier == types.int16 and _HALF_IN_HARDWARE:
        return ir.VectorType(ir.HalfType(), LANES)
    return _vector(_OF[carrier]) if carrier in (types.float32, types.float64) else _integers(16)


def _widened(builder, carrier, v):
    single, words = _vector(F32), _integers(32)
    if carrier in (types.float32, types.float64):
        return v
    if carrier == types.uint16:
        return builder.bitcast(builder.shl(builder.zext(v, words), _constant(words, 16)), single)
    if _HALF_IN_HARDWARE:
        return builder.fpext(v, single)
    # times 2**112 corrects the exponent, of subnormals too; inf and NaN keep a full exponent
    bits = builder.zext(v, words)
    rest = builder.shl(builder.and_(bits, _constant(words, 0x7FFF)), _constant(words, 13))
    scaled = builder.bitcast(builder.fmul(builder.bitcast(rest, single), _constant(single, 2.0**112)), words)
    special = builder.or_(rest, _constant(words, 0x7F800000))
    rest = builder.select(builder.icmp_unsigned(">=", rest, _constant(words, 0x0F800000)), special, scaled)
    sign = builder.shl(builder.and_(bits, _constant(words, 0x8000)), _constant(words, 16))
    return builder.bitcast(builder.or_(rest, sign), single)


def _narrowed(builder, carrier, v):
    words = _integers(32)
    if carrier in (types.float32, types.float64):
        return v
    if carrier == types.int16 and _HALF_IN_HARDWARE:
        return builder.fptrunc(v, _stored(carrier))
    bits, is_nan = builder.bitcast(v, words), builder.fcmp_unordered("uno", v, v)

    def number(x):
        return _constant(words, x)

    def last_bit(shift):
        return builder.and_(builder.lshr(bits, number(shift)), number(1))

    if carrier == types.uint16:  # nearest, ties to even, by an addend below the cut
        high = builder.lshr(bits, number(16))
        rounded = builder.lshr(builder.add(builder.add(bits, number(0x7FFF)), last_bit(16)), number(16))
        return builder.trunc(builder.select(is_nan, builder.or_(high, number(0x40)), rounded), _integers(16))
    size = builder.and_(bits, number(0x7FFFFFFF))
    normal = builder.add(builder.add(size, number(0xFFF - (112 << 23))), last_bit(13))
    normal = builder.lshr(normal, number(13))
    # 0.5 has the unit of a float16 subnormal, 2**-24: adding it rounds there
    sum_ = builder.fadd(builder.bitcast(size, v.type), _constant(v.type, 0.5))
    below = builder.sub(builder.bitcast(sum_, words), number(0x3F000000))
    half = builder.select(builder.icmp_unsigned("<", size, number(0x38800000)), below, normal)
    half = builder.select(builder.icmp_unsigned(">=", size, number(0x477FF000)), number(0x7C00), half)
    half = builder.select(is_nan, number(0x7E00), half)
    sign = builder.and_(builder.lshr(bits, number(16)), number(0x8000))
    return builder.trunc(builder.or_(half, sign), _integers(16))


def _mask(builder, n):
    return builder.icmp_signed("<", ir.Constant(ir.VectorType(_I64, LANES), list(range(LANES))), _splat(builder, n))


@intrinsic
def load(typingctx, array, k):
    """array[k:k + LANES]."""
    lanes = _OF[array.dtype]

    def codegen(context, builder, signature, args):
        stored = _stored(array.dtype)
        at = builder.bitcast(builder.gep(args[0], [args[1]]), stored.as_pointer())
        return _widened(builder, array.dtype, builder.load(at, align=array.dtype.bitwidth // 8))

    return lanes(array, types.int64), codegen


@intrinsic
def load_some(typingctx, array, k, n, fill):
    """array[k:k + n] and lanes of `fill` after it; n may be beyond LANES."""
    lanes = _OF[array.dtype]

    def codegen(context, builder, signature, args):
        stored, mask = _stored(array.dtype), _mask(builder, args[2])
        at = builder.bitcast(builder.gep(args[0], [args[1]]), stored.as_pointer())
        name = f"llvm.masked.load.{_mangled(stored)}.p0"
        found = _intrinsic(builder, name, stored, [at, ir.IntType(32)(array.dtype.bitwidth // 8), mask,
                                                   ir.Constant(stored, None)])
        beyond = _splat(builder, context.cast(builder, args[3], fill, lanes.real))
        return builder.select(mask, _widened(builder, array.dtype, found), beyond)

    return lanes(array, types.int64, types.int64, fill), codegen


@intrinsic
def keep_some(typingctx, v, n):
    """The first n lanes, and 0 in the others."""

    def codegen(context, builder, signature, args):
        return builder.select(_mask(builder, args[1]), args[0], ir.Constant(args[0].type, None))

    return v(v, types.int64), codegen


@intrinsic
def store(typingctx, array, k, v):
    """array[k:k + LANES] = v, rounded to nearest even."""

    def codegen(context, builder, signature, args):
        stored = _stored(array.dtype)
        at = builder.bitcast(builder.gep(args[0], [args[1]]), stored.as_pointer())
        builder.store(_narrowed(builder, array.dtype, args[2]), at, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.int64, v), codegen


@intrinsic
def stream(typingctx, array, k, v):
    """The same past the caches; array[k] must be aligned to the vector."""

    def codegen(context, builder, signature, args):
        stored = _stored(array.dtype)
        at = builder.bitcast(builder.gep(args[0], [args[1]]), stored.as_pointer())
        done = builder.store(_narrowed(builder, array.dtype, args[2]), at, align=LANES * array.dtype.bitwidth // 8)
        done.set_metadata("nontemporal", builder.module.add_metadata([ir.IntType(32)(1)]))
        return context.get_dummy_value()

    return types.void(array, types.int64, v), codegen


@intrinsic
def store_some(typingctx, array, k, n, v):
    """array[k:k + n] = v[:n], n <= LANES."""

    def codegen(context, builder, signature, args):
        stored = _stored(array.dtype)
        at = builder.bitcast(builder.gep(args[0], [args[1]]), stored.as_pointer())
        name = f"llvm.masked.store.{_mangled(stored)}.p0"
        _intrinsic(builder, name, ir.VoidType(), [_narrowed(builder, array.dtype, args[3]), at,
                                                  ir.IntType(32)(array.dtype.bitwidth // 8), _mask(builder, args[2])])
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64, v), codegen


@intrinsic
def head(typingctx, array, k):
    """How many elements from array[k] on until one is aligned to the vector."""
    itemsize = array.dtype.bitwidth // 8

    def codegen(context, builder, signature, args):
        at = builder.ptrtoint(builder.gep(args[0], [args[1]]), _I64)
        rest = builder.and_(builder.neg(at), _I64(LANES * itemsize - 1))
        return builder.udiv(rest, _I64(itemsize))

    return types.int64(array, types.int64), codegen


@intrinsic
def prefetch(typingctx, array, k):
    """Ask for array[k]'s cache line in L2; it need not exist."""

    def codegen(context, builder, signature, args):
        at = builder.bitcast(builder.gep(args[0], [args[1]]), ir.IntType(8).as_pointer())
        _intrinsic(builder, "llvm.prefetch.p0", ir.VoidType(), [at, *(ir.IntType(32)(i) for i in (0, 2, 1))])
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


@intrinsic
def fence(typingctx):
    """What was streamed becomes visible before whatever follows."""

    def codegen(context, builder, signature, args):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def scalar_like(typingctx, carrier, value):
    """The number rounded to the dtype in which the carrier array is computed, as float64."""
    real = _OF[carrier.dtype].real

    def codegen(context, builder, signature, args):
        return context.cast(builder, context.cast(builder, args[1], value, real), real, types.float64)

    return types.float64(carrier, value), codegen


@intrinsic
def fused(typingctx, a, b, c):
    """a*b + c of float64 numbers, rounded once."""

    def codegen(context, builder, signature, args):
        return _intrinsic(builder, "llvm.fma.f64", ir.DoubleType(), args)

    return types.float64(types.float64, types.float64, types.float64), codegen
