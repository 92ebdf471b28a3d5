"""[1] What the Numba kernels compute with: exp2, a maximum that keeps NaN, and the 16-bit floats as integers.

A carrier's type tells its meaning: float64, float32, uint16 = bfloat16, int16 = float16.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload

from ._numba_cache import inlined

_BITS = {types.float32: types.int32, types.float64: types.int64, types.int32: types.float32,
         types.int64: types.float64}


@intrinsic
def bitcast(typingctx, value):
    """The same bits as an integer, or as a float."""
    if value not in _BITS:
        raise TypingError(f"no bitcast of {value}")

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], context.get_value_type(signature.return_type))

    return _BITS[value](value), codegen


@intrinsic
def maximum(typingctx, a, b):
    """The larger; NaN if either is. llvm.maximum, the one float maximum that LLVM vectorises without nnan."""

    def codegen(context, builder, signature, args):
        real = args[0].type
        function = builder.module.declare_intrinsic("llvm.maximum", [real], ir.FunctionType(real, [real, real]))
        return builder.call(function, args)

    return (a(a, b), codegen) if a == b and isinstance(a, types.Float) else None


@intrinsic
def _raised_power(typingctx, k):
    """2**(n + RAISE), where k = n + 1.5*2**(mantissa bits): n sits in k's last bits, so it is shifted into place."""
    size, shift, bias, up = (32, 23, 127, 64) if k == types.float32 else (64, 52, 1023, 512)

    def codegen(context, builder, signature, args):
        integer = ir.IntType(size)
        bits = builder.shl(builder.bitcast(args[0], integer), integer(shift))
        return builder.bitcast(builder.add(bits, integer(bias + up << shift)), args[0].type)

    return k(k), codegen


def _constants(real, values):
    return tuple(real(v) for v in values)


# 2**f = 1 + f*(c1 + f*(c2 + ...)), minimax in the relative error: 9.1e-8 and, of doubles, 3.3e-18 on [-1/2, 1/2]
C32 = _constants(np.float32, (0.693146977640, 0.240222421991, 0.055507335116, 0.009671507069, 0.001326482175))
C64 = _constants(np.float64, (
    0.69314718055994532536, 0.24022650695910131491, 0.05550410866482014460, 0.00961812910759407568,
    0.00133335581467590645, 0.00015403530457122697, 0.00001525273350788722, 1.3215435293786618728e-6,
    1.0178193639381520136e-7, 7.0737791211403029882e-9, 4.4356255507386571699e-10))
# Adding MAGIC, 1.5*2**(mantissa bits), rounds to an integer. LOWER is 2**-RAISE. 512 times 2**LOW is still 0,
# and 2**HIGH, raised, inf.
LOW32, HIGH32, MAGIC32, LOWER32, ONE32 = _constants(np.float32, (-188.0, 64.0, 1.5 * 2**23, 2.0**-64, 1.0))
LOW64, HIGH64, MAGIC64, LOWER64, ONE64 = _constants(np.float64, (-1500.0, 512.0, 1.5 * 2**52, 2.0**-512, 1.0))

# tanh(u) = u*P(u^2)/Q(u^2): P, Q and where it is cut off as in src_cython/vec_math.h, from the constant on
TANH_P32 = _constants(np.float32, (1.0, 0.13622008, 0.003796988, 2.6640311e-5, 2.7576787e-8, -1.02092e-11))
TANH_Q32 = _constants(np.float32, (1.0, 0.46955323, 0.026981601, 0.00038154476, 1.195613e-6))
TANH_ONE32 = np.float32(9.1)
MINUS_TWO_LOG2_E64, TWO64 = _constants(np.float64, (-2 / np.log(2), 2.0))
HALF_LOG2_E32, HALF_LOG2_E64 = np.float32(0.5 / np.log(2)), np.float64(0.5 / np.log(2))


@inlined
def _parts_f32(t):
    """(2**f - 1, 2**(n + RAISE)), where t = n + f."""
    t = LOW32 if t < LOW32 else t  # in this order NaN stays NaN
    k = t + MAGIC32
    f = t - (k - MAGIC32)
    p = C32[0] + f * (C32[1] + f * (C32[2] + f * (C32[3] + f * C32[4])))
    return f * p, _raised_power(k)


@inlined
def _exp2_f32(t):
    less, power = _parts_f32(t)
    return (less + ONE32) * power


@inlined
def _within(u, most):
    u = most if u > most else u  # NaN stays NaN
    return -most if u < -most else u


@inlined
def _tanh_f32(u):
    x = _within(u, TANH_ONE32)
    s = x * x
    p = TANH_P32[1] + s * (TANH_P32[2] + s * (TANH_P32[3] + s * (TANH_P32[4] + s * TANH_P32[5])))
    q = TANH_Q32[1] + s * (TANH_Q32[2] + s * (TANH_Q32[3] + s * TANH_Q32[4]))
    return _within(x * (TANH_P32[0] + s * p) / (TANH_Q32[0] + s * q), ONE32)


@inlined
def _parts_f64(t):
    t = LOW64 if t < LOW64 else t
    k = t + MAGIC64
    f = t - (k - MAGIC64)
    p = C64[6] + f * (C64[7] + f * (C64[8] + f * (C64[9] + f * C64[10])))
    p = C64[0] + f * (C64[1] + f * (C64[2] + f * (C64[3] + f * (C64[4] + f * (C64[5] + f * p)))))
    return f * p, _raised_power(k)


@inlined
def _exp2_f64(t):
    less, power = _parts_f64(t)
    return (less + ONE64) * power


@inlined
def _tanh_f64(u):
    t = abs(u) * MINUS_TWO_LOG2_E64
    less, power = _parts_f64(t)
    power = power * LOWER64
    minus = less * power + (power - ONE64)  # exp(-2|u|) - 1, to the last digits
    value = -minus / (minus + TWO64)
    return -value if u < 0 else value


def exp2_raised(t):
    """2**(t + RAISE) for t <= 0: RAISE, 64 or 512, keeps clear of the subnormals. lowered() takes it back."""
    raise NotImplementedError("compiled only")


@overload(exp2_raised, inline="always")
def _exp2_raised(t):
    return (lambda t: _exp2_f32(t)) if t == types.float32 else (lambda t: _exp2_f64(t))


def lowered(value):
    """value * 2**-RAISE, underflowing gradually."""
    raise NotImplementedError("compiled only")


@overload(lowered, inline="always")
def _lowered(value):
    return (lambda value: value * LOWER32) if value == types.float32 else (lambda value: value * LOWER64)


@inlined
def _exp_f32(x):
    t = x * HALF_LOG2_E32
    root = _exp2_f32(HIGH32 if t > HIGH32 else t) * LOWER32
    return root * root


@inlined
def _exp_f64(x):
    t = x * HALF_LOG2_E64
    root = _exp2_f64(HIGH64 if t > HIGH64 else t) * LOWER64
    return root * root


def tanh(u):
    """tanh(u): of floats a quotient of polynomials, of doubles -expm1(-2|u|)/(expm1(-2|u|) + 2)."""
    raise NotImplementedError("compiled only")


@overload(tanh, inline="always")
def _tanh(u):
    return (lambda u: _tanh_f32(u)) if u == types.float32 else (lambda u: _tanh_f64(u))


def exp_of(x):
    """exp(x) of any x: as exp(x/2)**2, for which no power of two is out of reach."""
    raise NotImplementedError("compiled only")


@overload(exp_of, inline="always")
def _exp_of(x):
    return (lambda x: _exp_f32(x)) if x == types.float32 else (lambda x: _exp_f64(x))


@inlined
def _from_bf16(stored):
    return bitcast(np.int32(np.int32(stored) << 16))


@inlined
def _from_f16(stored):
    sign = (np.int32(stored) & 0x8000) << 16
    rest = (np.int32(stored) & 0x7FFF) << 13
    # times 2**112 corrects the exponent, of subnormals too; inf and NaN keep a full exponent
    scaled = bitcast(bitcast(np.int32(rest)) * np.float32(2.0**112))
    return bitcast(np.int32((rest | 0x7F800000 if rest >= 0x0F800000 else scaled) | sign))


@inlined
def _to_bf16(value):
    bits = np.int64(bitcast(value)) & 0xFFFFFFFF
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16  # nearest, ties to even
    return np.uint16(rounded if value == value else (bits >> 16) | 0x40)


@inlined
def _to_f16(value):
    bits = np.int64(bitcast(value)) & 0xFFFFFFFF
    size = bits & 0x7FFFFFFF
    normal = (size + 0xFFF + ((size >> 13) & 1) - (112 << 23)) >> 13
    # 0.5 has the unit of a float16 subnormal, 2**-24: adding it rounds there
    subnormal = np.int64(bitcast(bitcast(np.int32(size)) + np.float32(0.5))) - 0x3F000000
    half = subnormal if size < 0x38800000 else normal
    half = 0x7C00 if size >= 0x477FF000 else half
    half = half if value == value else 0x7E00
    return np.int16(half | ((bits >> 16) & 0x8000))


def real_of(stored):
    """The number that a carrier holds, in the dtype it is computed in."""
    raise NotImplementedError("compiled only")


@overload(real_of, inline="always")
def _real_of(stored):
    if stored == types.uint16:
        return lambda stored: _from_bf16(stored)
    return (lambda stored: _from_f16(stored)) if stored == types.int16 else (lambda stored: stored)


def put(out, k, value):
    """out[k] = value, rounded to nearest even."""
    raise NotImplementedError("compiled only")


@overload(put, inline="always")
def _put(out, k, value):
    def put_bf16(out, k, value):
        out[k] = _to_bf16(np.float32(value))

    def put_f16(out, k, value):
        out[k] = _to_f16(np.float32(value))

    def put_plain(out, k, value):
        out[k] = value

    return {types.uint16: put_bf16, types.int16: put_f16}.get(out.dtype, put_plain)


def as_real(array, value):
    """A number in the dtype that the carrier array is computed in."""
    raise NotImplementedError("compiled only")


@overload(as_real, inline="always")
def _as_real(array, value):
    return (lambda array, value: np.float64(value)) if array.dtype == types.float64 else (
        lambda array, value: np.float32(value))
